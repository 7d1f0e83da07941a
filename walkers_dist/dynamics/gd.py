"""Full-batch gradient descent, with momentum as in `sgd`: the gradient is that of the whole training set."""

from __future__ import annotations

from typing import ClassVar, Literal

from walkers_dist.dynamics.sgd import SGD


class GD(SGD):
    name: Literal["gd"] = "gd"  # type: ignore[assignment]
    batch_size: None = None
    full_batch: ClassVar[bool] = True
