"""Every kind of network with every kind of loss: matrix, spectrum, both ends and density against dense float64 answers.

The networks have more parameters than a Lanczos basis, so that `extremes` searches. Products, G, R and chunks of the
same kinds are in test_modules.py, perceptrons assembled whole in test_dense.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from walkers_dist.config.load import parse
from walkers_dist.curvature import Operator, density, extremes, gauss_newton, hessian, residual, spectrum
from walkers_dist.curvature.extremes import MOST_BASIS
from walkers_dist.curvature.full import matrix
from walkers_dist.landscape import Landscape, build

N, C = 19, 3


class Attention(nn.Module):
    """One head."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.out = nn.MultiheadAttention(6, 1, batch_first=True), nn.Linear(6, C)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.attention(x, x, x, need_weights=False)[0].mean(1))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.out = nn.LSTM(3, 5, batch_first=True), nn.Linear(5, C)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.lstm(x)[0][:, -1])


def mlp(activation: type[nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Linear(6, 10), activation(), nn.Linear(10, 8), activation(), nn.Linear(8, C))


def cnn() -> nn.Module:
    features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten())
    return nn.Sequential(features, nn.Linear(16, 8), nn.GELU(), nn.Linear(8, C))


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "relu": (mlp(nn.ReLU), (6,)),
    "tanh": (mlp(nn.Tanh), (6,)),
    "gelu": (mlp(nn.GELU), (6,)),
    "cnn": (cnn, (1, 6, 6)),
    "attention": (Attention, (3, 6)),
    "lstm": (Recurrent, (4, 3)),
}
LOSSES: dict[str, nn.Module] = {
    "cross_entropy": nn.CrossEntropyLoss(),
    "weighted, some ignored": nn.CrossEntropyLoss(weight=torch.tensor([0.2, 1.0, 3.0]).double(), ignore_index=1),
    "squared": nn.MSELoss(),
}
CASES = pytest.mark.parametrize(("model", "loss"), [(m, l) for m in MODELS for l in LOSSES])


@dataclass(frozen=True)
class Case:
    """A network that has learned a little, its data, its Hessian by autograd, and that one's eigenvalues."""

    net: nn.Module
    loss: nn.Module
    x: Tensor
    y: Tensor
    f: Callable[[Tensor], Tensor]
    theta: Tensor
    dense: Tensor
    values: Tensor

    @property
    def operator(self) -> Operator:
        return hessian(self.net, self.loss, (self.x, self.y))

    @property
    def largest(self) -> float:
        return float(self.values.abs().max())


@cache
def case(model: str, loss: str) -> Case:
    make, shape = MODELS[model]
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(N, *shape, dtype=torch.float64, generator=generator)
    y: Tensor = torch.randint(0, C, (N,), generator=generator)
    if loss == "squared":
        y = torch.randn(N, C, dtype=torch.float64, generator=generator)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = make().double()
    names, sizes = [n for n, _ in net.named_parameters()], [p.numel() for p in net.parameters()]
    shapes = [p.shape for p in net.parameters()]

    def f(row: Tensor) -> Tensor:
        state = {n: part.view(s) for n, part, s in zip(names, row.split(sizes), shapes, strict=True)}
        with sdpa_kernel(SDPBackend.MATH):
            return LOSSES[loss](functional_call(net, state, (x,)), y)

    theta = torch.cat([p.detach().flatten() for p in net.parameters()])
    for _ in range(30):
        theta = theta - 0.3 * torch.func.grad(f)(theta)
    nn.utils.vector_to_parameters(theta, net.parameters())
    dense = torch.autograd.functional.hessian(f, theta)
    return Case(net, LOSSES[loss], x, y, f, theta, dense, torch.linalg.eigvalsh((dense + dense.T) / 2))


def ends(ascending: Tensor, top: int = 10, bottom: int = 5) -> Tensor:
    return torch.cat([ascending[:bottom], ascending[-top:]])


@CASES
def test_the_matrix_and_all_its_eigenvalues(model: str, loss: str) -> None:
    at = case(model, loss)
    H, whole = at.operator, matrix(at.operator)
    assert H.size == len(at.dense) > MOST_BASIS
    assert torch.equal(whole, whole.T)
    assert (whole - at.dense).abs().max() <= 1e-12 * at.dense.abs().max()
    assert (spectrum(H).eigenvalues - at.values).abs().max() <= 1e-12 * at.largest


@CASES
def test_its_parts(model: str, loss: str) -> None:
    at = case(model, loss)
    H, G, R = (matrix(of(at.net, at.loss, (at.x, at.y))) for of in (hessian, gauss_newton, residual))
    assert (G + R - H).abs().max() <= 1e-12 * H.abs().max()
    values = torch.linalg.eigvalsh(G)
    assert values[0] >= -1e-13 * values[-1]  # these losses are convex in the outputs


@CASES
@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float64, 1e-6), (torch.float32, 1e-4)])
def test_top_ten_and_bottom_five(model: str, loss: str, dtype: torch.dtype, allowed: float) -> None:
    at = case(model, loss)
    single = MODELS[model][0]().to(dtype)
    single.load_state_dict(at.net.state_dict())
    H = hessian(single, at.loss, (at.x, at.y))
    for seed in range(3):
        found = extremes(H, 10, 5, seed=seed)
        assert found.all_converged
        assert (found.eigenvalues.double() - ends(at.values)).abs().max() <= allowed * at.largest


@CASES
def test_finite_differences(model: str, loss: str) -> None:
    """Of the gradient along a direction, with a step at which truncation and rounding leave 1e-8 or so."""
    at, step = case(model, loss), 1e-5
    v = torch.randn(len(at.theta), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    gradient = torch.func.grad(at.f)
    differences = (gradient(at.theta + step * v) - gradient(at.theta - step * v)) / (2 * step)
    assert (at.operator(v[None])[0] - differences).abs().max() <= 1e-6 * differences.abs().max()


@CASES
def test_first_four_moments_of_the_density(model: str, loss: str) -> None:
    """Within 4 standard errors of 30 probes; the seed is fixed.

    Of normal numbers one in 2,500 would be further off. A high moment hangs on the square of a probe's share of the top
    eigenvector, which is often small: of 1,500 seeds 0.1 % (first moment) to 1.3 % (fourth) were.
    """
    at = case(model, loss)
    mean, error = density(at.operator, probes=30, steps=30, seed=0).moments(4)
    exact = torch.stack([(at.values**k).mean() for k in (1, 2, 3, 4)])
    assert ((mean - exact).abs() <= 4 * error).all()


# ---- trained on digits --------------------------------------------------------------------------------------------


def digits(seed: int, dtype: torch.dtype) -> Landscape:
    """A smaller W1: 64-10-8-10, 828 parameters."""
    data = {"name": "digits", "train_size": 120, "test_size": 10}
    keys = {"landscape": {"data": data, "model": {"name": "mlp", "hidden": [10, 8]}}}
    return build(parse(keys, "w1").landscape, seed=seed, dtype=dtype)


def test_none_is_missed_over_fifty_trained_nets() -> None:
    """Top 10 and bottom 5 of the Hessian, each seed with images, net and starting vector of its own."""
    for seed in range(50):
        double = digits(seed, torch.float64)
        x = double.start("w0")[None]
        for _ in range(60):
            x = x - 0.3 * double.grad(x)
        values = spectrum(hessian(double, x[0])).eigenvalues
        for landscape, allowed in ((double, 1e-6), (digits(seed, torch.float32), 1e-4)):
            found = extremes(hessian(landscape, x[0]), 10, 5, seed=seed)
            assert found.all_converged, seed
            assert (found.eigenvalues.double() - ends(values)).abs().max() <= allowed * values.max(), seed


# ---- Hessians that are known --------------------------------------------------------------------------------------


def linear() -> tuple[nn.Module, Tensor, Tensor]:
    """A layer alone, inputs [N, 4], and the same with the 1 of the bias."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        net = nn.Linear(4, C).double()
        x = torch.randn(N, 4, dtype=torch.float64)
    return net, x, torch.cat([x, torch.ones(N, 1, dtype=torch.float64)], 1)


def in_order(outputs: Tensor) -> Tensor:
    """[N, C, D, C, D] summed over samples, as [P, P] in the order of the parameters: weight [C, 4], then bias [C]."""
    unordered = outputs.sum(0).flatten(2, 3).flatten(0, 1)
    place = torch.cat([torch.arange(C * 5).view(C, 5)[:, :4].flatten(), torch.arange(C) * 5 + 4])
    return unordered[place][:, place]


def test_softmax_regression() -> None:
    """H = G = (1/N) sum_i (diag p_i - p_i p_i^T) (x) x_i x_i^T, and R = 0."""
    net, x, with_one = linear()
    data = (x, torch.arange(N) % C)
    p = net(x).softmax(1).detach()
    middle = p.diag_embed() - p[:, :, None] * p[:, None]
    expected = in_order(torch.einsum("nab,nd,ne->nadbe", middle, with_one, with_one)) / N
    H, G, R = (matrix(of(net, nn.CrossEntropyLoss(), data)) for of in (hessian, gauss_newton, residual))
    assert (H - expected).abs().max() <= 1e-14 and (G - expected).abs().max() <= 1e-14
    assert R.abs().max() <= 1e-15


def test_linear_least_squares() -> None:
    """H = G = 2 / (N C) I (x) X^T X, wherever the parameters are."""
    net, x, with_one = linear()
    data = (x, torch.ones(N, C, dtype=torch.float64))
    eye = torch.eye(C, dtype=torch.float64)
    expected = in_order(torch.einsum("ab,nd,ne->nadbe", eye, with_one, with_one)) * 2 / (N * C)
    for of in (hessian, gauss_newton):
        assert (matrix(of(net, nn.MSELoss(), data)) - expected).abs().max() <= 1e-14


def test_two_linear_units_in_a_row() -> None:
    """(a b x - y)^2 over one sample: d2/da2 = 2 b^2 x^2, d2/db2 = 2 a^2 x^2, d2/dadb = 2 x (2 a b x - y)."""
    a, b, x, y = 1.5, -0.5, 2.0, 3.0
    net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)).double()
    nn.utils.vector_to_parameters(torch.tensor([a, b], dtype=torch.float64), net.parameters())
    data = (torch.tensor([[x]]).double(), torch.tensor([[y]]).double())
    across, g = 2 * x * (2 * a * b * x - y), 2 * x * x * torch.tensor([[b * b, a * b], [a * b, a * a]]).double()
    expected = torch.tensor([[2 * (b * x) ** 2, across], [across, 2 * (a * x) ** 2]], dtype=torch.float64)
    assert (matrix(hessian(net, nn.MSELoss(), data)) - expected).abs().max() <= 1e-14
    assert (matrix(gauss_newton(net, nn.MSELoss(), data)) - g).abs().max() <= 1e-14


def test_a_quadratic_landscape() -> None:
    curvature = [float(k) for k in range(-3, 197)]
    keys = {"landscape": {"kind": "quadratic", "dim": 200, "curvature": curvature}}
    H = hessian(build(parse(keys, "bowl").landscape, dtype=torch.float64), torch.ones(200))
    assert torch.equal(matrix(H), torch.tensor(curvature, dtype=torch.float64).diag())
    known = torch.tensor([-3.0, -2.0, 195.0, 196.0], dtype=torch.float64)
    assert (extremes(H, 2, 2).eigenvalues - known).abs().max() <= 1e-6 * 196
