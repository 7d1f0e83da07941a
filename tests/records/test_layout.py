"""The bytes of named tensors: safetensors reads what we write, and we read what it writes."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.torch
import torch

from walkers_dist.records import layout

TENSORS = {
    "finite": torch.tensor([True, False, True]),
    "rows": torch.randn(3, 7, dtype=torch.float64),
    "transposed": torch.randn(4, 5).T,
    "a row of a matrix/x": torch.randn(3, 11)[1],
    "number": torch.tensor(3, dtype=torch.int64),
    "counts": torch.arange(5, dtype=torch.int32),
    "bytes": torch.arange(5, dtype=torch.uint8),
    "nothing": torch.zeros(0, 3),
}


@pytest.mark.parametrize("metadata", [{}, {"note": '{"ü": "\\n"}'}])
def test_safetensors_reads_it(metadata: dict[str, str]) -> None:
    raw = b"".join(part.tobytes() for part in layout.parts(TENSORS, metadata))
    found = safetensors.torch.load(raw)
    assert found.keys() == TENSORS.keys()
    for name, t in TENSORS.items():
        assert found[name].dtype == t.dtype and torch.equal(found[name], t)


@pytest.mark.parametrize("metadata", [{}, {"note": '{"ü": "\\n"}'}])
def test_it_reads_safetensors(metadata: dict[str, str]) -> None:
    contiguous = {name: t.contiguous() for name, t in TENSORS.items()}
    raw = safetensors.torch.save(contiguous, metadata)
    found, texts = layout.read(torch.frombuffer(bytearray(raw), dtype=torch.uint8))
    assert texts == metadata and found.keys() == TENSORS.keys()
    for name, t in TENSORS.items():
        assert found[name].dtype == t.dtype and torch.equal(found[name], t)


def test_nothing_is_copied() -> None:
    x = torch.zeros(3, 4)
    _, data = layout.parts({"x": x[1]}, {})
    x[1] = 1.0
    assert (data.view(np.float32) == 1).all()
    body = torch.from_numpy(np.concatenate([*layout.parts({"x": x}, {})]))
    tensors, _ = layout.read(body)
    assert body.data_ptr() < tensors["x"].data_ptr() < body.data_ptr() + len(body)
