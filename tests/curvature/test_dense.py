"""The Hessian of a perceptron assembled whole, against products and autograd; and its exact compression."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

import walkers_dist as wd
from walkers_dist.config.load import parse
from walkers_dist.curvature import gauss_newton, hessian, residual, spectrum
from walkers_dist.curvature.compression import compress
from walkers_dist.curvature.full import matrix
from walkers_dist.landscape import build, mlp_dense
from walkers_dist.landscape.losses import CrossEntropy
from walkers_dist.landscape.mlp import MLP
from walkers_dist.landscape.network import Network

LABELS = {"hard": {}, "soft": {"labels": {"p": 0.91, "q": 0.01}}}


def small(
    activation: str = "tanh", loss: str = "cross_entropy", hidden: Sequence[int] = (5, 4), **keys: object
) -> tuple[Network, Tensor]:
    data = {"name": "digits", "train_size": 25, "test_size": 10, **keys.pop("data", {})}  # type: ignore[dict-item]
    model = {"name": "mlp", "hidden": list(hidden), "activation": activation}
    config = parse(
        {"dynamics": {"name": "gd"}, "landscape": {"data": data, "model": model, "loss": loss, **keys}}, "small"
    ).landscape
    landscape = build(config, dtype=torch.float64)
    assert isinstance(landscape, Network)
    return landscape, landscape.start("w0") * 1.5


def by_products(H: wd.curvature.Operator) -> Tensor:
    return H(torch.eye(H.size, dtype=H.dtype))


def autograd(landscape: Network, theta: Tensor) -> Tensor:
    net = landscape.module(theta)
    names = [name for name, _ in net.named_parameters()]
    sizes = [p.numel() for p in net.parameters()]
    shapes = [p.shape for p in net.parameters()]

    def f(row: Tensor) -> Tensor:
        state = {n: part.view(s) for n, part, s in zip(names, row.split(sizes), shapes, strict=True)}
        z = torch.func.functional_call(net, state, (landscape.inputs["train"],))
        value = landscape.criterion.value(z[None], landscape.targets["train"][None])[0]
        return value + landscape.l2 / 2 * row @ row

    return torch.autograd.functional.hessian(f, theta)


@pytest.mark.parametrize("l2", [0.0, 0.1])
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_equals_autograd_and_products(activation: str, loss: str, labels: str, l2: float) -> None:
    landscape, theta = small(activation, loss, data=LABELS[labels], l2=l2)
    H, G, R = (of(landscape, theta) for of in (hessian, gauss_newton, residual))
    assert H.dense is not None and G.dense is not None and R.dense is not None
    whole, scale = H.dense(), H.dense().abs().max()
    assert torch.equal(whole, whole.T)
    for found, expected in ((whole, autograd(landscape, theta)), (whole, by_products(H)), (G.dense(), by_products(G)),
                            (R.dense(), by_products(R)), (G.dense() + R.dense(), whole)):  # fmt: skip
        assert (found - expected).abs().max() <= 1e-12 * scale
    values = torch.linalg.eigvalsh(autograd(landscape, theta))
    assert (spectrum(H).eigenvalues - values).abs().max() <= 1e-12 * values.abs().max()


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("hidden", [(), (6,), (5, 4, 3, 4)])
def test_any_depth(hidden: tuple[int, ...], activation: str) -> None:
    landscape, theta = small(activation, hidden=hidden)
    H, G, R = (matrix(of(landscape, theta)) for of in (hessian, gauss_newton, residual))
    expected = autograd(landscape, theta)
    scale = expected.abs().max()
    assert (H - expected).abs().max() <= 1e-12 * scale
    assert (G + R - H).abs().max() <= 1e-12 * scale
    if not hidden:  # outputs linear in the parameters
        assert not R.any()


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_a_network_of_its_usual_size(activation: str) -> None:
    """64-30-30-10, every column: 1e-12 relative, and exactly symmetric."""
    landscape, theta = small(activation, hidden=(30, 30), data={"train_size": 60})
    H = hessian(landscape, theta)
    assert H.dense is not None and H.size == 3190
    whole = H.dense()
    assert torch.equal(whole, whole.T)
    units = torch.eye(H.size, dtype=H.dtype)[::17]
    expected = H(units)
    assert (whole[::17] - expected).norm() <= 1e-12 * expected.norm()


def test_a_users_own_loss() -> None:
    landscape, theta = small(loss="torch.nn.functional:cross_entropy")
    H = hessian(landscape, theta)
    assert H.dense is not None
    assert (H.dense() - by_products(H)).abs().max() <= 1e-12 * H.dense().abs().max()


def test_gauss_newton_is_positive_and_of_bounded_rank() -> None:
    """SPEC D4: n samples and C classes leave at most n (C - 1) eigenvalues."""
    landscape, theta = small(data={"train_size": 6})
    values = spectrum(gauss_newton(landscape, theta)).eigenvalues
    assert values.min() > -1e-14 * values.max()
    assert int((values > 1e-12 * values.max()).sum()) <= 6 * 9


def test_chunks_of_samples_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    landscape, theta = small("gelu")
    whole = hessian(landscape, theta).dense()
    for numbers in (1, 300):
        monkeypatch.setattr(mlp_dense, "NUMBERS", numbers)
        again = hessian(landscape, theta).dense()
        assert (again - whole).abs().max() <= 1e-12 * whole.abs().max()


def test_wide_inputs_by_gram_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    landscape, theta = small("tanh")
    whole = hessian(landscape, theta).dense()
    monkeypatch.setattr(mlp_dense, "WIDE", 3)
    again = hessian(landscape, theta).dense()
    assert (again - whole).abs().max() <= 1e-12 * whole.abs().max()


@pytest.mark.parametrize("l2", [0.0, 0.3])
@pytest.mark.parametrize("of", [hessian, gauss_newton, residual])
def test_compression_is_exact(of: object, l2: float) -> None:
    """25 images span 25 of the 65 directions that a unit of the first layer reads: the others hold 0, or l2."""
    landscape, theta = small("relu", l2=l2)
    A = of(landscape, theta)  # type: ignore[operator]
    assert compress(A.dense.at).shape[1] == 25
    values = torch.linalg.eigvalsh(matrix(A))
    found = spectrum(A).eigenvalues
    assert (found - values).abs().max() <= 5e-15 * values.abs().max() * math.sqrt(len(values))
    exactly = 0.0 if of is residual else l2
    assert int((found == exactly).sum()) >= 5 * (65 - 25)


def test_a_constant_pixel_is_a_second_bias() -> None:
    """Standardised by one mean, digits' empty pixels are no zeros: together with the bias they are one direction."""
    landscape, theta = small("relu", data={"train_size": 300})
    x = landscape.inputs["train"].flatten(1)
    constant = int((x == x[0]).all(dim=0).sum())
    assert constant >= 3 and (x != 0).any(dim=0).all()
    Z = compress(hessian(landscape, theta).dense.at)  # type: ignore[union-attr]
    assert Z is not None and Z.shape == (300, 65 - constant)


def test_inputs_that_use_every_direction_are_left_as_they_are() -> None:
    net = MLP([4, 3, 2], "tanh")
    x = torch.randn(20, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    theta = net.start(torch.Generator().manual_seed(1), None).double()
    targets = torch.eye(2, dtype=torch.float64)[[0, 1] * 10]
    assert compress(net.dense_at(theta, x, targets, CrossEntropy(), 0.0)) is None
    x[:, 3] = x[:, 0] - 2 * x[:, 1] + 1
    Z = compress(net.dense_at(theta, x, targets, CrossEntropy(), 0.0))
    assert Z is not None and Z.shape == (20, 4)
    x[5, 2] = math.nan
    assert compress(net.dense_at(theta, x, targets, CrossEntropy(), 0.0)) is None


def test_vectors_are_those_of_the_parameters() -> None:
    """With compressible inputs too."""
    landscape, theta = small("relu", l2=0.1)
    H = hessian(landscape, theta)
    found = spectrum(H, vectors=True)
    assert found.vectors is not None
    error = H(found.vectors.T.contiguous()) - found.eigenvalues[:, None] * found.vectors.T
    assert error.abs().max() <= 1e-12 * found.eigenvalues.max()
    assert (found.eigenvalues - spectrum(H).eigenvalues).abs().max() <= 1e-13 * found.eigenvalues.max()


def test_inputs_that_are_not_finite_leave_no_spectrum() -> None:
    landscape, theta = small("relu")
    landscape.inputs["train"][3] = math.inf
    with pytest.raises(wd.UserError, match=r"entry \[\d+, \d+\] of the matrix is nan"):
        spectrum(hessian(landscape, theta))


def test_parameters_that_are_not_finite_are_named() -> None:
    landscape, theta = small()
    theta[70] = math.nan
    with pytest.raises(wd.UserError, match=r"parameter 1\.weight holds nan"):
        spectrum(hessian(landscape, theta))


def test_blocks_are_named_as_in_the_module() -> None:
    landscape, theta = small()
    H = hessian(landscape, theta)
    names = [name for name, _ in landscape.module(theta).named_parameters()]
    assert list(H.blocks or {}) == names
    block = H.block("1.weight")
    at = (H.blocks or {})["1.weight"]
    assert torch.equal(block.dense(), H.dense()[at, at])  # type: ignore[misc]
    assert (by_products(block) - block.dense()).abs().max() <= 1e-12 * H.dense().abs().max()  # type: ignore[misc]


def test_float32_too() -> None:
    landscape, theta = small()
    config = {"data": {"name": "digits", "train_size": 25, "test_size": 10},
              "model": {"name": "mlp", "hidden": [5, 4], "activation": "tanh"}}  # fmt: skip
    single = build(parse({"dynamics": {"name": "gd"}, "landscape": config}, "single").landscape)
    found = hessian(single, theta.float()).dense()
    assert found.dtype == torch.float32
    assert (found - hessian(landscape, theta).dense()).abs().max() <= 1e-5
