"""Every configuration that comes with the project loads, and runs; a few steps of it here."""

from __future__ import annotations

from pathlib import Path

import pytest

import walkers_dist as wd
from walkers_dist.config.load import load

CONFIGS = Path(__file__).parents[2] / "configs"
FASHION = Path("/usr/share/datasets/fashion-mnist")
FILES = sorted(CONFIGS.rglob("*.yaml"))
FEWER = {
    "plane": ["probes.plane.grid=5"],
    "default": ["probes.interpolation.points=4"],
    "random_walk": ["probes.walk.walks=2"],
    "width": ["curvature.bottom=1"],
}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CONFIGS)))
def test_it_says_in_its_first_line_what_it_is_for(file):
    first = file.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ") and len(first) <= 150


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CONFIGS)))
def test_it_runs(file, tmp_path):
    if file.stem == "default" and not FASHION.exists():
        pytest.skip("Fashion-MNIST is not here: Debian's package dataset-fashion-mnist has it")
    experiment = load(file)
    steps = min(experiment.steps, 20)
    words = [f"steps={steps}", *FEWER.get(file.stem, [])]
    if experiment.schedule:
        words.append("schedule=[]")
    if experiment.curvature:
        words.append("curvature.full=never")
    run = wd.run(file, words, run_dir=tmp_path / "run", report=False)
    assert run.status == "done"
    assert run.results["train_loss"].notna().all()
    for probe in experiment.probes_of_snapshots.values():
        assert all(len(run.table(table)) for table in probe.tables)


def test_without_its_data_the_default_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("WALKERS_DATA", raising=False)
    with pytest.raises(wd.UserError, match=r"landscape\.data.*mnist.*walkers data fetch mnist"):
        wd.run(CONFIGS / "elementary/default.yaml", ["landscape.data.name=mnist"], run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
