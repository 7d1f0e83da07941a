"""The machine a rank finds itself on: threads, GPUs, and the address the others reach it by."""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import os
import resource
import socket
from collections.abc import Iterable

import torch

ELSEWHERE = ("192.0.2.1", "2001:db8::1")  # documentation's own addresses: nothing is ever sent to them


def set_up_process(threads: int) -> None:
    """Bound this process's threads (before any tensor work: results are bit-equal only at equal threads) and let it
    open as many files as it may."""
    torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = False  # float32 is float32, also in a convolution on a GPU
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Have glibc keep what tensors of up to 4 MB leave behind, 32 MB in all, for the next ones.

    By default it gives it back, and a Hessian-vector product is 1.3 to 1.8 times as long for fetching it again.
    """
    mmap_threshold, trim_threshold = -3, -1
    with contextlib.suppress(AttributeError):  # another C library has no such thing
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, 4 << 20)
        libc.mallopt(trim_threshold, 32 << 20)


def visible_gpus(device: str) -> tuple[str, ...]:
    """UUIDs of the GPUs this process sees; none where the experiment is for the CPU."""
    if device == "cpu" or not torch.cuda.is_available():
        return ()
    return tuple(str(torch.cuda.get_device_properties(i).uuid) for i in range(torch.cuda.device_count()))


def device_of_rank(device: str, rank: int = 0) -> torch.device:
    """Where a rank of an analysis works, on a GPU where the experiment's `device` allows it: they take turns on them.

    `device` as in the configuration: auto, cpu or cuda.
    """
    gpus = visible_gpus(device)
    return device_of(gpus[rank % len(gpus)] if gpus else None)


def device_of(gpu: str | None) -> torch.device:
    """The torch device of a GPU given by UUID, made current; the CPU for None."""
    if gpu is None:
        return torch.device("cpu")
    device = torch.device("cuda", visible_gpus("cuda").index(gpu))
    torch.cuda.set_device(device)
    return device


def be_nice() -> None:
    """Give way to the walkers on a shared CPU."""
    os.nice(19)


def address_towards(head: str, beyond: str | None = None) -> str:
    """This machine's own address on the interface that routes to the head; loopback for a head on loopback.

    A host may know its own name by loopback alone: the head then takes the interface that routes to a rank `beyond`.
    """
    own = _own_address(head)
    return _own_address(beyond) if beyond and _is_loopback(own) else own


def first_beyond_loopback(addresses: Iterable[str]) -> str | None:
    """An address that is not loopback, if a rank has one: then they are on several hosts, or meet as if they were."""
    return next((address for address in addresses if not _is_loopback(address)), None)


def reachable_address(head: str, beyond: str | None = None) -> str:
    """This machine's address by which other hosts reach it: on the interface that routes to the head, or to a rank
    `beyond`, or to the world; loopback where there is none."""
    for target in (head, *([beyond] if beyond else []), *ELSEWHERE):
        with contextlib.suppress(OSError):
            if not _is_loopback(own := _own_address(target)):
                return own
    return "127.0.0.1"


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _own_address(head: str) -> str:
    family = socket.AF_INET6 if ":" in head else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((head, 9))  # sends nothing: it only asks the routing table
        return str(probe.getsockname()[0])
