"""Any `torch.nn.Module` by import path, against autograd on the module itself, in double precision."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from walkers_dist.config.errors import UserError
from walkers_dist.config.landscape import NetworkConfig
from walkers_dist.config.registry import lookup
from walkers_dist.landscape import build
from walkers_dist.landscape.module import ModuleModel
from walkers_dist.landscape.network import Network

SOURCE = """
import torch
from torch import nn

def images(seed):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(21, 1, 6, 6, generator=g)
    return x[:14], torch.arange(14) % 3, x[14:], torch.arange(7) % 3

def vectors(seed):
    x = torch.randn(21, 5, generator=torch.Generator().manual_seed(seed))
    return x[:14], torch.arange(14) % 3, x[14:], torch.arange(7) % 3

def sentences(seed):
    x = torch.randint(11, (21, 4), generator=torch.Generator().manual_seed(seed))
    return x[:14], torch.arange(14) % 3, x[14:], torch.arange(7) % 3

class Conv(nn.Sequential):
    def __init__(self, channels=2):
        super().__init__(nn.Conv2d(1, channels, 3), nn.GroupNorm(1, channels), nn.Tanh(), nn.AvgPool2d(2),
                         nn.Flatten(), nn.Linear(4 * channels, 3))

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 3)
        self.b.weight = self.a.weight
    def forward(self, x):
        return self.out(torch.tanh(self.b(torch.tanh(self.a(x)))))

class Frozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.features, self.out = nn.Linear(5, 7), nn.Linear(7, 3)
        self.features.requires_grad_(False)
        self.register_buffer("shift", torch.randn(7))
    def forward(self, x):
        return self.out(torch.tanh(self.features(x) + self.shift))

class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.spare, self.out, self.last = nn.Linear(4, 4), nn.Linear(5, 3), nn.Parameter(torch.ones(2))
    def forward(self, x):
        return torch.tanh(self.out(x))

class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.cell, self.out = nn.Embedding(11, 4), nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 3)
    def forward(self, x):
        return self.out(self.cell(self.words(x))[0][:, -1])

class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.out = nn.Embedding(11, 4), nn.Linear(4, 3)
        self.layer = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, activation="gelu", batch_first=True)
    def forward(self, x):
        return self.out(self.layer(self.words(x)).mean(1))
"""
NETS = {"Conv": "images", "Tied": "vectors", "Frozen": "vectors", "Unused": "vectors", "Words": "sentences"}
NETS["Attention"] = "sentences"


def made(module: str, net: str, seed: int = 0, **keys: Any) -> Network:
    config = NetworkConfig.model_validate(
        {"data": {"name": f"{module}:{NETS[net]}"}, "model": {"name": f"{module}:{net}"}, **keys}
    )
    landscape = build(config, seed=seed, dtype=torch.float64)
    assert isinstance(landscape, Network)
    return landscape


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("net", NETS)
def test_against_autograd(slow: Any, user_module: Any, monkeypatch: pytest.MonkeyPatch, net: str) -> None:
    module = user_module(SOURCE)
    landscape = made(module, net, l2=0.1)
    theta, V = normal(3, landscape.size), normal(2, landscape.size)
    by_hand = slow(landscape.module(theta[0]), F.cross_entropy, 0.1)
    parts = lookup("data", f"{module}:{NETS[net]}")(seed=0)
    x, y, x_test, y_test = (v.double() if v.is_floating_point() else v for v in parts)
    oracle = {"train": (x, y), "test": (x_test, y_test)}
    for width in (landscape.net.width, 1 << 20):  # whole, and two samples at a time
        monkeypatch.setattr(landscape.net, "width", width)
        for split, (x, y) in oracle.items():
            losses, gradients = landscape.loss(theta, split=split), landscape.grad(theta, split=split)
            for k, point in enumerate(theta):
                close(losses[k], by_hand.loss(point, x, y))
                close(gradients[k], by_hand.grad(point, x, y))
                right = (landscape.module(point)(x).argmax(1) == y).sum().item()
                assert landscape.accuracy(theta, split=split)[k].item() == pytest.approx(right / len(y), abs=1e-15)
        for v, Hv in zip(V, landscape.hvp(theta[0], V), strict=True):
            close(Hv, by_hand.hvp(theta[0], v, *oracle["train"]))


@pytest.mark.parametrize("net", NETS)
def test_minibatches_against_autograd(slow: Any, user_module: Any, net: str) -> None:
    module = user_module(SOURCE)
    landscape = made(module, net, l2=0.1)
    X = normal(2, landscape.size)
    by_hand = slow(landscape.module(X[0]), F.cross_entropy, 0.1)
    x, y, *_ = (v.double() if v.is_floating_point() else v for v in lookup("data", f"{module}:{NETS[net]}")(seed=0))
    minibatch = landscape.minibatches(["w4", "w0"], 5)
    for t in range(4):  # 2 an epoch
        g = minibatch(X, t)
        for k, walker in enumerate(("w4", "w0")):
            digest = hashlib.blake2b(f"0/{walker}/order/{t // 2}".encode(), digest_size=8).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
            chosen = torch.randperm(14, generator=generator)[t % 2 * 5 :][:5]
            close(g[k], by_hand.grad(X[k], x[chosen], y[chosen]))
        X.sub_(g, alpha=0.1)


def test_sizes(user_module: Any) -> None:
    module = user_module(SOURCE)
    assert made(module, "Tied").size == 25 + 5 + 5 + 18  # one weight for two layers
    assert made(module, "Frozen").size == 7 * 3 + 3
    assert made(module, "Unused").size == 20 + 18 + 2
    args = made(module, "Conv", model={"name": f"{module}:Conv", "args": {"channels": 3}})
    assert args.size == 3 * 9 + 3 + 6 + 12 * 3 + 3


def test_unused_parameters_have_no_gradient(user_module: Any) -> None:
    landscape = made(user_module(SOURCE), "Unused")
    theta = normal(2, landscape.size)
    used = torch.zeros(landscape.size, dtype=torch.bool)
    used[2 + 20 :] = True  # `last` is the module's own parameter, and so comes first
    for g in (landscape.grad(theta), landscape.minibatches(["w0", "w1"], 4)(theta, 0), landscape.hvp(theta[0], theta)):
        assert not g[:, ~used].any() and g[:, used].all()


@pytest.mark.parametrize("net", ["Conv", "Tied", "Words"])
def test_it_starts_where_torch_starts(user_module: Any, net: str) -> None:
    """The module's own initialisation, from the stream of the start, with the user's generator left alone."""
    module = user_module(SOURCE)
    before = torch.get_rng_state()
    landscape = made(module, net)
    theta = landscape.start("w0")
    assert torch.equal(torch.get_rng_state(), before)
    digest = hashlib.blake2b(b"0/all/init/0", digest_size=8).digest()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(digest, "big") >> 1)
        fresh = lookup("model", f"{module}:{net}")()
    assert torch.equal(theta, nn.utils.parameters_to_vector(fresh.parameters()).double())
    for keys in ({"init": {"same": False}}, {"init": {"std": 0.5}}):
        assert not torch.equal(made(module, net, **keys).start("w0"), theta)


def test_what_is_frozen_belongs_to_the_seed(user_module: Any) -> None:
    """Frozen parameters and buffers are part of the surface: every process must have the same."""
    module = user_module(SOURCE)
    one, theta = made(module, "Frozen"), normal(2, 24)
    torch.rand(3)  # another process has drawn other numbers by now
    assert torch.equal(made(module, "Frozen").loss(theta), one.loss(theta))
    assert not torch.equal(made(module, "Frozen", seed=1).module(theta[0]).shift, one.module(theta[0]).shift)


@pytest.mark.parametrize("net", NETS)
def test_the_module_reproduces_the_loss(user_module: Any, net: str) -> None:
    module = user_module(SOURCE)
    landscape = made(module, net)
    theta = normal(1, landscape.size)
    x, y, *_ = lookup("data", f"{module}:{NETS[net]}")(seed=0)
    own = landscape.module(theta[0])
    close(F.cross_entropy(own(x.double() if x.is_floating_point() else x), y), landscape.loss(theta)[0])
    with torch.no_grad():
        for p in own.parameters():
            p.zero_()
    close(landscape.loss(theta)[0], landscape.loss(theta.clone())[0])
    assert landscape.module(theta[0]) is not own


# ---- what is no function of the parameters ------------------------------------------------------------------------

REFUSED = {
    "nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))": r"module 1 \(BatchNorm1d\).*running",
    "nn.Sequential(nn.Unflatten(1, (1, 5)), nn.BatchNorm1d(1, track_running_stats=False), nn.Flatten(),"
    "nn.Linear(5, 3))": r"module 1 \(BatchNorm1d\)",
    "nn.Sequential(nn.Unflatten(1, (1, 5)), nn.InstanceNorm1d(1, track_running_stats=True), nn.Flatten(),"
    "nn.Linear(5, 3))": r"module 1 \(InstanceNorm1d\).*running",
    "nn.Sequential(nn.Linear(5, 3), nn.Dropout(0.1))": r"module 1 \(Dropout\).*drops at random",
    "nn.Sequential(nn.Sequential(nn.Linear(5, 3), nn.AlphaDropout(0.1)))": r"module 0.1 \(AlphaDropout\)",
    "nn.Dropout(0.5)": r"module itself \(Dropout\)",
    "Pick(nn.LSTM(5, 3, 2, dropout=0.2))": r"module net \(LSTM\).*drops at random",
    "Pick(nn.GRU(5, 3, 2, dropout=0.2))": r"module net \(GRU\)",
    "Attend(dropout=0.3)": r"module net \(MultiheadAttention\).*drops at random",
}
PIECES = """
import torch
from torch import nn

def data(seed):
    return torch.zeros(4, 5), torch.tensor([0, 1, 2, 0]), torch.zeros(2, 5), torch.tensor([0, 1])

class Pick(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net
    def forward(self, x):
        return self.net(x)[0]

class Attend(nn.Module):
    def __init__(self, **keys):
        super().__init__()
        self.net = nn.MultiheadAttention(5, 1, **keys)
    def forward(self, x):
        return self.net(x[:, None], x[:, None], x[:, None])[0][:, 0]

def net():
    return """


def from_pieces(user_module: Any, net: str) -> Network:
    module = user_module(PIECES + net)
    config = NetworkConfig.model_validate({"data": {"name": f"{module}:data"}, "model": {"name": f"{module}:net"}})
    landscape = build(config)
    assert isinstance(landscape, Network)
    return landscape


@pytest.mark.parametrize("net", REFUSED)
def test_refused_by_name(user_module: Any, net: str) -> None:
    with pytest.raises(UserError, match=r"landscape.model.name = users_own_0:net: " + REFUSED[net]):
        from_pieces(user_module, net)


@pytest.mark.parametrize(
    "net",
    [
        "nn.Sequential(nn.Linear(5, 3), nn.Dropout(0.0), nn.LayerNorm(3))",
        "nn.Sequential(nn.Unflatten(1, (1, 5)), nn.InstanceNorm1d(1), nn.Flatten(), nn.Linear(5, 3))",
        "Pick(nn.LSTM(5, 3, 2))",
        "Attend()",
    ],
)
def test_what_is_a_function_is_taken(user_module: Any, net: str) -> None:
    landscape = from_pieces(user_module, net)
    assert landscape.loss(landscape.start("w0")[None]).isfinite().all()


@pytest.mark.parametrize(
    ("net", "says"),
    [
        ("nn.Linear(7, 3)", r"does not accept inputs of shape \[1, 5\]"),
        ("nn.Linear(5, 3).requires_grad_(False)", "no parameters to train"),
        ("nn.Identity()", "no parameters to train"),
        ("nn.LSTM(5, 3)", "must return one tensor"),
        ("torch.zeros(3)", r"returned no torch.nn.Module"),
        ("nn.Linear(5, 2)", r"landscape.loss = cross_entropy: labels go up to 2, but the model has 2 outputs"),
    ],
)
def test_what_does_not_fit(user_module: Any, net: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        from_pieces(user_module, net)


def test_arguments_that_do_not_fit(user_module: Any) -> None:
    module = user_module(SOURCE)
    with pytest.raises(UserError, match=r"landscape.model = .*:Conv with args \{'depth': 3\}: TypeError.*depth"):
        made(module, "Conv", model={"name": f"{module}:Conv", "args": {"depth": 3}})


class Forgetful(nn.Module):
    """Functional dropout, which no one can see from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(400, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(nn.functional.dropout(x, 0.5))


@pytest.mark.parametrize(
    ("make", "says"),
    [(Forgetful, "two calls on the same input differ"), (lambda: nn.LazyLinear(2), "a lazy module")],
)
def test_modules_that_are_no_function_of_parameters_are_refused(make, says) -> None:
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(UserError, match=says):
        ModuleModel(make, "my_nets:Net", torch.ones(1, 400), generator, torch.float32)


def test_the_start_does_not_depend_on_the_default_dtype() -> None:
    single = build(NetworkConfig()).start("w0")
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(build(NetworkConfig()).start("w0"), single)
    finally:
        torch.set_default_dtype(torch.float32)
