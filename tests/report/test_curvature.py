"""Pictures of curvature: what they state is what hand-made tables say, and no table breaks the page."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from walkers_dist.api.opened import WORDS, open_run
from walkers_dist.records.tables import COLUMNS
from walkers_dist.report import write_report
from walkers_dist.report.curvature import curvature_sections
from walkers_dist.report.density import SIGMA, by_probe, resolved, smooth
from walkers_dist.report.edges import edges
from walkers_dist.report.figure import style
from walkers_dist.report.overlaps import overlaps, random_share
from walkers_dist.report.parts import norms, ranked, tops
from walkers_dist.report.points import chosen, latest
from walkers_dist.report.quantities import quantities, with_error
from walkers_dist.report.stability import Limit

Make = Callable[..., Path]
Add = Callable[[Path, str, Iterable[Sequence[object]]], None]
Rows = list[list[object]]
NAN = math.nan
NEW = ("density", "parts", "overlaps", "quantities")
MATRICES = ("hessian", "ggn", "residual")


def frame(name: str, rows: Iterable[Sequence[object]]) -> pd.DataFrame:
    table = pd.DataFrame([list(row) for row in rows], columns=COLUMNS[name])
    return table if len(table) else table.astype(dict.fromkeys(set(table.columns) - set(WORDS[name]), "float64"))


EMPTY = {name: frame(name, []) for name in ("eigenvalues", "density", "curvature")}


def eigenvalue_rows(step: int, walker: str, matrix: str, values: Sequence[float], top: int = 3) -> Rows:
    """Both ends of `values`, and all of them."""
    down = sorted(values, reverse=True)
    rows: Rows = [[step, walker, matrix, "top", k + 1, down[k], 0.0] for k in range(top)]
    rows += [[step, walker, matrix, "bottom", k + 1, down[-1 - k], 0.0] for k in range(2)]
    return rows + [[step, walker, matrix, "full", k, value, None] for k, value in enumerate(down, 1)]


def density_rows(step: int, walker: str, matrix: str, nodes: Sequence[float], probes: int = 3) -> Rows:
    """Nodes of equal weight, the same for every probe."""
    return [[step, walker, matrix, probe, node, 1 / len(nodes)] for probe in range(probes) for node in sorted(nodes)]


def overlap_rows(step: int, names: Sequence[str], matrix: str, value: float, before: bool = True) -> Rows:
    rows: Rows = [[step, name, matrix, "gradient overlap", value / 2, None] for name in names]
    rows += [[step, name, matrix, "overlap before", value, None] for name in names if before]
    return rows + [[step, a, matrix, f"overlap with {b}", value, None] for a, b in combinations(names, 2)]


def figure_rows(step: int, walker: str, matrix: str, scale: float = 1.0) -> Rows:
    values = {"trace": (12.3 * scale, 0.4), "frobenius": (4 * scale, 0.1), "effective rank": (9.5, 0.0)}
    return [[step, walker, matrix, name, *value] for name, value in values.items()]


SPECTRA = {
    "hessian": [4.0, 2.0, 1.0, 0.1, 1e-3, 1e-3, -1e-3, -0.2],
    "ggn": [4.2, 2.0, 0.9, 0.1, 1e-3, 0.0, 0.0, 0.0],
    "residual": [0.1, 0.01, 0.0, 0.0, 0.0, 0.0, -0.01, -0.2],
}


def tables(names: Sequence[str], steps: Sequence[int], matrices: Sequence[str] = MATRICES) -> dict[str, Rows]:
    places = [(step, name, matrix) for step in steps for name in names for matrix in matrices]
    return {
        "eigenvalues": [row for s, n, m in places for row in eigenvalue_rows(s, n, m, SPECTRA[m])],
        "density": [row for s, n, m in places for row in density_rows(s, n, m, SPECTRA[m])],
        "curvature": [row for s, n, m in places for row in figure_rows(s, n, m, 0.5 if m == "residual" else 1)]
        + [row for s in steps for m in matrices for row in overlap_rows(s, names, m, 0.75, s > steps[0])],
    }


def drawn(of: dict[str, Rows], **more: object) -> list[str]:
    frames = [frame(name, of.get(name, [])) for name in ("eigenvalues", "density", "curvature")]
    with style():
        return curvature_sections(*frames, **more)  # type: ignore[arg-type]


def page_of(run: Path) -> str:
    return write_report(open_run(run)).read_text(encoding="utf-8")


def part(text: str, section: str) -> str:
    return text[text.index(f'<section id="{section}"') :].split("</section>")[0]


def captions(text: str) -> list[str]:
    return re.findall(r"<figcaption>(.*?)</figcaption>", text)


# ---- the whole page -----------------------------------------------------------------------------------------------


def test_the_page_has_the_sections_of_what_was_measured(make_run: Make, add_table: Add) -> None:
    bare = page_of(make_run())
    run = make_run(name="full")
    for name, rows in tables(["center", "w0", "w1", "w2"], [0, 300, 600]).items():
        add_table(run, name, rows)
    text = page_of(run)
    for name in NEW:
        assert f'<section id="{name}"' not in bare and f'href="#{name}"' not in bare
        assert "<svg" in part(text, name) and f'<a href="#{name}">' in text
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    assert {a or b for a, b in re.findall(r"url\(#([^)]+)\)|href=\"#([^\"]+)\"", text)} <= set(ids)
    svgs = re.sub(r"base64,[^\"]*", "", "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)))
    assert set(re.findall(r"#[0-9a-fA-F]{6}", svgs)) <= {"#ffffff", "#000000"}  # numbers on the heat maps
    assert "nan" not in svgs.lower()


def test_a_network_without_a_run_has_the_same_sections() -> None:
    sections = drawn(tables(["model"], [0]))
    assert [re.findall(r'<section id="(\w+)"', part) for part in sections] == [
        ["edges"], ["spectrum"], ["density"], ["parts"], ["overlaps"], ["quantities"],
    ]  # fmt: skip
    assert all("<svg" in text for text in sections[:4]) and "<table" in sections[5] and "2/lr" not in sections[0]


def test_nothing_measured_is_said_or_left_out() -> None:
    sections = drawn({})
    assert ['class="absent"' in text for text in sections[:2]] == [True, True]
    assert sections[2:] == [""] * 4


@pytest.mark.parametrize("bad", [NAN, math.inf])
def test_what_is_not_finite_breaks_nothing(bad: float) -> None:
    good = tables(["center", "w0"], [0, 100], ["hessian", "ggn"])
    lost = {
        "eigenvalues": [[s, "w1", m, "top", 1, bad, None] for s in (0, 100) for m in ("hessian", "ggn")],
        "density": [[100, "w1", "hessian", 0, bad, 1.0]],
        "curvature": [[s, "w1", "hessian", q, bad, bad] for s in (0, 100) for q in ("trace", "overlap before")]
        + [[100, "center", "hessian", "overlap with w1", bad, None]],
    }
    text = "".join(drawn({name: [*good[name], *lost[name]] for name in good}))
    svgs = re.sub(r"base64,[^\"]*", "", "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)))
    assert svgs.count("<svg") > 8 and not re.search(r"\b(nan|inf)\b", svgs.lower())
    assert "Not finite: w1 #1 (×)." in text
    alone = drawn(lost)
    assert "<svg" not in "".join(alone)
    assert all('class="absent"' in alone[k] for k in (0, 1, 2, 3, 4)) and "–" in alone[5]


def test_words_of_the_tables_are_never_markup() -> None:
    evil = "<img src=x>$\\frac"
    of = tables(["center", "w0", evil], [0, 1], ["hessian", "ggn"])
    of["curvature"] += [[1, "w0", evil, evil, 1.0, 0.1], [1, "w0", evil, f"overlap with {evil}", 1.0, None]]
    of["density"] += density_rows(0, "w0", evil, [1.0, 2.0])
    of["eigenvalues"] += eigenvalue_rows(0, "w0", evil, [3.0, 2.0, 1.0])
    text = "".join(drawn(of))
    assert "<img" not in text and "&lt;img" in text


def test_many_walkers_and_matrices_are_few_pictures() -> None:
    names = ["center", *(f"w{i}" for i in range(17))]
    sections = drawn(tables(names, [0, 10, 20]))
    assert [text.count("<svg") for text in sections[:4]] == [5, 4, 7, 4]
    for text in (sections[1], sections[2]):
        assert re.search(r"Also in (eigenvalues|density)\.csv: w\d+ \(.*? more\.", text)
    for text in (sections[4], sections[5]):  # the first matrix is seen, the others are folded
        assert text.split("<details")[0].count("<svg") <= 6 and text.count("<details") >= 2
    legends = re.findall(r'<ul class="legend">(.*?)</ul>', "".join(sections))
    assert max(legend.count("<li>") for legend in legends) <= 9


def test_every_matrix_has_its_turn() -> None:
    of = tables(["center", "w0", "w1"], [0, 5])["density"]
    points = latest(frame("density", of))
    assert {point.step for point in points} == {5} and len(points) == 9
    assert [(p.matrix, p.walker) for p in chosen(points, 4)] == [
        ("hessian", "center"), ("ggn", "center"), ("residual", "center"), ("hessian", "w0"),
    ]  # fmt: skip
    assert chosen(points, 99) == points


# ---- edges --------------------------------------------------------------------------------------------------------


def limit(value: float) -> Limit:
    return Limit(np.array([0.0]), np.array([value]), "2/lr")


@pytest.mark.parametrize(("bound", "seen"), [(20.0, True), (0.5, True), (1e5, False)])
def test_the_bound_is_drawn_where_it_does_not_flatten_the_edges(bound: float, seen: bool) -> None:
    table = frame("eigenvalues", tables(["w0"], [0, 10], ["hessian"])["eigenvalues"])
    with style():
        text = edges(table, [], limit(bound))
    top = text.split("</figure>")[0]
    assert ('class="dashed"' in top) == seen == ("Here it is far above" not in top)
    assert "Above 2/lr, full-gradient steps" in captions(top)[0]
    if not seen:
        assert "far above: 10⁵." in captions(top)[0]
    assert "2/lr" not in text.split("</figure>")[1]  # beside the largest alone


def test_zeros_are_a_sentence() -> None:
    table = frame("eigenvalues", tables(["w0"], [0, 10], ["ggn"])["eigenvalues"])
    with style():
        text = edges(table, [], limit(20.0))
    assert text.count("<svg") == 1 and "2/lr" not in text
    assert "The smallest eigenvalues of the Gauss-Newton matrix are 0 up to rounding." in text


# ---- density ------------------------------------------------------------------------------------------------------


def test_the_smoothed_density_holds_all_weight_on_its_side_of_zero() -> None:
    nodes = [-3.0, 1e-2, 1e-2, 1e-2, 5.0, 20.0, 20.0, 300.0]
    found = smooth(frame("density", density_rows(0, "w0", "hessian", nodes)))
    assert found.small == 0 and 10**found.floor < 1e-2
    for side, share in ((found.negative, 1 / 8), (found.positive, 7 / 8)):
        assert np.trapezoid(side.mean, side.decades) == pytest.approx(share, rel=1e-2)
        np.testing.assert_allclose(side.error, 0, atol=1e-12)  # all probes are alike
    at = np.abs(found.positive.decades - np.log10(300)).argmin()
    x = found.positive.decades[at] - np.log10(300)
    peak = np.exp(-((x / SIGMA) ** 2) / 2) / (SIGMA * np.sqrt(2 * np.pi)) / 8
    assert found.positive.mean[at] == pytest.approx(peak, rel=1e-6)


def test_errors_are_those_over_probes() -> None:
    rows = [
        [0, "w0", "hessian", probe, node, w]
        for probe, w in enumerate((0.2, 0.4))
        for node, w in ((1.0, w), (9.0, 1 - w))
    ]
    side = smooth(frame("density", rows)).positive
    at = np.abs(side.decades).argmin()
    kernel = np.exp(-((side.decades[at] / SIGMA) ** 2) / 2) / (SIGMA * np.sqrt(2 * np.pi))
    assert side.mean[at] == pytest.approx(0.3 * kernel, rel=1e-6)
    assert side.error[at] == pytest.approx(0.1 * kernel, rel=1e-6)  # std 0.1 sqrt 2, over sqrt 2


def test_what_only_one_node_stands_for_is_not_resolved() -> None:
    weights = np.full((2, 3), 1 / 3)
    agreed = np.array([[1e-3, 0.5, 2.0], [1e-3, 0.7, 2.0]])
    assert 10 ** resolved(agreed, weights) == pytest.approx(4e-4)  # below half of the innermost
    apart = np.array([[1e-3, 0.5, 2.0], [-1e-3, 0.7, 2.0]])  # as far from 0, but on the other side
    assert 10 ** resolved(apart, weights) == pytest.approx(0.5)  # below the second ones, 0.6 in the middle
    assert 10 ** resolved(agreed[:1], weights[:1]) == pytest.approx(0.4)  # one probe knows nothing of others
    ghosts = np.array([[1 - 1e-20, 1e-20, 0.0]] * 2)
    assert 10 ** resolved(np.array([[0.4, 1e-5, 0.3]] * 2), ghosts) == pytest.approx(0.1)
    deep = np.array([[1e-30, 1e-20, 1.0], [2e-30, 1e-20, 1.0]])
    assert 10 ** resolved(deep, weights) == pytest.approx(9e-9)  # eight decades below the largest


def test_the_strip_says_how_much_is_in_it() -> None:
    rows = [
        [0, "w0", "hessian", p, node, w]
        for p in (0, 1)
        for node, w in ((1e-4 * (p + 1), 0.75), (0.3, 0.2), (2.0, 0.05))
    ]
    with style():
        text = drawn({"density": rows})[2]
    assert "In the strip: 75 %, closer to 0 than 0.2, where" in captions(text)[0] and ">75 %<" in text
    assert "2 probes of 3 steps" in captions(text)[0]


def test_probes_of_different_lengths() -> None:
    rows = [[0, "w0", "hessian", 4, 1.0, 0.5], [0, "w0", "hessian", 4, 2.0, 0.5], [0, "w0", "hessian", 7, 3.0, 1.0]]
    nodes, weights = by_probe(frame("density", rows))
    np.testing.assert_array_equal(nodes, [[1, 2], [3, 0]])
    np.testing.assert_array_equal(weights, [[0.5, 0.5], [1, 0]])


# ---- G against H --------------------------------------------------------------------------------------------------


def test_the_ratio_of_g_to_h_is_that_of_the_tables() -> None:
    of = tables(["w0"], [0, 10])
    table = frame("eigenvalues", of["eigenvalues"])
    (point,) = ranked(table)
    H, G = (np.array(SPECTRA[name]) for name in ("hessian", "ggn"))
    assert (point.step, point.whole) == (10, True)
    k, off = point.off
    assert (k, off) == (6, pytest.approx(1.0))  # the sixth of G is 0, of H it is not
    np.testing.assert_allclose(tops(table)["value"], G[0] / H[0])
    np.testing.assert_allclose(norms(frame("curvature", of["curvature"]))["value"], 0.5)
    text = drawn(of)[3]
    size = np.linalg.norm(SPECTRA["residual"]) / np.linalg.norm(H)
    assert f"|H − G| / |H| = {size:.3g} in Frobenius norms." in captions(text)[0]
    assert "The largest 6 of G are within 100 % of those of H." in captions(text)[0]


def test_of_edges_alone_as_many_are_compared_as_there_are() -> None:
    rows = [row for row in tables(["w0"], [0])["eigenvalues"] if row[3] != "full"]
    (point,) = ranked(frame("eigenvalues", rows))
    assert not point.whole and point.off == (3, pytest.approx(0.1))  # 0.9 against 1.0
    assert drawn({"eigenvalues": [row for row in rows if row[2] != "ggn"]})[3] == ""


# ---- overlaps -----------------------------------------------------------------------------------------------------


def test_random_spans_overlap_by_k_over_p() -> None:
    table = frame("eigenvalues", tables(["w0"], [0], ["hessian"])["eigenvalues"])
    assert random_share(table, None) == 3 / 8
    edges_only = table[table["side"] != "full"]
    assert random_share(edges_only, None) is None and random_share(edges_only, 300) == 0.01
    assert random_share(EMPTY["eigenvalues"], 300) is None


def test_overlaps_are_curves_and_a_map_at_the_latest_step() -> None:
    names = ["center", "w0", "w1"]
    rows = [row for step, v in ((0, 0.25), (10, 0.5), (20, 0.875)) for row in overlap_rows(step, names, "hessian", v)]
    with style():
        text = overlaps(frame("curvature", rows), EMPTY["eigenvalues"], [], None)
        known = overlaps(frame("curvature", rows), frame("eigenvalues", tables(names, [0])["eigenvalues"]), [], 600)
    assert re.findall(r"<h3>([^<]*)</h3>", text) == [
        "Overlap with the step before", "Overlap between walkers at step 20", "Overlap between walkers",
        "Gradient within the top eigenvectors",
    ]  # fmt: skip
    cells = re.findall(r">(0\.\d+)</text>", text.split("at step 20</h3>")[1].split("</figure>")[0])
    assert cells.count("0.875") == 6  # every pair twice
    assert "random: k/P" not in text and known.count("random: k/P = 0.005") == 3


def test_a_pair_alone_has_no_map() -> None:
    rows = [row for step in (0, 10) for row in overlap_rows(step, ["w0", "w1"], "ggn", 0.5, step > 0)]
    with style():
        text = overlaps(frame("curvature", rows), EMPTY["eigenvalues"], [])
    assert "Overlap of w0–w1" in text and "at step" not in text and "Gauss-Newton matrix" in text


# ---- numbers ------------------------------------------------------------------------------------------------------


def test_figures_have_as_many_digits_as_their_error_leaves() -> None:
    shown = {
        (12.3456, 0.4): "12.35 ± 0.4", (12.3456, 0.0): "12.35", (1.5, NAN): "1.5", (NAN, NAN): "–",
        (0.123456, 3.0): "0.1 ± 3", (-1234.5, 20.0): "−1234 ± 20",
    }  # fmt: skip
    for (value, error), text in shown.items():
        assert re.sub(r"<[^>]*>", "", with_error(value, error)) == text


def test_all_figures_are_in_the_table_with_every_bit() -> None:
    rows = [
        *figure_rows(0, "w0", "hessian", 7.0),
        *figure_rows(10, "w0", "hessian", 0.5),
        [10, "w0", "ggn", "new", 0.1, 0],
    ]
    with style():
        text = quantities(frame("curvature", rows), [])
    for value in (6.15, 2.0, 9.5, 0.1):
        assert f'<data value="{value!r}">' in text
    assert f"{12.3 * 7!r}" not in text  # not the latest
    assert re.findall(r"<figure><h3>([^<]*)</h3>", text) == ["Trace", "Effective rank"]
    assert "<td>new</td>" in text and "<th>G, w0</th>" in text and "<td>10</td>" in text


def test_a_quantity_that_hardly_changes_has_ticks_that_differ() -> None:
    rows = [[step, "w0", "hessian", "bulk fraction", 0.99 + 1e-7 * step, 0.0] for step in (0, 10)]
    with style():
        svg = quantities(frame("curvature", rows), []).split("<svg")[1]
    ticks = re.findall(r">(0\.9\d+|1(?:\.\d+)?)</text>", svg)
    assert len(ticks) > 1 and len(set(ticks)) == len(ticks)
