"""A spectrum that cannot fit is refused before anything is computed."""

from __future__ import annotations

import pytest
import torch

import walkers_dist as wd
from walkers_dist.curvature import Operator, spectrum


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
