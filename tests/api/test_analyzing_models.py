"""A torch network that was never trained here: its curvature in tables of its own, against dense second derivatives."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import Tensor, nn
from torch.func import functional_call

import walkers_dist as wd
from walkers_dist.api import blocks
from walkers_dist.api.bare_inputs import squared_error
from walkers_dist.cli import main
from walkers_dist.landscape.losses import SquaredError

THEIRS = """
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self, hidden=3):
        super().__init__()
        self.first, self.norm = nn.Linear(4, hidden), nn.BatchNorm1d(hidden)
        self.drop, self.last = nn.Dropout(0.5), nn.Linear(hidden, 3)

    def forward(self, x):
        return self.last(self.drop(torch.tanh(self.norm(self.first(x)))))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.last(torch.tanh(self.second(torch.tanh(self.first(x)))))


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return g * 2


def once():
    class Model(nn.Linear):
        def forward(self, x):
            return Once.apply(super().forward(x))

    return Model(4, 3)


def not_a_number():
    net = nn.Linear(4, 3)
    net.bias.data[1] = float("nan")
    return net


def half():
    return nn.Linear(4, 3).bfloat16()


def complex_numbers():
    return nn.Linear(4, 3, dtype=torch.complex64)


def load(n=20, seed=5):
    g = torch.Generator().manual_seed(n)
    return torch.randn(n, 4, generator=g), torch.randint(0, 3, (n,), generator=g)


def four():
    x, y = load()
    return x.numpy(), y.numpy(), x[:5].numpy(), y[:5].numpy()


def datasets():
    return TensorDataset(*load()), TensorDataset(*load(4))


def batches():
    return DataLoader(TensorDataset(*load()), batch_size=6)


def focal(z, y):
    return ((1 - F.softmax(z, -1).gather(1, y[:, None])) ** 2).mean()


class Weighted(nn.CrossEntropyLoss):
    def __init__(self):
        super().__init__(weight=torch.tensor([0.5, 1.0, 3.0]))
"""
WEIGHTS = ["--model", "their_nets:Net", "--model-args", "{hidden: 2}", "--weights", "m.safetensors"]
P = 4 * 2 + 2 + 2 + 2 + 2 * 3 + 3


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "their_nets.py").write_text(THEIRS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    yield tmp_path
    sys.modules.pop("their_nets", None)


@pytest.fixture
def net() -> nn.Module:
    """Trained for a step, so that its buffers matter; its state_dict is in m.safetensors."""
    import their_nets  # type: ignore[import-not-found]

    torch.manual_seed(1)
    net = their_nets.Net(2)
    net(torch.randn(50, 4) * 3 + 1)
    save_file(net.state_dict(), "m.safetensors")
    return net


def dense(net: nn.Module, x: Tensor, y: Tensor, loss_fn=nn.functional.cross_entropy) -> Tensor:
    """Every second derivative, in evaluation mode and double precision."""
    net = net.double().eval()
    names, shapes = zip(*((name, p.shape) for name, p in net.named_parameters()), strict=True)

    def f(theta: Tensor) -> Tensor:
        parts = theta.split([shape.numel() for shape in shapes])
        state = {name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
        return loss_fn(functional_call(net, state, (x.double(),)), y)

    return torch.func.hessian(f)(torch.cat([p.detach().reshape(-1) for p in net.parameters()]))


def values(analysis: wd.Analysis, side: str = "full", matrix: str = "hessian") -> Tensor:
    rows = analysis.eigenvalues
    return torch.tensor(rows[(rows["side"] == side) & (rows["matrix"] == matrix)]["eigenvalue"].to_numpy()).flip(0)


def the_analysis(folder: Path) -> wd.Analysis:
    (path,) = (folder / "runs").iterdir()
    return wd.Analysis(path)


# ---- what is measured -----------------------------------------------------------------------------------------


def test_by_the_command_with_weights_and_buffers_from_a_file(net, folder, capsys):
    import their_nets

    words = [*WEIGHTS, "--data", "their_nets:load", "--full", "--top", "2", "--density", "3x5"]
    assert main(["analyze", *words]) == 0
    analysis = the_analysis(folder)
    assert capsys.readouterr().out.splitlines()[-1] == str(Path("runs", analysis.path.name, "report.html"))
    exact = torch.linalg.eigvalsh(dense(net, *their_nets.load()))
    assert (values(analysis) - exact).abs().max() <= 1e-12 * exact.abs().max()
    assert (values(analysis, "top") - exact[-2:]).abs().max() <= 1e-6 * exact.abs().max()
    assert set(analysis.eigenvalues["walker"]) == {"model"} and set(analysis.eigenvalues["step"]) == {0}
    assert len(analysis.density) == 3 * 5 and not analysis.curvature.empty
    assert 'id="spectrum"' in (analysis.path / "report.html").read_text()
    assert analysis.info["model"] == "their_nets:Net" and analysis.info["parameters"] == P


def test_a_later_measurement_of_the_same_network_joins_the_earlier_one(net, folder):
    words = ["analyze", *WEIGHTS, "--data", "their_nets:load", "--no-report"]
    assert main([*words, "--full"]) == 0
    assert main([*words, "--top", "2", "--vectors", "--matrix", "hessian,ggn"]) == 0
    analysis = the_analysis(folder)
    sides = analysis.eigenvalues.groupby(["matrix", "side"]).size().to_dict()
    assert sides == {("hessian", "full"): P, ("hessian", "top"): 2, ("ggn", "top"): 2}
    overlaps = analysis.curvature[analysis.curvature["quantity"] == "gradient overlap"]
    assert overlaps["matrix"].tolist() == ["hessian", "ggn"] and overlaps["value"].between(0, 1).all()
    assert analysis.vectors("ggn").top.shape == (2, P)
    assert main([*words, "--full", "--loss", "squared_error"]) == 0
    assert len(list((folder / "runs").iterdir())) == 2


def test_in_python(net, folder):
    import their_nets

    x, y = their_nets.load()
    analysis = wd.analyze_model(net.double(), nn.CrossEntropyLoss(), (x, y), out=folder / "here", full=True)
    exact = torch.linalg.eigvalsh(dense(net, x, y))
    assert (values(analysis) - exact).abs().max() <= 1e-12 * exact.abs().max()
    assert analysis.path == folder / "here" and net.training is False


@pytest.mark.parametrize("data", ["four", "datasets", "batches"])
def test_data_of_every_shape(net, folder, data):
    import their_nets

    assert main(["analyze", *WEIGHTS, "--data", f"their_nets:{data}", "--full", "--no-report"]) == 0
    exact = torch.linalg.eigvalsh(dense(net, *their_nets.load()))
    assert (values(the_analysis(folder)) - exact).abs().max() <= 1e-12 * exact.abs().max()


def test_a_loss_of_their_own(net, folder):
    import their_nets

    words = ["--data", "their_nets:batches", "--loss", "their_nets:focal", "--denominator", "samples", "--full"]
    assert main(["analyze", *WEIGHTS, *words, "--no-report"]) == 0
    exact = torch.linalg.eigvalsh(dense(net, *their_nets.load(), their_nets.focal))
    assert (values(the_analysis(folder)) - exact).abs().max() <= 1e-12 * exact.abs().max()


def test_a_class_of_their_own_that_only_sets_what_torchs_loss_is_made_with(net, folder):
    import their_nets

    words = ["--data", "their_nets:batches", "--loss", "their_nets:Weighted", "--full"]
    assert main(["analyze", *WEIGHTS, *words, "--no-report"]) == 0
    weighted = their_nets.Weighted().double()
    exact = torch.linalg.eigvalsh(dense(net, *their_nets.load(), weighted))
    assert (values(the_analysis(folder)) - exact).abs().max() <= 1e-12 * exact.abs().max()


def test_squared_error_is_that_of_a_configuration():
    z, y = torch.randn(7, 3, dtype=torch.float64), torch.randint(0, 3, (7,))
    loss = SquaredError()
    assert torch.allclose(squared_error(z, y), loss.value(z[None], loss.targets(y, (3,), z.dtype)[None])[0])


def test_tied_weights_that_the_file_holds_once(folder):
    import their_nets

    net = their_nets.Tied()
    save_model(net, "tied.safetensors")
    words = ["--model", "their_nets:Tied", "--weights", "tied.safetensors", "--data", "their_nets:load", "--full"]
    assert main(["analyze", *words, "--no-report"]) == 0
    x, y = their_nets.load()
    H = wd.curvature.hessian(net.double(), nn.CrossEntropyLoss(), (x, y))
    exact = wd.curvature.spectrum(H).eigenvalues
    assert (values(the_analysis(folder)) - exact).abs().max() <= 1e-12 * exact.abs().max()


def test_a_network_without_weights_is_the_same_each_time(folder):
    words = ["analyze", "--model", "their_nets:Net", "--data", "their_nets:load", "--top", "1", "--no-report"]
    assert main(words) == 0 and main(words) == 0
    assert len(the_analysis(folder).eigenvalues) == 1


def test_killed_it_goes_on(net, folder, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    words = ["analyze", *WEIGHTS, "--data", "their_nets:load", "--full", "--no-report"]
    with monkeypatch.context() as patch:
        patch.setattr(blocks, "_merge", killed)
        with pytest.raises(Killed):
            main(words)
    monkeypatch.setattr(wd.curvature, "spectrum", killed)
    assert main(words) == 0
    assert len(the_analysis(folder).eigenvalues) == P and not (the_analysis(folder).path / "analysis").exists()


def test_a_dry_run_leaves_nothing(net, folder, capsys):
    assert main(["analyze", *WEIGHTS, "--data", "their_nets:load", "--dry-run", "--full"]) == 0
    assert capsys.readouterr().out.startswith(f"1 spectrum of {P} parameters, 1 of them whole\n")
    assert not (folder / "runs").exists()


# ---- what is refused ------------------------------------------------------------------------------------------

OTHER = "--weights m.safetensors: a snapshot from another architecture: "
DATA = ["--data", "their_nets:load"]
REFUSED = [
    (["their_nets:Net"], "--model their_nets:Net: needs --data"),
    (["their_nets:Net", "--weights", "m.safetensors", *DATA], f"{OTHER}first.bias is [2] in the file and [3] in the"),
    (
        ["their_nets:Tied", "--weights", "m.safetensors", *DATA],
        f"{OTHER}missing second.bias; unknown to the model norm.",
    ),
    (["their_nets:Net", "--weights", "none.safetensors", *DATA], "--weights none.safetensors: cannot be read"),
    (["their_nets:Net", "--weights", "m.pt", *DATA], "--weights m.pt: is a pickle, which can run any code; convert it"),
    (["their_nets:Net", "--weights", "their_nets.py", *DATA], "--weights their_nets.py: is no safetensors file"),
    (["their_nets:half", *DATA], "parameter weight is bfloat16, too few digits"),
    (["their_nets:not_a_number", *DATA], "parameter bias holds nan"),
    (["their_nets:once", *DATA], ""),
    (["their_nets:Net", *DATA, "--data-args", "{n: 0}"], "data: there are no samples"),
    (["their_nets:Net", *DATA, "--data-args", "{m: 0}"], "--data their_nets:load: TypeError"),
    (["their_nets:Net", *DATA, "--data-args", "[1]"], "--data-args [1]: must be a mapping"),
    (["their_nets:Net", *DATA, "--data-args", "{n: 4"], "--data-args {n: 4: is not readable as YAML: line 1"),
    (["their_nets:complex_numbers", *DATA], "weight is complex64: parameters and buffers must be real"),
    (["their_nets:Net", *DATA, "--density", "axb"], "density = axb: must be PROBESxSTEPS"),
    (["their_nets:Net", *DATA, "--model-args", "{width: 3}"], "--model their_nets:Net: TypeError"),
    (["their_nets:load", *DATA], "--model their_nets:load: must be a torch.nn.Module, or make one"),
    (["mlp", *DATA], "--model mlp: must be an import path MODULE:NAME"),
    (["their_nets:Nat", *DATA], "--model their_nets:Nat: module their_nets has no Nat"),
    (["nowhere:Net", *DATA], "--model nowhere:Net: there is no module nowhere"),
    (
        ["their_nets:Net", *DATA, "--loss", "hinge"],
        "--loss hinge: must be an import path MODULE:NAME, cross_entropy or",
    ),
    (["their_nets:Net", "--data", "their_nets:batches", "--loss", "their_nets:focal"], "the data come in 4 chunks"),
    (["their_nets:Net", *DATA, "--top", "40"], "curvature.top = 40: must be at most 33, the number of parameters"),
    (["their_nets:Net", *DATA, "--steps", "0"], "--steps: belongs to a run, and not to --model"),
    (["their_nets:Net", *DATA, "--out", "their_nets.py"], "their_nets.py: is neither empty nor the directory of"),
    (["their_nets:Net", *DATA, "--out", "full"], "full: is neither empty nor the directory of a network"),
]


@pytest.mark.parametrize(("words", "line"), REFUSED, ids=[" ".join(words) for words, _ in REFUSED])
def test_one_line_and_nothing_left_behind(words, line, net, folder, capsys):
    torch.save(net.state_dict(), "m.pt")
    (folder / "full").mkdir()
    (folder / "full" / "thesis.txt").write_text("mine")
    before = sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts)
    assert main(["analyze", "--model", *words, "--no-report"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"walkers: {line}") and said.count("\n") == 1
    assert sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts) == before


def test_the_directory_of_another_network_is_refused(net, folder, capsys):
    words = ["analyze", *WEIGHTS, "--out", "here", "--top", "1", "--no-report", "--data", "their_nets:load"]
    assert main(words) == 0
    said = json.loads(Path("here/network.json").read_text())
    assert main([*words, "--data-args", "{n: 19}"]) == 2
    assert capsys.readouterr().err.startswith("walkers: here: holds another network")
    assert json.loads(Path("here/network.json").read_text()) == said


def test_half_precision_is_converted_where_that_is_said(folder):
    words = ["--model", "their_nets:half", "--data", "their_nets:load", "--dtype", "float64", "--full", "--no-report"]
    assert main(["analyze", *words]) == 0
    assert len(the_analysis(folder).eigenvalues) == 15


def test_a_matrix_is_prepared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the plan, for what it needs, and for what is measured of it."""
    from walkers_dist.roles import spectra

    made = []

    def hessian(*given: object, **keys: object) -> wd.curvature.Operator:
        made.append(given)
        return wd.curvature.hessian(*given, **keys)  # type: ignore[arg-type]

    monkeypatch.setitem(spectra.MATRICES, "hessian", hessian)
    x, y = torch.randn(20, 4), torch.randint(0, 3, (20,))
    wd.analyze_model(nn.Linear(4, 3), nn.CrossEntropyLoss(), (x, y), out=tmp_path / "one", top=2, density=(2, 5))
    assert len(made) == 1
