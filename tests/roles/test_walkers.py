"""What walkers remember belongs to each walker by name, whatever process it is in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from walkers_dist.config.course import Course
from walkers_dist.config.load import parse
from walkers_dist.distributed.channel import LocalChannel
from walkers_dist.distributed.exchange import LocalExchange, LocalLink
from walkers_dist.landscape import build
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.roles.walkers import Walkers, checksum

KEYS: dict[str, Any] = {
    "landscape": {"kind": "quadratic", "dim": 5, "noise": 0.3, "optima": [0.0, 1.0, 2.0, 3.0]},
    "walkers": 4,
    "steps": 40,
    "dtype": "float64",
    "dynamics": {"name": "sgd", "lr": 0.1, "momentum": 0.5, "batch_size": 10},
}
NAMES = ["w0", "w1", "w2", "w3"]


def made(tmp_path: Path, names: list[str], **keys: Any) -> Walkers:
    experiment = parse({**KEYS, **keys}, "x")
    return Walkers(
        process="walkers", names=names, run=RunDirectory(tmp_path), course=Course(experiment),
        landscape=build(experiment.landscape, seed=experiment.seed, dtype=experiment.dtype),
        exchange=LocalExchange(), link=LocalLink(), channel=LocalChannel(),
    )  # fmt: skip


COUPLINGS: dict[str, Any] = {
    "none": None,
    "easgd": {"name": "easgd", "alpha": 0.2, "period": 3},
    "elementary": {"name": "elementary", "alpha": 0.2},
}


@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize("coupling", COUPLINGS)
def test_rebuilt_in_the_middle_they_go_on_bit_for_bit(tmp_path: Path, coupling: str, momentum: float) -> None:
    """Also in another order of rows."""
    keys = {"coupling": COUPLINGS[coupling], "dynamics": {**KEYS["dynamics"], "momentum": momentum}}
    through = made(tmp_path, NAMES, **keys)
    for t in range(17):
        through.step(t)
    saved = {name: {key: v.clone() for key, v in named.items()} for name, named in through.state_dict().items()}
    order = ["w2", "w0", "w3", "w1"] if coupling == "none" else NAMES  # sums depend on the order of their terms
    again = made(tmp_path, order, **keys)
    again.load_state_dict(saved)
    again.c.copy_(through.c)
    for t in range(17, 40):
        through.step(t)
        again.step(t)
    for k, name in enumerate(order):
        assert torch.equal(again.X[k], through.X[NAMES.index(name)])
    assert torch.equal(again.c, through.c)
    assert set(saved["w0"]) == ({"x", "dynamics.momentum"} if momentum else {"x"})


def test_two_processes_take_up_what_one_wrote(tmp_path: Path) -> None:
    """And one what two wrote: without forces every walker goes its own way."""
    one = made(tmp_path, NAMES)
    two = [made(tmp_path, names) for names in (["w0"], ["w1", "w2", "w3"])]
    for t in range(10):
        for walkers in (one, *two):
            walkers.step(t)
    parts = {name: named for walkers in two for name, named in walkers.state_dict().items()}
    assert all(torch.equal(parts[name]["x"], one.X[k]) for k, name in enumerate(NAMES))
    other = made(tmp_path, NAMES)
    other.load_state_dict(parts)
    later = made(tmp_path, ["w3"])
    later.load_state_dict(one.state_dict())
    for t in range(10, 20):
        for walkers in (one, other, later):
            walkers.step(t)
    assert torch.equal(other.X, one.X) and torch.equal(later.X[0], one.X[3])


def test_the_state_is_a_view_and_loading_a_copy(tmp_path: Path) -> None:
    """Rows stay where the landscape's views of them were made."""
    walkers = made(tmp_path, NAMES)
    walkers.step(0)
    place, saved = walkers.X.data_ptr(), made(tmp_path, NAMES)
    saved.step(0)
    walkers.load_state_dict(saved.state_dict())
    assert walkers.X.data_ptr() == place
    saved.X.zero_()
    assert walkers.X.any()


def test_equal_replicas_have_equal_checksums() -> None:
    c = torch.randn(1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert checksum(c) == checksum(c.clone())
    for i in (0, 499, 999):
        other = c.clone()
        other[i] = torch.nextafter(other[i], other.new_tensor(9.0))  # one bit
        assert checksum(other) != checksum(c)
    assert checksum(c.float()) == checksum(c.float())
