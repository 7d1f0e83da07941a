"""Data that a run cannot have: one line from the command, before there is a run directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def config(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.delenv("WALKERS_DATA", raising=False)
    (folder / "cifar10").mkdir()
    (folder / "cifar10" / "data_batch_1.bin").write_bytes(b"123")
    (folder / "net.yaml").write_text("walkers: 2\nsteps: 4\nanalysts: 0\n")
    return folder / "net.yaml"


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("landscape.data.name=mnist", "landscape.data.name = mnist: there is no train-images-idx3-ubyte in "),
        (
            "landscape.data={name: cifar10, path: cifar10}",
            "cifar10: data_batch_2.bin is missing beside data_batch_1.bin",
        ),
        (
            "landscape.data.corruption={rows: 9}",
            "landscape.data.corruption.rows = 9: images of shape [N, 1, 8, 8] have 8",
        ),
        ("landscape.data.labels={p: 0.9, q: 0.1}", "landscape.data.labels = {p: 0.9, q: 0.1}: with 10 classes "),
    ],
)
def test_refused(refused: Callable[..., str], config: Path, override: str, line: str) -> None:
    assert refused("run", config, override, "--in-process", "--no-report").startswith(line)
