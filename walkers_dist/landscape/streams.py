"""Random streams: a random number belongs to (seed, walker, purpose, step), never to a process."""

from __future__ import annotations

from hashlib import blake2b

import torch


def stream(seed: int, walker: str, purpose: str, step: int = 0) -> torch.Generator:
    """A fresh generator, on the CPU, for one walker, purpose and step (or epoch); equal names give equal numbers."""
    name = f"{seed}/{walker}/{purpose}/{step}".encode()
    number = int.from_bytes(blake2b(name, digest_size=8).digest(), "big") >> 1
    return torch.Generator().manual_seed(number)
