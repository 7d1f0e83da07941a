"""The tools that a run can be shown in, each behind the same few words. Each is imported when it is asked for."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from walkers_dist.config.errors import UserError
from walkers_dist.export.scalars import Scalar

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Writer(Protocol):
    where: str

    def scalar(self, scalar: Scalar) -> None: ...

    def picture(self, name: str, png: bytes, step: int) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """A folder per walker under `folder`, so that its curves lie over each other; `run` has what belongs to several."""

    def __init__(self, folder: Path, name: str, config: Mapping[str, Any]) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise _missing("tensorboard") from None
        _make_anew(folder)
        self.where, self._folder, self._open = str(folder), folder, SummaryWriter
        self._writers: dict[str, SummaryWriter] = {}
        self._writer("").add_text("config", f"```\n{_yaml(config)}\n```")

    def scalar(self, scalar: Scalar) -> None:
        self._writer(scalar.walker).add_scalar(scalar.name, scalar.value, scalar.step)

    def picture(self, name: str, png: bytes, step: int) -> None:
        import matplotlib.image
        import numpy as np

        pixels = matplotlib.image.imread(io.BytesIO(png))
        colors, opacity = pixels[..., :3], pixels[..., 3:]
        on_white = (255 * (colors * opacity + 1 - opacity)).astype(np.uint8)
        self._writer("").add_image(name, on_white, step, dataformats="HWC")

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()

    def _writer(self, walker: str) -> SummaryWriter:
        if walker not in self._writers:
            self._writers[walker] = self._open(str(self._folder / (walker or "run")))
        return self._writers[walker]


class WandB:
    """One run of Weights and Biases: `w0/train_loss` over `step`. Offline, unless WANDB_MODE says otherwise."""

    def __init__(self, folder: Path, name: str, config: Mapping[str, Any]) -> None:
        try:
            import wandb
        except ImportError:
            raise _missing("wandb") from None
        _make_anew(folder)
        self.where, self._wandb = str(folder), wandb
        self._run = wandb.init(
            project="walkers_dist",
            name=name,
            dir=str(folder),
            config=dict(config),
            mode=os.environ.get("WANDB_MODE", "offline"),  # type: ignore[arg-type]
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True, x_disable_meta=True),
        )
        self._run.define_metric("*", step_metric="step")
        self._step: int | None = None
        self._row: dict[str, object] = {}

    def scalar(self, scalar: Scalar) -> None:
        self._put(scalar.step, f"{scalar.walker}/{scalar.name}" if scalar.walker else scalar.name, scalar.value)

    def picture(self, name: str, png: bytes, step: int) -> None:
        import matplotlib.image

        self._put(step, f"pictures/{name}", self._wandb.Image(matplotlib.image.imread(io.BytesIO(png))))

    def close(self) -> None:
        self._flush()
        self._run.finish()

    def _put(self, step: int, key: str, value: object) -> None:
        """What belongs to one step is logged at once."""
        if step != self._step:
            self._flush()
            self._step = step
        self._row[key] = value

    def _flush(self) -> None:
        if self._row:
            self._run.log({"step": self._step, **self._row})
        self._row = {}


WRITERS: dict[str, Callable[[Path, str, Mapping[str, Any]], Writer]] = {"tensorboard": TensorBoard, "wandb": WandB}


def _missing(package: str) -> UserError:
    return UserError(f"--to {package}: {package} is not installed: pip install 'walkers_dist[export]', or {package}")


def _make_anew(folder: Path) -> None:
    """What was exported before is replaced; a folder that holds anything else is refused."""
    mark = folder / ".walkers-export"
    if folder.exists() and not mark.exists() and any(folder.iterdir()):
        raise UserError(f"{folder}: holds something else than an export of this kind; choose another with --out")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
        mark.touch()
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}") from None


def _yaml(config: Mapping[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(dict(config), sort_keys=False)
