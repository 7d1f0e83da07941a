"""Averages of the walkers: soups of their parameters, the ensemble of their outputs, and how they disagree.

    uniform    the mean of the walkers' parameters
    greedy     the walkers by their training loss, the lowest first; each joins the mean of those before it if the
               loss of that mean does not rise (Wortsman et al. 2022, "Model soups", arXiv 2203.05482)
    ensemble   the mean of their outputs: of probabilities for cross entropy, of the outputs themselves otherwise

The paper's greedy soup goes by accuracy on held-out data. There is none here that is not the test set, so that ours
goes by the training loss, and test figures stay those of unseen data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from walkers_dist.config.kinds import Probe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from walkers_dist.config.kinds import Row, Snapshots
    from walkers_dist.landscape.base import Landscape
    from walkers_dist.probes.figures import Cells

AverageKind = Literal["uniform", "greedy", "ensemble"]


def _each_once(kinds: tuple[AverageKind, ...]) -> tuple[AverageKind, ...]:
    if len(set(kinds)) < len(kinds):
        raise ValueError("must hold each kind once")
    return kinds


def _walkers(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if names is not None and "center" in names:
        raise ValueError("must hold walkers (the center is no part of an average)")
    return names


class Average(Probe):
    """A row for each kind, `members` in the order in which they joined: of a greedy soup the best comes first.

    `disagreement` is that of the members, on test data where there is some, else on training data; empty where they
    are fewer than two or nothing is classified. Walkers that are not finite are left out, unless there is no other.
    """

    name: Literal["average"] = "average"
    of: Annotated[tuple[str, ...] | None, Field(strict=False, min_length=1), AfterValidator(_walkers)] = None
    """Which walkers; null is all of them."""
    kinds: Annotated[tuple[AverageKind, ...], Field(strict=False, min_length=1), AfterValidator(_each_once)] = (
        "uniform",
        "greedy",
        "ensemble",
    )

    tables: ClassVar[tuple[str, ...]] = ("averages",)

    def points_named(self) -> dict[str, tuple[str, ...]]:
        return {"of": self.of} if self.of else {}

    def measure(self, landscape: Landscape, snapshots: Snapshots, step: int, seed: int) -> dict[str, list[Row]]:
        names = self.of or tuple(name for name in snapshots.names if name != "center")
        X = snapshots.points(step, names)
        if (finite := X.isfinite().all(dim=1)).any():
            X, names = X[finite], tuple(name for name, there in zip(names, finite.tolist(), strict=True) if there)
        everybody = list(range(len(names)))
        answers = landscape.answers(X, split=landscape.splits[-1])
        rows: list[Row] = []
        for kind in self.kinds:
            members = everybody
            if kind == "greedy":
                members = greedy(X, everybody, landscape.loss)
            values = _ensemble(landscape, X[members]) if kind == "ensemble" else _soup(landscape, X[members])
            if values is not None:
                differ = disagreement(answers[members]) if answers is not None and len(members) > 1 else None
                rows.append((step, kind, " ".join(names[k] for k in members), *values, differ))
        return {"averages": rows}


def greedy(X: Tensor, members: Sequence[int], loss: Callable[[Tensor], Tensor]) -> list[int]:
    """Which of the rows `members` of `X: [K, P]` are in the greedy soup, in the order in which they joined."""
    losses = loss(X[list(members)]).nan_to_num(nan=float("inf")).tolist()
    (least, first), *others = sorted(zip(losses, members, strict=True))
    soup = [first]
    for _, k in others:
        stirred = loss(X[[*soup, k]].mean(dim=0, keepdim=True)).item()
        if stirred <= least:
            soup, least = [*soup, k], stirred
    return soup


def disagreement(answers: Tensor) -> float:
    """Mean over the pairs of K points of the share of samples that they class differently, from `answers: [K, N]`.

    Of K points n_c give a sample the class c, and (K^2 - sum_c n_c^2) / 2 of their K (K - 1) / 2 pairs differ.
    """
    import torch

    K, N = answers.shape
    n = torch.zeros(N, int(answers.max()) + 1, dtype=torch.float64, device=answers.device)
    n.scatter_add_(1, answers.T, torch.ones_like(answers.T, dtype=n.dtype))
    return (K**2 - n.square().sum(dim=1)).mean().item() / (K * (K - 1))


def _soup(landscape: Landscape, X: Tensor) -> Cells:
    from walkers_dist.probes.figures import values_of

    return values_of(landscape, X.mean(dim=0, keepdim=True))[0]


def _ensemble(landscape: Landscape, X: Tensor) -> Cells | None:
    """Its four cells; None on a landscape without outputs."""
    from walkers_dist.probes.figures import cells
    from walkers_dist.records.tables import VALUES

    figures: list[float] = []
    for split in ("train", "test"):
        found = landscape.ensemble(X, split=split) if split in landscape.splits else (float("nan"),) * 2
        if found is None:
            return None
        figures += found
    return cells(figures, VALUES, landscape.splits)
