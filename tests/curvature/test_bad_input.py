"""Curvature of what has none: one clear line each, for modules, for landscapes, and in a run.

What people do to data and losses of a module is in test_bare_input.py and test_modules.py, memory in test_memory.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import walkers_dist as wd
from walkers_dist.config.errors import UserError
from walkers_dist.curvature import (
    Operator,
    counts,
    density,
    effective_rank,
    extremes,
    gauss_newton,
    gradient_covariance,
    hessian,
    spectrum,
    trace,
)
from walkers_dist.landscape.base import Landscape
from walkers_dist.landscape.data import Data
from walkers_dist.landscape.losses import CrossEntropy, Loss, UserLoss
from walkers_dist.landscape.mlp import MLP
from walkers_dist.landscape.module import ModuleModel
from walkers_dist.landscape.network import Network
from walkers_dist.landscape.quadratic import Quadratic

RANDOM = torch.Generator().manual_seed(6)
X = torch.randn(9, 4, dtype=torch.float64, generator=RANDOM)
Y = torch.randint(0, 3, (9,), generator=RANDOM)
NAN = X.clone().index_fill(1, torch.tensor([2]), torch.nan)
CE = nn.CrossEntropyLoss()


def linear() -> nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return nn.Linear(4, 3).double()


class Sine(torch.autograd.Function):
    """Its backward pass is right, and may not be differentiated."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        return z.sin()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g * ctx.saved_tensors[0].cos()


class Then(nn.Module):
    """A linear layer, and something after it."""

    def __init__(self, after: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.after = linear(), after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.layer(x))


class Weighted(nn.Module):
    """Outputs times a parameter of another kind."""

    def __init__(self, weight: Tensor, trained: bool) -> None:
        super().__init__()
        self.layer, self.weight = linear(), nn.Parameter(weight, requires_grad=trained)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * self.weight.abs()


def matrix(H: Operator) -> Tensor:
    return H(torch.eye(H.size, dtype=H.dtype))


def module(after: Callable[[Tensor], Tensor], loss: Callable[..., Tensor] = CE) -> tuple[Any, ...]:
    return Then(after), loss, (X, Y)


def surface(model: Any, loss: Loss | None = None) -> tuple[Landscape, Tensor]:
    if not isinstance(model, MLP):
        model = ModuleModel(model, "my_nets:Net", X[:1], torch.Generator().manual_seed(1), torch.float64)
    landscape = Network(model, loss or CrossEntropy(), Data(X, Y, X[:2], Y[:2]), l2=0.0, seed=0, dtype=torch.float64)
    return landscape, landscape.start("w0")


def perceptron(loss: Callable[..., Tensor]) -> tuple[Landscape, Tensor]:
    return surface(MLP([4, 5, 3], "tanh"), UserLoss(loss, "my_losses:own"))


class Own(Landscape):
    """A landscape of a user's own."""

    size, dtype = 3, torch.float64

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function

    def loss(self, theta: Tensor, *, split: str = "train", walkers: object = None) -> Tensor:
        return self.function(theta).sum(1)


def margin(z: Tensor, y: Tensor) -> Tensor:
    return F.multilabel_margin_loss(z, torch.tensor([[0, 2, -1]] * len(z)))


def sine(z: Tensor, y: Tensor) -> Tensor:
    return Sine.apply(z).mean()


def accuracy(z: Tensor, y: Tensor) -> Tensor:
    return (z.argmax(-1) == y).double().mean()


def argmax(z: Tensor) -> Tensor:
    return F.one_hot(z.argmax(-1), 3).double()


THETA = torch.ones(3, dtype=torch.float64)
ONCE = r"^the loss is not twice differentiable: Sine is a custom function marked once_differentiable$"
MISSING = r"^the loss is not twice differentiable: \S*multilabel_margin_loss_backward has no second derivative$"
CONSTANT = r"has no gradient: nothing that can be differentiated leads to it from the parameters"

NOT_TWICE: dict[str, tuple[Callable[[], tuple[Any, ...]], str]] = {
    "a module": (lambda: module(Sine.apply), ONCE),
    "a module's loss": (lambda: module(torch.tanh, sine), ONCE),
    "a loss that torch has not twice": (lambda: module(torch.tanh, margin), MISSING),
    "a landscape's module": (lambda: surface(lambda: Then(Sine.apply)), ONCE),
    "a perceptron's loss": (lambda: perceptron(sine), ONCE),
    "a perceptron's loss that torch has not twice": (lambda: perceptron(margin), MISSING),
    "a landscape's module and such a loss": (lambda: surface(linear, UserLoss(margin, "my_losses:own")), MISSING),
}


@pytest.mark.parametrize("of", [hessian, gauss_newton])
@pytest.mark.parametrize("case", NOT_TWICE)
def test_not_twice_differentiable(case: str, of: Callable[..., Operator]) -> None:
    """Autograd takes some of these for constants, and gives a matrix of zeros without a word."""
    make, words = NOT_TWICE[case]
    with pytest.raises(UserError, match=words):
        matrix(of(*make()))


def test_a_landscape_of_ones_own_that_is_not_twice_differentiable() -> None:
    with pytest.raises(UserError, match=ONCE):
        hessian(Own(Sine.apply), THETA)


CONSTANTS: dict[str, Callable[[], Any]] = {
    "outputs cut off": lambda: hessian(*module(torch.detach)),
    "outputs that are classes": lambda: hessian(*module(argmax)),
    "G of outputs cut off": lambda: gauss_newton(*module(torch.detach)),
    "gradients of outputs cut off": lambda: gradient_covariance(*module(torch.detach)),
    "a loss that counts": lambda: hessian(*module(torch.tanh, accuracy)),
    "a landscape's module": lambda: surface(lambda: Then(torch.detach)),
    "a perceptron's loss": lambda: hessian(*perceptron(accuracy)),
    "a landscape of one's own": lambda: hessian(Own(lambda t: (t > 0).double()), THETA),
}


@pytest.mark.parametrize("case", CONSTANTS)
def test_nothing_to_differentiate(case: str) -> None:
    with pytest.raises(UserError, match=CONSTANT):
        CONSTANTS[case]()


def test_a_batch_without_gradient_among_others_is_zero() -> None:
    """A loss that finds nothing to count in the first of its batches."""

    def some(z: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(z[y == 1], y[y == 1], reduction="sum") if (y == 1).any() else torch.zeros(())

    order = (Y == 1).int().argsort()
    batches = [(X[rows], Y[rows]) for rows in order.split([4, 5])]
    assert not (batches[0][1] == 1).any() and (Y == 1).any()
    found = matrix(hessian(linear(), some, batches, denominator="sum"))
    expected = matrix(hessian(linear(), some, (X, Y)))
    assert expected.any() and (found - expected).abs().max() <= 1e-14


@pytest.mark.parametrize("after", [lambda z: 0 * z, torch.round], ids=["times zero", "steps"])
def test_a_gradient_that_is_zero_everywhere_is_the_zero_matrix(after: Callable[[Tensor], Tensor]) -> None:
    """It is what second derivatives are there; only what divides by the largest eigenvalue is refused."""
    H = hessian(*module(after))
    assert not spectrum(H).eigenvalues.any()
    edges = extremes(H, 3, 2)
    assert edges.eigenvalues.tolist() == [0] * 5 and edges.all_converged
    assert not density(H, 2, 5).nodes.any()
    assert trace(H).value == 0 and effective_rank(H).value == 0
    with pytest.raises(UserError, match="the largest eigenvalue is 0, and counts are relative to one above 0"):
        counts(spectrum(H)).count_above()


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "complex": (
        lambda: hessian(Weighted(torch.ones(3, dtype=torch.complex128), True), CE, (X, Y)),
        r"^parameter weight is torch\.complex128: all must be real, torch\.float32 or torch\.float64$",
    ),
    "half": (lambda: hessian(linear().half(), CE, (X, Y)), r"^parameter weight is torch\.float16: convert"),
    "a complex point": (lambda: hessian(Quadratic(dim=3), THETA + 0j), r"^theta is torch\.complex128: .* real numbers"),
    "a point of whole numbers": (lambda: hessian(Quadratic(dim=3), THETA.long()), r"^theta is torch\.int64: .* real"),
    "another architecture's point": (
        lambda: hessian(perceptron(margin)[0], surface(linear)[1]),
        r"^theta has shape \[15\]: a point of this landscape is \[43\]$",
    ),
    "another architecture's state": (
        lambda: hessian(Quadratic(dim=15), linear().state_dict()),  # type: ignore[arg-type]
        r"^theta is a OrderedDict: a point of this landscape is \[15\]$",
    ),
    "nan among the inputs": (
        lambda: hessian(linear(), CE, (NAN, Y)),
        "^the loss is nan on the first batch, and so are inputs: there is no curvature at such a point$",
    ),
    "a loss that is nan": (
        lambda: hessian(linear(), lambda z, y: z.log().sum(), (X, Y)),
        "^the loss is nan on the first batch, at these parameters",
    ),
    "a later batch of another width": (
        lambda: hessian(linear(), CE, [(X, Y), (X[:, :3], Y)]),
        r"^the model does not accept inputs of shape \[8, 3\]",
    ),
    "a later batch with labels missing": (
        lambda: hessian(linear(), CE, [(X, Y), (X, Y[:4])]),
        r"^outputs of shape \[9, 3\] do not fit targets of shape \[4\]",
    ),
    "labels that are real": (lambda: hessian(linear(), CE, (X, Y.double())), "expected target dtype to be Long"),
    "whole numbers for a linear layer": (
        lambda: hessian(linear(), CE, (X.long(), Y)),
        r"^the model does not accept inputs of shape \[8, 4\]: .*Long",
    ),
    "no loss": (lambda: hessian(linear(), None, (X, Y)), "^the loss is a NoneType: pass"),  # type: ignore[arg-type]
    "a loss by name": (lambda: hessian(linear(), "mse", (X, Y)), "^the loss is a str: pass"),  # type: ignore[arg-type]
    "the class of a loss": (
        lambda: hessian(linear(), nn.MSELoss, (X, X[:, :3])),
        r"^the loss is the class MSELoss: pass one of torch's, as CrossEntropyLoss\(\)",
    ),
    "one direction": (
        lambda: hessian(linear(), CE, (X, Y))(torch.ones(15, dtype=torch.float64)),
        r"^directions of shape \[15\]: must be rows \[C, 15\]$",
    ),
    "directions of another length": (
        lambda: hessian(Quadratic(dim=3), THETA)(torch.ones(2, 4, dtype=torch.float64)),
        r"^directions of shape \[2, 4\]: must be rows \[C, 3\]$",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line(case: str) -> None:
    make, words = REFUSED[case]
    with pytest.raises(UserError, match=words):
        make()


def test_whole_numbers_that_are_not_trained_are_none_of_the_parameters() -> None:
    H = hessian(Weighted(torch.tensor([1, 2, 3]), False), CE, (X, Y))
    assert list(H.blocks or {}) == ["layer.weight", "layer.bias"]


# ---- more than there are ------------------------------------------------------------------------------------------


def test_both_ends_together_are_at_most_all_there_are() -> None:
    H = hessian(linear(), CE, (X, Y))
    values = torch.linalg.eigvalsh(matrix(H))
    for top, bottom in ((H.size, 0), (0, H.size), (H.size, H.size), (H.size - 2, 5)):
        found = extremes(H, top, bottom)
        assert (found.eigenvalues - values).abs().max() <= 1e-14


@pytest.mark.parametrize("ends", [(1, 0), (0, 1), (1, 1)])
def test_an_end_has_no_more_than_there_are(ends: tuple[int, int]) -> None:
    H = hessian(linear(), CE, (X, Y))
    top, bottom = (end * (H.size + 1) for end in ends)
    with pytest.raises(UserError, match=f"top = {top}, bottom = {bottom}: there are {H.size} eigenvalues"):
        extremes(H, top, bottom)


def test_a_run_that_asks_for_more_has_every_eigenvalue_once(tmp_path: Any) -> None:
    keys = {
        "landscape": {"kind": "quadratic", "dim": 3, "curvature": [3.0, -1.0, 5.0]},
        "walkers": 1,
        "steps": 1,
        "curvature": {"every": 1, "of": ["w0"], "top": 2, "bottom": 10, "full": "never"},
    }
    rows = wd.run(keys, run_dir=tmp_path / "run", report=False).eigenvalues
    assert rows["side"].tolist() == ["bottom"] * 6
    assert rows["eigenvalue"].tolist() == [-1.0, 3.0, 5.0] * 2
