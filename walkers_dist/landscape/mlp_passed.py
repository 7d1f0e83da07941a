"""The forward pass of a perceptron at one point, kept for its second derivatives, and the rules that go along it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from walkers_dist.landscape.activations import Activation

Layer = tuple[Tensor, Tensor]
"""Weights [K, out, in] and biases [K, out]."""


class Passed:
    """A point after a forward pass over inputs `x: [B, …]`, and what derivatives at it are made of.

    `h[l - 1]`: [1, in, B] is what layer l reads, `z`: [1, out, B] the outputs; `first` and `second` are f'(z_l) and
    f''(z_l) of the hidden layers, None where that is zero almost everywhere.
    """

    def __init__(self, layers: Sequence[Layer], f: Activation, x: Tensor) -> None:
        self.layers = layers
        self.h, self.first = [x.flatten(1).T[None]], list[Tensor]()
        self.second: list[Tensor | None] = []
        for W, b in self.layers[:-1]:
            z = torch.baddbmm(b[:, :, None], W, self.h[-1])
            saved = z if f.saves_input else f.f(z)
            self.h.append(f.f(z) if f.saves_input else saved)
            self.first.append(f.first(saved))
            self.second.append(f.second(saved) if f.second else None)
        W, b = self.layers[-1]
        self.z = torch.baddbmm(b[:, :, None], W, self.h[-1])

    def along(self, v: Sequence[Layer]) -> tuple[list[Tensor], list[Tensor | None]]:
        """R{z_l}: [C, out, B] and R{h_{l-1}}: [C, in, B], None for the inputs, along the directions v."""
        Rz: list[Tensor] = []
        Rh: list[Tensor | None] = [None]
        for l, ((W, _), (vW, vb)) in enumerate(zip(self.layers, v, strict=True)):
            C = len(vW)
            r = torch.baddbmm(vb[:, :, None], vW, self.h[l].expand(C, -1, -1))
            if (previous := Rh[l]) is not None:
                r = r.baddbmm_(W.expand(C, -1, -1), previous)
            Rz.append(r)
            if l < len(self.first):
                Rh.append(self.first[l] * r)
        return Rz, Rh

    def backward(self, dz_last: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """dz_l and dh_l of all layers from dz of the last, [C, out, B]; dh of the last means nothing."""
        dz, dh = [dz_last], [dz_last]
        for (W, _), d in zip(reversed(self.layers[1:]), reversed(self.first), strict=True):
            dh.insert(0, W.mT @ dz[0])
            dz.insert(0, dh[0] * d)
        return dz, dh
