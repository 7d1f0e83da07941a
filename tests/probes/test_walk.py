"""Random walks, against one loop for each walk (SPEC E.1, E.3 `random_walker`, F27)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.config.load import parse
from walkers_dist.landscape import build
from walkers_dist.landscape.base import Landscape
from walkers_dist.landscape.quadratic import Quadratic
from walkers_dist.landscape.streams import stream
from walkers_dist.probes import walk as module
from walkers_dist.probes.walk import Mode, Walk, wander
from walkers_dist.records.tables import COLUMNS

SEED, STEP = 3, 700
Found = list[dict[str, Any]]


class Points:
    """Snapshots that hold these points at every step."""

    def __init__(self, X: Tensor, names: Sequence[str] = ()) -> None:
        self.X, self.names, self.steps = X, list(names) or [f"w{i}" for i in range(len(X))], [STEP]

    def points(self, step: int, names: Sequence[str]) -> Tensor:
        return self.X[[self.names.index(name) for name in names]]


def digits() -> Landscape:
    data = {"name": "digits", "train_size": 40, "test_size": 20}
    landscape = {"kind": "network", "data": data, "model": {"hidden": [4]}, "l2": 0.01}
    config = parse({"landscape": landscape, "dynamics": {"batch_size": 10}}, "test")
    return build(config.landscape, seed=0, dtype=torch.float64, device=torch.device("cpu"))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def rows_of(probe: Walk, landscape: Landscape, points: Points, seed: int = SEED, step: int = STEP) -> Found:
    (rows,) = probe.measure(landscape, points, step, seed).values()
    return [dict(zip(COLUMNS["explorations"], row, strict=True)) for row in rows]


def by_walk(rows: Found) -> dict[tuple[str, int], Found]:
    walks: dict[tuple[str, int], Found] = {}
    for row in rows:
        walks.setdefault((row["walker"], row["walk"]), []).append(row)
    return walks


def alone(probe: Walk, landscape: Landscape, start: Tensor, generator: torch.Generator) -> list[tuple[int, Tensor]]:
    """One walk as a plain loop: the moves that have rows, and where they led."""

    def loss(theta: Tensor) -> float:
        return landscape.loss(theta[None]).item()

    rows, here = [(0, start)], start
    for move in range(1, probe.moves + 1):
        to = here + probe.step_size * torch.randn(len(start), dtype=torch.float64, generator=generator)
        inside = loss(to) - loss(start) <= probe.threshold
        if not inside and probe.mode == "first_exit":
            return rows + [(move - 1, here)] * (rows[-1][0] < move - 1) + [(move, to)]
        here = to if inside else here
        if move % probe.log_every == 0 or move == probe.moves:
            rows.append((move, here))
    return rows


def check_against_loops(probe: Walk, landscape: Landscape, X: Tensor) -> Found:
    found = rows_of(probe, landscape, Points(X))
    expected = []
    for i, start in enumerate(X):
        for k in range(probe.walks):
            steps = alone(probe, landscape, start, stream(SEED, f"w{i}", f"walk {k}", STEP))
            expected += [(f"w{i}", k, move, theta) for move, theta in steps]
    assert [(row["walker"], row["walk"], row["move"]) for row in found] == [row[:3] for row in expected]
    for row, (*_, theta) in zip(found, expected, strict=True):
        figures = [theta.norm()]
        for split in landscape.splits:
            figures += [landscape.loss(theta[None], split=split), landscape.accuracy(theta[None], split=split)]
        kept = [row[key] for key in ("norm", "train_loss", "train_accuracy", "test_loss", "test_accuracy")]
        for value, figure in zip(kept, figures, strict=False):
            assert value is None if figure.isnan() else value == pytest.approx(figure.item(), rel=1e-11)
    return found


@pytest.mark.parametrize("mode", ["first_exit", "stay"])
def test_on_a_network_as_one_loop_for_each_walk(mode: Mode) -> None:
    landscape = digits()
    X = torch.stack([landscape.start("w0"), landscape.start("w0") + 0.1 * normal(landscape.size)])
    probe = Walk(walks=3, mode=mode, threshold=0.02, step_size=0.01, moves=40, log_every=7)
    walks = by_walk(check_against_loops(probe, landscape, X))
    left = {name: walk[-1]["train_loss"] - walk[0]["train_loss"] > 0.02 for name, walk in walks.items()}
    assert any(left.values()) is (mode == "first_exit")
    assert all(walk[-1]["move"] == 40 for name, walk in walks.items() if not left[name])


@settings(max_examples=40, deadline=None)
@given(
    mode=st.sampled_from(["first_exit", "stay"]),
    threshold=st.sampled_from([0.0, 0.01, 0.1, 1.0]),
    dim=st.integers(1, 20),
    moves=st.integers(1, 30),
    log_every=st.integers(1, 12),
    seed=st.integers(0, 10**6),
)
def test_on_a_bowl_as_one_loop_for_each_walk(
    mode: Mode, threshold: float, dim: int, moves: int, log_every: int, seed: int
) -> None:
    probe = Walk(walks=2, mode=mode, threshold=threshold, step_size=0.1, moves=moves, log_every=log_every)
    curvature = normal(dim, seed=seed).tolist()  # downwards too
    check_against_loops(probe, Quadratic(dim=dim, curvature=curvature), 0.3 * normal(3, dim, seed=seed + 1))


@pytest.mark.parametrize("moves", [1, 25])
def test_f27_variance_of_the_steps(moves: int) -> None:
    """|sum of m moves|^2 has the mean m P step_size^2, and nothing is drawn twice."""
    R, P, step_size = 40, 500, 0.005
    streams = [stream(0, "w0", f"walk {k}", 0) for k in range(R)]
    flat = Quadratic(dim=P, curvature=0.0)
    start = normal(1, P).expand(R, -1)
    end = wander(
        flat.loss,
        start,
        streams,
        lambda *_: None,
        mode="first_exit",
        threshold=0.0,
        step_size=step_size,
        moves=moves,
        log_every=1,
    )
    delta = (end - start) / (step_size * math.sqrt(moves))
    assert delta.square().mean().item() == pytest.approx(1, abs=5 * math.sqrt(2 / (R * P)))
    assert delta.mean().item() == pytest.approx(0, abs=5 / math.sqrt(R * P))
    correlations = torch.corrcoef(delta) - torch.eye(R, dtype=torch.float64)
    assert correlations.abs().max() < 6 / math.sqrt(P)


@pytest.mark.parametrize("landscape", [Quadratic(dim=30), digits()], ids=["bowl", "digits"])
def test_f27_stay_never_exceeds_the_threshold(landscape: Landscape) -> None:
    probe = Walk(walks=4, mode="stay", threshold=0.01, step_size=0.01, moves=150, log_every=1)
    walks = by_walk(rows_of(probe, landscape, Points(normal(2, landscape.size))))
    assert len(walks) == 8
    for walk in walks.values():
        assert [row["move"] for row in walk] == list(range(151))
        assert all(row["train_loss"] - walk[0]["train_loss"] <= 0.01 for row in walk)
        stood = sum(a["norm"] == b["norm"] for a, b in pairwise(walk))
        assert stood < 150
    assert any(a["norm"] == b["norm"] for walk in walks.values() for a, b in pairwise(walk))


def test_f27_first_exit_stops_at_the_first_exceedance() -> None:
    """SPEC E.3: the original kept the point outside, and this keeps the last one inside."""
    bowl, T = Quadratic(dim=30), 0.02
    X = normal(6, 30)
    seen: list[tuple[int, list[int], Tensor]] = []
    kept = wander(
        bowl.loss,
        X,
        [stream(0, f"w{k}", "walk 0", 0) for k in range(6)],
        lambda move, walks, points, _: seen.append((move, walks.tolist(), points)),
        mode="first_exit",
        threshold=T,
        step_size=0.01,
        moves=2000,
        log_every=1,
    )
    start = bowl.loss(X)
    assert (bowl.loss(kept) - start <= T).all()
    for k in range(6):
        path = [(move, points[walks.index(k)]) for move, walks, points in seen if k in walks]
        excess = [(bowl.loss(point[None]) - start[k]).item() for _, point in path]
        assert [move for move, _ in path] == list(range(len(path)))
        assert excess[-1] > T and max(excess[:-1]) <= T
        assert torch.equal(path[-2][1], kept[k])


def test_e1_threshold_is_the_allowed_excess() -> None:
    """SPEC E.1, E.3: it had no effect, and walks went on until cost > 2 cost_init + .01."""
    bowl, X = Quadratic(dim=20), torch.ones(1, 20, dtype=torch.float64)  # cost_init = 10
    exits = []
    for threshold in (0.0, 0.01, 0.1, 1.0):
        walks = by_walk(
            rows_of(Walk(walks=8, threshold=threshold, step_size=0.02, moves=9000), bowl, Points(X))
        ).values()
        assert all(threshold < walk[-1]["train_loss"] - 10 < threshold + 0.5 for walk in walks)
        assert all(row["threshold"] == threshold for walk in walks for row in walk)
        exits.append([walk[-1]["move"] for walk in walks])
    for earlier, later in pairwise(exits):  # the same random numbers
        assert all(a <= b for a, b in zip(earlier, later, strict=True)) and sum(earlier) < sum(later)


def test_e3_moves_are_bounded() -> None:
    """The original's loop had no end where there is none to the set."""
    rows = rows_of(Walk(walks=1, moves=25, log_every=10), Quadratic(dim=3, curvature=0.0), Points(normal(1, 3)))
    assert [row["move"] for row in rows] == [0, 10, 20, 25]


def test_rows_of_a_walk_that_left() -> None:
    """The last row is outside, the one before it the last inside, each once also where it is a `log_every`-th."""
    bowl, X = Quadratic(dim=1, curvature=0.0), torch.zeros(1, 1, dtype=torch.float64)
    for exit_at, log_every, moves in [(1, 5, [0, 1]), (6, 5, [0, 5, 6]), (8, 5, [0, 5, 7, 8]), (5, 5, [0, 4, 5])]:
        made = iter(range(100))  # one evaluation a move, the start's first
        seen: list[int] = []
        wander(
            lambda theta, made=made, at=exit_at: theta.new_full((1,), float(next(made) == at)),
            X,
            [stream(0, "w0", "walk 0", 0)],
            lambda move, *_, seen=seen: seen.append(move),
            mode="first_exit",
            threshold=0.5,
            step_size=0.1,
            moves=20,
            log_every=log_every,
        )
        assert seen == moves and next(made) == exit_at + 1
    assert bowl.loss(X).item() == 0


def test_a_walk_depends_on_no_other() -> None:
    bowl, X = Quadratic(dim=7), normal(3, 7)
    rows = rows_of(Walk(walks=5, threshold=0.1, step_size=0.05, log_every=3), bowl, Points(X))
    some = rows_of(Walk(walks=2, of=("w2", "w1"), threshold=0.1, step_size=0.05, log_every=3), bowl, Points(X))
    assert some == [row for name in ("w2", "w1") for row in rows if row["walker"] == name and row["walk"] < 2]
    norms = {name: walk[-1]["norm"] for name, walk in by_walk(rows).items()}
    assert len(set(norms.values())) == len(norms) == 15


def test_seed_and_step_name_the_random_numbers() -> None:
    bowl, points, probe = Quadratic(dim=7), Points(normal(1, 7)), Walk(walks=1, moves=3, threshold=10.0)
    norms = [rows_of(probe, bowl, points, seed, step)[-1]["norm"] for seed, step in [(0, 1), (0, 1), (0, 2), (1, 1)]]
    assert norms[0] == norms[1] and len(set(norms)) == 3


def test_walks_in_groups_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    bowl, points = Quadratic(dim=7), Points(normal(3, 7))
    probe = Walk(walks=5, threshold=0.1, step_size=0.05, log_every=3)
    whole = rows_of(probe, bowl, points)
    for numbers in (1, 28):
        monkeypatch.setattr(module, "NUMBERS_AT_ONCE", numbers)
        assert rows_of(probe, bowl, points) == whole


def test_one_evaluation_a_move_of_the_walks_that_go_on() -> None:
    bowl, asked = Quadratic(dim=30), []

    def loss(theta: Tensor) -> Tensor:
        asked.append(len(theta))
        return bowl.loss(theta)

    last: dict[int, int] = {}
    wander(
        loss,
        normal(20, 30),
        [stream(0, f"w{k}", "walk 0", 0) for k in range(20)],
        lambda move, walks, *_: last.update(dict.fromkeys(walks.tolist(), move)),
        mode="first_exit",
        threshold=0.05,
        step_size=0.02,
        moves=500,
        log_every=1000,
    )
    assert asked == [20] + [sum(end >= move for end in last.values()) for move in range(1, max(last.values()) + 1)]
    assert 1 <= asked[-1] < 20


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
@pytest.mark.parametrize("mode", ["first_exit", "stay"])
def test_a_start_that_is_not_finite(mode: Mode, wrong: float) -> None:
    landscape = digits()
    X = torch.stack([landscape.start("w0")] * 3)
    probe = Walk(walks=2, mode=mode, moves=10, step_size=0.05, log_every=4)
    others = [row for row in rows_of(probe, landscape, Points(X)) if row["walker"] != "w1"]
    X[1, 5] = wrong
    rows = rows_of(probe, landscape, Points(X))
    assert [row for row in rows if row["walker"] != "w1"] == [pytest.approx(row) for row in others]
    diverged = [row for row in rows if row["walker"] == "w1"]
    assert [(row["walk"], row["move"]) for row in diverged] == [(0, 0), (1, 0)]
    assert all(math.isnan(row[key]) for row in diverged for key in ("norm", "train_loss", "test_loss"))


def test_a_move_whose_loss_is_not_finite_is_outside() -> None:
    bowl = Quadratic(dim=2, curvature=0.0)
    start = torch.zeros(1, 2, dtype=torch.float64)

    def loss(theta: Tensor) -> Tensor:
        return bowl.loss(theta).where((theta == 0).all(dim=1), torch.nan)

    keys: dict[str, Any] = {"threshold": 1.0, "step_size": 0.1, "moves": 5, "log_every": 1}
    for mode, moves in (("first_exit", [0, 1]), ("stay", [0, 1, 2, 3, 4, 5])):
        seen: list[int] = []
        streams = [stream(0, "w0", "walk 0", 0)]
        kept = wander(loss, start, streams, lambda m, *_, seen=seen: seen.append(m), mode=mode, **keys)  # type: ignore[arg-type]
        assert seen == moves and torch.equal(kept, start)


def test_e1_defaults() -> None:
    probe = parse({"probes": {"walk": {}}}, "test").probes_of_snapshots["walk"]
    assert isinstance(probe, Walk)
    assert (probe.threshold, probe.step_size, probe.mode, probe.walks, probe.of) == (
        0.05,
        0.005,
        "first_exit",
        10,
        None,
    )


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("threshold", -0.1, "probes.walk.threshold = -0.1: must be at least 0"),
        ("step_size", 0, "probes.walk.step_size = 0: must be greater than 0"),
        ("walks", 0, "probes.walk.walks = 0: must be at least 1"),
        ("moves", 1.5, "probes.walk.moves = 1.5: must be an integer of at least 1"),
        ("log_every", 0, "probes.walk.log_every = 0: must be at least 1"),
        ("mode", "leave", "probes.walk.mode = leave: must be first_exit or stay"),
        ("of", ["w9"], "probes.walk.of = w9: must be of center, w0, w1, w2, w3"),
        ("steps", 3, "unknown key probes.walk.steps"),
    ],
)
def test_bad_values(key: str, value: object, says: str) -> None:
    with pytest.raises(UserError) as error:
        parse({"probes": {"walk": {key: value}}}, "test")
    assert str(error.value).startswith(says) and "\n" not in str(error.value)
