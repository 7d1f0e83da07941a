"""Data sets: where they come from, and how they are prepared for an experiment; one job per file."""

from walkers_dist.landscape.data.base import Data

__all__ = ["Data"]
