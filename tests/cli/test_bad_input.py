"""Wrong input through the command line: exit code 2, one line that names the key or file, and nothing is left behind.

That every key has its line is tests/config's business; here are the ways in, and what only the landscape can know.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

QUADRATIC = "landscape: {kind: quadratic}\nwalkers: 2\nsteps: 4\n"
NETWORK = """
landscape: {data: {name: "theirs:data"}, model: {name: mlp, hidden: [5]}}
dynamics: {batch_size: 10}
walkers: 2
steps: 2
"""

Refused = Callable[..., str]


@pytest.fixture
def quadratic(folder: Path) -> Path:
    (folder / "bowl.yaml").write_text(QUADRATIC)
    return Path("bowl.yaml")


@pytest.fixture
def network(folder: Path) -> Path:
    (folder / "net.yaml").write_text(NETWORK)
    return Path("net.yaml")


# ---- the file -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "c.yaml: the file is empty"),
        (b"steps: [1", "c.yaml: line 1, column 10: expected ',' or ']', but got '<stream end>'"),
        (b"- steps\n", "c.yaml: must be a mapping of keys to values, is [steps]"),
        (b"\x89PNG\r\n\x1a\n\xff", "c.yaml: not a text file, YAML in UTF-8 is expected"),
        (b"steps: 1\x00", "c.yaml: not a text file, it holds control characters"),
        (b"stepz: 1\n", "unknown key stepz; did you mean steps?"),
    ],
)
@pytest.mark.parametrize("how", ["--in-process", "--dry-run"])
def test_file(refused: Refused, folder: Path, content: bytes, line: str, how: str) -> None:
    (folder / "c.yaml").write_bytes(content)
    assert refused("run", "c.yaml", how) == line


def test_no_file(refused: Refused, folder: Path) -> None:
    assert refused("run", "none.yaml", "--in-process") == "none.yaml: No such file or directory"
    (folder / "sub").mkdir()
    assert refused("run", "sub", "--in-process") == "sub: Is a directory"
    assert refused("run", "a\nb.yaml", "--in-process") == "a b.yaml: No such file or directory"


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="there is no file here that cannot be read")
def test_a_file_that_the_disk_does_not_give(refused: Refused) -> None:
    assert refused("run", "/proc/self/mem", "--in-process") == "/proc/self/mem: Input/output error"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_unreadable_file(refused: Refused, quadratic: Path) -> None:
    quadratic.chmod(0)
    assert refused("run", quadratic, "--in-process") == "bowl.yaml: Permission denied"
    quadratic.chmod(0o600)


# ---- keys and values ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("dynamics.lrr=1", "unknown key dynamics.lrr; did you mean dynamics.lr?"),
        ("steps=many", "steps = many: must be an integer of at least 0"),
        ("steps", "steps: an override is written key=value"),
        ("dynamics.lr=.nan", "dynamics.lr = .nan: must be a number greater than 0"),
        ("dynamics.lr=-0.1", "dynamics.lr = -0.1: must be greater than 0"),
        ("coupling={name: easgd, alpha: 1}", "coupling.alpha = 1: must be greater than -1 and less than 1"),
        ("coupling={name: easgd, alpha: -1.5}", "coupling.alpha = -1.5: must be greater than -1 and less than 1"),
        ("coupling={name: easgd, period: 0}", "coupling.period = 0: must be at least 1"),
        ("coupling={name: easgdd}", "coupling.name = easgdd: must be none, easgd, elementary, downpour, adownpour, "
         "mvadownpour, mdownpour, replicated, parle, diloco, tree or an import path module:attribute; "
         "did you mean easgd?"),
        ("dynamics.name=no_such:Move", "dynamics.name = no_such:Move: there is no module no_such"),
        ("coupling.name=theirs:Nothing", "coupling.name = theirs:Nothing: module theirs has no Nothing"),
        ("coupling.name=theirs_broken:X", "coupling.name = theirs_broken:X: theirs_broken cannot be imported: "
         "OSError: no licence"),
        ("landscape.kind=no_such:bowl", "landscape.kind = no_such:bowl: there is no module no_such"),
        ("landscape.kind=theirs:Nothing", "landscape.kind = theirs:Nothing: module theirs has no Nothing"),
        ("landscape.kind=theirs_broken:f", "landscape.kind = theirs_broken:f: theirs_broken cannot be imported: "
         "OSError: no licence"),
        ("landscape={kind: 'theirs:Bowl', sise: 3}", "landscape.kind = theirs:Bowl: TypeError: Bowl.__init__() "
         "got an unexpected keyword argument 'sise'"),
        ("landscape.kind=theirs:raises", "landscape.kind = theirs:raises: ArithmeticError: not today"),
        ("landscape.kind=theirs:NoPlaceToBegin", "landscape.kind = theirs:NoPlaceToBegin: ArithmeticError: no place"),
        ("landscape.kind=theirs:no_landscape", "landscape.kind = theirs:no_landscape: it returned a str, and must "
         "return a Landscape"),
    ],
)  # fmt: skip
def test_key(refused: Refused, quadratic: Path, word: str, line: str) -> None:
    assert line in refused("run", quadratic, word, "--in-process")


def test_batch_larger_than_the_data(refused: Refused, quadratic: Path, network: Path) -> None:
    line = "dynamics.batch_size = 1001: must be at most landscape.data.train_size = 1000"
    assert refused("run", quadratic, "landscape={kind: network}", "dynamics.batch_size=1001", "--in-process") == line
    line = "dynamics.batch_size = 21: there are only 20 training samples"
    assert refused("run", network, "dynamics.batch_size=21", "--in-process") == line


# ---- data, model and loss of the user -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("no_such:load", "there is no module no_such"),
        ("theirs:load", "module theirs has no load"),
        ("theirs_broken:load", "theirs_broken cannot be imported: OSError: no licence"),
        ("theirs_hungry:load", "theirs_hungry cannot be imported: ModuleNotFoundError: "
         "No module named 'no_such_module_anywhere'"),
        ("theirs:absent", "FileNotFoundError: [Errno 2] No such file or directory: '/no/such/digits.npz'"),
        ("theirs:damaged", "ValueError: not a gzip file"),
        ("theirs:nothing", "it must return x_train, y_train, x_test, y_test or two Datasets"),
        ("theirs:three", "it must return x_train, y_train, x_test, y_test or two Datasets"),
        ("theirs:unequal", "20 train inputs and 7 train targets"),
        ("theirs:empty", "0 train inputs and 0 train targets"),
        ("theirs:text", "ValueError: too many dimensions 'str'"),
        ("theirs:wider_test", "train inputs are float32 of shape [20, 4], test inputs are float32 of shape [6, 9]"),
        ("theirs:mixed", "train targets are int64 of shape [20], test targets are float32 of shape [20]"),
    ],
)  # fmt: skip
def test_data(refused: Refused, network: Path, name: str, line: str) -> None:
    said = refused("run", network, f"landscape.data.name={name}", "--in-process")
    assert said.startswith(f"landscape.data.name = {name}: ") and line in said


def test_regression_targets_are_columns(refused: Refused, network: Path) -> None:
    """[N] against outputs [N, 1] would broadcast to [N, N] without a word."""
    words = ("landscape.loss=squared_error", "landscape.data.name=theirs:real_vector", "--in-process")
    assert "targets of shape [N]" in refused("run", network, *words)
    model = "landscape.model={name: 'theirs:Wide', args: {inputs: 4, outputs: 1}}"
    assert "targets of shape [N] do not fit outputs of shape [N, 1]" in refused("run", network, *words, model)
    column = "landscape.data.name=theirs:real_column"
    assert "targets of shape [N, 1] do not fit outputs of shape [N, 3]" in refused(
        "run", network, *words, column, "landscape.model={name: 'theirs:Wide', args: {inputs: 4}}"
    )


@pytest.mark.parametrize(
    ("model", "line"),
    [
        ("{name: 'theirs:Nothing'}", "module theirs has no Nothing"),
        ("{name: 'no_such:Net'}", "there is no module no_such"),
        ("{name: 'theirs_broken:Net'}", "theirs_broken cannot be imported: OSError: no licence"),
        ("{name: 'theirs:raises'}", "ArithmeticError: not today"),
        ("{name: 'theirs:NeedsMore'}", "missing 1 required positional argument: 'width'"),
        ("{name: 'theirs:Wide', args: {depth: 3}}", "unexpected keyword argument 'depth'"),
        ("{name: 'theirs:no_module'}", "it returned no torch.nn.Module"),
        ("{name: 'theirs:Wide'}", "it does not accept inputs of shape [1, 4]"),
        ("{name: 'theirs:Wide', args: {inputs: 4, outputs: 2}}", "labels go up to 2, but the model has 2 outputs"),
        ("{name: 'theirs:Frozen'}", "has no parameters to train"),
        ("{name: 'theirs:Pair'}", "it must return one tensor, a row for every input"),
        ("{name: 'theirs:Normed'}", "module 1 (BatchNorm1d) keeps running statistics"),
        ("{name: 'theirs:Dropping'}", "module 1 (Dropout) drops at random"),
    ],
)
def test_model(refused: Refused, network: Path, model: str, line: str) -> None:
    said = refused("run", network, f"landscape.model={model}", "--in-process")
    assert said.startswith("landscape.") and line in said


@pytest.mark.parametrize(
    ("loss", "line"),
    [
        ("no_such:focal", "there is no module no_such"),
        ("theirs:focal", "module theirs has no focal"),
        ("theirs_broken:focal", "theirs_broken cannot be imported: OSError: no licence"),
        ("theirs:raises", "TypeError: raises() takes 0 positional arguments but 2 were given"),
        (
            "theirs:per_sample",
            "it must return one number as a tensor, the mean over samples, and returned a tensor of shape [2]",
        ),
        ("theirs:a_number", "it must return one number as a tensor, the mean over samples, and returned float"),
    ],
)
def test_loss(refused: Refused, network: Path, loss: str, line: str) -> None:
    said = refused("run", network, f"landscape.loss={loss}", "--in-process")
    assert said.startswith(f"landscape.loss = {loss}: ") and line in said


# ---- words ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["run"], "the following arguments are required: CONFIG"),
        (["resume"], "the following arguments are required: RUN"),
        (["dance"], "invalid choice: 'dance'"),
        (["run", "bowl.yaml", "--fast"], "--fast: is no option or argument of this command"),
        (["data", "list", "b"], "b: is no option or argument of this command"),
        (["resume", "r", "--run-dir", "x"], "--run-dir: is no option or argument of this command"),
    ],
)
def test_words(quadratic: Path, capsys: pytest.CaptureFixture[str], words: list[str], line: str) -> None:
    from walkers_dist import cli

    try:
        code = cli.main(words)
    except SystemExit as left:
        code = left.code
    said = capsys.readouterr().err
    assert code == 2
    assert said.startswith("walkers: ") and said.count("\n") == 1 and line in said
