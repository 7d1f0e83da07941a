"""A network by the words of a command: its module, weights from a file, data and loss by their import paths."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from walkers_dist.api.bare import SEED, Network
from walkers_dist.config import registry, text
from walkers_dist.config.errors import UserError
from walkers_dist.curvature.shared import Make
from walkers_dist.curvature.terms import Denominator
from walkers_dist.distributed import devices
from walkers_dist.landscape.users import users_own

HALVES = (torch.float16, torch.bfloat16)
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def network(
    model: str,
    data: str | None,
    *,
    model_args: str | None = None,
    weights: str | None = None,
    data_args: str | None = None,
    loss: str | None = None,
    denominator: str | None = None,
    dtype: str | None = None,
    rank: int = 0,
) -> Network:
    """The network that these words name, on the CPU or the GPU of a rank. Raises UserError, naming the option.

    In double precision unless `dtype` says otherwise; half precision is converted where `dtype` is said.
    """
    if data is None:
        raise UserError(f"--model {model}: needs --data MODULE:NAME, a function that returns the data")
    registry.make_importable(Path.cwd())
    module = _module(model, _mapping("--model-args", model_args))
    if weights is not None:
        load_weights(module, Path(weights), dtype)
    _refuse_halves(dict(module.named_parameters()), dtype)
    _refuse_complex(module)  # in another dtype they would silently lose their imaginary parts
    module.to(devices.device_of_rank("auto", rank), DTYPES[dtype or "float64"])
    said = {"model": model, "model_args": model_args, "weights": weights, "data": data, "data_args": data_args}
    samples = _data(data, _mapping("--data-args", data_args))
    return Network(module, _loss(loss or "cross_entropy"), samples, _denominator(denominator), said)


def member(rank: int, model: str, data: str | None, **words: str | None) -> Make:
    """What another rank makes of the network's matrices."""
    return network(model, data, **words, rank=rank).share  # type: ignore[arg-type]


def load_weights(module: nn.Module, path: Path, dtype: str | None = None) -> None:
    """Give the module the state_dict of a safetensors file. Raises UserError where it is none, or another network's.

    Half precision is refused unless a `dtype` is said, to which it is converted.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with path.open("rb") as file:
            begins = file.read(9)
    except OSError as error:
        raise UserError(f"--weights {path}: cannot be read: {error.strerror}") from None
    if begins[8:] != b"{" and begins.startswith((b"PK", b"\x80")):  # a zip or a pickle; safetensors have JSON there
        new = path.with_suffix(".safetensors").name
        raise UserError(
            f"--weights {path}: is a pickle, which can run any code; convert it where you trust it: "
            f"safetensors.torch.save_file(torch.load({path.name!r}, weights_only=True), {new!r})"
        )
    try:
        found = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"--weights {path}: is no safetensors file, or a damaged one: {error}") from None
    own = dict(module.state_dict(keep_vars=True))
    shared = {id(own[name]) for name in found if name in own}
    missing = [name for name, t in own.items() if name not in found and id(t) not in shared]  # tied ones stand once
    wrong = [
        f"{name} is {list(t.shape)} in the file and {list(own[name].shape)} in the model"
        for name, t in found.items()
        if name in own and t.shape != own[name].shape
    ]
    lists = {"missing": missing, "unknown to the model": [name for name in found if name not in own], "": wrong}
    if faults := [f"{what} {_few(names)}".strip() for what, names in lists.items() if names]:
        raise UserError(f"--weights {path}: a snapshot from another architecture: {'; '.join(faults)}")
    _refuse_halves(found, dtype)
    module.load_state_dict(found, strict=False)


def _module(path: str, args: Mapping[str, Any]) -> nn.Module:
    where = f"--model {path}"
    made = _imported("model", "--model", path)
    if not isinstance(made, nn.Module):
        with users_own(where), torch.random.fork_rng():
            torch.manual_seed(SEED)  # the same module each time, also where it has no weights from a file
            made = made(**args)
    elif args:
        raise UserError(f"{where}: is a module already, and takes no --model-args")
    if not isinstance(made, nn.Module):
        raise UserError(f"{where}: must be a torch.nn.Module, or make one; it gives a {type(made).__name__}")
    return copy.deepcopy(made)


def _refuse_halves(parameters: Mapping[str, Tensor], dtype: str | None) -> None:
    for name, p in parameters.items():
        if p.dtype in HALVES and dtype is None:
            kind = str(p.dtype).removeprefix("torch.")
            raise UserError(
                f"parameter {name} is {kind}, too few digits for second derivatives; --dtype float64 converts it"
            )


def _refuse_complex(module: nn.Module) -> None:
    for name, t in module.state_dict().items():
        if t.is_complex():
            kind = str(t.dtype).removeprefix("torch.")
            raise UserError(f"{name} is {kind}: parameters and buffers must be real, float32 or float64")


def _data(path: str, args: Mapping[str, Any]) -> object:
    """(inputs, targets), or batches of them: the training part where the function returns two."""
    function = _imported("data", "--data", path)
    where = f"--data {path}"
    if not callable(function):
        raise UserError(f"{where}: must be a function that returns the data")
    with users_own(where):
        known = inspect.signature(function).parameters.values()
        seeded = any(p.name == "seed" or p.kind is p.VAR_KEYWORD for p in known)
        got = function(**{**({"seed": SEED} if seeded else {}), **args})
        parts = list(got) if isinstance(got, tuple | list) else []
        if len(parts) == 4 and all(isinstance(part, Tensor | np.ndarray) for part in parts):
            parts = parts[:2]
        elif len(parts) == 2 and all(map(_is_dataset, parts)):
            samples = [parts[0][i] for i in range(len(parts[0]))]
            if not samples:
                raise UserError(f"{where}: the training Dataset is empty")
            return torch.utils.data.default_collate(samples)
        else:
            return got
        return tuple(map(torch.as_tensor, parts))


def _is_dataset(part: object) -> bool:
    plain = isinstance(part, Tensor | np.ndarray | Mapping | tuple | list)
    return not plain and hasattr(part, "__len__") and hasattr(part, "__getitem__")


def _loss(name: str) -> Callable[..., Tensor]:
    if name == "cross_entropy":
        return nn.CrossEntropyLoss()
    if name == "squared_error":
        return squared_error
    found = _imported("loss", "--loss", name)
    if isinstance(found, type):
        with users_own(f"--loss {name}"):
            found = found()
    if not callable(found):
        raise UserError(f"--loss {name}: must be a function of outputs and targets")
    return found


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """mean_b |z_b - t_b|^2 / 2, as `landscape.loss: squared_error`; classes stand for unit vectors."""
    if not targets.is_floating_point():
        targets = F.one_hot(targets, outputs.shape[-1]).to(outputs)
    if outputs.shape != targets.shape:
        shapes = f"{list(outputs.shape)} do not fit targets of shape {list(targets.shape)}"
        raise UserError(f"squared_error: outputs of shape {shapes}")
    return (outputs - targets).square().sum() / (2 * len(outputs))


def _denominator(name: str | None) -> Denominator | None:
    return _imported("denominator", "--denominator", name) if name and ":" in name else name  # type: ignore


def _imported(category: str, option: str, path: str) -> Any:
    if ":" not in path:
        others = ", cross_entropy or squared_error" if category == "loss" else ""
        raise UserError(f"{option} {path}: must be an import path MODULE:NAME{others}")
    try:
        return registry.lookup(category, path)
    except UserError as error:
        raise UserError(f"{option} {error}") from error


def _mapping(option: str, words: str | None) -> dict[str, Any]:
    if words is None:
        return {}
    try:
        found = text.parse(words)
    except UserError as error:
        raise UserError(f"{option} {words}: is not readable as YAML: {error}") from None
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise UserError(f"{option} {words}: must be a mapping, as '{{hidden: 3}}'")
    return found


def _few(names: list[str]) -> str:
    return ", ".join(names if len(names) <= 4 else [*names[:3], f"and {len(names) - 3} more"])
