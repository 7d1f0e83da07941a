"""How strong a coupling is in which step: from a first value on by a law, in rungs k = t // every.

    exponential    value (1 + rate)^k, which stops at `to`
    linear         value + (to - value) s            s = min(k / over, 1)
    cosine         value + (to - value) (1 - cos(pi s)) / 2

Replicated SGD multiplies g by 1 + rate each epoch; Parle lets gamma and rho fall by 1 - 1/(2B) each outer step, to a
floor; the program of Pittorino et al., "Entropic gradient descent algorithms and wide flat minima", arXiv 2006.07897,
has linear and cosine.
"""

from __future__ import annotations

from math import cos, exp, inf, log1p, pi
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from pydantic import Field, model_validator

from walkers_dist.config.kinds import NonNegative, Period
from walkers_dist.config.section import Section

if TYPE_CHECKING:
    from torch import Tensor

    Value = TypeVar("Value", float, Tensor)

LARGEST = 709.0  # of an exponent, for a float


def exponential(value: Value, rate: float, k: int, to: float | None = None) -> Value:
    """value (1 + rate)^k; it goes no further than `to`, and stays where it is beyond it."""
    scaled = value * exp(min(k * log1p(rate), LARGEST))
    if to is None:
        return scaled
    lowest, highest = (-inf, to) if rate > 0 else (to, inf)
    if not isinstance(scaled, float):
        return scaled.clamp(min=value.clamp(max=lowest), max=value.clamp(min=highest))
    return min(max(scaled, min(value, lowest)), max(value, highest))


class Scoping(Section):
    """The law that a value follows; `every` is how many steps a rung has: those of an epoch, say."""

    law: Literal["exponential", "linear", "cosine"] = "exponential"
    every: Period = 1
    rate: Annotated[float, Field(gt=-1, allow_inf_nan=False)] = 0.0
    to: NonNegative | None = None
    over: Period | None = None

    @model_validator(mode="after")
    def _keys_of_its_law(self) -> Scoping:
        if self.law == "exponential" and self.over is not None:
            raise ValueError("over is for the laws linear and cosine: exponential has a rate")
        if self.law != "exponential" and (self.to is None or self.over is None or self.rate):
            raise ValueError(f"law {self.law} needs to and over, and has no rate")
        return self

    def at(self, value: Value, t: int) -> Value:
        """The value at step t, if it begins with `value`."""
        k = t // self.every
        if self.law == "exponential":
            return exponential(value, self.rate, k, self.to)
        assert self.to is not None and self.over is not None
        s = min(k / self.over, 1.0)
        s = s if self.law == "linear" else (1 - cos(pi * s)) / 2
        return value + (self.to - value) * s
