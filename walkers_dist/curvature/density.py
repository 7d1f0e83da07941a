"""The density of a spectrum by stochastic Lanczos quadrature, all probes in lockstep.

    phi(x) = (1/P) sum_i delta(x - lambda_i) = E[ v^T delta(x - H) v ] / P,   v of entries +-1

For each probe v, m steps of Lanczos give a tridiagonal T; its eigenvalues are nodes, the squared first entries of its
eigenvectors weights of a Gauss quadrature that is exact for polynomials up to degree 2 m - 1. Lanczos runs without
reorthogonalisation by default: rounding then makes copies of nodes that share one weight, and sums over them do not
change. Source: Lin, Saad, Yang, "Approximating spectral densities of large matrices" (2016); Ubaru, Chen, Saad, "Fast
estimation of tr(f(A)) via stochastic Lanczos quadrature" (2017).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.curvature.full import CHUNK
from walkers_dist.curvature.lanczos import SECOND_PASS
from walkers_dist.curvature.operators import Operator
from walkers_dist.landscape.memory import total_memory
from walkers_dist.landscape.streams import stream

NOISE = 100
"""times the rounding error of H, eps |H v|: a vector as short as that is noise, and the probe's space is invariant."""
SHARE = 0.25
"""The part of all memory that the bases of reorthogonalised probes may take."""
Progress = Callable[[int, int], object]
"""Called with the steps that are made, and all of them."""


@dataclass(frozen=True)
class Density:
    """`nodes, weights, residuals: [probes, steps]` in float64, nodes ascending; the weights of each probe sum to one.

    An eigenvalue lies within the residual of each node. A probe whose space was exhausted before the last step is
    exact; what fills its rows weighs nothing and lies within its spectrum.
    """

    nodes: Tensor
    weights: Tensor
    residuals: Tensor

    def smoothed(self, x: Tensor, sigma: float, log: bool = False) -> tuple[Tensor, Tensor]:
        """The density at `x: [n]` under Gaussians of width `sigma`: mean over probes, and its standard error, [n].

        With `log`, that of log10 |lambda|: x and sigma are in decades, and zeros lie at minus infinity.
        """
        if not sigma > 0:
            raise UserError(f"smoothed: sigma = {sigma}: must be above 0")
        nodes = self.nodes.abs().log10() if log else self.nodes
        z = (x.to(nodes)[:, None, None] - nodes) / sigma
        kernel = torch.exp(-z.square() / 2) / (sigma * (2 * torch.pi) ** 0.5)
        return mean_and_error((kernel * self.weights).sum(-1))

    def moments(self, n: int) -> tuple[Tensor, Tensor]:
        """E lambda^k for k = 1 … n: mean over probes, and its standard error, [n]."""
        powers = torch.arange(1, n + 1, dtype=torch.float64, device=self.nodes.device)
        return mean_and_error((self.nodes ** powers[:, None, None] * self.weights).sum(-1))


def density(
    H: Operator,
    probes: int = 10,
    steps: int = 100,
    *,
    seed: int = 0,
    reorthogonalize: bool = False,
    progress: Progress | None = None,
) -> Density:
    """The density of H from `probes` times `steps` products; with `reorthogonalize`, single nodes mean something too.

    At most P steps are made. UserError if a product is not finite, or for numbers below 1.
    """
    if probes < 1 or steps < 1:
        raise UserError(f"density: probes = {probes}, steps = {steps}: must be at least 1")
    steps = min(steps, H.size)
    at_once = CHUNK.get(H.device.type, 32)
    if reorthogonalize:
        basis = steps * H.size * H.dtype.itemsize
        at_once = max(1, min(at_once, int(SHARE * total_memory(H.device) / basis)))
    groups = [range(first, min(first + at_once, probes)) for first in range(0, probes, at_once)]
    parts = []
    for g, group in enumerate(groups):
        done = g * steps
        tell = (lambda j, done=done: progress(done + j, len(groups) * steps)) if progress else None
        v = probe_vectors(H, group, seed, "density").div_(H.size**0.5)
        parts.append(_quadrature(*_lanczos(H, v, steps, reorthogonalize, tell)))
    return Density(*(torch.cat(part) for part in zip(*parts, strict=True)))


def probe_vectors(H: Operator, which: range, seed: int, purpose: str) -> Tensor:
    """Vectors [len(which), P] of entries +-1, by their numbers: of all probes with E v v' = 1, these vary least."""
    rows = [torch.randint(0, 2, (H.size,), generator=stream(seed, f"probe {k}", purpose)) for k in which]
    return torch.stack(rows).to(H.device, H.dtype).mul_(2).sub_(1)


def mean_and_error(values: Tensor) -> tuple[Tensor, Tensor]:
    """Over the last dimension, the probes: the mean, and its standard error (nan of one probe alone)."""
    k = values.shape[-1]
    error = values.std(-1) / k**0.5 if k > 1 else torch.full_like(values[..., 0], torch.nan)
    return values.mean(-1), error


def finite(products: Tensor) -> Tensor:
    """What H gave, if it is finite."""
    if not products.isfinite().all():
        raise UserError("a product of the matrix is not finite: figures of it mean nothing")
    return products


def _lanczos(
    H: Operator, v: Tensor, steps: int, reorthogonalize: bool, tell: Callable[[int], object] | None
) -> tuple[Tensor, Tensor, Tensor]:
    """alpha, beta [probes, steps] and noise [probes] in float64 from unit vectors `v: [probes, P]`."""
    probes, P = v.shape
    alpha = torch.zeros(probes, steps, dtype=torch.float64)
    beta, noise = torch.zeros_like(alpha), torch.zeros(probes, dtype=torch.float64)
    going = torch.ones(probes, dtype=torch.bool)
    basis = v.new_empty(probes, steps, P) if reorthogonalize else None
    before = torch.zeros_like(v)
    for j in range(steps):
        w = H(v).clone()  # the identity may return its argument
        length = finite(w.norm(dim=1)).double().cpu()
        noise = torch.maximum(noise, NOISE * torch.finfo(H.dtype).eps * length)
        a = torch.linalg.vecdot(v, w)
        w.addcmul_(v, a[:, None], value=-1)
        if j:
            w.addcmul_(before, beta[:, j - 1, None].to(w), value=-1)
        if basis is not None:
            basis[:, j] = v
            _orthogonalize(w, basis[:, : j + 1])
        b = w.norm(dim=1)
        if j == 0:  # what fills the rows after a probe's end: nodes without weight, and within its spectrum
            alpha += a.double().cpu()[:, None]
        alpha[:, j] = a.double().cpu().where(going, alpha[:, 0])
        going &= b.double().cpu() > noise
        beta[:, j] = b.double().cpu().where(going, 0.0)
        if tell:
            tell(j + 1)
        if not going.any():
            break
        # A probe that has ended goes on with zeros: its part of T is decoupled.
        before, v = v, (w / b[:, None]).where(going.to(w.device)[:, None], 0.0)
    return alpha, beta, noise


def _orthogonalize(w: Tensor, Q: Tensor) -> None:
    """Keep of each of `w: [probes, P]` what is orthogonal to its rows of `Q: [probes, rows, P]`."""
    for one, rows in zip(w, Q, strict=True):  # a batched product of matrices and vectors is ten times slower on a CPU
        for _ in range(2):
            before = float(one.norm())
            one.addmv_(rows.T, rows @ one, alpha=-1)
            if float(one.norm()) >= SECOND_PASS * before:
                break


def _quadrature(alpha: Tensor, beta: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes, weights and residuals [probes, steps] of tridiagonal matrices."""
    T = alpha.diag_embed() + beta[:, :-1].diag_embed(1) + beta[:, :-1].diag_embed(-1)
    nodes, S = torch.linalg.eigh(T)
    return nodes, S[:, 0].square(), beta[:, -1:] * S[:, -1].abs() + noise[:, None]
