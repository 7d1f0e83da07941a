"""Which rank is what: a pure function of the experiment and of the roster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from walkers_dist.config.errors import UserError

MOST_PROCESSES = 128


@dataclass(frozen=True)
class Entry:
    """What a rank says of itself: its host, the GPUs it sees (by UUID), a nonce made afresh at every start, and its
    own address on the way to the head."""

    host: str
    gpus: tuple[str, ...]
    nonce: str
    address: str = "127.0.0.1"


@dataclass(frozen=True)
class Seat:
    """What one rank is: `rows` are the walkers first <= i < last that it moves; without a `gpu` it runs on the CPU."""

    rank: int
    role: str  # coordinator | walkers | analyst | spare
    rows: tuple[int, int] = (0, 0)
    number: int = 0
    gpu: str | None = None

    @property
    def name(self) -> str:
        """The process's name in messages: `coordinator`, `walkers 0-3`, `analyst 0`."""
        first, last = self.rows
        if self.role == "walkers":
            return f"walkers {first}" if last - first == 1 else f"walkers {first}-{last - 1}"
        return f"analyst {self.number}" if self.role == "analyst" else self.role

    @property
    def walkers(self) -> list[str]:
        return [f"w{i}" for i in range(*self.rows)]


@dataclass(frozen=True)
class Plan:
    """A seat for every rank; walker processes in the order of their rows."""

    seats: tuple[Seat, ...]

    @property
    def walkers(self) -> list[Seat]:
        return [seat for seat in self.seats if seat.role == "walkers"]

    @property
    def analysts(self) -> list[Seat]:
        return [seat for seat in self.seats if seat.role == "analyst"]

    @property
    def force_backend(self) -> str | None:
        """What carries the forces: NCCL when each process has a GPU of its own, else gloo; None with one process."""
        if len(self.walkers) < 2:
            return None
        return "nccl" if all(seat.gpu for seat in self.walkers) else "gloo"

    def to_json(self) -> list[dict[str, object]]:
        return [asdict(seat) for seat in self.seats]

    @classmethod
    def from_json(cls, seats: Sequence[dict]) -> Plan:
        return cls(tuple(Seat(**{**seat, "rows": tuple(seat["rows"])}) for seat in seats))


def processes_for(walkers: int, per_process: int | str, gpus: int, device: str) -> int:
    """How many walker processes there are: `auto` spreads over the GPUs there are, on the CPU it is one walker each.

    Raises `UserError` where there are fewer GPUs than processes asked for, or more than 128 processes.
    """
    on_gpus = device == "cuda" or (device == "auto" and gpus > 0)
    if device == "cuda" and gpus == 0:
        raise UserError("device = cuda: no GPU is visible to a rank other than the coordinator; use auto or cpu")
    if per_process == "auto":
        per_process = -(-walkers // min(gpus if on_gpus else walkers, walkers, MOST_PROCESSES))
    processes = -(-walkers // int(per_process))
    if on_gpus and processes > gpus:
        raise UserError(
            f"walkers_per_process = {per_process}: {walkers} walkers make {processes} processes, "
            f"but there are {gpus} GPUs for them; use auto, or at least {-(-walkers // gpus)}"
        )
    if processes > MOST_PROCESSES:
        raise UserError(
            f"walkers_per_process = {per_process}: {processes} processes, at most {MOST_PROCESSES} are possible; "
            "more walkers are rows of one process"
        )
    return processes


def make_plan(roster: Sequence[Entry], *, walkers: int, per_process: int | str, analysts: int, device: str) -> Plan:
    """Rank 0 coordinates; in rank order a rank whose host has a free GPU that it sees moves walkers (on the CPU every
    rank does) until there are enough; of the rest the first `analysts` analyse, those with a left-over GPU before
    others; the remaining ones are spare and leave.

    Raises `UserError` with both numbers where ranks or GPUs are too few.
    """
    free: dict[str, list[str]] = {}
    for entry in roster:
        pool = free.setdefault(entry.host, [])
        pool += [gpu for gpu in entry.gpus if gpu not in pool]
    seen = {(e.host, gpu) for e in roster[1:] for gpu in e.gpus}
    gpus = sum((host, gpu) in seen for host, pool in free.items() for gpu in pool)
    processes = processes_for(walkers, per_process, gpus, device)
    on_gpus = device != "cpu" and gpus > 0
    if len(roster) < (needed := 1 + processes + analysts):
        raise UserError(
            f"{len(roster)} ranks were started, and {needed} are needed: 1 coordinator, {processes} for "
            f"{walkers} walkers, {analysts} analysts"
        )

    def take_gpu(rank: int) -> str | None:
        pool = free[roster[rank].host]
        gpu = next((g for g in roster[rank].gpus if g in pool), None) if on_gpus else None
        if gpu:
            pool.remove(gpu)
        return gpu

    seats = {0: Seat(0, "coordinator")}
    for rank in range(1, len(roster)):
        if (number := len(seats) - 1) == processes:
            break
        gpu = take_gpu(rank)
        if gpu or not on_gpus:
            rows = (walkers * number // processes, walkers * (number + 1) // processes)
            seats[rank] = Seat(rank, "walkers", rows, number, gpu)
    if (made := len(seats) - 1) < processes:
        raise UserError(f"{processes} walker processes need a GPU each, but the ranks could take only {made} GPUs")
    left = [rank for rank in range(len(roster)) if rank not in seats]
    with_gpu = {rank: gpu for rank in left if (gpu := take_gpu(rank))}
    for number, rank in enumerate(sorted(left, key=lambda rank: rank not in with_gpu)[:analysts]):
        seats[rank] = Seat(rank, "analyst", (0, 0), number, with_gpu.get(rank))
    return Plan(tuple(seats.get(rank, Seat(rank, "spare")) for rank in range(len(roster))))
