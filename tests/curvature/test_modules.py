"""Second-order products of any torch module with a loss and data, against dense float64 answers of autograd."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from walkers_dist.config.errors import UserError
from walkers_dist.curvature import gauss_newton, gradient_covariance, hessian, residual
from walkers_dist.landscape import products


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.out = nn.MultiheadAttention(4, 1, batch_first=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.attention(x, x, x, need_weights=False)[0].mean(1))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.out = nn.LSTM(3, 3, batch_first=True), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.lstm(x)[0][:, -1])


class Tied(nn.Module):
    """One weight used twice, one frozen, one never used."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.b.weight = self.a.weight
        self.out.bias.requires_grad_(False)
        self.unused = nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.b(torch.tanh(self.a(x)))))


class Embedded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.out = nn.Embedding(5, 3), nn.Linear(3, 3)

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        return self.out((self.embedding(words) * mask[..., None]).sum(1).tanh())


def mlp(activation: type[nn.Module]) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), activation(), nn.Linear(5, 4), activation(), nn.Linear(4, 3))


def cnn() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3))


MODELS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "relu": (lambda: mlp(nn.ReLU), (4,)),
    "tanh": (lambda: mlp(nn.Tanh), (4,)),
    "gelu": (lambda: mlp(nn.GELU), (4,)),
    "cnn": (cnn, (1, 6, 6)),
    "attention": (Attention, (3, 4)),
    "lstm": (Recurrent, (4, 3)),
    "tied": (Tied, (4,)),
}
WEIGHT = torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)
LOSSES: dict[str, nn.Module] = {
    "cross_entropy": nn.CrossEntropyLoss(),
    "weighted, some ignored": nn.CrossEntropyLoss(weight=WEIGHT, ignore_index=1),
    "smoothed": nn.CrossEntropyLoss(label_smoothing=0.1),
    "sum": nn.CrossEntropyLoss(reduction="sum"),
    "squared": nn.MSELoss(),
}
N = 17


def made(name: str) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return MODELS[name][0]().double()


def data_for(name: str, loss: str) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(N, *MODELS[name][1], dtype=torch.float64, generator=generator)
    if loss == "squared":
        return x, torch.randn(N, 3, dtype=torch.float64, generator=generator)
    return x, torch.randint(0, 3, (N,), generator=generator)


def flat_loss(model: nn.Module, loss_fn: Any, x: Any, y: Tensor) -> tuple[Any, Tensor]:
    """The loss on all data as a function of the flat vector of what is trained, and where it is."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    theta = torch.cat([p.detach().flatten() for p in trained.values()])

    def f(row: Tensor) -> Tensor:
        parts = row.split([p.numel() for p in trained.values()])
        state = {name: part.view(p.shape) for (name, p), part in zip(trained.items(), parts, strict=True)}
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            z = functional_call(model, state, (), x) if isinstance(x, dict) else functional_call(model, state, (x,))
            return loss_fn(z, y)

    return f, theta


def dense_hessian(f: Any, theta: Tensor) -> Tensor:
    return torch.autograd.functional.hessian(f, theta)


def matrix(H: Any) -> Tensor:
    return H(torch.eye(H.size, dtype=H.dtype))


def close(a: Tensor, b: Tensor, tol: float = 1e-12) -> bool:
    return bool((a - b).abs().max() <= tol * b.abs().max())


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", MODELS)
def test_hessian_is_that_of_autograd_whatever_the_chunks(name: str, loss: str) -> None:
    model, (x, y) = made(name), data_for(name, loss)
    dense = dense_hessian(*flat_loss(model, LOSSES[loss], x, y))
    for chunk in (None, 1, 5) if name in ("relu", "tanh") else (None, 5):
        H = hessian(model, LOSSES[loss], (x, y), chunk=chunk)
        assert H.size == len(dense)
        assert close(matrix(H), dense), chunk
    loader = DataLoader(TensorDataset(x, y), batch_size=6)
    assert close(matrix(hessian(model, LOSSES[loss], loader)), dense)
    assert close(matrix(hessian(model, LOSSES[loss], [(x[:3], y[:3]), (x[3:], y[3:])])), dense)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", MODELS)
def test_gauss_newton_and_residual_are_the_hessian(name: str, loss: str) -> None:
    model, (x, y) = made(name), data_for(name, loss)
    H, G, R = (matrix(of(model, LOSSES[loss], (x, y), chunk=5)) for of in (hessian, gauss_newton, residual))
    assert close(G + R, H)
    f, theta = flat_loss(model, lambda z, _: z, x, y)
    J = torch.autograd.functional.jacobian(f, theta).flatten(0, 1)
    z = f(theta)
    outer = torch.autograd.functional.hessian(lambda z: LOSSES[loss](z.view(N, 3), y), z.flatten())
    assert close(G, J.T @ outer @ J, 1e-11)


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("name", ["tanh", "cnn", "tied"])
def test_covariance_of_the_samples_gradients(name: str, centered: bool) -> None:
    model, (x, y) = made(name), data_for(name, "cross_entropy")
    f, theta = flat_loss(model, nn.CrossEntropyLoss(reduction="none"), x, y)
    g = torch.autograd.functional.jacobian(f, theta)
    expected = g.T @ g / N - centered * torch.outer(g.mean(0), g.mean(0))
    assert close(
        matrix(gradient_covariance(model, nn.CrossEntropyLoss(), (x, y), centered=centered, chunk=4)), expected
    )


def test_a_sum_is_n_times_the_mean() -> None:
    model, (x, y) = made("tanh"), data_for("tanh", "cross_entropy")
    mean, total = (hessian(model, nn.CrossEntropyLoss(reduction=r), (x, y), chunk=4) for r in ("mean", "sum"))
    assert close(matrix(total), N * matrix(mean), 1e-14)


def test_finite_differences() -> None:
    model, (x, y) = made("gelu"), data_for("gelu", "cross_entropy")
    f, theta = flat_loss(model, F.cross_entropy, x, y)
    gradient = torch.func.grad(f)
    v = torch.randn(len(theta), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    step = 1e-5
    differences = (gradient(theta + step * v) - gradient(theta - step * v)) / (2 * step)
    assert close(hessian(model, F.cross_entropy, (x, y))(v[None])[0], differences, 1e-7)


def test_tied_counts_once_frozen_is_left_out_unused_is_zero() -> None:
    model, (x, y) = made("tied"), data_for("tied", "cross_entropy")
    H = hessian(model, nn.CrossEntropyLoss(), (x, y))
    assert set(H.blocks) == {"unused", "a.weight", "a.bias", "b.bias", "out.weight"}
    whole, unused = matrix(H), H.blocks["unused"]
    assert not whole[unused].any() and not whole[:, unused].any()
    assert whole[H.blocks["a.weight"], H.blocks["a.weight"]].any()
    block = H.block("out")
    assert block.size == 12 and close(matrix(block), whole[H.blocks["out.weight"], H.blocks["out.weight"]])


def test_tied_weights_are_the_untied_hessian_folded() -> None:
    """H = T^T H_untied T, T the 0/1 matrix that copies the shared weight into both of its places."""
    model, (x, y) = made("tied"), data_for("tied", "cross_entropy")
    untied = copy.deepcopy(model)
    untied.b.weight = nn.Parameter(untied.a.weight.detach().clone())
    H, U = (hessian(net, nn.CrossEntropyLoss(), (x, y)) for net in (model, untied))
    T = torch.zeros(U.size, H.size, dtype=torch.float64)
    for name, at in U.blocks.items():
        source = H.blocks["a.weight" if name == "b.weight" else name]
        T[at, source] = torch.eye(at.stop - at.start, dtype=torch.float64)
    assert U.size == H.size + 16
    assert close(matrix(H), T.T @ matrix(U) @ T)


def test_what_the_module_does_later_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = made("tied"), data_for("tied", "cross_entropy")
    expected = matrix(hessian(model, nn.CrossEntropyLoss(), data))
    monkeypatch.setattr(products, "SHARE", 0.0)  # so that every product evaluates the module anew
    H = hessian(model, nn.CrossEntropyLoss(), data, chunk=5)
    with torch.no_grad():
        for p in model.parameters():  # the frozen one too
            p.add_(1)
    assert close(matrix(H), expected)


class InPlaceAfterConvolution(nn.Module):
    """Forward mode knows all of it, but in place on what a linear map has computed in advance."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.rnn = nn.Conv1d(1, 2, 2), nn.RNN(2, 3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(torch.tanh(self.conv(x[:, None])).mT)[0][:, -1]


@pytest.mark.parametrize("of", [hessian, gauss_newton, gradient_covariance])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_linear_map_that_changes_when_it_is_called_is_not_used(
    of: Any, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        recurrent, relu = InPlaceAfterConvolution().to(dtype), cnn().to(dtype)
        relu[1] = nn.ReLU(inplace=True)
    for model, data in ((recurrent, data_for("tanh", "cross_entropy")), (relu, data_for("cnn", "cross_entropy"))):
        plain = matrix(of(model, nn.CrossEntropyLoss(), data))
        with monkeypatch.context() as within:
            within.setattr(products, "LINEAR_PAYS", 0.0)
            found = matrix(of(model, nn.CrossEntropyLoss(), data))
        assert close(found, plain, 1e-12 if dtype == torch.float64 else 1e-5)


def test_dict_batches_of_whole_numbers() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = Embedded().double()
    generator = torch.Generator().manual_seed(2)
    words, mask = torch.randint(0, 5, (N, 4), generator=generator), torch.ones(N, 4, dtype=torch.float64)
    y = torch.randint(0, 3, (N,), generator=generator)
    x = {"words": words, "mask": mask}
    dense = dense_hessian(*flat_loss(model, nn.CrossEntropyLoss(), x, y))
    assert close(matrix(hessian(model, nn.CrossEntropyLoss(), (x, y), chunk=5)), dense)


def test_scipys_operator() -> None:
    model, data = made("tanh"), data_for("tanh", "cross_entropy")
    H = hessian(model, nn.CrossEntropyLoss(), data)
    A, whole = H.linear_operator(), matrix(H)
    v = torch.randn(H.size, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert close(torch.from_numpy(A @ v.numpy()), whole @ v)
    assert close(torch.from_numpy(A @ v[:, 0].numpy()), whole @ v[:, 0])


def test_evaluation_mode_and_the_module_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Tanh(), nn.Linear(5, 3)).double()
    x, y = data_for("tanh", "cross_entropy")
    model(x)  # moves the running statistics
    model.train()
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    H = hessian(model, nn.CrossEntropyLoss(), (x, y))
    first, second = matrix(H), matrix(H)
    assert torch.equal(first, second)
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))
    dense = dense_hessian(*flat_loss(copy.deepcopy(model).eval(), nn.CrossEntropyLoss(), x, y))
    assert close(first, dense)


def test_a_compiled_module_is_unwrapped() -> None:
    model, data = made("tanh"), data_for("tanh", "cross_entropy")
    compiled = torch.compile(model)
    assert close(
        matrix(hessian(compiled, nn.CrossEntropyLoss(), data)), matrix(hessian(model, nn.CrossEntropyLoss(), data))
    )


# ---- what is refused --------------------------------------------------------------------------------------------


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        return z.sin()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g


class OnceNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return Once.apply(self.out(x))


def own_loss(z: Tensor, y: Tensor) -> Tensor:
    return (z.exp().sum(1) - z[:, 0]).mean()


def with_nan() -> nn.Module:
    model = made("tanh")
    with torch.no_grad():
        model[2].weight[0, 0] = torch.nan
    return model


X, Y = data_for("tanh", "cross_entropy")
REFUSED: dict[str, tuple[Any, str]] = {
    "not twice differentiable": (lambda: hessian(OnceNet().double(), nn.CrossEntropyLoss(), (X, Y)), "Once"),
    "nan": (lambda: hessian(with_nan(), nn.CrossEntropyLoss(), (X, Y)), r"2\.weight"),
    "half": (lambda: hessian(made("tanh").half(), nn.CrossEntropyLoss(), (X, Y)), "float16"),
    "empty": (lambda: hessian(made("tanh"), nn.CrossEntropyLoss(), (X[:0], Y[:0])), "data"),
    "no batch": (lambda: hessian(made("tanh"), nn.CrossEntropyLoss(), []), "data"),
    "broadcast": (
        lambda: hessian(nn.Linear(4, 1).double(), nn.MSELoss(), (X, torch.zeros(N, dtype=torch.float64))),
        r"outputs of shape .*, 1\] do not fit targets of shape .*broadcast",
    ),
    "own loss in chunks": (
        lambda: hessian(made("tanh"), own_loss, (X, Y), chunk=5),
        r'4 chunks, .* pass denominator="samples" for a mean .*, "sum", or a function of the targets',
    ),
    "inputs that do not fit": (
        lambda: hessian(made("tanh"), nn.CrossEntropyLoss(), (X[:, :3], Y)),
        r"the model does not accept inputs of shape \[8, 3\]",
    ),
    "no such block": (
        lambda: hessian(made("tanh"), nn.CrossEntropyLoss(), (X, Y)).block("0.wait"),
        "did you mean 0.weight",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line(case: str) -> None:
    make, words = REFUSED[case]
    with pytest.raises(UserError, match=words) as refusal:
        matrix(make())
    assert "\n" not in str(refusal.value)


def test_a_loss_of_ones_own_with_its_denominator() -> None:
    model = made("tanh")
    whole = matrix(hessian(model, own_loss, (X, Y)))
    assert close(whole, dense_hessian(*flat_loss(model, own_loss, X, Y)))
    assert close(matrix(hessian(model, own_loss, (X, Y), chunk=5, denominator="samples")), whole)
