"""Random walks on the loss surface (elementary-walkers' `random_walker`, with a threshold that has an effect).

    theta' = theta + N(0, step_size^2) for every parameter          inside: L(theta') - L(theta_0) <= threshold

mode: first_exit   a walk ends at its first move that is not inside; where it stood before that move is kept
      stay         such a move is not made, and the walk tries another one

Each walk has a stream of its own, so that it goes the same way whatever walks beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from walkers_dist.config.kinds import NonNegative, Period, Probe, Rate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from torch import Tensor

    from walkers_dist.config.kinds import Row, Snapshots
    from walkers_dist.landscape.base import Landscape

    Visit = Callable[[int, Tensor, Tensor, Tensor], None]
    """`(move, walks: [n], points: [n, P], losses: [n])`: what a row of the table is made of."""

Mode = Literal["first_exit", "stay"]
NUMBERS_AT_ONCE = 1 << 25
"""Numbers in the points of the walks that move together: 256 MB in float64."""


class Walk(Probe):
    """Rows of a walk: its start (move 0), every `log_every`-th move, and the last.

    A walk of `first_exit` that left shows it by its last row, whose training loss exceeds that of move 0 by more than
    `threshold`: its `move` is when it left, and the row before is the last inside point. A walk without such a row was
    still inside after `moves` moves. Where a start is not finite, there is only its row of nan.
    """

    name: Literal["walk"] = "walk"
    of: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] | None = None
    """Where walks start; null is everywhere."""
    walks: Annotated[int, Field(ge=1)] = 10
    """From each start."""
    mode: Mode = "first_exit"
    threshold: NonNegative = 0.05
    """How much the training loss may exceed that of the start."""
    step_size: Rate = 0.005
    moves: Annotated[int, Field(ge=1)] = 1000
    """At most so many."""
    log_every: Period = 100

    tables: ClassVar[tuple[str, ...]] = ("explorations",)

    def points_named(self) -> dict[str, tuple[str, ...]]:
        return {"of": self.of} if self.of else {}

    def measure(self, landscape: Landscape, snapshots: Snapshots, step: int, seed: int) -> dict[str, list[Row]]:
        names = self.of or tuple(snapshots.names)
        starts = snapshots.points(step, names)
        walks = [(i, walk) for i in range(len(names)) for walk in range(self.walks)]
        at_once = max(1, NUMBERS_AT_ONCE // landscape.size)
        rows: list[Row] = []
        for first in range(0, len(walks), at_once):
            some = walks[first : first + at_once]
            rows += self._rows(landscape, starts[[i for i, _ in some]], some, names, step, seed)
        return {"explorations": rows}

    def _rows(
        self,
        landscape: Landscape,
        starts: Tensor,
        walks: Sequence[tuple[int, int]],
        names: Sequence[str],
        step: int,
        seed: int,
    ) -> list[Row]:
        """Rows of these walks (which start, which of its walks), one walk after the other."""
        from walkers_dist.landscape.streams import stream
        from walkers_dist.probes.figures import values_of

        found: list[tuple[int, int, list[float | None]]] = []

        def visit(move: int, which: Tensor, points: Tensor, losses: Tensor) -> None:
            cells = values_of(landscape, points)
            figures = zip(which.tolist(), points.norm(dim=1).tolist(), losses.tolist(), cells, strict=True)
            # The loss that decided, not one that was computed beside other points and differs in its last bit.
            found.extend((k, move, [norm, loss, *others[1:]]) for k, norm, loss, others in figures)

        streams = [stream(seed, names[i], f"walk {walk}", step) for i, walk in walks]
        wander(
            landscape.loss,
            starts,
            streams,
            visit,
            mode=self.mode,
            threshold=self.threshold,
            step_size=self.step_size,
            moves=self.moves,
            log_every=self.log_every,
        )
        found.sort(key=lambda row: row[:2])
        return [
            (step, walks[k][1], names[walks[k][0]], move, self.threshold, self.step_size, *figures)
            for k, move, figures in found
        ]


def wander(
    loss: Callable[[Tensor], Tensor],
    starts: Tensor,
    streams: Sequence[torch.Generator],
    visit: Visit,
    *,
    mode: Mode,
    threshold: float,
    step_size: float,
    moves: int,
    log_every: int,
) -> Tensor:
    """Walk from the points `starts: [R, P]`, all at once; where each walk stands at the end, [R, P], is inside.

    `visit` sees every walk at its start, at every `log_every`-th move and at its last; of a walk that leaves, also
    where it stood before. A point from which there is no way, not being finite or having no finite loss, stays.
    """
    import torch

    with torch.no_grad():
        theta = starts.where(starts.isfinite().all(dim=1, keepdim=True), torch.nan)
        first = loss(theta)
        here = first.clone()
        going = torch.arange(len(theta), device=theta.device)
        visit(0, going, theta, here)
        going = going[first.isfinite()]
        for move in range(1, moves + 1):
            if not len(going):
                break
            to = _normal([streams[k] for k in going.tolist()], theta).mul_(step_size).add_(theta[going])
            there = loss(to)
            inside = there - first[going] <= threshold  # nan is not
            stays, leaves = going[inside], going[~inside]
            if mode == "first_exit":
                if len(leaves):
                    if (move - 1) % log_every:
                        visit(move - 1, leaves, theta[leaves], here[leaves])
                    visit(move, leaves, to[~inside], there[~inside])
                going = stays
            theta[stays], here[stays] = to[inside], there[inside]
            if len(going) and (move % log_every == 0 or move == moves):
                visit(move, going, theta[going], here[going])
        return theta


def _normal(streams: Sequence[torch.Generator], like: Tensor) -> Tensor:
    """N(0, 1) in every place, each row from its own stream: [len(streams), P]."""
    import torch

    noise = torch.empty(len(streams), like.shape[1], dtype=like.dtype)
    for row, generator in zip(noise, streams, strict=True):
        row.normal_(generator=generator)
    return noise.to(like.device)
