"""MNIST (LeCun et al., 1998) and Fashion-MNIST (Xiao et al., 2017), and the idx files that both come in."""

from __future__ import annotations

import struct
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from walkers_dist.config.data import FilesConfig
from walkers_dist.config.errors import UserError
from walkers_dist.landscape.data.base import Loaded, Part
from walkers_dist.records import data_files

UNSIGNED_BYTES = 0x08


def load(config: FilesConfig, seed: int) -> Loaded:
    """Images [N, 1, H, W] of one channel, as bytes."""
    files = data_files.find(config.name, config.path)

    def part(split: str) -> Part:
        images, labels = files[f"{split} images"], files[f"{split} labels"]
        x, y = read_idx(images, 3), read_idx(labels, 1)
        if len(x) != len(y) or len(x) == 0:
            raise UserError(f"{labels}: holds {len(y)} labels, and {images.name} holds {len(x)} images")
        if y.max() >= config.known_classes:
            most = config.known_classes - 1
            raise UserError(f"{labels}: labels of {config.name} go from 0 to {most}, and there is {int(y.max())}")
        return Part(x[:, None], y.long(), pixels=True)

    train, test = part("train"), part("test")
    if train.raw.shape[1:] != test.raw.shape[1:]:
        shapes = [" x ".join(map(str, v.raw.shape[2:])) for v in (train, test)]
        raise UserError(f"{files['test images']}: its images are {shapes[1]}, those for training {shapes[0]}")
    return Loaded(train, test, config.known_classes)


def read_idx(file: Path, dimensions: int) -> Tensor:
    """The bytes [N, …] that an idx file holds, gzipped or not. Raises UserError naming it."""
    content = data_files.read(file)
    magic, begin = bytes((0, 0, UNSIGNED_BYTES, dimensions)), 4 + 4 * dimensions
    if content[:4] != magic or len(content) < begin:
        raise UserError(f"{file}: is no idx file of bytes in {dimensions} dimensions: begins with {content[:4].hex()}")
    shape = struct.unpack(f">{dimensions}I", content[4:begin])
    if len(content) - begin != prod(shape):
        size = " x ".join(map(str, shape))
        raise UserError(f"{file}: is damaged: {len(content) - begin} bytes after a header that says {size}")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=begin).reshape(shape))


def idx_bytes(values: np.ndarray) -> bytes:
    """The idx file of bytes [N, …]."""
    header = bytes((0, 0, UNSIGNED_BYTES, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.astype(np.uint8).tobytes()
