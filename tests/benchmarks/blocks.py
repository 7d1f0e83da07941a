"""Ratios from interleaved blocks: whatever else the machine does, it does to both sides."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Blocks:
    """Seconds of each pair of blocks, one side after the other."""

    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)

    def add(self, ours: float, theirs: float) -> None:
        self.ours.append(ours)
        self.theirs.append(theirs)

    def __str__(self) -> str:
        """Median and quartiles of ours / theirs."""
        return _quartiles(np.divide(self.ours, self.theirs))

    def faster(self) -> str:
        """Median and quartiles of theirs / ours."""
        return _quartiles(np.divide(self.theirs, self.ours))


def _quartiles(ratios: np.ndarray) -> str:
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    return f"{middle:.3f} [{low:.3f}, {high:.3f}]"
