"""What can give the matrix of a loss's second derivatives at a point whole, faster than products do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from torch import Tensor

Part = Literal["hessian", "gauss_newton", "residual"]


class Dense(ABC):
    """The second derivatives of the training loss at one point."""

    @abstractmethod
    def matrix(self, part: Part = "hessian") -> Tensor:
        """H, its Gauss-Newton part G, or R = H - G: [P, P], exactly symmetric. A penalty belongs to G."""
