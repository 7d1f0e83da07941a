"""`walkers export`, read back by the tools' own readers and compared with the tables."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

import walkers_dist as wd
from walkers_dist.cli import main
from walkers_dist.export import exporting, writers
from walkers_dist.export.scalars import Scalar, scalars

BOWL = {
    "landscape": {"kind": "quadratic", "dim": 3, "noise": 0.1, "start": 1.0},
    "walkers": 2,
    "steps": 40,
    "probes": {"distances": {"every": 10}},
    "curvature": {"every": 20, "of": ["center"], "top": 2, "bottom": 0, "full": "never"},
    "coupling": {"name": "easgd", "alpha": 0.1, "period": 2},
    "dynamics": {"name": "sgd", "lr": 0.1, "batch_size": 1},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> wd.Run:
    return wd.run({"name": "bowl", **BOWL}, run_dir=tmp_path_factory.mktemp("runs") / "bowl")


def tensorboard_of(folder: Path) -> dict[tuple[str, str], dict[int, float]]:
    """(walker, name) -> step -> value, by TensorBoard's own reader."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = {}
    for walker in sorted(path for path in folder.iterdir() if path.is_dir()):
        events = accumulator.EventAccumulator(str(walker), size_guidance={"scalars": 0})
        events.Reload()
        for tag in events.Tags()["scalars"]:
            found[walker.name, tag] = {event.step: event.value for event in events.Scalars(tag)}
    return found


def test_tensorboard_reads_the_tables_back(finished: wd.Run, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    exporting.export(finished, "tensorboard", tmp_path / "out")
    found = tensorboard_of(tmp_path / "out")
    results = finished.results
    for walker in ("center", "w0", "w1"):
        rows = results[results["walker"] == walker].set_index("step")
        for column in ("train_loss", "norm"):
            assert found[walker, column] == {s: float(np.float32(v)) for s, v in rows[column].items()}
    pair = finished.distances.query("a == 'w0' and b == 'w1'").set_index("step")["distance"]
    assert found["run", "distances/w0-w1"] == {s: float(np.float32(v)) for s, v in pair.items()}
    top = finished.eigenvalues.query("side == 'top' and rank == 1").set_index("step")["eigenvalue"]
    assert found["center", "hessian/top 1"] == {s: float(np.float32(v)) for s, v in top.items()}
    assert not any("elapsed" in name for _, name in found)


def test_tensorboard_has_the_pictures_of_the_report(finished: wd.Run, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    exporting.export(finished, "tensorboard", tmp_path / "out")
    events = accumulator.EventAccumulator(str(tmp_path / "out" / "run"), size_guidance={"images": 0})
    events.Reload()
    names = events.Tags()["images"]
    assert {"train-loss", "edge-0"} <= set(names)
    pixels = matplotlib.image.imread(io.BytesIO(events.Images("train-loss")[0].encoded_image_string))
    assert pixels[0, 0].tolist()[:3] == [1, 1, 1]  # on white
    assert len(np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0)) > 10  # and something is drawn


def records_of(data: bytes) -> Iterator[bytes]:
    """The records of an offline run's file: LevelDB's log format, after a header of 7 bytes."""
    at, parts = 7, []
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # no header fits into the rest of a block
            at += 32768 - at % 32768
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        if at + 7 + length > len(data):
            return  # it is still being written
        parts.append(data[at + 7 : at + 7 + length])
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield b"".join(parts)
            parts = []


def test_wandb_reads_the_tables_back(finished: wd.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    from google.protobuf.message import DecodeError
    from wandb.proto import wandb_internal_pb2

    def history() -> tuple[dict[tuple[str, int], float], int]:
        found, pictures = {}, 0
        for data in records_of(file.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            for key, value in items.items():
                if key.endswith("train_loss"):
                    found[key, items["step"]] = value
                pictures += key.startswith("pictures/") and "image-file" in json.dumps(value)
        return found, pictures

    monkeypatch.delenv("WANDB_MODE", raising=False)
    exporting.export(finished, "wandb", tmp_path / "out")
    (file,) = (tmp_path / "out").rglob("*.wandb")
    wanted = {(f"{row.walker}/train_loss", row.step): row.train_loss for row in finished.results.itertuples()}
    deadline = time.monotonic() + 30
    while True:  # a process of its own writes the file; on a busy machine it may be a little behind
        try:
            found, pictures = history()
        except DecodeError:
            found, pictures = {}, 0
        if (found == wanted and pictures >= 2) or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    assert found == wanted and pictures >= 2


def test_what_is_empty_or_not_finite_is_no_figure() -> None:
    row = {"step": "3", "walker": "w0", "norm": "1.5", "train_loss": "nan", "lr": "0.1", "epoch": "", "elapsed": "9"}
    row |= dict.fromkeys(("train_grad_norm", "train_accuracy", "test_loss", "test_grad_norm", "test_accuracy"), "")
    assert list(scalars("results", row)) == [Scalar(3, "w0", "lr", 0.1), Scalar(3, "w0", "norm", 1.5)]
    full = dict(step="0", walker="w0", matrix="hessian", side="full", rank="1", eigenvalue="2", residual="")
    assert list(scalars("eigenvalues", full)) == []


def test_an_earlier_export_is_replaced_and_nothing_else(finished: wd.Run, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    for _ in range(2):
        exporting.export(finished, "tensorboard", tmp_path / "out")
    assert len(tensorboard_of(tmp_path / "out")["w0", "train_loss"]) == finished.results["step"].nunique()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(wd.UserError, match="something else"):
        exporting.export(finished, "tensorboard", tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_a_run_that_goes_on_is_followed_to_its_end(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    (tmp_path / "bowl.yaml").write_text(json.dumps({**BOWL, "steps": 2000, "curvature": None}))
    command = [sys.executable, "-m", "walkers_dist", "run", "bowl.yaml", "--run-dir", "bowl", "--no-report"]
    with subprocess.Popen([*command, "--in-process"], cwd=tmp_path, stdout=subprocess.DEVNULL) as training:
        deadline = time.monotonic() + 60
        while not (tmp_path / "bowl" / "results.csv").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        run = wd.open_run(tmp_path / "bowl")
        exporting.export(run, "tensorboard", follow=True, poll=0.1)
        assert run.status == "done"
        assert training.wait(60) == 0
    losses = tensorboard_of(tmp_path / "bowl" / "tensorboard")["w1", "train_loss"]
    assert list(losses) == run.results.query("walker == 'w1'")["step"].tolist()


def test_a_resume_while_following_begins_the_export_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    run = wd.run({"name": "bowl", **BOWL}, ["checkpoint.every=20"], run_dir=tmp_path / "bowl")
    looks = iter([True, False, False])

    def goes_on(_: wd.Run) -> bool:
        if not (going := next(looks)) and run.results["step"].max() == 40:
            wd.resume(run, ["dynamics.lr=0.01", "steps=60"])
        return going

    monkeypatch.setattr(exporting, "_goes_on", goes_on)
    exporting.export(run, "tensorboard", follow=True, poll=0.0)
    losses = tensorboard_of(tmp_path / "bowl" / "tensorboard")["w0", "train_loss"]
    wanted = wd.open_run(run.path).results.query("walker == 'w0'").set_index("step")["train_loss"]
    assert losses == {step: float(np.float32(value)) for step, value in wanted.items()}


@pytest.mark.parametrize("tool", list(writers.WRITERS))
def test_a_tool_that_is_not_installed_is_named(
    finished: wd.Run, tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, {"tensorboard": "torch.utils.tensorboard"}.get(tool, tool), None)
    assert main(["export", str(finished.path), "--to", tool, "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert f"{tool} is not installed" in err and err.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["export", "nowhere", "--to", "tensorboard"], "nowhere"),
        (["export", "{run}", "--to", "excel"], "must be tensorboard or wandb"),
        (["export", "{run}"], "--to"),
        (["export", "{run}", "--to", "tensorboard", "--out", "{file}/sub"], "cannot be written"),
    ],
)
def test_wrong_words_are_one_line(
    finished: wd.Run, tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    try:
        code = main([word.format(run=finished.path, file=tmp_path / "file") for word in words])
    except SystemExit as error:
        code = error.code  # type: ignore[assignment]
    err = capsys.readouterr().err
    assert code == 2 and said in err and err.count("\n") == 1
