"""Pictures of the probes: what they state is what a hand-made table says, and no table breaks the page."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from walkers_dist.api.opened import open_run
from walkers_dist.records.tables import COLUMNS
from walkers_dist.report import write_report
from walkers_dist.report.averages import walkers_at
from walkers_dist.report.contours import LEVELS, Map, levels_of, map_of
from walkers_dist.report.interpolations import PAIRS, barrier, between
from walkers_dist.report.planes import off_plane
from walkers_dist.report.trails import SIDES, free_place, trails
from walkers_dist.report.walks import traces

Make = Callable[..., Path]
Add = Callable[[Path, str, Iterable[Sequence[object]]], None]
NAN, INF = math.nan, math.inf
NEW = ("planes", "interpolation", "walks", "sharpness", "averages")
NAMES = ["center", "w0", "w1", "w2", "w3"]


def frame(name: str, rows: Iterable[Sequence[object]]) -> pd.DataFrame:
    return pd.DataFrame([list(row) for row in rows], columns=COLUMNS[name])


def path_rows(step: int, a: str, b: str, height: float, path: str = "linear", points: int = 31) -> list[list[object]]:
    """Losses 1 + t between -1 and 2, with a tent of this height over [0, 1] that peaks at 1/2."""
    rows: list[list[object]] = []
    for t in np.linspace(-1, 2, points):
        loss = 2 + t + height * max(0.0, 1 - 2 * abs(t - 0.5))
        rows.append([step, a, b, path, t, 3.0, loss, 0.1, 0.5, loss + 0.3, 0.1, 0.4])
    return rows


def plane_rows(step: int, plane: str, grid: int = 21, scale: float = 1.0) -> list[list[object]]:
    axis = np.linspace(-2, 2, grid)
    return [
        [step, plane, u, v, scale * (0.01 + u * u + v * v), 0.9, scale * (0.3 + u * u), 0.8] for v in axis for u in axis
    ]


def paths(step: int, plane: str, names: Sequence[str] = NAMES, off: float = 0.0) -> list[list[object]]:
    return [
        [step, plane, name, 0.1 + k * (0.3 + 0.05 * i), 1.5 - 0.4 * k + 0.1 * i, off * (3 - k) * (i + 1), 0.5]
        for i, name in enumerate(names)
        for k in range(4)
    ]


def walk_rows(
    step: int, walker: str, walk: int, losses: Sequence[float], threshold: float = 0.05
) -> list[list[object]]:
    return [
        [step, walk, walker, 10 * k, threshold, 0.005, 4 + k, loss, 0.9, loss, 0.8] for k, loss in enumerate(losses)
    ]


def fill(run: Path, add: Add, steps: Sequence[int] = (0, 200, 400, 600)) -> None:
    """Every table of a probe, at several steps."""
    pairs = list(combinations(NAMES, 2))
    add(run, "interpolations", [row for s in steps for a, b in pairs for row in path_rows(s, a, b, 0.001 * s)])
    add(run, "planes", [row for s in steps for row in plane_rows(s, "center-w0-w1", 51)])
    add(run, "plane_points", [row for s in steps for row in paths(s, "center-w0-w1", off=0.1)])
    add(
        run,
        "explorations",
        [row for s in steps for n in NAMES for k in range(3) for row in walk_rows(s, n, k, [1, 1.02, 1.04, 1.2])],
    )
    add(run, "sharpness", [[s, n, f, 0.01, 9, 0.01, 1 + s, s] for s in steps for n in NAMES for f in ("original", "x")])
    kinds = ("uniform", "greedy", "ensemble")
    add(run, "averages", [[s, k, "w0 w1", 0.1, 0.9, 0.2, 0.8, 0.05] for s in steps for k in kinds])


def page_of(run: Path) -> str:
    return write_report(open_run(run)).read_text(encoding="utf-8")


def part(text: str, section: str) -> str:
    return text[text.index(f'<section id="{section}"') :].split("</section>")[0]


# ---- the whole page ---------------------------------------------------------------------------------------------


def test_sections_and_their_names_at_the_top_are_of_what_was_measured(make_run: Make, add_table: Add) -> None:
    bare = page_of(make_run())
    full = make_run(name="full")
    fill(full, add_table)
    text = page_of(full)
    for name in NEW:
        assert f'<section id="{name}"' not in bare and f'href="#{name}"' not in bare
        assert "<svg" in part(text, name) and f'<a href="#{name}">' in text
    assert 'class="absent"' not in part(text, "planes") + part(text, "walks") + part(text, "sharpness")
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    wanted = {a or b for a, b in re.findall(r"url\(#([^)]+)\)|href=\"#([^\"]+)\"", text)}
    assert wanted <= set(ids)
    svgs = "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))
    svgs = re.sub(r"base64,[^\"]*", "", svgs)
    assert set(re.findall(r"#[0-9a-fA-F]{6}", svgs)) <= {"#ffffff", "#000000"}  # the heatmap's numbers
    assert "://" not in text and "nan" not in svgs.lower()


def test_the_page_stays_small_and_is_drawn_soon(make_run: Make, add_table: Add) -> None:
    run = make_run()
    fill(run, add_table)
    rng = np.random.default_rng(0)
    rough = [[*row[:4], abs(rng.standard_normal()) + 1e-3, *row[5:]] for row in plane_rows(600, "rough", 51)]
    with (run / "planes.csv").open("a") as file:
        file.writelines(",".join(map(str, row)) + "\n" for row in rough)
    started = time.process_time()
    text = page_of(run)
    assert time.process_time() - started < 6
    assert len(text) < 3_000_000
    maps = re.findall(r"<svg.*?</svg>", part(text, "planes"), flags=re.DOTALL)
    assert maps and max(map(len, maps)) < 300_000


@pytest.mark.parametrize("bad", [NAN, INF])
def test_what_is_not_finite_breaks_nothing(make_run: Make, add_table: Add, bad: float) -> None:
    run = make_run()
    add_table(run, "interpolations", [[0, "center", "w0", "slerp", t, *[bad] * 7] for t in (0, 0.5, 1)])
    add_table(run, "planes", [[0, "random", u, v, *[bad] * 4] for v in (0, 1, 2) for u in (0, 1, 2)])
    add_table(run, "plane_points", [[0, "random", "w0", bad, bad, bad, bad]])
    add_table(run, "explorations", walk_rows(0, "w0", 0, [bad]))
    add_table(run, "sharpness", [[0, "w0", "original", 0.01, 0, bad, bad, bad]])
    add_table(run, "averages", [[0, "uniform", "w0", *[bad] * 5]])
    text = page_of(run)
    for name in NEW:
        assert 'class="absent"' in part(text, name) and "<svg" not in part(text, name), name


def test_one_row_of_everything(make_run: Make, add_table: Add) -> None:
    run = make_run()
    add_table(run, "interpolations", [[0, "w0", "w1", "linear", 0.5, *[1.0] * 7]])
    add_table(run, "planes", [[0, "random", 0, 0, *[1.0] * 4]])
    add_table(run, "plane_points", [[0, "random", "w0", 0, 0, 0, 1.0]])
    add_table(run, "explorations", walk_rows(0, "w0", 0, [1.0]))
    add_table(run, "sharpness", [[0, "w0", "original", 0.01, 0, 0, 1, ""]])
    add_table(run, "averages", [[0, "uniform", "w0", *[1.0] * 4, ""]])
    text = page_of(run)
    assert "fewer than two by two points" in part(text, "planes")
    assert "No barrier is known" in part(text, "interpolation")
    assert "0 of 1 left" in part(text, "walks")
    assert part(text, "sharpness").count("<svg") == 1  # nothing on test data
    assert part(text, "averages").count("<svg") == 4  # no disagreement


def test_words_of_the_tables_are_never_markup(make_run: Make, add_table: Add) -> None:
    run, evil = make_run(), "<img src=x onerror=alert(1)>$\\frac"
    add_table(run, "interpolations", path_rows(0, evil, "w1", 1.0, path=evil))
    add_table(run, "planes", plane_rows(0, evil))
    add_table(run, "plane_points", paths(0, evil, [evil]))
    add_table(run, "explorations", walk_rows(0, evil, 0, [1.0, 2.0]))
    add_table(run, "sharpness", [[0, evil, evil, 0.01, 1, 0.01, 1, 1]])
    add_table(run, "averages", [[0, evil, evil, *[0.5] * 5], [0, "greedy", evil, *[0.5] * 5]])
    text = page_of(run)
    assert "<img" not in text
    assert all("&lt;img" in part(text, name) for name in NEW)


# ---- interpolation ------------------------------------------------------------------------------------------------


def test_the_barrier_is_the_rise_above_the_line_between_the_ends() -> None:
    t = np.linspace(-1, 2, 31)
    loss = 2 + t + 0.75 * np.maximum(0, 1 - 2 * abs(t - 0.5)) + 50 * (t > 1.05) + 50 * (t < -0.05)
    assert barrier(t, loss) == pytest.approx(0.75, abs=1e-12)  # what lies outside of [0, 1] does not count
    assert barrier(t, 2 + t) == pytest.approx(0, abs=1e-12)
    assert barrier(t, (t - 0.5) ** 2) == 0  # a valley has no barrier


def test_there_is_no_barrier_without_ends_or_with_a_hole() -> None:
    t = np.linspace(-1, 2, 30)  # neither 0 nor 1 is among them
    assert math.isnan(barrier(t, np.ones(30)))
    t = np.linspace(0, 1, 11)
    assert math.isnan(barrier(t, np.where(t == 0.5, np.nan, 1.0)))
    assert math.isnan(barrier(t[:5], t[:5]))


def test_pairs_with_the_center_come_first() -> None:
    rows = [row for a, b in (("w0", "w1"), ("center", "w0"), ("center", "w1")) for row in path_rows(0, a, b, 0.5)]
    pairs = between(frame("interpolations", rows))
    assert [pair.name for pair in pairs] == ["center–w0", "center–w1", "w0–w1"]
    assert [pair.barrier.round(12).tolist() for pair in pairs] == [[0.5]] * 3


def test_of_many_pairs_those_with_the_highest_barrier_are_drawn(make_run: Make, add_table: Add) -> None:
    names = [f"w{i}" for i in range(6)]
    heights = {pair: 0.1 * k for k, pair in enumerate(combinations(names, 2))}
    run = make_run()
    add_table(run, "interpolations", [row for (a, b), high in heights.items() for row in path_rows(9, a, b, high)])
    text = part(page_of(run), "interpolation")
    titles = re.findall(r"<figure><h3>([^<]*)</h3>", text)
    losses = titles[: titles.index("Barrier")]
    low = sorted(heights, key=lambda pair: heights[pair])[: len(heights) - PAIRS]
    assert len(set(losses)) == PAIRS and not {"–".join(pair) for pair in low} & set(losses)
    assert all("–".join(pair) in text for pair in low)  # named instead


def test_every_path_has_a_part_and_names_its_ends(make_run: Make, add_table: Add) -> None:
    run = make_run()
    add_table(run, "interpolations", [r for p in ("linear", "slerp") for r in path_rows(5, "center", "w0", 1.0, p)])
    text = part(page_of(run), "interpolation")
    assert "Straight paths" in text and "Great-circle paths" in text and "Spherical" not in text
    svg = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)[0]
    assert ">center<" in svg and ">w0<" in svg and ">t<" in svg and ">loss<" in svg


def test_no_barrier_is_said(make_run: Make, add_table: Add) -> None:
    run = make_run()
    add_table(run, "interpolations", path_rows(5, "center", "w0", 0.0))
    assert "There is no barrier" in part(page_of(run), "interpolation")


# ---- the plane --------------------------------------------------------------------------------------------------


def test_a_grid_is_read_whatever_the_order_of_its_rows() -> None:
    rows = [[0, "p", u, v, 10 * u + v, "", "", ""] for u in (0.0, 0.5, 1.0) for v in (3.0, 2.0)]
    for order in (rows, rows[::-1]):
        surface = map_of(frame("planes", order), "train_loss")
        assert surface is not None and surface.missing == 0
        np.testing.assert_array_equal(surface.u, [0, 0.5, 1])
        np.testing.assert_array_equal(surface.v, [2, 3])
        np.testing.assert_array_equal(surface.z, [[2, 7, 12], [3, 8, 13]])


def test_values_of_the_map_are_real_and_holes_stay_empty(make_run: Make, add_table: Add) -> None:
    rows = plane_rows(0, "random", 5)
    rows[7][4], rows[8][4] = NAN, INF
    surface = map_of(frame("planes", rows), "train_loss")
    assert surface is not None and surface.missing == 2
    flat = np.array([row[4] for row in rows], dtype=float)
    np.testing.assert_array_equal(surface.z.ravel()[np.isfinite(flat)], flat[np.isfinite(flat)])
    run = make_run()
    add_table(run, "planes", rows)
    assert "2 of 25 grid points are not finite: left empty." in page_of(run)


def test_levels_follow_the_decades_of_a_loss_and_the_values_of_an_accuracy() -> None:
    axis = np.arange(2.0)
    wide = levels_of(Map(axis, axis, np.array([[0.01, 0.1], [1.0, 10.0]])), logarithmic=True)
    assert wide is not None and wide.logarithmic and not wide.cut and len(wide.edges) <= LEVELS + 2
    np.testing.assert_allclose(np.diff(np.log10(wide.edges)), np.log10(wide.edges[1] / wide.edges[0]))
    assert wide.edges[0] <= 0.01 * 1.0001 and wide.edges[-1] >= 10 * 0.9999
    narrow = levels_of(Map(axis, axis, np.array([[0.5, 0.6], [0.7, 0.9]])), logarithmic=True)
    assert narrow is not None and not narrow.logarithmic and narrow.edges[0] <= 0.5 and narrow.edges[-1] >= 0.9
    accuracy = levels_of(Map(axis, axis, np.array([[0.01, 0.1], [0.5, 1.0]])), logarithmic=False)
    assert accuracy is not None and not accuracy.logarithmic
    assert levels_of(Map(axis, axis, np.ones((2, 2))), logarithmic=True) is None
    corner = levels_of(Map(axis, axis, np.array([[1.0, 1.5], [2.0, 1e9]])), logarithmic=True)
    assert corner is not None and corner.cut and corner.edges[-1] < 1e5


def test_the_largest_distance_off_the_plane_is_stated(make_run: Make, add_table: Add) -> None:
    rows = [[0, "p", "w0", 0, 0, 0.25, 1], [0, "p", "w0", 1, 1, 0, 1], [0, "p", "w1", 0, 0, 7.5, 1]]
    rows.append([0, "p", "w1", 1, 0, NAN, 1])
    assert off_plane(trails(frame("plane_points", rows))) == (7.5, "w1")
    run = make_run()
    add_table(run, "planes", plane_rows(600, "center-w0-w1"))
    add_table(run, "plane_points", paths(600, "center-w0-w1", off=0.5))
    text = part(page_of(run), "planes")
    assert "the farthest point is 7.5 off it (w3). Their ends lie in the plane." in text  # 0.5 times 3 times 5
    lifted = [[*row[:5], float(row[5]) + 0.25, row[6]] for row in paths(600, "center-w0-w1", off=0.5)]
    add_table(run, "plane_points", lifted)
    assert "the farthest point is 7.75 off it (w3). Hollow ends lie off the plane." in part(page_of(run), "planes")


def test_paths_in_the_plane_are_said_to_lie_in_it(make_run: Make, add_table: Add) -> None:
    run = make_run()
    add_table(run, "planes", plane_rows(600, "center-w0-w1"))
    add_table(run, "plane_points", paths(600, "center-w0-w1"))
    text = part(page_of(run), "planes")
    assert "Every point of the paths lies in the plane." in text
    for name in NAMES:
        assert f">{name}<" in text
    assert ">u<" in text and ">v<" in text and "training loss" in text


def test_explained_variance_of_principal_directions_is_stated(make_run: Make, add_table: Add) -> None:
    run = make_run()
    add_table(run, "planes", plane_rows(600, "principal") + plane_rows(600, "random"))
    points = [[600, name, "w0", 3, 0, 0, 1] for name in ("principal", "random")]
    points += [[600, name, "w0", 0, 2, 1, 1] for name in ("principal", "random")]
    add_table(run, "plane_points", points)  # squares: 9 along u, 4 along v, 1 off
    text = part(page_of(run), "planes")
    assert text.count("The two directions hold 64.3 % and 28.6 % of the variance") == 1


def test_who_is_outside_of_the_map_or_nowhere_is_said(make_run: Make, add_table: Add) -> None:
    run = make_run()
    add_table(run, "planes", plane_rows(600, "random"))
    ends = {"center": (0, 0), "w0": (99, 0), "w1": (NAN, NAN)}
    add_table(run, "plane_points", [[600, "random", name, *uv, 0.5, 1] for name, uv in ends.items()])
    assert "Outside of the map, or not finite: w0, w1." in page_of(run)


def test_earlier_steps_are_small_maps_of_the_same_plane(make_run: Make, add_table: Add) -> None:
    run = make_run()
    steps = [0, 100, 200, 300, 400, 500, 600]
    add_table(run, "planes", [row for s in steps for row in plane_rows(s, "random", 6, 1 + s)])
    text = part(page_of(run), "planes")
    assert "Plane random, step 600" in text
    assert re.findall(r"<figure><h3>(Step [^<]*)</h3>", text) == ["Step 0", "Step 200", "Step 500"]


@pytest.mark.parametrize("walkers", [2, 9, 40])
def test_any_number_of_walkers_on_the_map(make_run: Make, add_table: Add, walkers: int) -> None:
    run = make_run(walkers=2)
    names = ["center", *(f"w{i}" for i in range(walkers))]
    add_table(run, "planes", plane_rows(600, "random"))
    add_table(run, "plane_points", paths(600, "random", names))
    text = part(page_of(run), "planes")
    assert (f"{walkers} walkers" in text) == (walkers > 8)


def test_names_lie_on_no_other_name_and_off_the_paths() -> None:
    size, ink = (200.0, 200.0), np.column_stack([np.linspace(100, 200, 60), np.full(60, 100.0)])
    first = free_place(100, 100, 30, [], ink, size)
    assert first is not None and first[2] <= 100  # the path leaves to the right
    taken = [first]
    for _ in range(len(SIDES) - 2):
        box = free_place(100, 100, 30, taken, ink, size)
        assert box is not None
        for other in taken:
            assert box[2] <= other[0] or other[2] <= box[0] or box[3] <= other[1] or other[3] <= box[1]
        taken.append(box)
    assert free_place(5, 5, 300, [], ink, size) is None


# ---- walks, sharpness, averages ---------------------------------------------------------------------------------


def test_a_walk_left_where_it_rose_above_its_threshold(make_run: Make, add_table: Add) -> None:
    rows = walk_rows(600, "center", 0, [1, 1.25, 1.5, 1.5001], threshold=0.5)  # exactly the threshold is inside
    rows += walk_rows(600, "center", 1, [1, 1.4, 1.3], threshold=0.5)
    rows += walk_rows(600, "w0", 0, [0.2, NAN])  # a loss that is not finite is outside
    rows += walk_rows(600, "w0", 1, [0.2, 0.21, 0.3])
    rows += walk_rows(600, "w1", 0, [NAN])
    exits = {(t.start, i): t.exit for i, t in enumerate(traces(frame("explorations", rows)))}
    assert exits == {("center", 0): 30, ("center", 1): None, ("w0", 2): 10, ("w0", 3): 20, ("w1", 4): None}
    run = make_run()
    add_table(run, "explorations", rows)
    text = part(page_of(run), "walks")
    assert "center (loss 1): 1 of 2 left at move 30; w0 (loss 0.2): 2 of 2 left, half of them by move 10" in text
    assert "w1 (loss not finite): 0 of 1 left" in text


def test_walks_of_the_last_step_and_exits_over_all(make_run: Make, add_table: Add) -> None:
    run = make_run()
    steps = {0: [1, 1.2], 300: [1, 1, 1.2], 600: [1, 1, 1]}
    add_table(run, "explorations", [row for s, losses in steps.items() for row in walk_rows(s, "w0", 0, losses)])
    text = part(page_of(run), "walks")
    assert re.findall(r"<h3>([^<]*)</h3>", text) == [
        "Rise of the training loss, step 600",
        "Norm, step 600",
        "Moves until the exit",
    ]
    assert "w0 (loss 1): 0 of 1 left." in text


def test_sharpness_has_a_chart_per_formula_and_ball(make_run: Make, add_table: Add) -> None:
    run = make_run()
    kinds = [("original", 0.01), ("original", 0.1), ("keskar", 0.01)]
    add_table(run, "sharpness", [[s, "w0", f, e, 9, e, 1, 2] for s in (0, 600) for f, e in kinds])
    titles = re.findall(r"<h3>([^<]*)</h3>", part(page_of(run), "sharpness"))
    assert titles == [
        f"{what}, {split}"
        for what in ("Sharpness in the ball |y| ≤ 0.01", "Sharpness in the ball |y| ≤ 0.1",
                     "Sharpness in Keskar&#x27;s box, ε = 0.01")
        for split in ("training", "test")
    ]  # fmt: skip


def test_best_and_mean_walker_are_of_the_results_at_the_same_steps() -> None:
    rows = [[0, "center", 9.0], [0, "w0", 1.0], [0, "w1", 3.0], [5, "w0", 7.0], [10, "w0", 0.5], [10, "w1", np.inf]]
    results = pd.DataFrame(rows, columns=["step", "walker", "test_loss"])
    results["test_accuracy"] = results["test_loss"] / 10
    steps = pd.Series([0, 10])
    best, mean = walkers_at(results, steps, "test_loss")
    assert (best.x.tolist(), best.y.tolist(), mean.y.tolist()) == ([0, 10], [1.0, 0.5], [2.0, 0.5])
    best, _ = walkers_at(results, steps, "test_accuracy")
    assert best.y.tolist() == [0.3, 0.05]
    assert walkers_at(results, pd.Series([77]), "test_loss") == []


def test_averages_name_the_greedy_soup(make_run: Make, add_table: Add) -> None:
    run = make_run()
    rows = [[s, "greedy", "w2 w0" if s else "w1", 0.1, 0.9, 0.2, 0.8, 0.05] for s in (0, 600)]
    add_table(run, "averages", rows)
    text = part(page_of(run), "averages")
    assert "In the greedy soup at step 600: w2 w0." in text
    assert "greedy soup" in text and "best walker" in text and "mean of walkers" in text and "Disagreement" in text
