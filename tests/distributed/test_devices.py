"""What a rank does to its own process, and the address by which others reach it."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator

import pytest
import torch

from walkers_dist.distributed import devices


@pytest.fixture
def as_before() -> Iterator[None]:
    threads, limits = torch.get_num_threads(), resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    torch.set_num_threads(threads)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.usefixtures("as_before")
def test_threads_are_bounded_and_files_are_not() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 256), hard))
    for threads in (2, 1):
        devices.set_up_process(threads)
        assert torch.get_num_threads() == threads
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)


def test_with_a_head_on_loopback_everybody_is_on_loopback() -> None:
    address = devices.address_towards("127.0.0.1")
    assert address == "127.0.0.1"
    with socket.create_server((address, 0)) as server, socket.create_connection(server.getsockname(), 5):
        pass


def test_without_a_gpu_there_is_the_cpu() -> None:
    assert devices.visible_gpus("cpu") == ()
    assert devices.device_of(None) == torch.device("cpu")
    if not torch.cuda.is_available():
        assert devices.visible_gpus("auto") == devices.visible_gpus("cuda") == ()
