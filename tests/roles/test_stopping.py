"""When a run ends before its steps are made (SPEC E.1, `stop`, and F, row 34), on a bowl where every value is known.

With h = 1 and lr = 0.1 a walker is at x_t = 0.9^t x_0, its gradient's norm is |x_t| and its loss x_t^2 / 2. The
original's default never stops, and both of its valid names end in an error.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import walkers_dist as wd
from walkers_dist.config.errors import UserError
from walkers_dist.config.load import parse

STARTS, REFERENCE = [1.0, -5.0], 8.0  # the mean of the walkers begins at -2
LOG, CONTROL = 2, 5
COUPLINGS = {"mean": {"name": "none"}, "gd": {"name": "none", "center": "gd"}}
Run = Callable[..., wd.Run]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(in_process: bool = True, **keys: Any) -> wd.Run:
        experiment = {
            "name": "bowl", "dtype": "float64", "device": "cpu", "analysts": 0, "walkers": 2, "steps": 100,
            "landscape": {"kind": "quadratic", "start": STARTS, "center_start": REFERENCE},
            "dynamics": {"lr": 0.1, "momentum": 0.0}, "coupling": None, "snapshots": None,
            "log": {"every": LOG}, "control": {"every": CONTROL}, **keys,
        }  # fmt: skip
        return wd.run(experiment, run_dir=tmp_path / "run", report=False, in_process=in_process)

    return run


def value(metric: str, of: str, center: str, t: int) -> float:
    def figure(x: float) -> float:
        return abs(x) if metric == "train_grad_norm" else x * x / 2

    x, c = [0.9**t * start for start in STARTS], 0.9**t * (REFERENCE if center == "gd" else sum(STARTS) / 2)
    return {"mean": sum(map(figure, x)) / 2, "all": max(map(figure, x)), "center": figure(c)}[of]


def stops(run: wd.Run) -> list[tuple[int, str, str]]:
    events = run.events[run.events.source == "stop"]
    return list(zip(events.step.to_list(), events.key.to_list(), events.new.to_list(), strict=True))


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize("below", [0.9, 0.2])
@pytest.mark.parametrize("center", COUPLINGS)
@pytest.mark.parametrize("of", ["center", "mean", "all"])
@pytest.mark.parametrize("metric", ["train_loss", "train_grad_norm"])
def test_every_rule(
    metric: str, of: str, center: str, below: float, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is tested on rows; the report after answers with a last step, the one after it."""
    ended = run(coupling=COUPLINGS[center], stop={"metric": metric, "of": of, "below": below})
    at = next(t for t in range(0, 100, LOG) if value(metric, of, center, t) < below)
    told = next(t for t in range(at + 1, 100) if t % LOG == 0 or t % CONTROL == 0)
    reason = f"{metric} of {of} = {value(metric, of, center, at):.6g} is below {below:g}"
    assert stops(ended) == [(told, reason, f'"last step {told + 1}"')]
    assert ended.results.step.max() == told + 1
    rows = ended.results[ended.results.step == at].set_index("walker")[metric]
    written = {"center": rows["center"], "mean": rows[["w0", "w1"]].mean(), "all": rows[["w0", "w1"]].max()}[of]
    assert written == pytest.approx(value(metric, of, center, at), rel=1e-12)
    assert last_line(capsys) == f"ended at step {told + 1}: {reason}"


def test_the_rules_differ_from_each_other() -> None:
    """Else the test above could not tell one from another: the center is not among the walkers, for one."""
    for metric in ("train_loss", "train_grad_norm"):
        rules = [("center", "mean"), ("center", "gd"), ("mean", "gd"), ("all", "gd")]
        first = [next(t for t in range(0, 100, LOG) if value(metric, *rule, t) < 0.2) for rule in rules]
        assert len(set(first)) == len(rules)


def test_one_walker_by_itself(run: Run) -> None:
    bowl = {"kind": "quadratic", "start": 3.0}
    for of in ("mean", "all"):
        assert parse({"walkers": 1, "coupling": None, "stop": {"of": of}}, "x").stop.of == of
    ended = run(walkers=1, landscape=bowl, stop={"metric": "train_grad_norm", "of": "all", "below": 1.0})
    assert 3 * 0.9**10 > 1 > 3 * 0.9**12
    assert stops(ended)[0][0] == 14 and ended.results.step.max() == 15


def test_below_is_below(run: Run) -> None:
    """x_t = 1, 1/2, 1/4: at 1/4 it is not below 1/4 yet."""
    bowl = {"kind": "quadratic", "start": 1.0}
    keys = {"landscape": bowl, "dynamics": {"lr": 0.5, "momentum": 0.0}, "log": {"every": 1}}
    ended = run(**keys, stop={"metric": "train_grad_norm", "of": "mean", "below": 0.25})
    assert stops(ended)[0][:2] == (4, "train_grad_norm of mean = 0.125 is below 0.25")


def test_by_default_nothing_stops_it(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Not even at the minimum."""
    ended = run(landscape={"kind": "quadratic", "start": 0.0}, steps=40)
    assert ended.config.stop is None and stops(ended) == []
    assert ended.results.step.max() == 40 and ended.results.train_loss.max() == 0
    assert last_line(capsys) == "ended at step 40: all steps are made"


def test_a_rule_that_nothing_meets(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    ended = run(steps=30, stop={"metric": "train_loss", "of": "mean", "below": 1e-12})
    assert stops(ended) == [] and ended.results.step.max() == 30
    assert last_line(capsys) == "ended at step 30: all steps are made"


def test_a_lost_walker_is_no_small_one(run: Run) -> None:
    """Neither in the mean nor among all; the center, without it, may still stop the run."""
    keys = {
        "landscape": {"kind": "quadratic", "start": [1.0, 1e308]}, "dtype": "float64",
        "dynamics": {"lr": 30.0, "momentum": 0.0}, "exchange": {"on_divergence": "isolate"}, "steps": 20,
        "schedule": [{"at": 4, "set": {"dynamics.lr": 0.9}}],
    }  # fmt: skip
    ended = run(**keys, stop={"metric": "train_loss", "of": "all", "below": 1e300})
    assert stops(ended) == [] and ended.results.step.max() == 20


def test_a_scheduled_rule(run: Run) -> None:
    rule = {"metric": "train_grad_norm", "of": "mean", "below": 2.9}
    ended = run(schedule=[{"at": 11, "set": {"stop": rule}}])
    assert 3 * 0.9 < 2.9  # it would have ended the run from the start
    assert [row[0] for row in stops(ended)] == [14]


@pytest.mark.parametrize("in_process", [True, False])
def test_resumed_after_its_end_it_says_why_again(in_process: bool, run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    ended = run(in_process, coupling=COUPLINGS["gd"], stop={"metric": "train_loss", "of": "center", "below": 3.0})
    assert [step for step, _, _ in stops(ended)] == [14]
    first = capfd.readouterr().out.splitlines()[-1]
    assert first.startswith("ended at step 15: train_loss of center = ") and first.endswith(" is below 3")
    again = wd.resume(ended.path, report=False)
    assert capfd.readouterr().out.splitlines()[-1] == first
    assert len(stops(again)) == 1 and again.results.step.max() == 15
    further = wd.resume(ended.path, ["stop=null", "steps=20"], report=False)
    assert capfd.readouterr().out.splitlines()[-1] == "ended at step 20: all steps are made"
    assert further.results.step.max() == 20


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        ({"metric": "grad"}, "stop.metric = grad: must be train_loss or train_grad_norm"),  # the original's default
        ({"metric": "cost_value"}, "stop.metric = cost_value: must be train_loss or train_grad_norm"),
        ({"of": "w0"}, "stop.of = w0: must be center, mean or all"),
        ({"below": None}, "stop.below = null: must be a number"),
        ({"when": 1.0}, "unknown key stop.when; known in stop: metric, of, below"),
    ],
)
def test_an_unknown_rule_is_refused(rule: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as caught:
        parse({"stop": rule}, "x")
    assert str(caught.value) == line
