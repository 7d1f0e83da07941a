"""What a walker's own move, a coupling and a probe are: configuration and algorithm in one frozen model.

A kind is a frozen pydantic model whose fields are its keys in the YAML file and whose few methods are its formula.
What changes while it runs lives in a state that it makes and that is passed back in, so a kind can be replaced by a
changed copy at any step. Nothing here loads torch.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from torch import Tensor

    State = dict[str, Tensor]

Event = Literal["message", "gradient", "move", "dynamics", "descend"]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Period = Annotated[int, Field(ge=1)]


class Kind(BaseModel):
    """One entry of the registry: `name` says which, the other fields are its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, serialize_by_alias=True)
    name: str


class Dynamics(Kind):
    """A walker's own move, for all rows of a process at once."""

    lr: Rate = 0.1
    batch_size: Annotated[int, Field(ge=1)] | None = 100
    weight_decay: NonNegative = 0.0

    full_batch: ClassVar[bool] = False
    """Whether the gradient is that of the whole training set."""

    def gradient(self, X: Tensor, grad: Callable[[Tensor], Tensor], state: State, t: int) -> Tensor:
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

    def __init__(self, flat: Tensor, P: int, scalars: Sequence[str]) -> None:
        self.flat = flat
        self.vector = flat[:P]
        self.count = flat[-1]
        self._scalars = {name: flat[P + i] for i, name in enumerate(scalars)}

    def __getitem__(self, name: str) -> Tensor:
        return self._scalars[name]

    @classmethod
    def zeros(cls, like: Tensor, scalars: Sequence[str]) -> Sums:
        P = like.shape[-1]
        return cls(like.new_zeros(P + len(scalars) + 1), P, scalars)


class Coupling(Kind):
    """Forces between walkers and center: what happens to rows and center, never how the sums travel."""

    period: Period = 1

    scalars: ClassVar[tuple[str, ...]] = ()
    """Names of the sums that travel beside the vector."""

    @property
    def follows_mean(self) -> bool:
        """Whether the center is the mean of the walkers, moved by no force."""
        return False

    @property
    def descends(self) -> bool:
        """Whether the center is moved by no force but by the dynamics, on the gradient of the whole training set."""
        return False

    @abstractmethod
    def events(self, t: int) -> tuple[Event, ...]:
        """The order of events in step t; the center moves at its end if there was a message, or where it descends."""

    def state(self, names: Sequence[str], P: int) -> State:
        """What the coupling remembers between exchanges: name -> [P] of the center, or [K, P] of the walkers."""
        return {}

    def message(self, X: Tensor, c: Tensor, state: State, t: int, out: Sums) -> None:
        """Write this process's part of the sums of rows `X: [K, P]` around the center `c: [P]`; moves nothing."""
        raise NotImplementedError

    def move(self, X: Tensor, c: Tensor, state: State, t: int) -> None:
        """Move the rows by their forces, in place."""
        raise NotImplementedError

    def center(self, c: Tensor, total: Sums, state: State, t: int) -> None:
        """Move the center by the sums over all walkers, in place."""
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
