"""How much memory there is for large matrices, on this machine or on a GPU: in all, and free."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import torch


def total_memory(device: torch.device) -> int:
    """Bytes that the machine, or a GPU, has: the same at every start, for decisions that change the order of sums."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def free_memory(device: torch.device, root: Path = Path("/")) -> int:
    """Bytes that can still be had: of a GPU what it says, else of the machine, within the limits of its containers.

    `root` is where /proc and /sys are found.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return max(0, min([_of_machine(root), *_of_control_groups(root)]))


def _of_machine(root: Path) -> int:
    try:
        for line in (root / "proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    return total_memory(torch.device("cpu"))


def _of_control_groups(root: Path) -> Iterator[int]:
    """What is left under the limit of each control group that this process is in, and of those around it."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top, limit, used, cache = root / "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            top, limit, used = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            cache = "total_inactive_file"
        else:
            continue
        group = top / path.lstrip("/")
        for folder in [group, *group.parents]:
            try:
                left = int((folder / limit).read_text()) - int((folder / used).read_text())  # "max": no limit
                yield left + _counted(folder / "memory.stat", cache)
            except (OSError, ValueError):
                pass
            if folder == top:
                break


def _counted(file: Path, name: str) -> int:
    """A line `name NUMBER` of a file: here of what is kept of files, and given up when memory is asked for."""
    for line in file.read_text().splitlines():
        key, _, number = line.partition(" ")
        if key == name:
            return int(number)
    return 0
