"""Named tensors as the bytes of a safetensors file, and back, without a second copy of them in memory.

8 bytes: n;  n bytes of JSON: name -> dtype, shape, data_offsets, and texts under `__metadata__`;  the data
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

DTYPES = {"float64": "F64", "int64": "I64", "float32": "F32", "int32": "I32", "uint8": "U8", "bool": "BOOL"}


def parts(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Iterator[np.ndarray]:
    """The bytes, [n] of uint8: the head, then each tensor in place (one that is not contiguous or on a GPU is copied).

    Wider types come first, so that every number lies at a multiple of its size.
    """
    import numpy as np
    import torch

    ordered = sorted(tensors.items(), key=lambda named: -named[1].element_size())
    head: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    for name, t in ordered:
        end = at + t.numel() * t.element_size()
        dtype = DTYPES[str(t.dtype).removeprefix("torch.")]
        head[name] = {"dtype": dtype, "shape": list(t.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    yield np.frombuffer(len(text).to_bytes(8, "little") + text, dtype=np.uint8)
    for _, t in ordered:
        yield t.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()


def read(data: Tensor) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors, as views of `data: [n]` of uint8, and the texts."""
    import torch

    length = int.from_bytes(data[:8].numpy().tobytes(), "little")
    head = json.loads(data[8 : 8 + length].numpy().tobytes())
    metadata = head.pop("__metadata__", {})
    types = {short: getattr(torch, name) for name, short in DTYPES.items()}
    tensors = {}
    for name, entry in head.items():
        first, end = (8 + length + offset for offset in entry["data_offsets"])
        tensors[name] = data[first:end].view(types[entry["dtype"]]).view(entry["shape"])
    return tensors, metadata
