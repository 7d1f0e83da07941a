"""The page of a run: everything is there, nothing is fetched, nothing is executed, numbers are those of the tables."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from walkers_dist.api.opened import open_run
from walkers_dist.report import write_report

SECTIONS = ("facts", "progress", "distances", "edges", "spectrum", "time", "events", "plan", "configuration")
PICTURES = {
    "progress": ["Training loss", "Test loss", "Training accuracy", "Test accuracy"],
    "distances": ["Walkers to center", "Walker to walker", "Distances at step 600"],
    "edges": ["Largest eigenvalues of the Hessian", "Smallest eigenvalues of the Hessian"],
    "spectrum": ["Hessian of center at step 600", "Hessian of w0 at step 600"],
}
Make = Callable[..., Path]


class Page(HTMLParser):
    """What a browser would see: tags with attributes, text per section, cells of the tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = {}
        self.rows: list[list[str]] = []
        self._section = ""
        self._depth: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "section":
            self._section = dict(attrs)["id"] or ""
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "data" and self._depth[-1] == "td":
            self.rows[-1][-1] = dict(attrs)["value"] or ""  # all digits; what it shows is left out
        if tag not in ("meta", "br", "image", "use", "path", "rect"):
            self._depth.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._depth:
            while self._depth.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        self.text[self._section] = self.text.get(self._section, "") + data
        if self._depth and self._depth[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def page_of(run: Path) -> tuple[str, Page]:
    text = write_report(open_run(run)).read_text(encoding="utf-8")
    return text, Page(text)


def test_the_page_holds_every_section_and_picture(make_run: Make) -> None:
    text, page = page_of(make_run())
    assert [attrs["id"] for tag, attrs in page.tags if tag == "section"] == list(SECTIONS)
    for section, titles in PICTURES.items():
        body = text[text.index(f'<section id="{section}"') :].split("</section>")[0]
        assert re.findall(r"<figure><h3>([^<]*)</h3>", body) == titles
        assert body.count("<svg") == body.count("</svg>") == len(titles)
        assert 'class="absent"' not in body
    assert "train_size: 1000" in page.text["configuration"]
    assert "torch" in page.text["plan"] and "2.13.0" in page.text["plan"]
    assert ["450", "schedule", "coupling.alpha", "0.1", "0.2", "2026-03-01T10:00:07"] in page.rows
    assert "dynamics.lr → 0.01" in text and "coupling.alpha → 0.2 (+1)" in text
    for part, seconds in {"start": 1.9, "training": 6.25, "measuring": 2.5, "analysis": 11.0}.items():
        assert part in page.text["time"] and f"{seconds:.2f} s" in page.text["time"]


def test_nothing_comes_from_elsewhere_and_nothing_runs(make_run: Make) -> None:
    text, page = page_of(make_run())
    assert "://" not in text and "@import" not in text and text.count("<style") == 1
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "embed", "img"}
    for _, attrs in page.tags:
        for name, value in attrs.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "srcset", "action"):
                assert value is not None and value.startswith(("#", "data:image/png;base64,"))
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))


def test_ids_are_unique_and_every_reference_is_met(make_run: Make) -> None:
    text, page = page_of(make_run())
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    wanted = set(re.findall(r"url\(#([^)]+)\)|href=\"#([^\"]+)\"", text))
    assert {first or second for first, second in wanted} <= set(ids)


def test_colours_are_the_pages_own(make_run: Make) -> None:
    text, _ = page_of(make_run())
    svgs = "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))
    inks = set(re.findall(r"#[0-9a-fA-F]{6}", svgs))
    assert inks <= {"#ffffff", "#000000"}  # numbers in the cells of the heatmap, whose colours are fixed
    assert "currentColor" in svgs and "var(--hue0)" in svgs
    assert set(re.findall(r"var\((--\w+)\)", text)) <= set(re.findall(r"(--\w+):", text))


def test_the_headline_is_what_the_tables_say(make_run: Make) -> None:
    run = make_run(walkers=3)
    _, page = page_of(run)
    with (run / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    metrics = ["train_loss", "train_accuracy", "test_loss", "test_accuracy"]
    last = {row["walker"]: [float(row[m]) for m in metrics] for row in rows if row["step"] == "600"}
    mean = [sum(last[w][i] for w in ("w0", "w1", "w2")) / 3 for i in range(4)]
    table = {row[0]: row[1:] for row in page.rows if len(row) == 5}
    assert table["at step 600"] == ["training loss", "training accuracy", "test loss", "test accuracy"]
    for walker, values in last.items():
        assert [float(cell) for cell in table[walker]] == values  # every bit
    shown = [float(cell) for cell in table["mean of walkers"]]
    assert shown == pytest.approx(mean, rel=1e-14)
    best = max(rows, key=lambda row: float(row["test_accuracy"]))
    assert f"{float(best['test_accuracy']):.4f}" in page.text["facts"]
    assert f"{best['walker']} at step {best['step']}" in page.text["facts"]


def test_absent_tables_are_sentences(make_run: Make) -> None:
    text, page = page_of(make_run(tables=(), info={"timings": None}))
    assert [attrs["id"] for tag, attrs in page.tags if tag == "section"] == list(SECTIONS)
    assert "<svg" not in text and "<figure" not in text
    for section in ("facts", "progress", "distances", "edges", "spectrum", "events"):
        assert re.search(rf'<section id="{section}".*?class="absent">[^<]+\.</p>', text, flags=re.DOTALL), section


def test_what_a_run_does_not_measure_is_said(make_run: Make) -> None:
    run = make_run()
    lines = (run / "results.csv").read_text().splitlines()
    cells = [line.split(",") for line in lines]
    for column in ("train_accuracy", "test_accuracy"):
        for row in cells[1:]:
            row[cells[0].index(column)] = ""
    (run / "results.csv").write_text("\n".join(",".join(row) for row in cells) + "\n")
    text, page = page_of(run)
    assert "no training accuracy and no test accuracy" in page.text["progress"]
    assert "Training loss" in text and "<h3>Test accuracy</h3>" not in text
    assert "Best test loss" in page.text["facts"]


def test_text_of_the_user_is_never_markup(make_run: Make) -> None:
    run = make_run(name="<script>alert(1)", info={"plan": {"<b>": '"><img src=x onerror=alert(2)>'}})
    (run / "error.txt").write_text("</pre><script>alert(3)</script>")
    with (run / "events.csv").open("a") as file:
        file.write(
            '460,now,live,dynamics.lr,0.1,"<script>alert(4)</script>"\n480,now,live,dynamics.lr,0.1,$\\frac$ $x$\n'
        )
    text, page = page_of(run)
    assert not {tag for tag, _ in page.tags} & {"script", "img", "b"}
    assert "<script" not in text and "&lt;script&gt;alert(1)" in text
    assert "<script>alert(1)" in page.text["configuration"]


def test_a_diverged_walker_does_not_bend_the_picture(make_run: Make) -> None:
    _, calm = page_of(make_run())
    text, page = page_of(make_run(name="wild", diverged="w2"))
    assert "Not finite at the last step: w2." in page.text["facts"]
    assert "w2 from step 310 (×)" in page.text["progress"] and "Out of the picture at its top: w2" in text
    # the mean is of those that are finite, so it stays near that of the calm run
    means = [next(float(row[1]) for row in p.rows if row[0] == "mean of walkers") for p in (calm, page)]
    assert all(map(math.isfinite, means)) and means[0] == pytest.approx(means[1], rel=0.2)
    assert (
        "nan" not in re.sub(r"base64,[^\"]*", "", "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))).lower()
    )


@pytest.mark.parametrize("walkers", [1, 2, 64])
def test_any_number_of_walkers(make_run: Make, walkers: int) -> None:
    text, page = page_of(make_run(walkers=walkers, steps=60))
    legends = re.findall(r'<ul class="legend">(.*?)</ul>', text)
    assert legends and max(legend.count("<li>") for legend in legends) <= 9
    assert ("No distance between two walkers" in page.text["distances"]) == (walkers == 1)
    assert ("64 walkers" in text) == (walkers == 64)


def test_one_logged_step(make_run: Make) -> None:
    text, page = page_of(make_run(every=1000))
    assert "at step 0" in page.text["facts"]
    assert text.count("<svg") == 10  # all but the heatmap: everybody is in one place


def test_the_page_is_replaced_whole(make_run: Make) -> None:
    run = make_run(steps=20)
    first = write_report(open_run(run))
    assert first == run / "report.html"
    before = {path.name for path in run.iterdir()}
    write_report(open_run(run))
    assert {path.name for path in run.iterdir()} == before
