"""Models, losses and data as people have them: what is taken as it comes, and what is refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from walkers_dist.config.errors import UserError
from walkers_dist.curvature import gauss_newton, gradient_covariance, hessian

RANDOM = torch.Generator().manual_seed(6)
X = torch.randn(9, 4, dtype=torch.float64, generator=RANDOM)
Y = torch.randint(0, 3, (9,), generator=RANDOM)
CE = nn.CrossEntropyLoss()


def made(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return make().double()


def linear() -> nn.Module:
    return made(lambda: nn.Linear(4, 3))


def matrix(H: Any) -> Tensor:
    return H(torch.eye(H.size, dtype=H.dtype))


class Two(nn.Module):
    """Two inputs, the second a mask that is no sample's own."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.out(x * mask).tanh()


class Counting(nn.Module):
    """Writes into a buffer, in evaluation mode too."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(4, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.out(x).tanh()


class Careless(nn.Module):
    """A module whose own `train` does more than set the mode."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(4, 3)

    def train(self, mode: bool = True) -> Careless:
        with torch.no_grad():
            self.out.weight.mul_(2)
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x).tanh()


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.out(x), 0.5, training=True)


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.out(x).tanh(), x


class InPlace(nn.Module):
    """exp needs its result, and relu overwrites it."""

    def __init__(self) -> None:
        super().__init__()
        self.out, self.cut = nn.Linear(4, 3), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.cut(self.out(x).exp())


class Cumulative(nn.Module):
    """Its attention is called directly, as users do, with a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(4, 12), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x[:, None, None].expand(-1, 1, 2, -1)).chunk(3, -1)
        return self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).mean((1, 2)))


# ---- what is taken ------------------------------------------------------------------------------------------------


def test_batches_in_every_shape_are_the_same_data() -> None:
    model = linear()
    whole = matrix(hessian(model, CE, (X, Y)))
    pairs = [(X[:4], Y[:4]), (X[4:], Y[4:])]
    for data in (
        [X, Y],
        pairs,
        [list(pair) for pair in pairs],
        (pair for pair in pairs),
        DataLoader(TensorDataset(X, Y), batch_size=4, shuffle=True),
        [*pairs, (X[:0], Y[:0])],
    ):
        torch.testing.assert_close(matrix(hessian(model, CE, data)), whole, rtol=0, atol=1e-15)


def test_floats_take_the_models_precision_and_whole_numbers_stay() -> None:
    H = hessian(linear(), CE, (X.float(), Y.int().long()))
    assert H(torch.ones(1, 15, dtype=torch.float64)).dtype == torch.float64


def test_inputs_as_a_tuple_with_one_that_is_no_samples_own() -> None:
    mask = torch.tensor([1.0, 0.0, 1.0, 2.0], dtype=torch.float64)
    model = made(Two)
    found = matrix(hessian(model, CE, ((X, mask), Y)))
    each = matrix(hessian(model, CE, ((X, mask.expand(9, 4)), Y), chunk=2))
    torch.testing.assert_close(found, each, rtol=0, atol=1e-15)
    with pytest.raises(UserError, match="one row for each sample"):
        hessian(model, CE, ((X, mask), Y), chunk=2)


def test_nothing_of_the_users_is_touched() -> None:
    model, state = made(Counting), torch.random.get_rng_state()
    loader = DataLoader(TensorDataset(X, Y), batch_size=4, shuffle=True)
    matrix(hessian(model, CE, loader))
    assert model.calls == 0
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(p.grad is None for p in model.parameters())
    careless = made(Careless)
    weight = careless.out.weight.detach().clone()
    matrix(hessian(careless, CE, (X, Y)))
    assert torch.equal(careless.out.weight, weight)


def test_products_made_without_gradients_and_within_autocast() -> None:
    model = made(lambda: nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3))).float()
    expected = matrix(hessian(model, CE, (X, Y)))
    with torch.no_grad(), torch.autocast("cpu"):
        H = hessian(model, CE, (X, Y))
        assert torch.equal(matrix(H), expected)
        assert torch.equal(matrix(gauss_newton(model, CE, (X, Y))), matrix(gauss_newton(model, CE, (X, Y))))


def test_attention_that_would_be_fused() -> None:
    model = made(Cumulative)
    H = matrix(hessian(model, CE, (X, Y)))
    assert H.isfinite().all() and H.any()
    torch.testing.assert_close(H, H.T, rtol=0, atol=1e-15)


def test_an_inner_module_that_is_compiled_runs_as_it_is_and_has_its_plain_names() -> None:
    inner = made(lambda: nn.Sequential(nn.Linear(4, 4), nn.Tanh()))
    out = linear()
    plain = nn.Sequential(inner, out)
    outer = nn.Sequential(torch.compile(inner), out)
    H, G = hessian(plain, CE, (X, Y)), hessian(outer, CE, (X, Y))
    assert list(G.blocks or {}) == list(H.blocks or {}) == ["0.0.weight", "0.0.bias", "1.weight", "1.bias"]
    assert torch.equal(matrix(G), matrix(H))


# ---- what is refused ----------------------------------------------------------------------------------------------


def squared(z: Tensor, y: Tensor) -> Tensor:
    return (z - y).square()


def margin(z: Tensor, y: Tensor) -> Tensor:
    return F.multilabel_margin_loss(z, y)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "no data": (lambda: hessian(linear(), CE), r"data is a NoneType: pass \(inputs, targets\), or batches"),
    "a tensor": (lambda: hessian(linear(), CE, X), "data is a Tensor"),
    "batches of tensors": (lambda: hessian(linear(), CE, DataLoader(X)), r"a batch is a pair \(inputs, targets\)"),
    "three things": (lambda: hessian(linear(), CE, (X, Y, Y)), "a batch is a pair"),
    "an empty loader": (lambda: hessian(linear(), CE, DataLoader([])), "there are no samples"),
    "labels in a list": (lambda: hessian(linear(), CE, (X, Y.tolist())), "the targets are a list"),
    "all ignored": (lambda: hessian(linear(), CE, (X, torch.full_like(Y, -100))), "no target counts"),
    "too large a class": (lambda: hessian(linear(), CE, (X, Y + 3)), r"class \d among the targets.* has 3 outputs"),
    "later too": (lambda: hessian(linear(), CE, [(X, Y), (X, Y + 3)]), r"class \d among the targets"),
    "a negative class": (lambda: hessian(linear(), CE, (X, Y - 5)), r"class -\d among the targets"),
    "shapes": (
        lambda: hessian(linear(), CE, (X, Y[:, None])),
        r"outputs of shape \[8, 3\] do not fit targets of shape",
    ),
    "outputs in a tuple": (lambda: hessian(made(Pair), CE, (X, Y)), "the outputs are a tuple"),
    "G of a tuple": (
        lambda: gauss_newton(made(Pair), lambda z, y: z[0].square().mean(), (X, Y)),
        "the model returned tuple: this needs one tensor",
    ),
    "no reduction": (lambda: hessian(linear(), nn.CrossEntropyLoss(reduction="none"), (X, Y)), "gives no number"),
    "many numbers": (
        lambda: hessian(linear(), squared, (X, torch.zeros(9, 3, dtype=torch.float64))),
        r"the loss squared must return one number as a tensor, and returned a tensor of shape \[9, 3\]",
    ),
    "two denominators": (lambda: hessian(linear(), CE, (X, Y), denominator="samples"), "has its own"),
    "no such denominator": (
        lambda: hessian(linear(), lambda z, y: z.sum(), (X, Y), denominator="batches"),  # type: ignore[arg-type]
        'denominator = batches: allowed are "samples", "sum" and a function',
    ),
    "covariance of an unknown mean": (lambda: gradient_covariance(linear(), lambda z, y: z.mean(), (X, Y)), "single"),
    "no samples at a time": (lambda: hessian(linear(), CE, (X, Y), chunk=0), "chunk = 0"),
    "frozen": (lambda: hessian(linear().requires_grad_(False), CE, (X, Y)), "no parameters to train"),
    "lazy": (lambda: hessian(nn.LazyLinear(3), CE, (X, Y)), "parameter weight has no shape yet"),
    "two precisions": (
        lambda: hessian(nn.Sequential(linear(), nn.Linear(3, 3)), CE, (X, Y)),
        r"parameter 1\.weight is torch\.float32 on cpu, and 0\.weight torch\.float64 on cpu",
    ),
    "bfloat16": (
        lambda: hessian(linear().bfloat16(), CE, (X, Y)),
        r"weight is torch\.bfloat16: convert .*\.double\(\)",
    ),
    "drops at random": (
        lambda: hessian(made(Noisy), CE, (X, Y)),
        "two evaluations of the model on the same input differ",
    ),
    "in place": (lambda: hessian(made(InPlace), nn.MSELoss(), (X, X[:, :3])), "module cut works in place"),
    "no second derivative": (
        lambda: hessian(linear(), margin, (X, torch.tensor([[0, 2, -1]] * 9))),
        "multilabel_margin_loss_backward has no second derivative",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line(case: str) -> None:
    make, words = REFUSED[case]
    with pytest.raises(UserError, match=words) as refusal:
        matrix(make())
    assert "\n" not in str(refusal.value)
