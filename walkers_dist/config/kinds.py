"""What a walker's own move, a coupling and a probe are: configuration and algorithm in one frozen model.

A kind is a frozen pydantic model whose fields are its keys in the YAML file and whose few methods are its formula.
What changes while it runs lives in a state that it makes and that is passed back in, so a kind can be replaced by a
changed copy at any step. Nothing here loads torch.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from torch import Tensor

    State = dict[str, Tensor]

Event = Literal["losses", "message", "gradient", "force", "move", "dynamics", "center", "descend", "forget"]
"""What a step consists of:

losses      the walkers' losses on the whole training set are put into the coupling's state, once: `losses`, [K, 1]
message     the coupling writes its part of the sums, and they begin to travel
gradient    the dynamics take the gradients of all rows
force       the coupling adds to these gradients
move        the coupling moves the rows
dynamics    the dynamics move the rows by their gradients
center      the sums have arrived, and the coupling moves the center
descend     the dynamics move the center by a gradient of its own
forget      the dynamics begin afresh
"""
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Period = Annotated[int, Field(ge=1)]


class Kind(BaseModel):
    """One entry of the registry: `name` says which, the other fields are its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, serialize_by_alias=True)
    name: str


class Gradient(Protocol):
    """What a move may ask at step t, at any points `X: [K, P]` of its walkers, as often as it likes."""

    def __call__(self, X: Tensor, /) -> Tensor:
        """The gradient [K, P], each row on its own minibatch t."""
        ...

    def normal(self, like: Tensor, /) -> Tensor:
        """Standard normal numbers [K, P], fresh in every step, each row from its walker's own stream."""
        ...


class Dynamics(Kind):
    """A walker's own move, for all rows of a process at once."""

    lr: Rate = 0.1
    batch_size: Annotated[int, Field(ge=1)] | None = 100
    weight_decay: NonNegative = 0.0

    full_batch: ClassVar[bool] = False
    """Whether the gradient is that of the whole training set."""
    rows_are_averages: ClassVar[bool] = False
    """Whether a row is an average of where its walker went: then no force can move the walker."""

    def gradient(self, X: Tensor, grad: Gradient, state: State, t: int) -> Tensor:
        """The gradient [K, P] this move uses: `grad(X)`, each row on its own minibatch t, and the weight decay."""
        g = grad(X)
        return g.add_(X, alpha=self.weight_decay) if self.weight_decay else g

    @property
    def remembered(self) -> int:
        """How many vectors [P] its state holds for each walker, at most."""
        return 1

    @abstractmethod
    def move(self, X: Tensor, g: Tensor, state: State, t: int) -> None:
        """Move the rows `X: [K, P]` in place by their gradients `g: [K, P]`.

        `state` maps a name to a tensor [K, …], of the same dtype, whose row k belongs to that walker alone; it is
        empty before the first step and goes into every checkpoint.
        """

    def step(self, X: Tensor, g: Tensor, state: State, t: int, output_bias: slice | None = None) -> None:
        """`move`, for walkers: what a kind does to the output layer's bias beside it is none of a center's business."""
        self.move(X, g, state, t)


class Sums:
    """One process's part of the sums of an exchange, and after it the sums over all: one flat buffer, named views."""

    def __init__(self, flat: Tensor, P: int, scalars: Sequence[str], vectors: int = 1) -> None:
        self.flat = flat
        self.vector = flat[:P]
        self.vectors = flat[: vectors * P].view(vectors, P)
        self.count = flat[-1]
        self._scalars = {name: flat[vectors * P + i] for i, name in enumerate(scalars)}

    def __getitem__(self, name: str) -> Tensor:
        return self._scalars[name]

    @classmethod
    def zeros(cls, like: Tensor, scalars: Sequence[str], vectors: int = 1) -> Sums:
        P = like.shape[-1]
        return cls(like.new_zeros(vectors * P + len(scalars) + 1), P, scalars, vectors)


class Coupling(Kind):
    """Forces between walkers and center: what happens to rows and center, never how the sums travel."""

    period: Period = 1

    scalars: ClassVar[tuple[str, ...]] = ()
    """Names of the sums that travel beside the vectors."""
    orders: ClassVar[tuple[str | None, ...]] = (None,)
    """Values of `exchange.order` that it can act in: null, all walkers at once; `round_robin`, one after the other,
    where t is the clock of that walker and the sums are its own."""

    @property
    def vectors(self) -> int:
        """How many sums [P] travel in an exchange."""
        return 1

    @property
    def remembered(self) -> int:
        """How many vectors [P] its state holds for each walker, at most."""
        return 0

    @property
    def follows_mean(self) -> bool:
        """Whether the center is the mean of the walkers."""
        return False

    @property
    def descends(self) -> bool:
        """Whether the center is moved by the dynamics: on the gradient that `center_gradient` makes of the sums where
        the step has a message, else on that of the whole training set."""
        return False

    @property
    def pulls(self) -> bool:
        """Whether it acts on the walkers at all."""
        return type(self).move is not Coupling.move or type(self).force is not Coupling.force

    def impossible(self, walkers: int, apart: bool) -> str | None:
        """Why it cannot couple so many walkers, which start `apart` or at one point; None where it can."""
        return None

    @abstractmethod
    def events(self, t: int) -> tuple[Event, ...]:
        """The order of events in step t, with at most one message; without `center` after it, that is at the end."""

    def state(self, names: Sequence[str], P: int) -> State:
        """What the coupling remembers from the start: name -> one dimension, of the center, the same in all processes;
        or [K, …], of the walkers. It may remember more later: all goes into every checkpoint."""
        return {}

    def message(self, X: Tensor, c: Tensor, state: State, t: int, out: Sums) -> None:
        """Write this process's part of the sums of rows `X: [K, P]` around the center `c: [P]`; moves nothing."""
        raise NotImplementedError

    def force(self, X: Tensor, g: Tensor, c: Tensor, state: State, t: int) -> None:
        """Add the slope of the coupling to the gradients `g: [K, P]` of the rows, in place."""
        raise NotImplementedError

    def move(self, X: Tensor, c: Tensor, state: State, t: int) -> None:
        """Move the rows by their forces, in place."""
        raise NotImplementedError

    def center(self, c: Tensor, total: Sums, state: State, t: int) -> None:
        """Move the center by the sums over all walkers, in place."""
        raise NotImplementedError

    def center_gradient(self, C: Tensor, c: Tensor, total: Sums, state: State, t: int) -> Tensor:
        """The gradient [1, P] of the coupling for the center at `C: [1, P]`; the sums are around `c: [P]`."""
        raise NotImplementedError


class Snapshots(Protocol):
    """The points of a run as a probe sees them, up to the step that it measures."""

    @property
    def steps(self) -> Sequence[int]:
        """Those that have a whole snapshot, ascending; the last is the one to be measured."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """`center`, where there is one, then `w0`, `w1`, …"""
        ...

    def points(self, step: int, names: Sequence[str]) -> Tensor:
        """Points [len(names), P] in the landscape's precision, on its device. Raises UserError."""
        ...


Row = Sequence[object]


class Probe(Kind):
    """A first-order measurement of the surface, made every so many steps and at the last one."""

    every: Period = 100

    tables: ClassVar[tuple[str, ...]] = ()
    """Names of the tables that its rows go to."""
    live: ClassVar[bool] = False
    """Whether the coordinator measures it while the walkers move; else it is the analyst's work, from snapshots."""

    def points_named(self) -> dict[str, tuple[str, ...]]:
        """Key -> the points (`center`, `w0`, …) that it names: they must exist."""
        return {}

    def impossible(self, names: Sequence[str]) -> str | None:
        """Why it cannot be measured where the points are `names`; None where it can."""
        return None

    def measure(self, landscape: Any, snapshots: Snapshots, step: int, seed: int) -> dict[str, list[Row]]:
        """Table -> rows at `step` on a `Landscape`, in the order of its columns; random streams are those of `seed`."""
        raise NotImplementedError
