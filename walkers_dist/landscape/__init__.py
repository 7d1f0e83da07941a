"""A landscape is a function of flat parameter vectors: data, model and loss, and nothing else."""

from walkers_dist.landscape.base import Figures, Landscape
from walkers_dist.landscape.build import build
from walkers_dist.landscape.streams import stream

__all__ = ["Figures", "Landscape", "build", "stream"]
