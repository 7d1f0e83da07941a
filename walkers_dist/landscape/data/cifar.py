"""CIFAR-10 (Krizhevsky, 2009) in its binary form: a record is a label and 3 x 32 x 32 bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from walkers_dist.config.data import CIFAR10Config
from walkers_dist.config.errors import UserError
from walkers_dist.landscape.data.base import Loaded, Part
from walkers_dist.records import data_files

IMAGE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32
CLASSES = 10


def load(config: CIFAR10Config, seed: int) -> Loaded:
    """Images [N, 3, 32, 32], as bytes: red, green, blue."""
    files = data_files.find(config.name, config.path)
    train = [read_batch(file) for what, file in files.items() if what != "test_batch"]
    return Loaded(_part(np.concatenate(train)), _part(read_batch(files["test_batch"])), CLASSES)


def read_batch(file: Path) -> np.ndarray:
    """Records [N, 3073] of a file. Raises UserError naming it."""
    content = data_files.read(file)
    if not content or len(content) % RECORD:
        raise UserError(f"{file}: is damaged: {len(content)} bytes are no whole number of records of {RECORD} bytes")
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    if (highest := records[:, 0].max()) >= CLASSES:
        raise UserError(f"{file}: labels of cifar10 go from 0 to {CLASSES - 1}, and there is {highest}")
    return records


def _part(records: np.ndarray) -> Part:
    labels, images = records[:, 0].astype(np.int64), np.ascontiguousarray(records[:, 1:])
    return Part(torch.from_numpy(images).view(-1, *IMAGE), torch.from_numpy(labels), pixels=True)


def batch_bytes(images: np.ndarray, labels: np.ndarray) -> bytes:
    """The file of images [N, 3072] and labels [N]."""
    return np.concatenate([labels[:, None], images], axis=1).astype(np.uint8).tobytes()
