"""Loss and accuracy on a plane in parameter space, and where the walkers' paths lie beside it.

    theta(u, v) = o + u e_1 + v e_2,   e_1, e_2 orthonormal: a distance in the picture is one in parameter space

through     o = a, e_1 along b - a, e_2 along what c - a has beside it (Gram-Schmidt)
principal   o = where `around` is now, e_1, e_2 the first right singular vectors of all points of all walkers so far,
            seen from o: of all planes through o the one nearest to the trajectory
random      o = where `around` is now; two normal vectors, each filter rescaled to the norm of the same filter of o,
            then made orthonormal, which leaves their plane as it is
hessian     o = where `around` is now, e_1, e_2 the eigenvectors of the two largest eigenvalues of the Hessian at o:
            of all planes through o the one in which the loss bends upwards most

Source of principal and random: Li, Xu, Taylor, Studer, Goldstein, "Visualizing the loss landscape of neural nets"
(2018).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from walkers_dist.config.errors import UserError
from walkers_dist.config.kinds import NonNegative, Probe, Rate
from walkers_dist.probes.figures import values_of
from walkers_dist.probes.paths import evenly, rows_at_once

if TYPE_CHECKING:
    from torch import Tensor

    from walkers_dist.config.kinds import Row, Snapshots
    from walkers_dist.landscape.base import Landscape

FLAT = 1e-6
"""Of the points' norm: directions that differ by less are one, for a point that was kept in single precision."""
EIGENVALUE_TOL = 1e-6
"""A vector is off by this angle, over the relative distance of its eigenvalue to the next."""
TRAJECTORY_AT_ONCE = 1 << 25
"""Numbers of the trajectory that are held at a time: 256 MB of float64."""


def _three(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(names) != 3:
        raise ValueError("must be the names of three points, such as [center, w0, w1]")
    return names


ThreeNames = Annotated[
    tuple[str, ...],
    Field(strict=False, json_schema_extra={"minItems": 3, "maxItems": 3}),
    AfterValidator(_three),
]


class Plane(Probe):
    """Without `through` and `directions` the plane goes through the first three points of a snapshot.

    The window holds every path and, on each side, `margin` of its extent. Around random directions it reaches `radius`
    times their length, which is the norm of the point. Along eigenvectors of the Hessian it reaches `radius` times
    sqrt(2 |loss| / |eigenvalue|), for each its own length: if the loss bent everywhere as it does at the point, it
    would have risen there by radius^2 times itself. (The paths set no scale in these directions: they come from where
    the eigenvalue was another, and may lie in one point.) A path may leave either of the two.

    `planes`: a row for each point of the grid, u fastest. Its column `plane` is `center-w0-w1`, `principal`, `random`
    or `hessian`. Loss and accuracy are what they are: a value that is not finite is written as such.
    `plane_points`: the path of the center, then of w0, w1, …, a row for each snapshot so far in the order of their
    steps: the last is that of the measured `step`. From them `explained` gives the variance that each principal
    direction holds (the log says it too).
    Where the points lie on one line (at the start they are often equal) a line in the log says so, instead of rows.
    """

    name: Literal["plane"] = "plane"
    through: ThreeNames | None = None
    directions: Literal["principal", "random", "hessian"] | None = None
    around: str | None = None
    grid: Annotated[int, Field(ge=2)] = 51
    margin: NonNegative = 0.2
    radius: Rate = 1.0

    tables: ClassVar[tuple[str, ...]] = ("planes", "plane_points")

    @model_validator(mode="after")
    def _keys_mean_something(self) -> Plane:
        if self.through is not None and self.directions is not None:
            names = ", ".join(self.through)
            raise ValueError(
                f"through = [{names}] and directions = {self.directions} are two planes: one of them must be null"
            )
        if self.around is not None and self.directions is None:
            raise ValueError(f"around = {self.around} needs directions = principal, random or hessian")
        by_radius = self.directions in ("random", "hessian")
        if not by_radius and self.radius != type(self).model_fields["radius"].default:
            needed = "directions = random or hessian; elsewhere margin sets the window"
            raise ValueError(f"radius = {self.radius:g} needs {needed}")
        if by_radius and self.margin != type(self).model_fields["margin"].default:
            given = f"directions = {self.directions}"
            raise ValueError(f"margin = {self.margin:g} means nothing with {given}; radius sets the window")
        return self

    def points_named(self) -> dict[str, tuple[str, ...]]:
        if self.directions is not None:
            return {"around": (self.around,)} if self.around is not None else {}
        return {"through": self.through} if self.through is not None else {}

    def impossible(self, names: Sequence[str]) -> str | None:
        if self.directions is None and len(names) < 3:
            there = " and ".join(names)
            return f"there is only {there}, and a plane has three points: set directions = principal, random or hessian"
        return None

    def measure(self, landscape: Landscape, snapshots: Snapshots, step: int, seed: int) -> dict[str, list[Row]]:
        try:
            plane, axes = self.axes(landscape, snapshots, step, seed)
            path = path_of(landscape, snapshots, axes)
            us, vs = self.window(landscape, axes, path)
        except NoPlane as reason:
            print(f"plane at step {step}: {reason}", flush=True)
            return {table: [] for table in self.tables}
        if self.directions == "principal":
            first, second = explained((u, v, distance) for _, u, v, distance, _ in path)
            shares = f"{100 * first:.1f} % and {100 * second:.1f} %"
            print(f"plane at step {step}: the principal directions hold {shares} of the variance", flush=True)
        grid = [(u, v) for v in vs for u in us]
        values = plane_values(landscape, axes, grid)
        return {
            "planes": [(step, plane, *uv, *row) for uv, row in zip(grid, values, strict=True)],
            "plane_points": [(step, plane, *row) for row in path],
        }

    def axes(self, landscape: Landscape, snapshots: Snapshots, step: int, seed: int) -> tuple[str, Axes]:
        """The plane's name and where it lies. Raises `NoPlane`."""
        if reason := self.impossible(snapshots.names):
            raise NoPlane(reason)
        if self.directions is None:
            names = self.through or tuple(snapshots.names[:3])
            a, b, c = _finite(snapshots.points(step, names), names)
            return "-".join(names), orthonormal(a, b - a, c - a, f"the points {', '.join(names)}")
        around = self.around or snapshots.names[0]
        (o,) = _finite(snapshots.points(step, [around]), [around])
        if self.directions == "random":
            return "random", orthonormal(o, *random_directions(o, landscape.filters, seed, around), "the directions")
        if self.directions == "hessian":
            return "hessian", stiffest(landscape, o, seed, around)
        return "principal", orthonormal(o, *principal_directions(o, snapshots), "the points of all walkers so far")

    def window(self, landscape: Landscape, axes: Axes, path: Sequence[Waypoint]) -> tuple[list[float], list[float]]:
        """The grid's coordinates u and v. Raises `NoPlane` where they have no bounds."""
        if axes.eigenvalues is not None:
            loss = float(landscape.values(axes.origin[None])[0])
            halves = [self.radius * math.sqrt(2 * abs(loss / h)) if h else math.inf for h in axes.eigenvalues]
            if not all(0 < half < math.inf for half in halves):
                first, second = axes.eigenvalues
                raise NoPlane(f"a loss of {loss:g} and eigenvalues {first:g} and {second:g} give no scale")
            us, vs = (evenly(-half, half, self.grid) for half in halves)
            return us, vs
        if self.directions == "random":
            half = self.radius * float(axes.origin.norm())
            return evenly(-half, half, self.grid), evenly(-half, half, self.grid)
        seen = [(u, v) for _, u, v, _, _ in path if math.isfinite(u) and math.isfinite(v)]
        us, vs = (self._side(column) for column in zip(*seen, strict=True))
        return us, vs

    def _side(self, column: Sequence[float]) -> list[float]:
        low, high = min(column), max(column)
        margin = self.margin * (high - low)
        if not math.isfinite(high - low + 2 * margin):
            raise NoPlane("the points lie too far apart")
        return evenly(low - margin, high + margin, self.grid)


class NoPlane(Exception):
    """Why there is no plane to be drawn."""


Waypoint = tuple[str, float, float, float, float]
"""A point of a walker's path: walker, u, v, distance, train_loss."""


@dataclass(frozen=True)
class Axes:
    origin: Tensor  # [P]
    E: Tensor  # [2, P], orthonormal rows
    eigenvalues: tuple[float, float] | None = None
    """Of the Hessian at the origin, where these are its eigenvectors."""

    def points(self, uv: Tensor) -> Tensor:
        """Points [K, P] at the coordinates [K, 2]."""
        import torch

        return torch.addmm(self.origin, uv, self.E)

    def coordinates(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates [K, 2] of the points [K, P] projected onto the plane, and their distances [K] off it."""
        beside = X - self.origin
        uv = beside @ self.E.T
        return uv, beside.sub_(uv @ self.E).norm(dim=1)


def orthonormal(origin: Tensor, first: Tensor, second: Tensor, what: str) -> Axes:
    """The plane through `origin` along two directions, all [P], by Gram-Schmidt.

    Raises `NoPlane`, naming `what` spans none, where the directions are one.
    """
    import torch

    least = FLAT * max(float(v.norm()) for v in (origin, first, second))
    E: list[Tensor] = []
    for direction in (first, second):
        for _ in range(2):  # the second time takes away what rounding left the first time
            for e in E:
                direction = direction - (e @ direction) * e
        if not float(direction.norm()) > least:
            raise NoPlane(f"{what} lie at one point or on one line")
        E.append(direction / direction.norm())
    return Axes(origin, torch.stack(E))


def stiffest(landscape: Landscape, o: Tensor, seed: int, around: str) -> Axes:
    """The plane through `o: [P]` along the eigenvectors of the Hessian's two largest eigenvalues, the largest first.

    Raises `NoPlane` where they cannot be had.
    """
    import torch

    from walkers_dist.curvature import extremes, hessian
    from walkers_dist.landscape.streams import stream

    v0 = torch.randn(len(o), generator=stream(seed, around, "plane hessian"))
    try:
        edges = extremes(hessian(landscape, o), top=2, bottom=0, tol=EIGENVALUE_TOL, vectors=True, v0=v0)
    except UserError as reason:
        raise NoPlane(str(reason)) from None
    if len(edges.eigenvalues) < 2 or not edges.all_converged:
        raise NoPlane("the Hessian's two largest eigenvalues were not found")
    assert edges.vectors is not None
    second, first = edges.eigenvalues.tolist()
    return Axes(o, edges.vectors.flip(0), (first, second))


def random_directions(o: Tensor, filters: Sequence[int] | None, seed: int, around: str) -> tuple[Tensor, Tensor]:
    """Two directions [2, P] from the stream of `around`: the same at each step, but for the filters' norms."""
    import torch

    from walkers_dist.landscape.streams import stream

    D = torch.randn(2, len(o), generator=stream(seed, around, "plane"), dtype=torch.float64)
    first, second = filter_normalised(D.to(o), o, filters)
    return first, second


def filter_normalised(D: Tensor, theta: Tensor, filters: Sequence[int] | None) -> Tensor:
    """Directions `D: [n, P]`, each filter rescaled to the norm that it has in `theta: [P]`."""
    import torch

    lengths = torch.tensor(filters or [len(theta)], device=theta.device)
    of = torch.repeat_interleave(torch.arange(len(lengths), device=theta.device), lengths)  # the filter of each number
    wanted = theta.new_zeros(len(lengths)).index_add_(0, of, theta.square())
    found = D.new_zeros(len(D), len(lengths)).index_add_(1, of, D.square())
    scale = (wanted / found).sqrt().where(found > 0, 0.0)
    return D * scale[:, of]


def principal_directions(o: Tensor, snapshots: Snapshots) -> tuple[Tensor, Tensor]:
    """The first two right singular vectors of the points so far minus o, times their singular values, [P] each.

    By the eigenvectors of the points' inner products, a block of the trajectory at a time. Each points to where the
    point farthest along it is. Points that are not finite are left out.
    """
    import torch

    names = snapshots.names
    each = max(1, TRAJECTORY_AT_ONCE // (len(names) * len(o)))
    blocks = [snapshots.steps[i : i + each] for i in range(0, len(snapshots.steps), each)]
    rows = [slice(i * each * len(names), (i * each + len(block)) * len(names)) for i, block in enumerate(blocks)]
    if rows[-1].stop < 3:
        raise NoPlane("there are fewer than three points so far")

    def seen_from_o(block: Sequence[int]) -> Tensor:
        M = torch.cat([snapshots.points(step, names) for step in block]) - o
        return M.where(M.isfinite().all(dim=1, keepdim=True), 0.0)

    G = o.new_zeros(rows[-1].stop, rows[-1].stop)
    for i, block in enumerate(blocks):
        M = seen_from_o(block)
        G[rows[i], rows[i]] = M @ M.T
        for j in range(i + 1, len(blocks)):
            G[rows[i], rows[j]] = M @ seen_from_o(blocks[j]).T
            G[rows[j], rows[i]] = G[rows[i], rows[j]].T
    if not bool(G.isfinite().all()):
        raise NoPlane("the points lie too far apart")
    w = torch.linalg.eigh(G).eigenvectors[:, -2:].flip(1)  # the largest eigenvalue first
    w = w * w.gather(0, w.abs().argmax(dim=0, keepdim=True)).sign()
    first, second = sum(w[rows[i]].T @ seen_from_o(block) for i, block in enumerate(blocks))
    return first, second


def explained(path: Iterable[tuple[float, float, float]]) -> tuple[float, float]:
    """Shares of the squared distances from the origin that lie along u and v, of the rows (u, v, distance) of a path.

    For principal directions of the trajectory they are the explained variance. Points that are not finite are left out.
    """
    squares = [[x * x for x in row] for row in path if all(map(math.isfinite, row))]
    along_u, along_v, off = (math.fsum(column) for column in zip(*squares, strict=True))
    return along_u / (along_u + along_v + off), along_v / (along_u + along_v + off)


def path_of(landscape: Landscape, snapshots: Snapshots, axes: Axes) -> list[Waypoint]:
    """Every walker's path: its points so far, one walker after the other."""
    paths: dict[str, list[Waypoint]] = {name: [] for name in snapshots.names}
    for step in snapshots.steps:
        X = snapshots.points(step, snapshots.names)
        loss, _ = landscape.values(X)
        uv, distance = axes.coordinates(X)
        for name, (u, v), off, value in zip(paths, uv.tolist(), distance.tolist(), loss.tolist(), strict=True):
            paths[name].append((name, u, v, off, value))
    return [point for path in paths.values() for point in path]


def plane_values(landscape: Landscape, axes: Axes, grid: Sequence[tuple[float, float]]) -> list[list[float | None]]:
    """Loss and accuracy on training and test data (4 cells) at the coordinates of a plane, a few points at a time."""
    uv = axes.origin.new_tensor(grid)
    return [row for some in uv.split(rows_at_once(axes.origin)) for row in values_of(landscape, axes.points(some))]


def _finite(X: Tensor, names: Sequence[str]) -> Tensor:
    """The points themselves. Raises `NoPlane` naming the one that is not finite."""
    for name, finite in zip(names, X.isfinite().all(dim=1).tolist(), strict=True):
        if not finite:
            raise NoPlane(f"{name} is not finite")
    return X
