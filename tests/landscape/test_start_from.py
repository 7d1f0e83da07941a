"""Where walkers and center start: drawn (E.1, row weight_init_std), or given by `landscape.init.from`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import walkers_dist as wd
from walkers_dist.config.errors import UserError
from walkers_dist.config.landscape import NetworkConfig
from walkers_dist.landscape import build
from walkers_dist.landscape.network import Network

NAMES = ["center", "w0", "w1"]
CONFIG: dict[str, Any] = {
    "name": "small",
    "landscape": {
        "data": {"name": "digits", "train_size": 100, "test_size": 50},
        "model": {"name": "mlp", "hidden": [4]},
    },
    "walkers": 2,
    "steps": 6,
    "dynamics": {"name": "sgd", "batch_size": 20},
    "log": {"every": 3},
    "snapshots": {"every": 3},
    "checkpoint": {"every": 3},
}
P = 64 * 4 + 4 + 4 * 10 + 10


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs and files lie in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def start(words: list[str], **keys: Any) -> wd.Run:
    return wd.run({**CONFIG, **keys}, words, in_process=True, report=False)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> wd.Run:
    return wd.run(CONFIG, run_dir=tmp_path_factory.mktemp("runs") / "source", report=False)


def landscape(init: Mapping[str, Any], *, dtype: str = "float32", **keys: Any) -> Network:
    made = build(NetworkConfig.model_validate({**CONFIG["landscape"], "init": init, **keys}), dtype=dtype)
    assert isinstance(made, Network)
    return made


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


# ---- drawn ----------------------------------------------------------------------------------------------------------


def test_one_start_for_all() -> None:
    """E.1, row weight_init_std: without a standard deviation every walker and the center is a clone of one point."""
    made = landscape({"std": None, "same": True})
    first = made.start("w0")
    center = made.center_start()
    assert center is not None and torch.equal(center, first)
    assert all(torch.equal(made.start(f"w{i}"), first) for i in range(1, 5))
    run = start([], steps=0)
    assert all(torch.equal(run.snapshot(0, name), first) for name in NAMES)


def test_a_start_for_each() -> None:
    """E.1, row weight_init_std: with one, all parameters of every walker are drawn independently from N(0, std)."""
    made = landscape({"std": 0.3, "same": False}, model={"name": "mlp", "hidden": [300]})
    X = torch.stack([made.start(f"w{i}") for i in range(5)]).double()  # [5, 22510]
    error = 0.3 / made.size**0.5
    assert (X.mean(1).abs() < 5 * error).all() and ((X.std(1) - 0.3).abs() < 5 * error).all()
    assert (torch.corrcoef(X) - torch.eye(5)).abs().max() < 5 / made.size**0.5
    at = 64 * 300
    for part in (slice(0, at), slice(at, at + 300), slice(at + 300, -10)):  # weights and biases alike
        assert X[:, part].std().item() == pytest.approx(0.3, rel=0.1)
    share = (X.abs() < 0.3).double().mean().item()
    assert share == pytest.approx(0.6827, abs=0.01)
    assert made.center_start() is None  # then it starts at their mean
    run = start(["landscape.init={std: 0.3, same: false}"], steps=0)
    points = torch.stack([run.snapshot(0, name) for name in NAMES])
    torch.testing.assert_close(points[0], points[1:].mean(0))
    assert torch.pdist(points).min() > 1


# ---- a snapshot -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("walker", ["w1", "center"])
def test_a_start_from_a_run(source: wd.Run, walker: str) -> None:
    """Bit for bit where the other was, and its row of the table is repeated."""
    run = start([f"landscape.init.from={source.path}@3/{walker}"])
    there = source.snapshot(3, walker)
    assert not torch.equal(there, source.snapshot(0, walker))
    assert all(torch.equal(run.snapshot(0, name), there) for name in NAMES)
    before = source.results.set_index(["step", "walker"]).loc[(3, walker)]
    for name in NAMES:
        after = run.results.set_index(["step", "walker"]).loc[(0, name)]
        for column in ("norm", "train_loss", "train_grad_norm", "train_accuracy", "test_loss", "test_accuracy"):
            assert after[column] == pytest.approx(before[column], rel=1e-6), column


def test_across_dtypes(source: wd.Run) -> None:
    double = start([f"landscape.init.from={source.path}@6/w0", "dtype=float64", "steps=3"])
    assert torch.equal(double.snapshot(0, "w1"), source.snapshot(6, "w0").double())
    single = start([f"landscape.init.from={double.path}@3/w1"])
    assert torch.equal(single.snapshot(0, "w0"), double.snapshot(3, "w1").float())


def test_a_path_is_relative_to_the_working_directory(source: wd.Run, here: Path) -> None:
    (here / "link@9").symlink_to(source.path)
    run = start(["landscape.init.from=link@9@6/w0"], steps=0)
    assert torch.equal(run.snapshot(0, "w0"), source.snapshot(6, "w0"))
    assert "from: link@9@6/w0" in (run.path / "config.yaml").read_text()


# ---- a file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_tensor(kind: torch.dtype, dtype: str) -> None:
    theta = normal(P).to(kind)
    save_file({"anything": theta}, "theta.safetensors")
    made = landscape({"from": "theta.safetensors"}, dtype=dtype)
    expected = theta.to(getattr(torch, dtype))
    for point in (made.start("w0"), made.start("w7"), made.center_start()):
        assert point is not None and torch.equal(point, expected)
    made.start("w0").zero_()  # each has its own
    assert torch.equal(made.start("w0"), expected)


def test_a_state_dict_of_the_perceptron(source: wd.Run) -> None:
    state = source.model(6, "w1").state_dict()
    assert [*state] == ["1.weight", "1.bias", "3.weight", "3.bias"]
    save_file(dict(reversed(state.items())), "net.safetensors")
    made = landscape({"from": "net.safetensors"})
    assert torch.equal(made.start("w0"), source.snapshot(6, "w1"))


SOURCE = """
import torch
from torch import nn

class Net(nn.Module):
    '''Its first weight is tied to `b`, its second layer is frozen, and it has a buffer of whole numbers.'''
    def __init__(self):
        super().__init__()
        self.a, self.frozen, self.b, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.b.weight = self.a.weight
        self.frozen.requires_grad_(False)
        self.register_buffer("order", torch.arange(4))
    def forward(self, x):
        return self.out(torch.tanh(self.b(self.frozen(torch.tanh(self.a(x)))))[:, self.order])

class One(nn.Linear):
    def __init__(self):
        super().__init__(4, 3, bias=False)

def data(seed):
    x = torch.randn(9, 4, generator=torch.Generator().manual_seed(seed))
    return x, torch.arange(9) % 3, x, torch.arange(9) % 3
"""


def users_net(user_module: Any, init: Mapping[str, Any], net: str = "Net") -> Network:
    module = user_module(SOURCE)
    data, model = {"name": f"{module}:data"}, {"name": f"{module}:{net}"}
    return landscape(init, data=data, model=model)


def test_a_state_dict_of_a_users_module(user_module: Any) -> None:
    """Tied parameters under either name or both, frozen ones and buffers there or not."""
    theta = normal(16 + 4 + 4 + 15).float()
    whole = {name: v.clone() for name, v in users_net(user_module, {}).module(theta).state_dict().items()}
    kept_out = [(), ("a.weight",), ("b.weight",), ("order", "frozen.weight")]
    for number, names in enumerate(kept_out):
        save_file({name: v for name, v in whole.items() if name not in names}, f"{number}.safetensors")
        assert torch.equal(users_net(user_module, {"from": f"{number}.safetensors"}).start("w0"), theta)
    save_file({name: v.double() if v.is_floating_point() else v for name, v in whole.items()}, "double.safetensors")
    assert torch.equal(users_net(user_module, {"from": "double.safetensors"}).start("w0"), theta)


def test_a_module_of_one_parameter(user_module: Any) -> None:
    theta = normal(12).float()
    for name, tensor in (("weight", theta.view(3, 4)), ("theta", theta)):
        save_file({name: tensor}, f"{name}.safetensors")
        assert torch.equal(users_net(user_module, {"from": f"{name}.safetensors"}, "One").start("w0"), theta)


# ---- what is written down -------------------------------------------------------------------------------------------


def test_the_run_says_what_it_read(source: wd.Run, here: Path) -> None:
    save_file({"theta": normal(P)}, "theta.safetensors")
    sha256 = hashlib.sha256((here / "theta.safetensors").read_bytes()).hexdigest()
    run = start(["landscape.init.from=theta.safetensors"])
    written = {"from": "theta.safetensors", "file": str(here / "theta.safetensors"), "sha256": sha256}
    assert run.info["start"] == written
    assert wd.resume(run, ["steps=9"], report=False).info["start"] == written

    of_a_run = start([f"landscape.init.from={source.path}@6/w1"], steps=0).info["start"]
    file = Path(of_a_run["file"])
    assert file.parent == source.path / "snapshots" / "step-00000006"
    assert of_a_run["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert "start" not in source.info


def test_only_who_starts_reads_it() -> None:
    """An analyst needs the surface alone."""
    made = landscape({"from": "none.safetensors"})
    assert made.loss(torch.zeros(1, P)).isfinite()
    assert isinstance(made.module(torch.zeros(P)), nn.Module)
    with pytest.raises(UserError, match=r"landscape.init.from = none.safetensors: No such file"):
        made.start("w0")
    with pytest.raises(UserError, match="null byte; must be RUN@STEP/WALKER"):  # YAML's "\0"
        landscape({"from": "null\0byte"}).start("w0")


# ---- refused --------------------------------------------------------------------------------------------------------

FILES: dict[str, dict[str, Tensor]] = {
    "short": {"theta": torch.zeros(7)},
    "square": {"theta": torch.zeros(2, 155)},
    "whole": {"theta": torch.zeros(P, dtype=torch.int64)},
    "nan": {"theta": torch.full((P,), torch.nan)},
    "large": {"theta": torch.full((P,), 1e39, dtype=torch.float64)},
    "empty": {},
    "other": {"0.weight": torch.zeros(4, 64), "0.bias": torch.zeros(4)},
    "lacking": {"1.weight": torch.zeros(4, 64), "3.bias": torch.zeros(10)},
    "turned": {"1.weight": torch.zeros(64, 4), "1.bias": torch.zeros(4)},
    "counts": {"1.weight": torch.zeros(4, 64, dtype=torch.int32), "1.bias": torch.zeros(4)},
}
ALLOWED = "must be RUN@STEP/WALKER, as in runs/a@100/center, or a safetensors file"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("short.safetensors", f"it is float32 of shape [7]: must be real numbers of shape [{P}], as the model"),
        ("square.safetensors", f"it is float32 of shape [2, 155]: must be real numbers of shape [{P}]"),
        ("whole.safetensors", f"it is int64 of shape [{P}]: must be real numbers of shape [{P}]"),
        ("nan.safetensors", f"{P} of its {P} numbers are not finite in float32: all must be"),
        ("large.safetensors", f"{P} of its {P} numbers are not finite in float32: all must be"),
        ("empty.safetensors", "the file holds no tensors"),
        ("other.safetensors", "it holds 0.bias, 0.weight: the model's tensors are 1.weight, 1.bias, 3.weight, 3.bias"),
        ("lacking.safetensors", "it lacks 1.bias, 3.weight of the model's parameters"),
        ("turned.safetensors", "1.weight is float32 of shape [64, 4]: must be float32 of shape [4, 64]"),
        ("counts.safetensors", "1.weight is int32 of shape [4, 64]: must be float32 of shape [4, 64]"),
        ("none.safetensors", f"No such file or directory; {ALLOWED}"),
        (".", f"Is a directory; {ALLOWED}"),
        ("text.safetensors", f"; {ALLOWED}"),
        ("net.pt", f"; {ALLOWED}"),
        ("SOURCE", f"Is a directory; {ALLOWED}"),
        ("SOURCE@6", f"No such file or directory; {ALLOWED}"),
        ("SOURCE@last/w0", f"No such file or directory; {ALLOWED}"),
        ("SOURCE@6/v0", f"No such file or directory; {ALLOWED}"),
        ("SOURCE@5/w0", "no step 5: there are 0, 3, 6"),
        ("SOURCE@6/w9", "no walker w9 at step 6: there are "),
        ("nowhere@6/w0", "nowhere: is not a run directory"),
        ("SMALLER@0/w0", f"it is float32 of shape [138]: must be real numbers of shape [{P}]"),
    ],
)
def test_what_is_no_start(source: wd.Run, here: Path, value: str, says: str) -> None:
    """One line that names the key and the value, before there is a run directory."""
    for name, tensors in FILES.items():
        save_file(tensors, f"{name}.safetensors")
    Path("text.safetensors").write_text("weights of mine, to be filled in")
    torch.save({"theta": torch.zeros(P)}, "net.pt")
    if "SMALLER" in value:
        smaller = {"landscape": {"kind": "quadratic", "dim": 138}, "dynamics": {"batch_size": None}}
        value = value.replace("SMALLER", str(start([], **smaller, steps=0).path))
    value = value.replace("SOURCE", str(source.path))
    before = sorted(here.rglob("*"))
    with pytest.raises(UserError) as caught:
        start([f"landscape.init.from={value}"])
    line = str(caught.value)
    assert line.startswith(f"landscape.init.from = {value}: ") and says in line
    assert sorted(here.rglob("*")) == before


def test_a_damaged_snapshot() -> None:
    run = start([], steps=0)
    for file in (run.path / "snapshots" / "step-00000000").iterdir():
        file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    with pytest.raises(UserError, match=r"landscape.init.from = .*@0/w0: .* is damaged"):
        start([f"landscape.init.from={run.path}@0/w0"])


def test_another_surface(user_module: Any) -> None:
    """What is not trained belongs to the surface, and a tied parameter has one value."""
    own = users_net(user_module, {}).module(torch.zeros(39))
    state = {name: v.clone() for name, v in own.state_dict().items()}
    for name, says in (
        ("frozen.weight", "frozen.weight is not trained, and differs from the model's own"),
        ("order", "order is not trained, and differs from the model's own"),
        ("b.weight", "b.weight differs from a.weight, which is the same parameter|a.weight differs from a.weight"),
    ):
        save_file({**state, name: state[name] + 1}, "changed.safetensors")
        with pytest.raises(UserError, match=says):
            users_net(user_module, {"from": "changed.safetensors"}).start("w0")
