"""What a loss is divided by, against torch's own means; how a product is prepared, against the plain way."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from walkers_dist.curvature import gauss_newton, gradient_covariance, hessian
from walkers_dist.curvature.terms import terms_of
from walkers_dist.landscape import products

N, C = 11, 4
RANDOM = torch.Generator().manual_seed(5)
Z = torch.randn(N, C, dtype=torch.float64, generator=RANDOM)
REAL = torch.randn(N, C, dtype=torch.float64, generator=RANDOM)
SHARE = REAL.softmax(1)
CLASS = torch.randint(0, C, (N,), generator=RANDOM)
PLACES, CLASSES = (
    torch.randn(N, C, 3, dtype=torch.float64, generator=RANDOM),
    torch.randint(0, C, (N, 3), generator=RANDOM),
)
SIGN = REAL.sign()
WEIGHT = torch.tensor([0.1, 2.0, 1.0, 0.5], dtype=torch.float64)

LOSSES: dict[str, tuple[Callable[..., Tensor], Tensor, Tensor]] = {
    "CrossEntropy": (nn.CrossEntropyLoss(), Z, CLASS),
    "CrossEntropy, all of it": (nn.CrossEntropyLoss(weight=WEIGHT, ignore_index=2, label_smoothing=0.2), Z, CLASS),
    "CrossEntropy of probabilities": (nn.CrossEntropyLoss(weight=WEIGHT, label_smoothing=0.2), Z, SHARE),
    "CrossEntropy in places": (nn.CrossEntropyLoss(weight=WEIGHT, ignore_index=0), PLACES, CLASSES),
    "CrossEntropy of probabilities in places": (nn.CrossEntropyLoss(), PLACES, PLACES.softmax(1)),
    "NLL": (nn.NLLLoss(weight=WEIGHT, ignore_index=1), Z.log_softmax(1), CLASS),
    "KLDiv": (nn.KLDivLoss(), Z.log_softmax(1), SHARE),
    "KLDiv, batchmean": (nn.KLDivLoss(reduction="batchmean"), Z.log_softmax(1), SHARE),
    "MSE": (nn.MSELoss(), Z, REAL),
    "L1": (nn.L1Loss(), Z, REAL),
    "SmoothL1": (nn.SmoothL1Loss(), Z, REAL),
    "Huber": (nn.HuberLoss(), Z, REAL),
    "BCE": (nn.BCELoss(), Z.sigmoid(), SHARE),
    "BCEWithLogits": (nn.BCEWithLogitsLoss(weight=WEIGHT, pos_weight=WEIGHT), Z, SHARE),
    "PoissonNLL": (nn.PoissonNLLLoss(), Z, SHARE),
    "SoftMargin": (nn.SoftMarginLoss(), Z, SIGN),
    "HingeEmbedding": (nn.HingeEmbeddingLoss(), Z, SIGN),
    "MultiLabelSoftMargin": (nn.MultiLabelSoftMarginLoss(weight=WEIGHT), Z, (SIGN > 0).double()),
    "MultiLabelMargin": (nn.MultiLabelMarginLoss(), Z, torch.tensor([[0, 2, -1, 1]] * N)),
    "MultiMargin": (nn.MultiMarginLoss(weight=WEIGHT), Z, CLASS),
    "cross_entropy": (F.cross_entropy, Z, CLASS),
    "partial": (partial(F.cross_entropy, weight=WEIGHT, ignore_index=3), Z, CLASS),
    "mse_loss": (F.mse_loss, Z, REAL),
}


@pytest.mark.filterwarnings("ignore:reduction")
@pytest.mark.parametrize("name", LOSSES)
def test_chunks_divided_by_the_denominator_are_torchs_mean(name: str) -> None:
    loss, z, y = LOSSES[name]
    terms = terms_of(loss, None, Z)
    assert terms.denominator is not None
    cuts = [slice(0, 1), slice(1, 6), slice(6, N)]
    mean = sum(terms.total(z[c], y[c]) for c in cuts) / sum(terms.denominator(y[c]) for c in cuts)
    torch.testing.assert_close(mean, loss(z, y), rtol=1e-14, atol=0)
    assert terms.each(z, y).shape == (N,)
    torch.testing.assert_close(terms.each(z, y).sum(), terms.total(z, y), rtol=1e-14, atol=1e-14)


def test_a_loss_of_ones_own_is_divided_as_it_says() -> None:
    def weighted(z: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(z, y, weight=WEIGHT)

    def summed(z: Tensor, y: Tensor) -> Tensor:
        return (z - y).square().sum()

    model = net()
    whole = matrix(hessian(model, weighted, (Z, CLASS)))
    pieces = hessian(model, weighted, (Z, CLASS), chunk=3, denominator=lambda y: WEIGHT[y].sum())
    torch.testing.assert_close(matrix(pieces), whole, rtol=0, atol=1e-14)
    wrong = hessian(model, weighted, (Z, CLASS), chunk=3, denominator="samples")
    assert (matrix(wrong) - whole).abs().max() > 1e-3 * whole.abs().max()  # what equal weights would give
    known = matrix(hessian(model, nn.MSELoss(reduction="sum"), (Z, REAL)))
    torch.testing.assert_close(
        matrix(hessian(model, summed, (Z, REAL), chunk=3, denominator="sum")), known, rtol=0, atol=1e-12
    )


def test_a_loss_of_ones_own_may_want_the_whole_batch() -> None:
    weight = torch.rand(N, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def by_sample(z: Tensor, y: Tensor) -> Tensor:
        return (weight * F.cross_entropy(z, y, reduction="none")).sum()

    assert hessian(net(), by_sample, (Z, CLASS))(torch.ones(1, 40, dtype=torch.float64)).isfinite().all()


@pytest.mark.parametrize("centered", [False, True])
def test_covariance_of_a_weighted_mean_and_of_a_sum(centered: bool) -> None:
    """A sample's gradient is N times what it adds to the whole one; a sum is N times the second moment of its terms."""
    model, names = net(), [name for name, _ in net().named_parameters()]
    loss = nn.CrossEntropyLoss(weight=WEIGHT, ignore_index=2)

    def added(reduction: str) -> Tensor:  # [N, P], by one backward pass for each sample
        terms = nn.CrossEntropyLoss(weight=WEIGHT, ignore_index=2, reduction="none")(model(Z), CLASS)
        if reduction == "mean":
            terms = terms / WEIGHT[CLASS[CLASS != 2]].sum()
        rows = [torch.autograd.grad(t, list(model.parameters()), retain_graph=True) for t in terms]
        return torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])

    g = N * added("mean")
    expected = g.T @ g / N - centered * torch.outer(g.mean(0), g.mean(0))
    found = gradient_covariance(model, loss, (Z, CLASS), centered=centered, chunk=4)
    torch.testing.assert_close(matrix(found), expected, rtol=0, atol=1e-13)
    assert list(found.blocks or {}) == names

    c = added("sum")
    expected = c.T @ c - centered * torch.outer(c.sum(0), c.sum(0)) / N
    total = nn.CrossEntropyLoss(weight=WEIGHT, ignore_index=2, reduction="sum")
    found = gradient_covariance(model, total, (Z, CLASS), centered=centered, chunk=4)
    torch.testing.assert_close(matrix(found), expected, rtol=0, atol=1e-12)


# ---- how a product is prepared ------------------------------------------------------------------------------------

OPERATORS: dict[str, Callable[..., Any]] = {
    "hessian": hessian,
    "gauss_newton": gauss_newton,
    "gradient_covariance": gradient_covariance,
}


class Recurrent(nn.Module):
    """A convolution before an LSTM, whose linear map is wrong from its second call on, or cannot be built at all."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.lstm = nn.Conv1d(1, 2, 2), nn.LSTM(2, C, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(torch.tanh(self.conv(x[:, None])).mT)[0][:, -1]


class Cube(torch.autograd.Function):
    """Twice differentiable, but not in forward mode."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        return z**3

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return 3 * ctx.saved_tensors[0] ** 2 * g


class Backward(nn.Module):
    """A convolution before what forward mode does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, C, 2)

    def forward(self, x: Tensor) -> Tensor:
        return Cube.apply(self.conv(x[:, None])).mean(2)


def net(
    make: Callable[[], nn.Module] = lambda: nn.Sequential(nn.Linear(C, 4), nn.Tanh(), nn.Linear(4, C)),
) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return make().double()


def convolutional() -> nn.Module:
    return nn.Sequential(nn.Unflatten(1, (1, C)), nn.Conv1d(1, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(9, C))


def in_place() -> nn.Module:
    cut, smooth = nn.ReLU(inplace=True), nn.SiLU(inplace=True)
    return nn.Sequential(nn.Unflatten(1, (1, C)), nn.Conv1d(1, 3, 2), cut, nn.Flatten(), nn.Linear(9, C), smooth)


def matrix(H: Any) -> Tensor:
    return H(torch.eye(H.size, dtype=H.dtype))


@pytest.mark.parametrize("what", OPERATORS)
@pytest.mark.parametrize("make", [convolutional, in_place, Recurrent, Backward])
def test_the_linear_map_gives_what_the_graph_gives(
    make: Callable[[], nn.Module], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, calls = net(make), []
    plain = matrix(OPERATORS[what](model, nn.CrossEntropyLoss(), (Z, CLASS), chunk=6))
    real = products.linearize

    def counted(*args: Any) -> Any:
        found = real(*args)
        calls.append(found)
        return found

    monkeypatch.setattr(products, "LINEAR_PAYS", 0.0)
    monkeypatch.setattr(products, "linearize", counted)
    linear = OPERATORS[what](model, nn.CrossEntropyLoss(), (Z, CLASS), chunk=6)
    if make is not Recurrent:
        assert len(calls) == (0 if make is Backward else 2)  # one for each chunk; none where it cannot be built
    torch.testing.assert_close(matrix(linear), plain, rtol=0, atol=1e-14)
    assert torch.equal(matrix(linear), matrix(linear))


@pytest.mark.parametrize("what", OPERATORS)
def test_graphs_that_do_not_fit_are_made_anew_with_the_same_bits(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = net(lambda: nn.Sequential(nn.Linear(C, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Tanh(), nn.Linear(4, C)))
    model.train()
    kept = OPERATORS[what](model, nn.CrossEntropyLoss(), (Z, CLASS), chunk=3)
    monkeypatch.setattr(products, "SHARE", 0.0)
    anew = OPERATORS[what](model, nn.CrossEntropyLoss(), (Z, CLASS), chunk=3)
    expected = matrix(kept)
    with torch.no_grad():  # the point is where the model was, whatever it does later
        model[0].weight.add_(1)
        model[1].running_var.mul_(3)
    assert torch.equal(matrix(anew), expected)
    assert torch.equal(matrix(anew), matrix(kept))
    assert all(module.training for module in model.modules())
