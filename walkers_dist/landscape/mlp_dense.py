"""The second derivatives of a perceptron's loss as one matrix, assembled by pairs of layers instead of from products.

Let u_l be a shift of z_l = W_l h_{l-1} + b_l in one sample, and B_lm = d2 loss / du_l du_m. From the output down,

    B_LL = d2 loss / dz_L2,   B_lm = F_l W_{l+1}^T B_{l+1,m}  (l < m),
    B_ll = B_{l,l+1} W_{l+1} F_l + diag(dh_l f''(z_l))

with F_l = diag(f'(z_l)) and dh_l = d loss / dh_l. The weights of layer l, shifted by w, give u_l = w h_{l-1}; and they
move h_{m-1}, which the weights of a later layer m multiply:

    H[l i a, m j b] = sum_samples B_lm[i, j] h_{l-1}[a] h_{m-1}[b] + dz_m[j] (dh_{m-1}[b] / du_l[i]) h_{l-1}[a]  (l < m)

The first sum is one matrix product over the samples, of pairs of units and pairs of what they read. A bias reads 1.
B_LL alone makes the Gauss-Newton matrix G; R = H - G are the terms with dh_l and dz_m.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from walkers_dist.landscape.activations import Activation
from walkers_dist.landscape.dense import Dense, Part
from walkers_dist.landscape.losses import Loss
from walkers_dist.landscape.mlp_passed import Layer, Passed

NUMBERS = 1 << 22
"""of pairs of what units read that are held at once, or an eighth of those of the matrix if these are more."""
WIDE = 256
"""A unit reading more than this many is no longer paired with itself number by number (see `_add_grams`)."""
TILE = 512
"""Rows and columns that are mirrored at once."""


class MLPDense(Dense):
    """The second derivatives of a mean loss plus l2 / 2 |theta|^2 at `theta: [P]`, over inputs `x: [N, …]`."""

    def __init__(
        self, f: Activation, layers: Sequence[Layer], x: Tensor, targets: Tensor, loss: Loss, l2: float
    ) -> None:
        """`layers`: weights [1, out, in] and biases [1, out] from the first layer to the last."""
        self.f, self.layers = f, layers
        self.weights = [W[0] for W, _ in layers]
        self.x, self.targets, self.loss, self.l2 = x.flatten(1), targets, loss, l2
        self.size = sum(W.numel() + b.numel() for W, b in self.layers)
        self.dtype = x.dtype

    @property
    def inputs(self) -> Tensor:
        """What a unit of the first layer reads: the sample's numbers, and 1 for its bias; [N, in + 1]."""
        return torch.cat([self.x, self.x.new_ones(len(self.x), 1)], dim=1)

    def compressed_size(self, rank: int) -> int:
        """P', where the inputs are replaced by so many coordinates."""
        units, reads = self.weights[0].shape
        return self.size - units * (reads + 1 - rank)

    @torch.no_grad()
    def matrix(self, part: Part = "hessian", coordinates: Tensor | None = None) -> Tensor:
        """H, G or R, exactly symmetric: [P, P], in the parameters' order. The l2 belongs to G.

        With `coordinates: [N, r]` of `inputs` in an orthonormal basis, [P', P']: the first layer reads these instead.
        """
        reads = self.x if coordinates is None else coordinates
        places = self._places(None if coordinates is None else coordinates.shape[1])
        size = places[-1].place.stop
        A = self.x.new_zeros(size, size)
        at_once = self._samples_at_once(places, size)
        for x, r, targets in zip(*(v.split(at_once) for v in (self.x, reads, self.targets)), strict=True):
            self._add(A, part, places, x, r.T.contiguous(), targets)
        if part != "residual":
            A.diagonal().add_(self.l2)
        return mirror(A)

    def _places(self, rank: int | None) -> list[Place]:
        """Where weights and biases lie, in order; with `rank` the first layer has a weight for each coordinate."""
        places, at = [], 0
        for l, W in enumerate(self.weights):
            units, reads = W.shape
            for width in [rank] if l == 0 and rank is not None else [reads, None]:
                numbers = units * (width or 1)
                places.append(Place(l, slice(at, at + numbers), units, width))
                at += numbers
        return places

    def _samples_at_once(self, places: Sequence[Place], size: int) -> int:
        widths = [p.width * q.width for p in places for q in places if not (p is q and p.width > WIDE)]
        return max(1, max(NUMBERS, size * size // 8) // max(widths))

    def _add(self, A: Tensor, part: Part, places: Sequence[Place], x: Tensor, reads: Tensor, targets: Tensor) -> None:
        """Add to the upper triangle what samples `x: [S, in]` contribute; the first layer reads `reads: [r, S]`."""
        state = self._state(x, targets, len(x) / len(self.x))
        B = self._blocks(state, part)
        features = [reads, *state.h[1:]]  # h_{l-1} of layer l
        one = torch.ones_like(reads[:1])
        for k, p in enumerate(places):
            hp = one if p.reads is None else features[p.layer]
            for q in places[k:]:
                hq = one if q.reads is None else features[q.layer]
                block = A[p.place, q.place].unflatten(1, (q.units, -1)).unflatten(0, (p.units, -1))  # [i, a, j, b]
                if B is not None:
                    outer = B[p.layer, q.layer]
                    if p is not q:
                        M = outer.flatten(0, 1) @ (hp[:, None] * hq).flatten(0, 1).T
                        block.add_(M.view(p.units, q.units, p.width, q.width).transpose(1, 2))
                    elif p.width > WIDE:
                        _add_grams(block, outer, hp)
                    else:
                        _add_symmetric(block, outer, hp)
                if part != "gauss_newton" and p.layer < q.layer and q.reads is not None:
                    self._add_cross(block, state, p.layer, q.layer, hp)

    def _state(self, x: Tensor, targets: Tensor, weight: float) -> State:
        p = Passed(self.layers, self.f, x)
        z = p.z.mT
        dz, dh = p.backward(self.loss.gradient(z, targets[None]).mT * weight)
        units = torch.eye(z.shape[2], dtype=z.dtype, device=z.device)[:, None].expand(-1, z.shape[1], -1)
        outputs = self.loss.curvature(z, targets[None])(units).transpose(1, 2) * weight
        h, first, dz, dh = ([v[0] for v in one] for one in (p.h, p.first, dz, dh[:-1]))
        return State(h, first, [v if v is None else v[0] for v in p.second], dz, dh, outputs)

    def _blocks(self, state: State, part: Part) -> dict[tuple[int, int], Tensor] | None:
        """B_lm for l <= m, [n_l, n_m, S]; None where all are zero."""
        curved = part != "gauss_newton" and any(second is not None for second in state.second)
        if part == "residual" and not curved:
            return None
        L = len(self.layers) - 1
        B = {(L, L): torch.zeros_like(state.outputs) if part == "residual" else state.outputs}
        for l in reversed(range(L)):
            W, d = self.weights[l + 1], state.first[l]
            for m in range(l + 1, L + 1):
                below = B[l + 1, m]
                B[l, m] = (W.T @ below.flatten(1)).unflatten(1, below.shape[1:]).mul_(d[:, None])
            B[l, l] = (W.T @ B[l, l + 1]).mul_(d)
            if curved and (second := state.second[l]) is not None:
                B[l, l].diagonal(dim1=0, dim2=1).add_((state.dh[l] * second).T)
        return B

    def _add_cross(self, block: Tensor, state: State, l: int, m: int, hp: Tensor) -> None:
        """Add sum_s dz_m[j] (dh_{m-1}[b] / du_l[i]) hp[a] to `block: [i, a, j, b]`."""
        dz = state.dz[m]
        if m == l + 1:  # dh_l / du_l is diagonal
            T = (dz[:, None] * state.first[l]).flatten(0, 1) @ hp.T
            block.diagonal(dim1=0, dim2=3).add_(T.view(len(dz), -1, len(hp)).permute(2, 0, 1))
            return
        moved = self._moved(state, l, m - 1)
        T = moved.flatten(0, 1) @ (dz[:, None] * hp).flatten(0, 1).T
        block.add_(T.view(*moved.shape[:2], len(dz), len(hp)).permute(1, 3, 2, 0))

    def _moved(self, state: State, l: int, k: int) -> Tensor:
        """dh_k / du_l, k > l: [n_k, n_l, S]."""
        if (l, k) not in state.moved:
            W, d = self.weights[k], state.first[k]
            if k == l + 1:
                moved = W[:, :, None] * state.first[l]
            else:
                before = self._moved(state, l, k - 1)
                moved = (W @ before.flatten(1)).unflatten(1, before.shape[1:])
            state.moved[l, k] = moved.mul_(d[:, None])
        return state.moved[l, k]


@dataclass(frozen=True)
class Place:
    """Weights [units, reads] or biases [units] of a layer, and where they lie among the parameters."""

    layer: int
    place: slice
    units: int
    reads: int | None

    @property
    def width(self) -> int:
        return 1 if self.reads is None else self.reads


@dataclass(frozen=True)
class State:
    """What some samples bring along: sample by sample in the last dimension, S."""

    h: list[Tensor]  # h_l: [n_l, S], from the inputs on
    first: list[Tensor]  # f'(z_l) of the hidden layers
    second: list[Tensor | None]  # f''(z_l), None where it is zero
    dz: list[Tensor]  # of every layer
    dh: list[Tensor]  # of the hidden layers
    outputs: Tensor  # d2 loss / dz_L2: [C, C, S]
    moved: dict[tuple[int, int], Tensor] = field(default_factory=dict)


def _add_symmetric(block: Tensor, outer: Tensor, h: Tensor) -> None:
    """Add sum_s outer[i, j] h[a] h[b] to `block: [i, a, j, b]` for i <= j: of equal products only one is made."""
    i, j = torch.triu_indices(*outer.shape[:2], device=h.device)
    a, b = torch.triu_indices(len(h), len(h), device=h.device)
    number = torch.empty(len(h), len(h), dtype=torch.long, device=h.device)
    number[a, b] = number[b, a] = torch.arange(len(a), device=h.device)
    M = outer[i, j] @ (h[a] * h[b]).T
    pairs = block.transpose(1, 2)
    pairs[i, j] += M[:, number.flatten()].view(-1, *number.shape)


def _add_grams(block: Tensor, outer: Tensor, h: Tensor) -> None:
    """As `_add_symmetric` for wide h, without its products with itself: one weighted Gram matrix per pair of units."""
    for i, row in enumerate(outer):
        for j in range(i, len(row)):
            gram, weighted = block[i, :, j], h * row[j]
            for at in range(0, len(h), WIDE):
                rows = slice(at, at + WIDE)
                gram[rows, at:].addmm_(weighted[rows], h[at:].T)
            mirror(gram)


def mirror(A: Tensor) -> Tensor:
    """Write the upper triangle of a square matrix over the lower one, in place."""
    for at in range(0, len(A), TILE):
        rows, rest = slice(at, at + TILE), slice(at + TILE, None)
        corner = A[rows, rows]
        corner.copy_(corner.triu() + corner.triu(1).T)
        A[rest, rows] = A[rows, rest].T
    return A
