"""`walkers cite`: every kind has its papers or says that there are none, and an experiment's are printed once each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import walkers_dist as wd
from walkers_dist import cli
from walkers_dist.config.load import parse
from walkers_dist.config.papers import PAPERS, entries, papers_of
from walkers_dist.config.registry import KINDS, lookup
from walkers_dist.config.schema import CurvatureConfig
from walkers_dist.records.tables import COLUMNS

HERE = Path(__file__).parents[2]
BOWL = {"analysts": 0, "steps": 4, "walkers": 2, "landscape": {"kind": "quadratic", "dim": 3}}


def cited(text: str) -> list[str]:
    return re.findall(r"^@\w+\{(\w+),$", text, re.MULTILINE)


def config(folder: Path, **keys: object) -> Path:
    file = folder / "own.yaml"
    file.write_text(yaml.safe_dump({**BOWL, **keys}))
    return file


# ---- what there is -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("category", "kind"), [(category, kind) for category in KINDS for kind in KINDS[category]])
def test_every_kind_has_papers_or_says_that_there_are_none(category: str, kind: str) -> None:
    assert kind in PAPERS[category], f"config/papers.py: a line for {category} {kind} is missing: () without a paper"


def test_every_line_is_of_a_kind_that_there_is() -> None:
    for category, kinds in KINDS.items():
        assert {line.split()[0] for line in PAPERS[category]} == set(kinds)


def test_every_condition_asks_for_a_key_that_there_is() -> None:
    conditions = [(category, *line.split(" ")) for category in PAPERS for line in PAPERS[category] if " " in line]
    assert len(conditions) > 10
    for category, kind, condition in conditions:
        schema = CurvatureConfig if category == "curvature" else lookup(category, kind)
        names = {field.alias or name for name, field in schema.model_fields.items()}
        assert condition.partition("=")[0] in names


def test_every_entry_is_cited_and_there() -> None:
    keys = {key for lines in PAPERS.values() for line in lines.values() for key in line}
    assert keys | {"walkers_dist"} == set(entries())


@pytest.mark.parametrize("key", entries())
def test_entry_is_bibtex(key: str) -> None:
    head, *fields, end = entries()[key].splitlines()
    assert re.fullmatch(r"@(article|inproceedings|misc|phdthesis|techreport)\{" + key + ",", head) and end == "}"
    values = dict(re.fullmatch(r"  (\w+) = \{(.*)\},", field).groups() for field in fields)  # type: ignore[union-attr]
    assert {"author", "title"} <= set(values) and (values.keys() & {"year", "note", "howpublished"})
    assert all(value.count("{") == value.count("}") for value in values.values())
    year = re.search(r"\d{4}", key)
    assert not year or values["year"] == year[0]
    if "eprint" in values:
        assert re.fullmatch(r"\d{4}\.\d{4,5}", values["eprint"]) and values["archiveprefix"] == "arXiv"
    kind = {"article": "journal", "inproceedings": "booktitle", "phdthesis": "school", "techreport": "institution"}
    assert kind.get(head[1:].partition("{")[0], "title") in values


def test_the_package_is_cited_as_it_says() -> None:
    said = yaml.safe_load((HERE / "CITATION.cff").read_text())
    own = entries()["walkers_dist"].replace("\\_", "_")
    assert f"title = {{{said['title']}}}" in own and f"Version {said['version']}}}" in own
    assert said["authors"][0]["name"] in own
    assert f'version = "{said["version"]}"' in (HERE / "pyproject.toml").read_text()


# ---- what an experiment uses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dynamics", "keys"),
    [
        ({"name": "sgd", "momentum": 0.0}, ["robbins1951stochastic"]),
        ({"name": "sgd", "momentum": 0.5}, ["robbins1951stochastic", "sutskever2013importance"]),
        ({"name": "gd", "momentum": 0.0}, []),
    ],
)
def test_only_what_the_keys_use(dynamics: dict[str, object], keys: list[str]) -> None:
    experiment = parse({**BOWL, "dynamics": dynamics}, "x")
    assert papers_of("dynamics", experiment.dynamics.name, experiment.dynamics) == keys


def test_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = config(
        tmp_path,
        landscape={"model": {"name": "lenet"}, "data": {"name": "mnist"}},
        dynamics={"momentum": 0.0},
        probes={"sharpness": {"formula": ["keskar"]}, "distances": {}},
        curvature={"matrix": ["hessian", "ggn"], "top": 0, "bottom": 0, "full": "at_end"},
    )
    assert cli.main(["cite", str(file), "coupling.name=easgd"]) == 0
    said = capsys.readouterr().out
    assert cited(said) == [
        *("walkers_dist", "robbins1951stochastic", "zhang2015deep", "lecun1998gradient", "keskar2017large"),
        *("sagun2016eigenvalues", "sagun2017empirical", "pearlmutter1994fast", "schraudolph2002fast"),
    ]
    assert "% data mnist, model lenet\n@article{lecun1998gradient," in said  # once, for both
    assert said.endswith("% without a paper: landscape network, loss cross_entropy, probe distances\n")


def test_kinds_of_a_users_own(tmp_path: Path) -> None:
    (tmp_path / "pulling_of_mine.py").write_text(
        "from walkers_dist.coupling.easgd import EASGD\nclass Own(EASGD):\n    pass\n"
    )
    said = wd.cite(config(tmp_path, coupling={"name": "pulling_of_mine:Own"}))
    assert said.endswith("% your own, to be cited by you: coupling pulling_of_mine:Own")
    assert "zhang2015deep" not in cited(said)


def test_a_run_and_what_was_measured_later(tmp_path: Path) -> None:
    run = wd.run({**BOWL, "name": "bowl"}, run_dir=tmp_path / "run", report=False)
    before = cited(wd.cite(run.path))
    assert before == ["walkers_dist", "robbins1951stochastic", "sutskever2013importance"]
    wd.probe(run, "interpolation", ["pairs=center"])
    assert cited(wd.cite(run.path)) == [*before, "goodfellow2015qualitatively"]
    (run.path / "eigenvalues.csv").write_text(",".join(COLUMNS["eigenvalues"]) + "\n")
    assert "sagun2016eigenvalues" in cited(wd.cite(run.path))


@pytest.mark.parametrize("file", sorted((HERE / "configs").rglob("*.yaml")), ids=lambda file: file.stem)
def test_every_configuration_that_comes_along(file: Path) -> None:
    keys = cited(wd.cite(file))
    assert len(keys) == len(set(keys)) >= 2 and keys[0] == "walkers_dist"


def test_what_cannot_be_cited(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cite", str(tmp_path / "no.yaml")]) == 2
    assert cli.main(["cite", str(tmp_path)]) == 2
    run = wd.run({**BOWL, "name": "bowl"}, run_dir=tmp_path / "run", report=False)
    capsys.readouterr()
    assert cli.main(["cite", str(run.path), "seed=1"]) == 2
    assert capsys.readouterr().err.startswith("walkers: seed=1: a run is cited as it was run")
