"""The same matrices, eigenvalues and moments as three other libraries give, each where its release works.

    curvlinops-for-pytorch 3.0.1   products of H and G, scipy's eigsh on them, trace. Batches weigh by their samples:
                                   wrong where samples count differently (class weights, ignored targets).
    hessian-eigenthings 1.0.0a5    products of H and G, Lanczos, quadrature, trace. Every batch weighs the same: wrong
                                   where they have different sizes. With its default of 2k steps the bottom is wrong.
    PyHessian 0.1                  products of H, power iteration, trace. No G; the largest in absolute value, and no
                                   bottom; `density` calls torch.eig, which is gone; it divides by |v| + 1e-6, so its
                                   eigenvalues are 2e-6 off at best; `trace` stops while its running mean is negative.
                                   Vectors have the default dtype.

`pip install -e '.[peers]'` has them; without one of them its tests say so and are skipped.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from scipy.sparse.linalg import eigsh
from torch import Tensor, nn

from walkers_dist.config.load import parse
from walkers_dist.curvature import Operator, density, extremes, gauss_newton, hessian, spectrum, trace
from walkers_dist.landscape import build

N, C = 24, 4
Batches = list[tuple[Tensor, Tensor]]

MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (lambda: nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, C)), (6,)),
    "cnn": (
        lambda: nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, C)),
        (1, 6, 6),
    ),
}
LOSSES: dict[str, nn.Module] = {"cross_entropy": nn.CrossEntropyLoss(), "squared": nn.MSELoss()}
CUTS = {"one batch": [N], "equal batches": [8, 8, 8], "batches of 5 and 19": [5, 19]}
EVERY_CASE = [pytest.param(m, l, c, id=f"{m}, {l}, {c}") for m in MODELS for l in LOSSES for c in CUTS]
EQUAL = [case for case in EVERY_CASE if case.values[2] != "batches of 5 and 19"]
PRODUCTS, EIGENVALUES, POWER = 1e-12, 1e-10, 1e-5
"""Tolerances, each relative to the largest entry or eigenvalue. What power iteration of PyHessian leaves is 2e-6."""


def case(model: str, loss: str, cut: str = "one batch") -> tuple[nn.Module, nn.Module, Batches]:
    make, shape = MODELS[model]
    with torch.random.fork_rng():
        torch.manual_seed(11)
        net = make().double()
    generator = torch.Generator().manual_seed(12)
    x = torch.randn(N, *shape, dtype=torch.float64, generator=generator)
    if loss == "squared":
        y = torch.randn(N, C, dtype=torch.float64, generator=generator)
    else:
        y = torch.randint(0, C, (N,), generator=generator)
    return net, LOSSES[loss], list(zip(x.split(CUTS[cut]), y.split(CUTS[cut]), strict=True))


def matrix(H: Operator) -> Tensor:
    return H(torch.eye(H.size, dtype=H.dtype))


def error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def exact_moments(H: Operator) -> Tensor:
    values = spectrum(H).eigenvalues
    return torch.stack([(values**k).mean() for k in (1, 2, 3, 4)])


def peer(name: str) -> ModuleType:
    return pytest.importorskip(name, reason=f"{name} is not here: pip install -e '.[peers]' has it")


# ---- curvlinops ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def curvlinops() -> ModuleType:
    return peer("curvlinops")


def by_curvlinops(kind: Any, net: nn.Module, loss: nn.Module, batches: Batches) -> Any:
    return kind(net, loss, [p for p in net.parameters() if p.requires_grad], batches)


@pytest.mark.parametrize(("model", "loss", "cut"), EVERY_CASE)
def test_products_of_curvlinops(curvlinops: ModuleType, model: str, loss: str, cut: str) -> None:
    net, loss_fn, batches = case(model, loss, cut)
    for of, kind in ((hessian, curvlinops.HessianLinearOperator), (gauss_newton, curvlinops.GGNLinearOperator)):
        ours, theirs = matrix(of(net, loss_fn, batches)), by_curvlinops(kind, net, loss_fn, batches)
        assert error(ours, theirs @ torch.eye(len(ours), dtype=torch.float64)) <= PRODUCTS


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("model", MODELS)
def test_both_ends_by_curvlinops_and_scipy(curvlinops: ModuleType, model: str, loss: str) -> None:
    net, loss_fn, batches = case(model, loss)
    theirs = by_curvlinops(curvlinops.HessianLinearOperator, net, loss_fn, batches).to_scipy()
    H = hessian(net, loss_fn, batches)
    found = extremes(H, top=4, bottom=3, tol=1e-9)
    for which, mine in (("LA", found.eigenvalues[3:]), ("SA", found.eigenvalues[:3])):
        values = eigsh(theirs, k=len(mine), which=which, return_eigenvectors=False, v0=torch.ones(H.size).numpy())
        assert float((mine - torch.tensor(values).sort().values).abs().max()) <= EIGENVALUES * found.eigenvalues.max()


def test_a_perceptrons_own_products_against_curvlinops(curvlinops: ModuleType) -> None:
    """The landscape's matrix products and assembled matrices, on digits, against its torch module."""
    keys = {
        "data": {"name": "digits", "train_size": 40, "test_size": 10},
        "model": {"name": "mlp", "hidden": [5, 6], "activation": "gelu"},
    }
    landscape = build(parse({"dynamics": {"name": "gd"}, "landscape": keys}, "digits").landscape, dtype=torch.float64)
    theta = landscape.start("w0") * 2
    net, batches = landscape.module(theta), [(landscape.inputs["train"], landscape.targets["train"].argmax(1))]
    for of, kind in ((hessian, curvlinops.HessianLinearOperator), (gauss_newton, curvlinops.GGNLinearOperator)):
        H, theirs = of(landscape, theta), by_curvlinops(kind, net, nn.CrossEntropyLoss(), batches)
        expected = theirs @ torch.eye(H.size, dtype=torch.float64)
        assert error(matrix(H), expected) <= PRODUCTS
        assert error(H.dense(), expected) <= PRODUCTS


def test_trace_of_curvlinops(curvlinops: ModuleType) -> None:
    """Hutchinson's estimate from n signs has the variance 2 (|H|_F^2 - sum H_ii^2) / n; within 4 of its roots."""
    net, loss_fn, batches = case("mlp", "cross_entropy")
    A, n = matrix(hessian(net, loss_fn, batches)), 100
    theirs = by_curvlinops(curvlinops.HessianLinearOperator, net, loss_fn, batches)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        estimate = float(curvlinops.hutchinson_trace(theirs, n, "rademacher"))
    spread = float((2 * (A.square().sum() - A.diagonal().square().sum()) / n).sqrt())
    assert abs(estimate - float(A.trace())) <= 4 * spread
    ours = trace(hessian(net, loss_fn, batches), 99)
    assert abs(ours.value - estimate) <= 4 * (spread**2 + ours.error**2) ** 0.5


def test_class_weights_in_batches_are_not_weighed_so_by_curvlinops(curvlinops: ModuleType) -> None:
    net, _, batches = case("mlp", "cross_entropy", "batches of 5 and 19")
    loss = nn.CrossEntropyLoss(weight=torch.tensor([0.2, 1.0, 3.0, 0.5]).double(), ignore_index=1)
    whole = [tuple(torch.cat(part) for part in zip(*batches, strict=True))]
    eye = torch.eye(sum(p.numel() for p in net.parameters()), dtype=torch.float64)
    expected = by_curvlinops(curvlinops.HessianLinearOperator, net, loss, whole) @ eye
    assert error(matrix(hessian(net, loss, whole)), expected) <= PRODUCTS
    assert error(matrix(hessian(net, loss, batches)), expected) <= PRODUCTS
    assert error(by_curvlinops(curvlinops.HessianLinearOperator, net, loss, batches) @ eye, expected) > 1e-3


# ---- hessian-eigenthings ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def eigenthings() -> ModuleType:
    return peer("hessian_eigenthings")


def hessian_of(eigenthings: ModuleType, net: nn.Module, loss: nn.Module, batches: Batches) -> Any:
    return eigenthings.HessianOperator(net, batches, eigenthings.supervised_loss(loss))


def columns(A: Any, size: int) -> Tensor:
    return torch.stack([A.matvec(unit).detach() for unit in torch.eye(size, dtype=torch.float64)])


@pytest.mark.parametrize(("model", "loss", "cut"), EQUAL)
def test_products_of_hessian_eigenthings(eigenthings: ModuleType, model: str, loss: str, cut: str) -> None:
    net, loss_fn, batches = case(model, loss, cut)
    H, G = hessian(net, loss_fn, batches), gauss_newton(net, loss_fn, batches)
    assert error(matrix(H), columns(hessian_of(eigenthings, net, loss_fn, batches), H.size)) <= PRODUCTS
    theirs = eigenthings.GGNOperator(
        net, batches, eigenthings.supervised_forward, eigenthings.supervised_loss_of_output(loss_fn)
    )
    assert error(matrix(G), columns(theirs, G.size)) <= PRODUCTS


def test_batches_of_unequal_size_are_not_weighed_by_hessian_eigenthings(eigenthings: ModuleType) -> None:
    net, loss_fn, batches = case("mlp", "cross_entropy", "batches of 5 and 19")
    H = matrix(hessian(net, loss_fn, batches))
    assert error(columns(hessian_of(eigenthings, net, loss_fn, batches), len(H)), H) > 0.05


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("model", MODELS)
def test_both_ends_by_hessian_eigenthings(eigenthings: ModuleType, model: str, loss: str) -> None:
    net, loss_fn, batches = case(model, loss)
    H = hessian(net, loss_fn, batches)
    theirs, found = hessian_of(eigenthings, net, loss_fn, batches), extremes(H, top=4, bottom=3, tol=1e-9)
    keys = {"max_iter": H.size - 1, "reorthogonalize": True, "seed": 1}
    largest = float(found.eigenvalues.max())
    top = eigenthings.lanczos(theirs, k=4, which="LA", **keys).eigenvalues.flip(0)
    bottom = eigenthings.lanczos(theirs, k=3, which="SA", **keys).eigenvalues
    assert float((found.eigenvalues - torch.cat([bottom, top])).abs().max()) <= EIGENVALUES * largest


def test_the_bottom_of_hessian_eigenthings_is_wrong_by_default(eigenthings: ModuleType) -> None:
    """2k steps from a random start do not reach it, and its own figures say so; ours is that of the dense matrix."""
    net, loss_fn, batches = case("mlp", "cross_entropy")
    H = hessian(net, loss_fn, batches)
    values = spectrum(H).eigenvalues
    theirs = eigenthings.lanczos(hessian_of(eigenthings, net, loss_fn, batches), k=5, which="SA", seed=1)
    assert not theirs.converged.all()
    assert float((theirs.eigenvalues - values[:5]).abs().max() / values[:5].abs().max()) > 0.1
    assert float((extremes(H, 1, 5).eigenvalues[:5] - values[:5]).abs().max()) <= 1e-6 * values.max()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("model", MODELS)
def test_moments_of_the_density_by_hessian_eigenthings(eigenthings: ModuleType, model: str, loss: str) -> None:
    """Twenty probes of each: both within 4 standard errors of the exact moments, and so of each other.

    The seeds are fixed; 4 of Student's t with 19 degrees of freedom are exceeded once in 1,300 draws.
    """
    net, loss_fn, batches = case(model, loss)
    H, powers = hessian(net, loss_fn, batches), torch.arange(1, 5, dtype=torch.float64)[:, None, None]
    theirs = eigenthings.spectral_density(
        hessian_of(eigenthings, net, loss_fn, batches), num_runs=20, lanczos_steps=20, num_grid_points=10, seed=3
    )
    each = (theirs.raw_eigenvalues.nan_to_num() ** powers * theirs.raw_weights).sum(-1)
    mean, spread = density(H, probes=20, steps=20, seed=3).moments(4)
    exact = exact_moments(H)
    assert ((each.mean(1) - exact).abs() <= 4 * each.std(1) / 20**0.5).all()
    assert ((mean - exact).abs() <= 4 * spread).all()


def test_trace_of_hessian_eigenthings(eigenthings: ModuleType) -> None:
    net, loss_fn, batches = case("cnn", "cross_entropy")
    H = hessian(net, loss_fn, batches)
    exact, ours = float(matrix(H).trace()), trace(H, 99)
    theirs = eigenthings.trace(hessian_of(eigenthings, net, loss_fn, batches), num_matvecs=99, seed=1)
    assert abs(theirs.estimate - exact) <= 4 * theirs.stderr
    assert abs(ours.value - exact) <= 4 * ours.error


# ---- PyHessian ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pyhessian() -> ModuleType:
    return peer("pyhessian")


@pytest.fixture
def in_double() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def by_pyhessian(pyhessian: ModuleType, net: nn.Module, loss: nn.Module, batches: Batches) -> Any:
    keys = {"data": batches[0]} if len(batches) == 1 else {"dataloader": batches}
    return pyhessian.hessian(copy.deepcopy(net), loss, cuda=False, **keys)  # it leaves a graph in the gradients


@pytest.mark.filterwarnings("ignore:Using backward")
@pytest.mark.parametrize(("model", "loss", "cut"), EVERY_CASE)
def test_products_of_pyhessian(pyhessian: ModuleType, model: str, loss: str, cut: str) -> None:
    """Its loader weighs batches by their samples, so unequal ones agree too."""
    net, loss_fn, batches = case(model, loss, cut)
    H, theirs = matrix(hessian(net, loss_fn, batches)), by_pyhessian(pyhessian, net, loss_fn, batches)
    shapes = [p.shape for p in net.parameters()]
    for column in range(0, len(H), 7):
        unit = torch.zeros(len(H), dtype=torch.float64)
        unit[column] = 1
        v = [part.view(shape) for part, shape in zip(unit.split([s.numel() for s in shapes]), shapes, strict=True)]
        if len(batches) == 1:
            product = pyhessian.utils.hessian_vector_product(theirs.gradsH, theirs.params, v)
        else:
            _, product = theirs.dataloader_hv_product(v)
        assert float((torch.cat([p.flatten() for p in product]) - H[column]).abs().max()) <= PRODUCTS * H.abs().max()


@pytest.mark.filterwarnings("ignore:Using backward")
@pytest.mark.parametrize("cut", ["one batch", "equal batches"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("model", MODELS)
def test_largest_eigenvalues_of_pyhessian(
    pyhessian: ModuleType, in_double: None, model: str, loss: str, cut: str
) -> None:
    """In absolute value; power iteration until it no longer moves."""
    net, loss_fn, batches = case(model, loss, cut)
    values = extremes(hessian(net, loss_fn, batches), 3, 3, tol=1e-9).eigenvalues
    expected = values[values.abs().argsort(descending=True)][:2]
    with torch.random.fork_rng():
        torch.manual_seed(5)
        found, _ = by_pyhessian(pyhessian, net, loss_fn, batches).eigenvalues(maxIter=2000, tol=1e-13, top_n=2)
    assert error(torch.tensor(found), expected) <= POWER


@pytest.mark.filterwarnings("ignore:Using backward")
@pytest.mark.parametrize("model", MODELS)
def test_trace_of_pyhessian(pyhessian: ModuleType, in_double: None, model: str) -> None:
    """v' H v for the very signs that it draws."""
    net, loss_fn, batches = case(model, "cross_entropy")
    H, theirs = hessian(net, loss_fn, batches), by_pyhessian(pyhessian, net, loss_fn, batches)
    with torch.random.fork_rng():
        torch.manual_seed(6)
        found = torch.tensor(theirs.trace(maxIter=8, tol=-1.0))
        torch.manual_seed(6)
        draws = [torch.cat([torch.randint_like(p, high=2).flatten() for p in net.parameters()]) for _ in range(8)]
    V = 2 * torch.stack(draws).detach() - 1
    assert error((V * H(V)).sum(1)[: len(found)], found) <= 10 * PRODUCTS


@pytest.mark.filterwarnings("ignore:Using backward")
def test_pyhessian_has_no_density_with_this_torch(pyhessian: ModuleType, in_double: None) -> None:
    theirs = by_pyhessian(pyhessian, *case("mlp", "cross_entropy"))
    with pytest.raises((AttributeError, RuntimeError), match="eig"):
        theirs.density(iter=5, n_v=1)
