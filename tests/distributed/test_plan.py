"""Who is what, on every machine there may be: the plan needs no GPU, only what the ranks say of themselves."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from walkers_dist.config.errors import UserError
from walkers_dist.distributed.plan import Entry, Plan, Seat, make_plan, processes_for

Machines = list[tuple[int, int]]  # of each host: its GPUs, its ranks


def roster(machines: Machines) -> list[Entry]:
    """Every rank of a host sees all its GPUs; UUIDs are told apart by the host alone."""
    return [
        Entry(f"host{h}", tuple(f"GPU-{g}" for g in range(gpus)), f"nonce{h}.{r}")
        for h, (gpus, ranks) in enumerate(machines)
        for r in range(ranks)
    ]


def planned(machines: Machines, **keys: Any) -> Plan:
    return make_plan(roster(machines), **{"walkers": 8, "per_process": "auto", "analysts": 1, "device": "auto", **keys})


def in_words(plan: Plan) -> str:
    """One word per rank: C, the rows of a walker process and its GPU, A and its GPU, or a dot for a spare one."""
    words = {"coordinator": "C", "analyst": "A", "spare": "."}

    def word(seat: Seat) -> str:
        what = words.get(seat.role) or f"{seat.rows[0]}-{seat.rows[1] - 1}"
        return what + (f":{seat.gpu.removeprefix('GPU-')}" if seat.gpu else "")

    return " ".join(word(seat) for seat in plan.seats)


EIGHT_ON_EIGHT = "C 0-0:0 1-1:1 2-2:2 3-3:3 4-4:4 5-5:5 6-6:6 7-7:7 A"
TABLE: dict[str, tuple[Machines, dict[str, Any], str, str | None]] = {
    "1 x 8": ([(8, 10)], {}, EIGHT_ON_EIGHT, "nccl"),
    "1 x 8, two rows each": ([(8, 10)], {"per_process": 2}, "C 0-1:0 2-3:1 4-5:2 6-7:3 A:4 . . . .", "nccl"),
    "1 x 8, two rows each, no rank too many": ([(8, 6)], {"per_process": 2}, "C 0-1:0 2-3:1 4-5:2 6-7:3 A:4", "nccl"),
    "2 x 4": ([(4, 5), (4, 5)], {}, "C 0-0:0 1-1:1 2-2:2 3-3:3 4-4:0 5-5:1 6-6:2 7-7:3 A", "nccl"),
    "3 x 3": ([(3, 4)] * 3, {}, "C 0-0:0 1-1:1 2-2:2 3-3:0 4-4:1 5-5:2 . 6-6:0 7-7:1 A:2 .", "nccl"),
    "2 and 6": ([(2, 3), (6, 7)], {}, "C 0-0:0 1-1:1 2-2:0 3-3:1 4-4:2 5-5:3 6-6:4 7-7:5 A", "nccl"),
    "1 and 7": ([(1, 6), (7, 8)], {}, "C 0-0:0 A . . . 1-1:0 2-2:1 3-3:2 4-4:3 5-5:4 6-6:5 7-7:6 .", "nccl"),
    "none and 8": ([(0, 1), (8, 9)], {}, EIGHT_ON_EIGHT, "nccl"),
    "3 GPUs": ([(3, 5)], {}, "C 0-1:0 2-4:1 5-7:2 A", "nccl"),
    "1 GPU": ([(1, 3)], {}, "C 0-7:0 A", None),
    "1 GPU, an analyst too many for it": ([(1, 5)], {"analysts": 2}, "C 0-7:0 A A .", None),
    "2 GPUs for a single process": ([(2, 3)], {"per_process": 8}, "C 0-7:0 A:1", None),
    "CPU": ([(0, 10)], {}, "C 0-0 1-1 2-2 3-3 4-4 5-5 6-6 7-7 A", "gloo"),
    "CPU, three rows each": ([(0, 5)], {"per_process": 3}, "C 0-1 2-4 5-7 A", "gloo"),
    "CPU, one process": ([(0, 3)], {"per_process": 8}, "C 0-7 A", None),
    "CPU on two hosts": ([(0, 2), (0, 3)], {"per_process": 3}, "C 0-1 2-4 5-7 A", "gloo"),
    "the CPU of a machine with GPUs": ([(8, 4)], {"device": "cpu", "per_process": 4}, "C 0-3 4-7 A", "gloo"),
    "no analyst": ([(8, 9)], {"analysts": 0}, EIGHT_ON_EIGHT.removesuffix(" A"), "nccl"),
}


@pytest.mark.parametrize("machine", TABLE)
def test_every_machine(machine: str) -> None:
    machines, keys, seats, backend = TABLE[machine]
    plan = planned(machines, **keys)
    assert (in_words(plan), plan.force_backend) == (seats, backend)


def test_a_gpu_that_only_its_own_rank_sees() -> None:
    """As SLURM gives them out: one task, one GPU. The coordinator's own is nobody's."""
    ranks = [Entry("host", (f"GPU-{r}",), str(r)) for r in range(10)]
    plan = make_plan(ranks, walkers=8, per_process="auto", analysts=1, device="cuda")
    assert in_words(plan) == "C 0-0:1 1-1:2 2-2:3 3-3:4 4-4:5 5-5:6 6-6:7 7-7:8 A:9"
    with pytest.raises(UserError, match="8 processes, but there are 7 GPUs"):
        make_plan(ranks[:8], walkers=8, per_process=1, analysts=0, device="auto")


@pytest.mark.parametrize(
    ("machines", "keys", "numbers"),
    [
        ([(4, 10)], {"per_process": 1}, ["8 processes", "4 GPUs", "at least 2"]),
        ([(3, 10)], {"per_process": 2}, ["4 processes", "3 GPUs", "at least 3"]),
        ([(8, 9)], {}, ["9 ranks", "10 are needed"]),
        ([(0, 4)], {}, ["4 ranks", "10 are needed", "8 for 8 walkers", "1 analysts"]),
        ([(0, 1)], {"walkers": 1, "analysts": 0}, ["1 ranks", "2 are needed"]),
        ([(8, 2), (0, 9)], {}, ["8 walker processes", "only 1 GPUs"]),
        ([(0, 10)], {"device": "cuda"}, ["device = cuda", "no GPU"]),
        ([(8, 1), (0, 9)], {"device": "cuda"}, ["device = cuda", "no GPU"]),
        ([(0, 200)], {"walkers": 129, "per_process": 1}, ["129 processes", "128"]),
    ],
)
def test_refused_with_both_numbers(machines: Machines, keys: dict[str, Any], numbers: list[str]) -> None:
    with pytest.raises(UserError) as refused:
        planned(machines, **keys)
    assert all(number in str(refused.value) for number in numbers), refused.value
    assert "\n" not in str(refused.value)


def test_more_walkers_than_processes_are_possible_are_rows() -> None:
    assert processes_for(129, "auto", 0, "cpu") == 65  # two each
    assert processes_for(128, "auto", 0, "cpu") == 128
    assert processes_for(1000, "auto", 0, "auto") == 125


def test_names() -> None:
    plan = planned([(8, 10)], per_process=3)
    assert [seat.name for seat in plan.seats[:5]] == [
        "coordinator",
        "walkers 0-1",
        "walkers 2-4",
        "walkers 5-7",
        "analyst 0",
    ]
    assert Seat(3, "walkers", (4, 5)).name == "walkers 4" and plan.seats[9].name == "spare"
    assert plan.walkers[1].walkers == ["w2", "w3", "w4"]


# ---- whatever the machine ------------------------------------------------------------------------------------------

MACHINES = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 6)), min_size=1, max_size=4)
PER_PROCESS = st.one_of(st.just("auto"), st.integers(1, 6))
Asked = dict[str, Any]
ASKED = st.fixed_dictionaries(
    {"walkers": st.integers(1, 12), "per_process": PER_PROCESS, "analysts": st.integers(0, 3),
     "device": st.sampled_from(["auto", "cpu"])}
)  # fmt: skip


def wanted_processes(machines: Machines, asked: Asked) -> tuple[int, bool]:
    """Processes asked for, and whether they go on GPUs: counted one by one."""
    seen = {(e.host, gpu) for e in roster(machines)[1:] for gpu in e.gpus}
    on_gpus = asked["device"] == "auto" and len(seen) > 0
    rows = asked["per_process"]
    if rows == "auto":
        rows = next(n for n in range(1, 13) if n * (len(seen) if on_gpus else asked["walkers"]) >= asked["walkers"])
    return next(n for n in range(1, 13) if n * rows >= asked["walkers"]), on_gpus


def room_for(machines: Machines, on_gpus: bool) -> int:
    """How many ranks can move walkers."""
    ranks = [(gpus, ranks - (h == 0)) for h, (gpus, ranks) in enumerate(machines)]
    return sum(min(gpus, n) if on_gpus else n for gpus, n in ranks)


@settings(max_examples=300, deadline=None)
@given(MACHINES, ASKED)
def test_what_holds_on_every_machine(machines: Machines, asked: Asked) -> None:
    processes, on_gpus = wanted_processes(machines, asked)
    ranks = roster(machines)
    possible = room_for(machines, on_gpus) >= processes and len(ranks) >= 1 + processes + asked["analysts"]
    if not possible:
        with pytest.raises(UserError):
            planned(machines, **asked)
        return
    plan = planned(machines, **asked)
    assert [seat.rank for seat in plan.seats] == list(range(len(ranks)))
    assert plan.seats[0] == Seat(0, "coordinator")
    roles = [seat.role for seat in plan.seats]
    assert (roles.count("coordinator"), roles.count("walkers"), roles.count("analyst")) == (
        1,
        processes,
        asked["analysts"],
    )

    blocks = [seat.rows for seat in plan.walkers]
    assert [row for block in blocks for row in range(*block)] == list(range(asked["walkers"]))
    sizes = [last - first for first, last in blocks]
    assert min(sizes) >= 1 and max(sizes) - min(sizes) <= 1
    assert asked["per_process"] == "auto" or max(sizes) <= asked["per_process"]
    assert [seat.rank for seat in plan.walkers] == sorted(seat.rank for seat in plan.walkers)
    assert [seat.number for seat in plan.walkers] == list(range(processes))
    assert sorted(seat.number for seat in plan.analysts) == list(range(asked["analysts"]))

    taken = [(ranks[seat.rank].host, seat.gpu) for seat in plan.seats if seat.gpu]
    assert len(set(taken)) == len(taken) and all(seat.gpu in (*ranks[seat.rank].gpus, None) for seat in plan.seats)
    assert all(bool(seat.gpu) == on_gpus for seat in plan.walkers)
    assert not any(seat.gpu for seat in plan.seats if seat.role in ("coordinator", "spare"))
    if on_gpus and not all(seat.gpu for seat in plan.analysts):  # then no spare rank could have had one
        spare = [seat.rank for seat in plan.seats if seat.role == "spare"]
        assert not any((ranks[rank].host, gpu) not in taken for rank in spare for gpu in ranks[rank].gpus)
    assert plan.force_backend == (None if processes == 1 else "nccl" if on_gpus else "gloo")


@settings(max_examples=50, deadline=None)
@given(MACHINES, ASKED)
def test_a_pure_function_that_travels_as_json(machines: Machines, asked: Asked) -> None:
    def attempt(entries: list[Entry]) -> Plan | str:
        try:
            return make_plan(entries, **asked)
        except UserError as error:
            return str(error)

    ranks = roster(machines)
    plan = attempt(ranks)
    assert attempt(ranks) == plan == attempt([replace(e, nonce="another") for e in ranks])
    assert ranks == roster(machines)
    if isinstance(plan, Plan):
        assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
