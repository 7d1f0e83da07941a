"""A random number belongs to its name, and to nothing else."""

from __future__ import annotations

import hashlib
import itertools

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from walkers_dist.landscape import stream

Name = tuple[int, str, str, int]
NAME = st.tuples(
    st.integers(0, 2**40), st.sampled_from(["all", "center", "w0", "w1", "w10"]),
    st.sampled_from(["init", "order", "noise", "split"]), st.integers(0, 10**7),
)  # fmt: skip


def numbers(seed: int, walker: str, purpose: str, step: int) -> torch.Tensor:
    return torch.randn(4, generator=stream(seed, walker, purpose, step))


@settings(max_examples=50, deadline=None)
@given(NAME)
def test_the_same_name_gives_the_same_numbers(name: Name) -> None:
    first = numbers(*name)
    torch.rand(3)  # whatever else is drawn
    assert torch.equal(numbers(*name), first)


@settings(max_examples=50, deadline=None)
@given(NAME, NAME)
def test_different_names_give_different_numbers(one: Name, other: Name) -> None:
    assume(one != other)
    assert not torch.equal(numbers(*one), numbers(*other))


def test_no_two_of_many_streams_begin_alike() -> None:
    names = itertools.product(range(3), ("w0", "w1", "w10", "w11"), ("init", "order", "noise"), range(100))
    states = [stream(*name).initial_seed() for name in names]
    assert len(set(states)) == len(states) == 3600


def test_names_are_hashed_in_a_way_that_stays() -> None:
    """Runs made today are the same runs in another process, and with every later version."""
    digest = hashlib.blake2b(b"3/w5/order/17", digest_size=8).digest()
    assert stream(3, "w5", "order", 17).initial_seed() == int.from_bytes(digest, "big") >> 1 == 6412874268967845818
