"""An analysis after a resume: by the settings that the walkers have, and of the trajectory that there is."""

from __future__ import annotations

from pathlib import Path

import pytest

import walkers_dist as wd

CONFIG = {
    "name": "resumed", "dtype": "float64", "walkers": 2, "steps": 25, "control": {"every": 5},
    "landscape": {"kind": "quadratic", "dim": 5, "curvature": [1, 2, 3, 4, 5]},
    "checkpoint": {"every": 15}, "curvature": {"every": 5, "of": ["w0"], "top": 5, "bottom": 0, "full": "never"},
    "schedule": [{"at": 20, "set": {"curvature.top": 4}}],
}  # fmt: skip


@pytest.fixture
def back_at_15(tmp_path) -> Path:
    """A run that is done, its last checkpoint damaged: a resume begins at 15, after the schedule acted at 20."""
    run = wd.run(CONFIG, run_dir=tmp_path / "run", report=False)
    assert rows_by_step(run) == {0: 5, 5: 5, 10: 5, 15: 5, 20: 4, 25: 4}
    for part in (run.path / "checkpoints" / "step-00000025").iterdir():
        part.write_bytes(b"damaged")
    return run.path


def rows_by_step(run: wd.Run) -> dict[int, int]:
    return run.eigenvalues.groupby("step").size().to_dict()


def test_a_change_at_a_resume_gives_way_to_a_later_scheduled_one(back_at_15):
    run = wd.resume(back_at_15, ["curvature.top=2"], report=False)
    assert rows_by_step(run) == {0: 5, 5: 5, 10: 5, 15: 2, 20: 4, 25: 4}


def test_no_eigenvalue_of_the_trajectory_that_was_left_stays(back_at_15):
    run = wd.resume(back_at_15, ["analysts=0", "dynamics.lr=0.01"], report=False)
    assert rows_by_step(run) == {0: 5, 5: 5, 10: 5}


def test_a_table_that_lost_rows_from_before_the_checkpoint_is_refused(back_at_15):
    table = back_at_15 / "results.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:2]))
    with pytest.raises(wd.UserError, match=r"results\.csv: is shorter than when the checkpoint of step 15 was written"):
        wd.resume(back_at_15, report=False)


def test_timings_add_up_over_resumes(back_at_15):
    before = wd.open_run(back_at_15).info["timings"]
    after = wd.resume(back_at_15, report=False).info["timings"]
    assert all(after[part] >= before[part] for part in before) and after["start"] > before["start"]
