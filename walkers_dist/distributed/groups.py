"""The groups of one start, made from its store and never from the environment, so that another start can follow.

Groups are made without torch's default group, one prefix of the store each, and bound to the address that the other
ranks reach this one by. Their time-out is a day: silence is the heartbeat's business, slowness is nobody's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from torch import Tensor

from walkers_dist.config.errors import PeerLost

A_DAY = timedelta(days=1)


def make_group(store: dist.Store, name: str, members: Sequence[int], me: int, *, backend: str, address: str) -> Any:
    """The group `name` of these ranks, in this order; None where I am no member or am alone."""
    if me not in members or len(members) < 2:
        return None
    own = dist.PrefixStore(name, store)
    place = members.index(me)
    if backend == "nccl":
        nccl = dist.ProcessGroupNCCL.Options()  # type: ignore[attr-defined]
        nccl._timeout = A_DAY
        return dist.ProcessGroupNCCL(own, place, len(members), nccl)  # type: ignore[attr-defined]
    options = dist.ProcessGroupGloo._Options()  # type: ignore[attr-defined]
    options._timeout = A_DAY
    options._devices = [dist.ProcessGroupGloo.create_device(hostname=address)]  # type: ignore[attr-defined]
    return dist.ProcessGroupGloo(own, place, len(members), options)  # type: ignore[attr-defined]


def begin(operation: Callable[..., Any], *arguments: Any) -> Any:
    """Begin a collective or message; raises `PeerLost` where another process is known to be gone."""
    try:
        return operation(*arguments)
    except RuntimeError as error:
        raise PeerLost(str(error)) from error


def wait(work: Any) -> None:
    """Wait for a collective or message; raises `PeerLost` where another process is gone."""
    begin(work.wait)


def broadcast(group: Any, tensor: Tensor) -> None:
    """Give every member what the first one has in `tensor`, in place."""
    options = dist.BroadcastOptions()
    options.rootRank = options.rootTensor = 0
    wait(begin(group.broadcast, [tensor], options))
