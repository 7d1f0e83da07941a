"""Curvature of a run that has ended: the rows that its analyst makes, byte for byte, whatever comes between."""

from __future__ import annotations

import io
import shutil
import sys
from itertools import count
from pathlib import Path

import pytest

import walkers_dist as wd
from walkers_dist.api import blocks, costs
from walkers_dist.api.analyzing import estimate
from walkers_dist.cli import main
from walkers_dist.records import disk
from walkers_dist.records.run_directory import RunDirectory

CONFIG = {
    "name": "analyzed",
    "landscape": {
        "data": {"name": "digits", "train_size": 40, "test_size": 20},
        "model": {"name": "mlp", "hidden": [2]},
    },
    "walkers": 2,
    "steps": 20,
    "dynamics": {"name": "sgd", "batch_size": 20},
    "coupling": {"name": "easgd", "alpha": 0.05},
    "snapshots": {"every": 10},
}
CURVATURE = {
    "every": 10,
    "of": ["center", "w1"],
    "matrix": ["hessian", "ggn", "residual"],
    "top": 2,
    "bottom": 1,
    "density": {"probes": 2, "steps": 5},
    "full": "at_end",
    "vectors": True,
}
BOWL = {
    "name": "bowls",
    "landscape": {"kind": "quadratic", "dim": 6, "curvature": 1.0},
    "walkers": 11,
    "steps": 4,
    "analysts": 0,
    "snapshots": {"every": 2},
}
NAMES = ("eigenvalues", "density", "curvature")


def tables(run: wd.Run | RunDirectory) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(run.path.glob("*.csv")) if path.stem in NAMES}


def copy_of(run: wd.Run, place: Path) -> wd.Run:
    shutil.copytree(run.path, place)
    return wd.open_run(place)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> wd.Run:
    """Measured by its analyst."""
    keys = {**CONFIG, "curvature": CURVATURE}
    return wd.run(keys, run_dir=tmp_path_factory.mktemp("live") / "run", report=False)


@pytest.fixture(scope="module")
def unmeasured(tmp_path_factory: pytest.TempPathFactory) -> wd.Run:
    return wd.run(CONFIG, run_dir=tmp_path_factory.mktemp("unmeasured") / "run", report=False)


@pytest.fixture
def run(unmeasured: wd.Run, tmp_path: Path) -> wd.Run:
    return copy_of(unmeasured, tmp_path / "run")


@pytest.fixture(scope="module")
def bowl(tmp_path_factory: pytest.TempPathFactory) -> wd.Run:
    return wd.run(BOWL, run_dir=tmp_path_factory.mktemp("bowl") / "run", report=False)


# ---- the same rows --------------------------------------------------------------------------------------------


def test_late_tables_are_those_of_an_analyst_byte_for_byte(live, tmp_path):
    keys = {**CONFIG, "curvature": CURVATURE, "analysts": 0}
    late = wd.analyze(wd.run(keys, run_dir=tmp_path / "run", report=False), steps="all")
    assert set(tables(late)) == {f"{name}.csv" for name in NAMES}
    assert tables(late) == tables(live)
    for matrix in CURVATURE["matrix"]:
        assert late.vectors(10, "w1", matrix).top.equal(live.vectors(10, "w1", matrix).top)
    assert not (late.path / "analysis" / "late").exists()


def test_the_order_in_which_they_come_does_not_matter(live, run):
    for matrix in ("ggn", "residual", "hessian"):
        for step, whole in ((20, True), (0, False), (10, False)):
            asked = {"walkers": ["w1"], "matrix": [matrix], "density": "2x5", "full": whole}
            wd.analyze(run, steps=[step], top=2, bottom=1, **asked)
    wd.analyze(
        run,
        ["full=at_end"],
        steps="all",
        walkers=["center"],
        matrix=CURVATURE["matrix"],
        top=2,
        bottom=1,
        density=(2, 5),
    )
    assert tables(run)["eigenvalues.csv"] == tables(live)["eigenvalues.csv"]
    assert tables(run)["density.csv"] == tables(live)["density.csv"]


def test_walkers_stand_in_the_order_of_their_numbers(bowl, tmp_path):
    run = copy_of(bowl, tmp_path / "run")
    wd.analyze(run, walkers=["w10", "w2"], top=1)
    wd.analyze(run, walkers=["all"], bottom=2, steps=[4, 0])
    names = ["center", *(f"w{i}" for i in range(11))]
    for step in (0, 4):
        rows = run.eigenvalues[run.eigenvalues["step"] == step]
        assert list(dict.fromkeys(rows["walker"])) == names
    last = run.eigenvalues[(run.eigenvalues["step"] == 4) & (run.eigenvalues["walker"] == "w10")]
    assert last["side"].tolist() == ["top", "bottom", "bottom"] and last["rank"].tolist() == [1, 1, 2]


def test_a_diverged_walker_has_the_rows_of_an_analyst(tmp_path):
    keys = {
        **CONFIG,
        "dynamics": {"name": "sgd", "batch_size": 20, "lr": 1e300},
        "exchange": {"on_divergence": "isolate"},
        "coupling": None,
        "dtype": "float64",
        "curvature": CURVATURE,
    }
    live = wd.run(keys, run_dir=tmp_path / "live", report=False)
    late = wd.run({**keys, "analysts": 0}, run_dir=tmp_path / "late", report=False)
    assert tables(wd.analyze(late, steps="all")) == tables(live)
    assert b"nan" in tables(live)["eigenvalues.csv"]


# ---- what is measured -----------------------------------------------------------------------------------------


def sides(run: wd.Run) -> dict[str, int]:
    return run.eigenvalues.groupby("side").size().to_dict()


def test_what_is_asked_for_is_all_that_is_measured(run):
    wd.analyze(run, top=4)
    assert sides(run) == {"top": 2 * 4} and run.density.empty and run.curvature.empty
    wd.analyze(run, ["density.steps=6"], walkers=["w0"])
    assert len(run.density) == 4 * 6 and sides(run) == {"top": 2 * 4}


def test_without_a_word_it_is_what_the_run_or_the_defaults_say(run):
    wd.analyze(run)
    P = run.landscape.size
    assert sides(run) == {"top": 2 * 5, "bottom": 2 * 3, "full": 2 * P}
    assert set(run.eigenvalues["walker"]) == {"center", "w0"}


def test_a_late_spectrum_joins_the_edges_and_an_estimate_does_not_replace_what_is_exact(run, live):
    wd.analyze(run, steps=[0], walkers=["center"], top=2)
    wd.analyze(run, steps=[0], walkers=["center"], full=True)
    assert sides(run) == {"top": 2, "full": run.landscape.size}
    exact = tables(run)["curvature.csv"]
    wd.analyze(run, steps=[0], walkers=["center"], density=True)
    assert tables(run)["curvature.csv"] == exact and len(run.density) == 4 * 60
    wd.analyze(run, steps=[0], walkers=["center"], top=3)
    assert sides(run) == {"top": 3, "full": run.landscape.size}


# ---- killed ---------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Nothing that tidies up catches it."""


def test_killed_before_or_after_any_file_it_goes_on_and_redoes_no_finished_block(run, tmp_path, monkeypatch):
    asked = {"steps": [0, 20], "walkers": ["w0", "w1"], "top": 1, "density": (1, 2)}
    undisturbed = tables(wd.analyze(copy_of(run, tmp_path / "undisturbed"), **asked))
    put, kills = disk.put_in_place, 0
    for kill in count():
        victim, writes = copy_of(run, tmp_path / f"victim-{kill}"), count()

        def dying(temporary: Path, path: Path, writes=writes, kill=kill) -> None:
            if (number := next(writes)) > kill:
                raise Killed  # a dead process puts nothing in order
            if number < kill or kill % 2:
                put(temporary, path)
            if number == kill:
                raise Killed

        monkeypatch.setattr(disk, "put_in_place", dying)
        try:
            wd.analyze(victim, **asked)
        except Killed:
            kills += 1
        else:
            break
        finally:
            monkeypatch.setattr(disk, "put_in_place", put)
            victim.directory.release()
        (late,) = [*victim.path.glob("analysis/late/*")] or [None]
        finished = {path.stem for path in late.glob("*.json")} if late else set()
        if late and (late / "merged").exists():
            finished = {f"{step}-{walker}-hessian" for step in (0, 20) for walker in ("w0", "w1")}
        begun: list[blocks.At] = []
        wd.analyze(wd.open_run(victim.path), tell=begun.append, **asked)
        begun = [f"{at.step}-{at.walker}-{at.matrix}" for at in begun if at.part == "begins"]
        assert not finished & set(begun) and len(finished) + len(begun) == 4
        assert tables(victim) == undisturbed
        assert not (victim.path / "analysis" / "late").exists()
    assert kills > 4 + 2 * 3  # a block each, tables and journal


def test_another_analysis_does_not_take_its_blocks(run, monkeypatch):
    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(blocks, "_merge", killed)
        with pytest.raises(Killed):
            wd.analyze(run, steps=[0], walkers=["w0"], top=2)
    (late,) = run.path.glob("analysis/late/*")
    (block,) = late.glob("*.json")
    block.write_text(block.read_text().replace('"hessian", "top"', '"hessian", "bottom"'))
    wd.analyze(run, steps=[0], walkers=["w0"], top=3)
    assert sides(run) == {"top": 3} and block.exists()
    wd.analyze(run, steps=[0], walkers=["w0"], top=2)
    assert sides(run) == {"top": 3, "bottom": 2} and not late.exists()


def test_a_long_search_is_kept_in_the_same_folder(run, monkeypatch):
    seen = []
    real = wd.curvature.extremes
    monkeypatch.setattr(
        wd.curvature, "extremes", lambda *args, **keys: seen.append(keys["state"]) or real(*args, **keys)
    )
    wd.analyze(run, walkers=["w0"], top=1)
    assert seen[0].parent.parent == run.path / "analysis" / "late"


# ---- the command ----------------------------------------------------------------------------------------------


def test_by_the_command(run, capsys):
    words = ["--steps", "0,10", "--walkers", "w1", "--matrix", "ggn,hessian", "--top", "2", "--density", "2x5"]
    assert main(["analyze", *words, str(run.path), "bottom=1"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == str(run.path / "report.html")
    assert out.startswith("block 1/4  step 0 w1 hessian  begins\n")
    assert all(character.isprintable() or character == "\n" for character in out)
    assert sides(run) == {"top": 2 * 2 * 2, "bottom": 2 * 2}
    assert list(dict.fromkeys(run.density["matrix"])) == ["hessian", "ggn"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_moving_line_in_a_terminal(run, monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["analyze", str(run.path), "--density", "2x50", "--full", "--no-report"]) == 0
    first, *moved = screen.getvalue().removesuffix("\n").split("\r")
    assert first == "" and moved[0].startswith("block 1/2  step 20 center hessian  begins ")
    assert {len(line) for line in moved} == {79} and "\n" not in "".join(moved)


def test_a_density_without_numbers_may_stand_before_the_run(run, capsys):
    assert main(["analyze", "--density", str(run.path), "--walkers", "w0", "--no-report"]) == 0
    assert len(run.density) == 4 * 60


def test_a_dry_run_measures_nothing(run, capsys):
    before = sorted(run.path.rglob("*"))
    assert main(["analyze", str(run.path), "--dry-run", "--full", "--top", "2", "--steps", "all"]) == 0
    first, second, third = capsys.readouterr().out.splitlines()
    assert first == f"6 spectra of {run.landscape.size} parameters, 6 of them whole"
    assert "products" in second and "GB are free" in third
    assert sorted(run.path.rglob("*")) == before


def test_a_matrix_that_is_assembled_takes_no_products(run):
    assert estimate(run, full=True).products == 0
    assert estimate(run, full=True).lines()[1].startswith("assembled, without products; ")


def test_the_products_of_a_plan(bowl):
    """P = 6: a search takes 6 products, a density 4 x 6, its figures some 120 more."""
    assert estimate(bowl, top=1).products == 2 * 6
    assert estimate(bowl, density="4x60", walkers=["w0"]).products == 24 + costs.FIGURES
    assert estimate(bowl, full=True, walkers=["w0"]).whole == 1


def test_what_does_not_fit_is_refused_before_anything_begins(run, monkeypatch, capsys):
    before = sorted(run.path.rglob("*"))
    monkeypatch.setattr(costs, "free_memory", lambda device: 1000)
    for words in ([], ["--dry-run"]):
        assert main(["analyze", str(run.path), "--full", "--no-report", *words]) == 2
        said = capsys.readouterr().err
        assert said.startswith("walkers: the whole spectrum of 160 parameters needs")
        assert "--top, --bottom" in said and "--density" in said and "--yes" in said and said.count("\n") == 1
        assert {*run.path.rglob("*")} - {*before} <= {run.path / "control" / "owner.lock"}
    assert main(["analyze", str(run.path), "--full", "--no-report", "--yes"]) == 0
    assert sides(run) == {"full": 2 * 160}


REFUSED = [
    ([], "neither RUN nor --model is given"),
    (["RUN", "--model", "my_nets:Net"], "RUN and --model my_nets:Net: one of the two"),
    (["RUN", "--weights", "m.safetensors"], "--weights: belongs to --model, and not to a run"),
    (["RUN", "RUN2"], "RUN2: one run at a time"),
    (["nowhere"], "nowhere: is not a run directory"),
    (["RUN", "--steps", "7"], "steps = 7: has no snapshot; there are 0, 10, 20"),
    (["RUN", "--steps", "first"], "--steps first: must be last, all, or steps like 0,100"),
    (["RUN", "--walkers", "w9"], "curvature.of = w9: must be of center, w0, w1"),
    (["RUN", "--walkers", "w0,w0"], "curvature.of = [w0, w0]: must hold each name once"),
    (["RUN", "--matrix", "fisher"], "curvature.matrix.0 = fisher: must be hessian, ggn or residual"),
    (["RUN", "--top", "161"], "curvature.top = 161: must be at most 160, the number of parameters"),
    (["RUN", "--top", "-1"], "curvature.top = -1: must be at least 0"),
    (["RUN", "--top", "0", "--bottom", "0", "full=never"], "nothing is asked for: top = 0"),
    (["RUN", "--top", "0", "--bottom", "0", "--steps", "0"], "curvature.full = at_end: nothing else is asked for"),
    (["RUN", "--density", "10"], "density = 10: must be PROBESxSTEPS"),
    (["RUN", "--density", "axb"], "density = axb: must be PROBESxSTEPS"),
    (["RUN", "--steps", ""], "--steps : must be last, all, or steps like 0,100"),
    (["RUN", "curvature.top=3"], "curvature.top=3: keys of the section curvature stand alone here: top=3"),
    (["RUN", "--density", "0x10"], "curvature.density.probes = 0: must be at least 1"),
    (["RUN", "--full", "--vectors"], "curvature: vectors = true needs top or bottom above 0"),
    (["RUN", "every=5"], "curvature.every = 5: says when a run measures"),
    (["RUN", "topp=5"], "unknown key curvature.topp; did you mean curvature.top?"),
    (["RUN", "--tops"], "--tops: is no option or argument of this command"),
]


@pytest.mark.parametrize(("words", "line"), REFUSED, ids=[" ".join(words) for words, _ in REFUSED])
def test_what_is_refused(words, line, unmeasured, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "RUN").symlink_to(unmeasured.path)
    before = {path: path.stat().st_mtime_ns for path in unmeasured.path.rglob("*.csv")}
    assert main(["analyze", *words, "--no-report"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"walkers: {line}") and said.count("\n") == 1
    assert before == {path: path.stat().st_mtime_ns for path in unmeasured.path.rglob("*.csv")}
    assert not (unmeasured.path / "analysis" / "late").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["RUN"]


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"tops": 1}, "tops: is none of what can be asked for: walkers, matrix, top"),
        ({"density": 5}, "density = 5: must be True, PROBESxSTEPS"),
        ({"density": (1, 2, 3)}, "density = (1, 2, 3): must be True, PROBESxSTEPS"),
        ({"walkers": "w99"}, "curvature.of = w99: must be of center, w0, w1"),
    ],
)
def test_what_is_refused_in_python(bowl, asked, line):
    with pytest.raises(wd.UserError) as refused:
        wd.analyze(bowl, **asked)
    assert str(refused.value).startswith(line) and not bowl.directory.table("eigenvalues").exists()


def test_names_may_be_one_word(bowl):
    assert estimate(bowl, top=1, walkers="w0,w1").blocks == estimate(bowl, top=1, walkers=["w0", "w1"]).blocks == 2
    assert estimate(bowl, top=1, walkers="all").blocks == 12


def test_a_directory_that_cannot_be_written_is_one_line(run, monkeypatch, capsys):
    def claim(directory: RunDirectory) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(RunDirectory, "claim", claim)
    assert main(["analyze", str(run.path), "--top", "1", "--no-report"]) == 2
    assert capsys.readouterr().err == f"walkers: {run.path}: cannot be written: Permission denied\n"


def test_no_step_at_all_is_refused(bowl):
    with pytest.raises(wd.UserError, match=r"steps = \[\]: must name a step"):
        wd.analyze(bowl, steps=[])


def test_parts_are_refused_where_there_are_no_outputs(bowl):
    with pytest.raises(wd.UserError, match=r"curvature\.matrix = \[ggn\]: must be \[hessian\]"):
        wd.analyze(bowl, matrix=["ggn"])


def test_a_damaged_snapshot_is_refused_and_not_taken_for_a_diverged_walker(run):
    (file,) = run.path.glob("snapshots/step-00000020/walkers-*.safetensors")
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(wd.UserError, match="damaged"):
        wd.analyze(run, walkers=["w0"], top=1)
    assert tables(run) == {}


def test_a_run_that_goes_on_is_refused(run, capsys):
    living = RunDirectory(run.path)
    living.claim()
    try:
        assert main(["analyze", str(run.path), "--no-report"]) == 2
    finally:
        living.release()
    assert "in use by" in capsys.readouterr().err
    assert tables(run) == {}
