"""Curvature of a torch module by itself, trained by whomever: in a directory with the tables that a run would have."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import torch
from torch import Tensor, nn

from walkers_dist.api.analyzing import measured
from walkers_dist.api.blocks import Block, Latest, Plan, Tell
from walkers_dist.api.costs import Cost, cost
from walkers_dist.api.opened import Tables, read_table
from walkers_dist.api.selection import Asked, check_sizes, selected
from walkers_dist.config.errors import UserError
from walkers_dist.config.schema import CurvatureConfig
from walkers_dist.curvature import Operator
from walkers_dist.curvature.modules import Objective, read
from walkers_dist.curvature.operators import Chunks, Share
from walkers_dist.curvature.overlaps import share
from walkers_dist.curvature.state import digest
from walkers_dist.curvature.terms import Denominator, leading, tensors
from walkers_dist.records import disk, vectors
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.records.vectors import Vectors, read_vectors, write_vectors
from walkers_dist.roles.spectra import MATRICES, Bench, Rows, spectrum_rows

if TYPE_CHECKING:
    import pandas as pd

POINT = "model"
"""What the walker is called in the tables; the step is 0."""
USUAL = CurvatureConfig(of=(POINT,), full="never")
SEED = 0


class Analysis(Tables):
    """The directory of an analyzed network. Everything is read when it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path, self.directory = path, RunDirectory(path)

    def __repr__(self) -> str:
        return f"Analysis({str(self.path)!r})"

    @property
    def info(self) -> dict[str, Any]:
        """What the network is: names, sizes, digest."""
        return json.loads((self.path / "network.json").read_bytes())

    def table(self, name: str) -> pd.DataFrame:
        return read_table(self.directory.table(name), name)

    def vectors(self, matrix: str = "hessian") -> Vectors:
        """The eigenvectors that were kept of a matrix. Raises UserError where none are there."""
        return read_vectors(self.directory, 0, POINT, matrix)


def analyze_model(
    model: nn.Module,
    loss_fn: Callable[..., Tensor],
    data: object,
    overrides: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    denominator: Denominator | None = None,
    tell: Tell | None = None,
    yes: bool = False,
    **asked: Unpack[Asked],
) -> Analysis:
    """Measure the curvature of any torch module, as `analyze` does of a run's points, and keep it in tables.

    `model`, `loss_fn`, `data` and `denominator` are those of `curvature.hessian`; dropout and batch norm are evaluated
    in evaluation mode, in the module's own dtype. The tables lie in `out`, by default `runs/NAME-DIGEST`, the same for
    the same network, loss and data: there a later measurement joins an earlier one, and one that was killed goes on. By
    default the two ends are measured.
    Raises UserError as `analyze` does; then nothing is left behind.
    """
    network = Network(model, loss_fn, data, denominator, {"model": type(model).__name__})
    return network.analyze(overrides, asked, Path(out) if out is not None else None, tell, yes)


class Network:
    """A module with a loss and data, whose directory is made when it is analyzed."""

    def __init__(
        self,
        model: nn.Module,
        loss_fn: Callable[..., Tensor],
        data: object,
        denominator: Denominator | None,
        said: dict[str, Any],
    ) -> None:
        """`said`: what it is in words, its name under `model`. Raises UserError where it has no curvature."""
        self.model, self.loss_fn, self.denominator, self.said = model, loss_fn, denominator, said
        self._divided: Chunks = {"denominator": denominator} if denominator is not None else {}
        self.data = [tuple(batch) for batch in read(data)]
        self._products: list[str] = []
        self.matrix = Latest(lambda name: self.share(name, (0, 1)))
        self.directory = RunDirectory(Path())

    # ---- what is measured -------------------------------------------------------------------------------------

    def operator(self, step: int, walker: str, matrix: str) -> Operator:
        return self.matrix(matrix)

    def share(self, name: str, share: Share) -> Operator:
        """What a share of the data adds to a matrix: see `analyzing.Points`."""
        chunks: Chunks = {**self._divided, "share": share}
        return MATRICES[name](self.model, self.loss_fn, self.data, **chunks)

    def rows(self, block: Block, wanted: CurvatureConfig, bench: Bench) -> Rows:
        A = self.operator(block.step, block.walker, block.matrix)
        bench = replace(bench, vectors=partial(write_vectors, self.directory))
        return spectrum_rows([block.step, block.walker, block.matrix], A, wanted, block.whole, SEED, bench)

    def overlaps(self, step: int, wanted: CurvatureConfig) -> Rows:
        if not wanted.top:
            return {}
        g = Objective(self.model, self.loss_fn, self.data, denominator=self.denominator).gradient().cpu()
        tops = {matrix: vectors.read_vectors(self.directory, step, POINT, matrix) for matrix in wanted.matrix}
        known = {m: v.top if v.top_eigenvalues.isfinite().all() else v.top[:0] for m, v in tops.items()}
        rows = [[step, POINT, m, "gradient overlap", share(U, g), None] for m, U in known.items()]
        return {"curvature": rows}

    def identity(self, step: int, wanted: CurvatureConfig) -> object:
        """Of the products too: the module's code is known by what it computes."""
        return [self.digest, self._products]

    def rewriting(self) -> AbstractContextManager[None]:
        return nullcontext()

    @cached_property
    def digest(self) -> str:
        """Of parameters, buffers, data and loss."""
        held = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        held |= {f"data {number}": t for number, t in enumerate(tensors(self.data))}
        said = json.dumps([_described(self.loss_fn), _described(self.denominator), digest(held)])
        return hashlib.sha256(said.encode()).hexdigest()

    # ---- where it is kept -------------------------------------------------------------------------------------

    def plan(self, overrides: Sequence[str], asked: Asked) -> Plan:
        """Raises UserError for what is asked wrongly, and for a matrix that this network has not."""
        wanted = selected(USUAL, [POINT], overrides, asked)
        for matrix in wanted.matrix:
            A = self.operator(0, POINT, matrix)
            product = A(torch.ones(1, A.size, dtype=A.dtype, device=A.device))
            self._products.append(digest({matrix: product}))
        check_sizes(wanted, USUAL, A.size)
        self.said |= {"parameters": A.size, "dtype": str(A.dtype).removeprefix("torch.")}
        return Plan(wanted, [0], frozenset([0] if wanted.full != "never" else []))

    def cost(self, overrides: Sequence[str], asked: Asked) -> Cost:
        return cost(self, self.plan(overrides, asked))

    def analyze(
        self, overrides: Sequence[str], asked: Asked, out: Path | None, tell: Tell | None, yes: bool
    ) -> Analysis:
        plan = self.plan(overrides, asked)
        path = out or Path("runs") / f"{self.said['model'].rpartition(':')[2]}-{self.digest[:8]}"
        with _directory(path, self._info()):
            self.directory = RunDirectory(path)
            measured(self, plan, tell, yes)
        return Analysis(path)

    def _info(self) -> dict[str, Any]:
        samples = sum(leading(y) for _, y in self.data)
        return {**self.said, "loss": _described(self.loss_fn), "samples": samples, "digest": self.digest}


@contextmanager
def _directory(path: Path, info: dict[str, Any]) -> Iterator[None]:
    """Make the directory of this network, or take the one that it has, for this process alone.

    One that is made, and then has nothing to hold, is taken away. Raises UserError.
    """
    said = path / "network.json"
    try:
        known = json.loads(said.read_bytes())["digest"] if said.is_file() else None
        if known is None and path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UserError(f"{path}: is neither empty nor the directory of a network: name another with --out")
        if known not in (None, info["digest"]):
            raise UserError(f"{path}: holds another network, or one with other data or loss: name another with --out")
        made = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: cannot be the directory of a network: {error}") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"{path}: another process analyzes this network now") from None
        if known is None:
            disk.replace(said, json.dumps(info, indent=2).encode() + b"\n")
        try:
            yield
        except UserError:
            if known is None and not any(path.glob("*.csv")):
                shutil.rmtree(path)
                for folder in made[1:]:
                    folder.rmdir()
            raise
    finally:
        os.close(lock)


def _described(given: object) -> str:
    """A function, a module or a word, without where it lies in memory."""
    if isinstance(given, partial):
        return f"{_described(given.func)} {given.args} {given.keywords}"
    if isinstance(given, nn.Module):
        state = given.state_dict()
        return f"{given!r} {_settings(given)} {digest(state)[:8] if state else ''}".strip()
    if callable(given):
        return f"{getattr(given, '__module__', '')}.{getattr(given, '__qualname__', type(given).__name__)}"
    return "" if given is None else str(given)


def _settings(module: nn.Module) -> str:
    """The numbers and words that a loss was made with; its `repr` says none of them."""
    plain = {k: v for k, v in vars(module).items() if isinstance(v, int | float | str) and not k.startswith("_")}
    return ", ".join(f"{key}={value}" for key, value in sorted(plain.items()) if key != "training")
