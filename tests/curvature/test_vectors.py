"""Eigenvectors in files: what was found, whole or refused; overlaps in the table against dense eigenvectors."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import safetensors.torch
import torch
from torch import Tensor

import walkers_dist as wd
from walkers_dist.landscape import Landscape, build
from walkers_dist.records import run_directory
from walkers_dist.records.vectors import Vectors, read_vectors, write_vectors
from walkers_dist.roles import tasks
from walkers_dist.roles.analyst import Analyst, report_state

CONFIG = {
    "name": "kept", "walkers": 2, "steps": 30,
    "landscape": {
        "data": {"name": "digits", "train_size": 60, "test_size": 20},
        "model": {"name": "mlp", "hidden": [4], "activation": "tanh"},
    },
    "dynamics": {"name": "sgd", "lr": 0.3, "batch_size": 20},
    "snapshots": {"every": 10}, "checkpoint": {"every": 10}, "control": {"every": 10},
    "curvature": {
        "every": 10, "of": ["center", "w0", "w1"], "matrix": ["hessian", "ggn"], "top": 3, "bottom": 2,
        "vectors": True, "full": "never",
    },
}  # fmt: skip
STEPS = (0, 10, 20, 30)
LESS = ["curvature.of=[center, w1]", "curvature.matrix=[hessian]"]


def tables(run: wd.Run) -> dict[str, bytes]:
    return {name: (run.path / f"{name}.csv").read_bytes() for name in ("eigenvalues", "curvature")}


def files(run: wd.Run) -> dict[str, bytes]:
    found = sorted(path for path in (run.path / "vectors").rglob("*") if path.is_file())
    return {str(path.relative_to(run.path)): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> wd.Run:
    torch.set_num_threads(1)
    return wd.run(CONFIG, run_dir=tmp_path_factory.mktemp("kept") / "run", report=False)


@pytest.fixture(scope="module")
def less(tmp_path_factory: pytest.TempPathFactory) -> wd.Run:
    torch.set_num_threads(1)
    return wd.run(CONFIG, LESS, run_dir=tmp_path_factory.mktemp("less") / "run", report=False)


@pytest.fixture(scope="module")
def landscape(run: wd.Run) -> Landscape:
    return build(run.config.landscape, seed=run.config.seed, dtype="float64", device="cpu")


def dense(landscape: Landscape, run: wd.Run, step: int, walker: str, matrix: str) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors as rows, the largest first."""
    of = {"hessian": wd.curvature.hessian, "ggn": wd.curvature.gauss_newton}[matrix]
    A = of(landscape, run.snapshot(step, walker).double())(torch.eye(landscape.size, dtype=torch.float64))
    values, V = torch.linalg.eigh((A + A.T) / 2)
    return values.flip(0), V.T.flip(0)


# ---- what is kept ---------------------------------------------------------------------------------------------------


def test_the_files_hold_both_ends_as_in_the_table(run: wd.Run, landscape: Landscape) -> None:
    names = [f"{walker}-{matrix}.safetensors" for walker in ("center", "w0", "w1") for matrix in ("ggn", "hessian")]
    assert list(files(run)) == [f"vectors/step-{step:08d}/{name}" for step in STEPS for name in names]
    for step in STEPS:
        for matrix in ("hessian", "ggn"):
            found = run.vectors(step, "w1", matrix)
            values, V = dense(landscape, run, step, "w1", matrix)
            rows = run.eigenvalues.query(f"step == {step} and walker == 'w1' and matrix == '{matrix}'")
            for side, U, own, exact in (
                ("top", found.top, found.top_eigenvalues, values[:3]),
                ("bottom", found.bottom, found.bottom_eigenvalues, values.flip(0)[:2]),
            ):
                assert own.tolist() == rows[rows["side"] == side]["eigenvalue"].tolist()
                assert (own - exact).abs().max() <= 1e-6 * values[0]
                assert U.dtype == torch.float32 and U.shape == (len(exact), landscape.size)
                torch.testing.assert_close(U.double() @ U.double().T, torch.eye(len(U)).double(), rtol=0, atol=1e-6)
            for i in range(3):
                gap = min(abs(float(values[i] - values[j])) for j in range(len(values)) if j != i)
                assert abs(float(found.top[i].double() @ V[i])) >= 1 - (1e-4 * float(values[0]) / gap) ** 2 - 1e-6
    assert torch.equal(run.vectors(30, "w1").top, run.vectors(30, "w1", "hessian").top)


def test_any_reader_of_safetensors_reads_them(run: wd.Run) -> None:
    found = safetensors.torch.load_file(run.path / "vectors/step-00000010/w0-hessian.safetensors")
    assert {name: list(t.shape) for name, t in found.items()} == {
        **{"top": [3, run.landscape.size], "bottom": [2, run.landscape.size]},
        **{"top_eigenvalues": [3], "bottom_eigenvalues": [2]},
    }
    assert torch.equal(found["bottom"], run.vectors(10, "w0").bottom)


def test_without_the_key_there_are_none(tmp_path: Path) -> None:
    plain = wd.run(CONFIG, [*LESS, "curvature.vectors=false"], run_dir=tmp_path / "run", report=False)
    assert not (plain.path / "vectors").exists() and plain.curvature.empty
    with pytest.raises(wd.UserError, match=r"w0-hessian\.safetensors: is missing"):
        plain.vectors(10, "w0")


def test_vectors_of_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(wd.UserError, match=r"curvature.*vectors = true needs top or bottom above 0"):
        wd.run(CONFIG, ["curvature.top=0", "curvature.bottom=0"], run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_every_damaged_byte_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    directory = run_directory.open(tmp_path)
    U = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0))).Q
    write_vectors(directory, 7, "w0", "ggn", Vectors(U[:1], U[1:], torch.tensor([2.0]), torch.tensor([0.5, 1.0])))
    (path,) = tmp_path.rglob("*.safetensors")
    assert torch.equal(read_vectors(directory, 7, "w0", "ggn").bottom, U[1:])
    whole = path.read_bytes()
    spoilt = [whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in range(len(whole))]
    for data in [*spoilt, whole[:-1], whole[:50], b"", whole + b"\0"]:
        path.write_bytes(data)
        with pytest.raises(wd.UserError, match=r"w0-ggn\.safetensors: is damaged: its SHA-256"):
            read_vectors(directory, 7, "w0", "ggn")


# ---- overlaps in the table ------------------------------------------------------------------------------------------


def overlaps(run: wd.Run) -> pd.Series:
    rows = run.curvature
    assert rows["error"].isna().all()
    return rows.set_index(["step", "walker", "matrix", "quantity"])["value"]


def test_overlaps_against_dense_eigenvectors(run: wd.Run, landscape: Landscape) -> None:
    points = {
        (s, w, m): dense(landscape, run, s, w, m)
        for s in STEPS
        for w in ("center", "w0", "w1")
        for m in ("hessian", "ggn")
    }
    expected: dict[Any, float] = {}

    def between(one: Any, other: Any) -> float:
        return sum(float(u @ v) ** 2 for u in points[one][1][:3] for v in points[other][1][:3]) / 3

    for step in STEPS:
        for matrix in ("hessian", "ggn"):
            for walker in ("center", "w0", "w1"):
                here = (step, walker, matrix)
                theta = run.snapshot(step, walker).double().requires_grad_(True)
                (g,) = torch.autograd.grad(slow_loss(landscape, theta), theta)
                expected[*here, "gradient overlap"] = sum(float(u @ g) ** 2 for u in points[here][1][:3]) / float(g @ g)
                if step:
                    expected[*here, "overlap before"] = between((step - 10, walker, matrix), here)
            for a, b in (("center", "w0"), ("center", "w1"), ("w0", "w1")):
                expected[step, a, matrix, f"overlap with {b}"] = between((step, a, matrix), (step, b, matrix))
    found = overlaps(run)
    assert set(found.index) == set(expected) and len(found) == len(expected)
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, abs=1e-6), key
    assert 0.1 < found.xs("overlap before", level="quantity").mean() < 1


def slow_loss(landscape: Any, theta: Tensor) -> Tensor:
    """Of a perceptron with one hidden layer of tanh, in plain operations."""
    shapes = [p.shape for p in landscape.module(theta.detach()).parameters()]
    W1, b1, W2, b2 = (
        part.view(shape) for part, shape in zip(theta.split([s.numel() for s in shapes]), shapes, strict=True)
    )
    z = (landscape.inputs["train"].flatten(1) @ W1.T + b1).tanh() @ W2.T + b2
    return -(landscape.targets["train"] * z.log_softmax(-1)).sum(-1).mean()


def test_a_diverged_walker_has_no_vectors_and_no_overlaps(tmp_path: Path) -> None:
    keys: dict[str, Any] = {
        **CONFIG,
        "dtype": "float64",
        "coupling": None,
        "exchange": {"on_divergence": "isolate"},
        "steps": 10,
    }
    keys["dynamics"] = {"name": "sgd", "batch_size": 20, "lr": 1e300}
    keys["curvature"] = {**CONFIG["curvature"], "of": ["w0", "w1"], "matrix": ["hessian"]}
    run = wd.run(keys, ["landscape.model.activation=relu"], run_dir=tmp_path / "run", report=False)
    assert run.vectors(0, "w0").top.shape == (3, run.landscape.size)
    assert run.vectors(10, "w0").top.shape == run.vectors(10, "w0").bottom.shape == (0, run.landscape.size)
    found = overlaps(run)
    assert found[10].isna().all() and len(found[10]) == 5
    assert found[0].notna().all() and found[0, "w0", "hessian", "overlap with w1"] <= 1


def test_vectors_that_are_lost_leave_no_overlap_with_them(less: wd.Run, tmp_path: Path) -> None:
    again = wd.run(CONFIG, [*LESS, "steps=20"], run_dir=tmp_path / "run", report=False)
    (again.path / "vectors/step-00000010/w1-hessian.safetensors").write_bytes(b"damaged")
    resumed = wd.resume(again.path, ["steps=30"], report=False)  # from the checkpoint of step 20
    found, whole = overlaps(resumed), overlaps(less)
    lost = (20, "w1", "hessian", "overlap before")
    assert math.isnan(found[lost])
    pd.testing.assert_series_equal(found.drop(lost), whole.drop(lost))


def test_fewer_vectors_after_a_change(tmp_path: Path) -> None:
    """The first two of each are compared, where two were kept of one and three of the other."""
    words = [*LESS, "schedule=[{at: 15, set: {curvature.top: 2}}]", "steps=20"]
    run = wd.run(CONFIG, words, run_dir=tmp_path / "run", report=False)
    U, V = run.vectors(10, "w1").top[:2].double(), run.vectors(20, "w1").top.double()
    assert len(V) == 2
    found = overlaps(run)[20, "w1", "hessian", "overlap before"]
    assert found == pytest.approx(float((U @ V.T).square().sum() / 2), rel=1e-6)


# ---- kills, resumes, several analysts -------------------------------------------------------------------------------


@pytest.mark.parametrize("analysts", [2, 3])
def test_several_analysts_leave_the_same(analysts: int, less: wd.Run, tmp_path: Path) -> None:
    shared = wd.run(CONFIG, [*LESS, f"analysts={analysts}"], run_dir=tmp_path / "run", in_process=False, report=False)
    assert tables(shared) == tables(less)
    assert files(shared) == files(less)


def test_overlaps_wait_for_the_work_of_all(less: wd.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of two analysts, long before the first, leaves them to it: there are half of the vectors."""
    monkeypatch.setattr(tasks, "PATIENCE", 0.0)
    run = wd.run(CONFIG, [*LESS, "analysts=0"], run_dir=tmp_path / "run", report=False)
    Analyst(run.directory, 1, 2, torch.device("cpu")).work()
    assert 0 < len(files(run)) < len(files(less)) and not list((run.path / "analysis").glob("*overlaps*"))
    Analyst(run.directory, 0, 2, torch.device("cpu")).work()
    assert tables(run) == tables(less) and files(run) == files(less)


def test_a_resume_forgets_what_it_does_again(less: wd.Run, tmp_path: Path) -> None:
    """It begins at step 20; a walker that leaves the old path leaves no vectors of it."""
    again = wd.run(CONFIG, LESS, run_dir=tmp_path / "run", report=False)
    for part in (again.path / "checkpoints" / "step-00000030").iterdir():
        part.write_bytes(b"damaged")
    before = files(again)
    off = wd.resume(again.path, ["analysts=0", "dynamics.lr=0.2"], report=False)
    kept = {name: data for name, data in before.items() if int(name.split("/")[1].split("-")[1]) < 20}
    assert 0 < len(kept) < len(before) and files(off) == kept
    for part in (again.path / "checkpoints" / "step-00000030").iterdir():
        part.write_bytes(b"damaged")
    on = wd.resume(again.path, ["analysts=1", "dynamics.lr=0.3"], report=False)
    assert files(on) == files(less) and tables(on) == tables(less)


def test_a_fork_takes_none(less: wd.Run, tmp_path: Path) -> None:
    """It measures from where it begins: there is nothing before."""
    forked = wd.fork(less.path, 20, run_dir=tmp_path / "forked", report=False)
    assert {name.split("/")[1] for name in files(forked)} == {"step-00000020", "step-00000030"}
    assert (20, "w1", "hessian", "overlap before") not in overlaps(forked).index
    assert (30, "w1", "hessian", "overlap before") in overlaps(forked).index


class Killed(BaseException):
    pass


def test_killed_at_any_write_it_leaves_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The analysis after the run, ended before each of its writes and put in place of its files, and begun again."""
    bare = wd.run(CONFIG, [*LESS, "analysts=0", "steps=20"], run_dir=tmp_path / "run", report=False)
    whole = wd.run(CONFIG, [*LESS, "steps=20"], run_dir=tmp_path / "whole", report=False)
    calls, dies = 0, 0
    originals = {name: getattr(os, name) for name in ("write", "fsync", "rename", "replace", "ftruncate")}

    def watched(name: str) -> Any:
        def call(*given: Any, **keys: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == dies:
                raise Killed
            return originals[name](*given, **keys)

        return call

    for name in originals:
        monkeypatch.setattr(os, name, watched(name))
    starts = 0
    while True:
        starts, calls, dies = starts + 1, 0, 9 * (starts + 1)
        try:
            report_state(bare.directory, 0, "working")
            Analyst(bare.directory, 0, 1, torch.device("cpu")).work()
            break
        except Killed:
            continue
    monkeypatch.undo()
    assert starts > 3
    assert tables(bare) == tables(whole) and files(bare) == files(whole)
    assert not list((bare.path / "vectors").rglob("*.tmp"))
    lines = [json.loads(line) for line in (bare.path / "analysis/finished.jsonl").read_text().splitlines()]
    done = [(line["step"], line["task"]) for line in lines if "task" in line]
    assert done[2::3] == [(step, "overlaps") for step in (0, 10, 20)] and len(done) == 9
