"""Extreme eigenpairs by L-BFGS on the Rayleigh quotient r(v) = v.Hv / v.v, as the program elementary-walkers did.

    gradient of r at a unit vector v:   2 (H v - r v)

The largest pair maximises r, the smallest minimises it; for the next one H is deflated: r and its gradient are those of
(1 - Q Q^T) H (1 - Q Q^T), on what is orthogonal to the vectors Q found. An independent check of Lanczos, far slower.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.curvature.operators import Operator

GRADIENT = 1e-8
"""The largest entry of the gradient at which L-BFGS ends, relative to the first quotient: near what rounding of the
quotient leaves, for the original's 1e-6 does not tell an eigenvalue near zero from zero. It ends earlier in float32."""
STEPS, ROUNDS = 2000, 5
"""A round ends early: the gradient of r is orthogonal to v, so that v grows with every step and the gradient shrinks.
The next round begins at the unit vector."""


def rayleigh(H: Operator, top: int, bottom: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Values [bottom + top <= P] ascending and unit vectors [bottom + top, P], each search from N(0, I).

    UserError if a product is not finite.
    """
    lower = _end(H, bottom, -1.0, generator)
    upper = _end(H, top, 1.0, generator)
    values = [*(v for v, _ in lower), *(v for v, _ in reversed(upper))]
    vectors = [*(q for _, q in lower), *(q for _, q in reversed(upper))]
    return torch.tensor(values, dtype=H.dtype, device=H.device), torch.stack(vectors).to(H.device, H.dtype)


def _end(H: Operator, k: int, side: float, generator: torch.Generator) -> list[tuple[float, Tensor]]:
    """`k` pairs from one end, the outermost first: `side` 1 is the top."""
    found: list[tuple[float, Tensor]] = []
    for _ in range(k):
        q = _outermost(H, side, [q for _, q in found], generator)
        Hq = H(q.to(H.device, H.dtype)[None])[0].double().cpu()
        found.append((float(q @ Hq), q))
    return sorted(found, key=lambda pair: -side * pair[0])


def _outermost(H: Operator, side: float, deflated: list[Tensor], generator: torch.Generator) -> Tensor:
    from scipy.optimize import minimize

    Q = torch.stack(deflated) if deflated else None

    def away(v: Tensor) -> Tensor:
        return v if Q is None else v - Q.T @ (Q @ v)

    def quotient(x: np.ndarray) -> tuple[float, np.ndarray]:
        v = away(torch.from_numpy(x))
        length = v.norm()
        u = v / length
        Hu = H(u.to(H.device, H.dtype)[None])[0].double().cpu()
        r = u @ Hu
        if not r.isfinite():
            raise UserError("a product of the matrix is not finite: its eigenvalues mean nothing")
        g = away(2 * (Hu - r * u)) / length
        return float(-side * r), (-side * g).numpy()

    start = away(torch.randn(H.size, generator=generator, dtype=torch.float64))
    start = start / start.norm()
    scale = max(abs(quotient(start.numpy())[0]), 1e-30)
    options = {"maxiter": STEPS, "maxfun": 2 * STEPS, "gtol": GRADIENT * scale, "ftol": 0.0, "maxcor": 20}
    for _ in range(ROUNDS):
        best = minimize(quotient, start.numpy(), jac=True, method="L-BFGS-B", options=options)
        start = away(torch.from_numpy(best.x))
        start = start / start.norm()
        if abs(quotient(start.numpy())[1]).max() <= options["gtol"]:
            break
    return start
