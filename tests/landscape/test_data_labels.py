"""Soft labels: the targets, and the loss with them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from walkers_dist.config.errors import UserError
from walkers_dist.config.landscape import NetworkConfig
from walkers_dist.landscape import build
from walkers_dist.landscape.network import Network


def made(**data: Any) -> Network:
    keys = {"data": {"train_size": 40, "test_size": 30, **data}, "model": {"hidden": [6], "activation": "tanh"}}
    landscape = build(NetworkConfig.model_validate(keys), seed=2, dtype="float64")
    assert isinstance(landscape, Network)
    return landscape


SOFT = {"p": 0.91, "q": 0.01}


def test_e1_e4_hinton_labels() -> None:
    """0.91 at the label and 0.01 elsewhere for training, 1 and 0 for testing; the original's numbers."""
    hard, soft = made(), made(labels=SOFT)
    for split, (off, on) in (("train", (0.01, 0.91)), ("test", (0.0, 1.0))):
        expected = torch.full((len(hard.targets[split]), 10), off, dtype=torch.float64)
        for i, label in enumerate(hard.targets[split].argmax(1).tolist()):
            expected[i, label] = on
        assert torch.equal(soft.targets[split], expected)
    assert soft.targets["train"].sum(1).sub(1).abs().max() < 1e-15


def test_e4_hinton_loss_and_accuracy() -> None:
    """-mean_i sum_c t log p, and right is who has the largest output at the label."""
    hard, soft = made(), made(labels=SOFT)
    theta = soft.start("w0")[None]
    log_p = soft.module(theta[0])(soft.inputs["train"]).log_softmax(1).tolist()
    rows = zip(soft.targets["train"].tolist(), log_p, strict=True)
    slow = -sum(t * lp for targets, outputs in rows for t, lp in zip(targets, outputs, strict=True))
    assert soft.loss(theta).item() == pytest.approx(slow / 40, rel=1e-13)
    assert torch.equal(soft.loss(theta, split="test"), hard.loss(theta, split="test"))
    for split in ("train", "test"):
        assert torch.equal(soft.accuracy(theta, split=split), hard.accuracy(theta, split=split))


def test_f31_gradient_by_finite_differences() -> None:
    landscape = made(labels=SOFT)
    theta = landscape.start("w0")
    gradient, h = landscape.grad(theta[None])[0], 1e-5
    directions = torch.randn(20, landscape.size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for v in directions:
        ahead, behind = landscape.loss(torch.stack([theta + h * v, theta - h * v]))
        assert (gradient @ v).item() == pytest.approx(float(ahead - behind) / (2 * h), rel=1e-6, abs=1e-8)
    hard = made()
    assert (gradient - hard.grad(theta[None])[0]).norm() > 0.01 * gradient.norm()


def test_f31_p_1_q_0_are_hard_labels() -> None:
    hard, soft = made(), made(labels={"p": 1.0, "q": 0.0})
    theta = torch.stack([hard.start("w0"), hard.start("w0") * 2])
    for split in ("train", "test"):
        assert torch.equal(soft.loss(theta, split=split), hard.loss(theta, split=split))
        assert torch.equal(soft.grad(theta, split=split), hard.grad(theta, split=split))


def test_soft_labels_of_chosen_classes() -> None:
    landscape = made(classes=[4, 9, 1], labels={"p": 0.8, "q": 0.1})
    assert landscape.net.output_shape == (3,)
    assert set(landscape.targets["train"].flatten().tolist()) == {0.8, 0.1}


def test_one_output_per_class_of_the_data_set() -> None:
    """Also for a class that few samples happen to show none of."""
    assert made(train_size=3, test_size=2).net.output_shape == (10,)


@pytest.mark.parametrize("labels", [{"p": 0.9, "q": 0.01}, {"p": 0.91, "q": 0.0100003}])
def test_e1_p_and_q_are_probabilities(labels: dict[str, float]) -> None:
    with pytest.raises(
        UserError, match=r"^landscape.data.labels = {p: 0.9.*}: with 10 classes p \+ 9 q must be 1, and is"
    ):
        made(labels=labels)
    made(labels={"p": 0.91, "q": 0.0100000001})
