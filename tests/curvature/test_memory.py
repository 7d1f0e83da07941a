"""A spectrum that cannot fit is refused before anything is computed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import walkers_dist as wd
from walkers_dist.curvature import Operator, full, spectrum
from walkers_dist.landscape.memory import free_memory

CPU = torch.device("cpu")


def test_a_spectrum_that_does_not_fit_is_refused_with_both_numbers():
    def product(V: torch.Tensor) -> torch.Tensor:
        raise AssertionError("nothing is to be computed")

    H = Operator(product, 10_000_000, torch.float64, torch.device("cpu"))
    with pytest.raises(wd.UserError, match=r"10000000 parameters needs 1.8e\+06 GB, and [\d.]+ GB are free"):
        spectrum(H)


def test_a_run_that_would_end_in_one_is_refused_before_it_begins(tmp_path):
    config = {"name": "large", "landscape": {"model": {"hidden": [3000, 3000]}}, "curvature": {"of": ["center"]}}
    with pytest.raises(wd.UserError, match=r"curvature\.full = at_end: the whole spectrum of \d+ parameters needs"):
        wd.run(config, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_yes_tries_it_all_the_same(monkeypatch):
    A = torch.diag(torch.arange(8, dtype=torch.float64))
    H = Operator(lambda V: V @ A, 8, A.dtype, CPU)
    needed = 2.25 * 8 * 8 * 8
    monkeypatch.setattr(full, "free_memory", lambda device: needed)
    assert spectrum(H).eigenvalues.tolist() == list(range(8))
    with pytest.raises(wd.UserError, match="8 parameters needs"):
        spectrum(H, vectors=True)
    monkeypatch.setattr(full, "free_memory", lambda device: needed - 1)
    with pytest.raises(wd.UserError, match=r"needs 1\.15e-06 GB, and 1\.15e-06 GB are free; yes=True"):
        spectrum(H)
    assert spectrum(H, yes=True).eigenvalues.tolist() == list(range(8))


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in {"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:    5000 kB\n", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, 5000 * 1024),
        ({"proc/self/cgroup": "0::/\n"}, 5000 * 1024),
        (  # no limit of its own, but one around it, of which files hold some that they give up
            {
                "proc/self/cgroup": "0::/job/step\n",
                "sys/fs/cgroup/job/step/memory.max": "max\n",
                "sys/fs/cgroup/job/step/memory.current": "100\n",
                "sys/fs/cgroup/job/memory.max": "3000\n",
                "sys/fs/cgroup/job/memory.current": "1000\n",
                "sys/fs/cgroup/job/memory.stat": "anon 600\ninactive_file 400\n",
            },
            2400,
        ),
        (
            {
                "proc/self/cgroup": "5:cpu:/\n4:hugetlb,memory:/job\n0::/\n",
                "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "3000\n",
                "sys/fs/cgroup/memory/job/memory.usage_in_bytes": "1000\n",
                "sys/fs/cgroup/memory/job/memory.stat": "inactive_file 1\ntotal_inactive_file 300\n",
            },
            2300,
        ),
        (  # full
            {
                "proc/self/cgroup": "0::/job\n",
                "sys/fs/cgroup/job/memory.max": "3000\n",
                "sys/fs/cgroup/job/memory.current": "3100\n",
                "sys/fs/cgroup/job/memory.stat": "\n",
            },
            0,
        ),
    ],
    ids=["machine", "no group", "version 2", "version 1", "full"],
)
def test_free_memory_within_the_limits_of_containers(tmp_path, files, free):
    assert free_memory(CPU, machine(tmp_path, files)) == free


def test_where_nothing_is_said_it_is_what_the_machine_has(tmp_path):
    assert free_memory(CPU) <= free_memory(CPU, tmp_path)
