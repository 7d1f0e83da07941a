"""Several runs in one table: what differs in their configurations, and where they ended."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from walkers_dist.api.columns import aligned, latex
from walkers_dist.api.last_rows import figure, last_rows, mean, of_walkers
from walkers_dist.config import merge, text
from walkers_dist.config.errors import UserError
from walkers_dist.records.run_directory import RunDirectory

if TYPE_CHECKING:
    import pandas as pd

OF_CENTER = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
OF_WALKERS = ("train_loss", "test_accuracy")
"""What is told of the walkers beside the center: their mean, and the best of them."""
FIGURES = (*OF_CENTER, *(f"{what}_{column}" for column in OF_WALKERS for what in ("mean", "best")))
DEVIATION = "_std"
DIFFERS_ALWAYS = ("name", "seed")


def compare(runs: Iterable[RunDirectory], by: str | None = None) -> pd.DataFrame:
    """One row per run; with `by`, a dotted key, one per value of it: mean and standard deviation over its runs.

    Figures are those of the last step with rows: of the center (the mean of the walkers where there is no center),
    and of the walkers, their mean and the best of them, each column for itself. Raises UserError.
    """
    import pandas as pd

    runs = list(runs)
    keys = [text.read(run.config) for run in runs]
    ends = _ends(runs)
    if by is not None:
        _check_key(by, keys)
        return _grouped(by, [merge.get(config, by) for config in keys], ends)
    flat = [dict(_flat(config)) for config in keys]
    differing = [key for key in dict.fromkeys(key for one in flat for key in one) if key not in DIFFERS_ALWAYS]
    differing = [key for key in differing if any(one.get(key) != flat[0].get(key) for one in flat)]
    return pd.DataFrame(
        {
            "run": run.path.resolve().name,
            "seed": one.get("seed"),
            **{key: _cell(one.get(key)) for key in differing},
            **end,
        }
        for run, one, end in zip(runs, flat, ends, strict=True)
    )


def shown(frame: pd.DataFrame, as_latex: bool = False) -> str:
    """The table as text, with a mean and its deviation in one column."""
    deviations = {column + DEVIATION for column in FIGURES}
    names = [name for name in frame.columns if name not in deviations]
    rows = [[_written(name, row) for name in names] for row in frame.to_dict("records")]
    return (latex if as_latex else aligned)(names, rows)


def _ends(runs: Sequence[RunDirectory]) -> list[dict[str, Any]]:
    """Step and figures of each run; nan where a run has none that another has, no key where no run has it."""
    ends = [_end(run) for run in runs]
    there = [column for column in ("step", *FIGURES) if any(end[column] is not None for end in ends)]
    return [{column: math.nan if end[column] is None else end[column] for column in there} for end in ends]


def _end(run: RunDirectory) -> dict[str, Any]:
    path = run.table("results")
    try:
        rows = last_rows(path)
        end: dict[str, Any] = {"step": int(rows[0]["step"]) if rows else None}
        end |= {column: figure(rows, column) for column in OF_CENTER}
        for column in OF_WALKERS:
            values = of_walkers(rows, column)
            best = max if column.endswith("accuracy") else min
            end[f"mean_{column}"] = mean(values)
            end[f"best_{column}"] = best(filter(math.isfinite, values), default=mean(values))
    except (KeyError, ValueError):
        raise UserError(f"{path}: is not a table of results") from None
    return end


def _grouped(by: str, values: Sequence[object], ends: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    groups: dict[str, list[Mapping[str, Any]]] = {}
    order: dict[str, object] = {}
    for value, end in zip(values, ends, strict=True):
        groups.setdefault(text.inline(value), []).append(end)
        order[text.inline(value)] = value
    rows = []
    for name in sorted(groups, key=lambda name: _place(order[name])):
        frame = pd.DataFrame(groups[name])
        row = {by: _cell(order[name]), "runs": len(frame)}
        for column in frame.columns:
            row[column] = frame[column].mean(skipna=False)
            if column in FIGURES:
                row[column + DEVIATION] = frame[column].std(ddof=1, skipna=False)
        rows.append(row)
    return pd.DataFrame(rows)


def _check_key(by: str, keys: Sequence[Mapping[str, Any]]) -> None:
    """Raise UserError where no configuration has this key or section."""
    known = [key for one in keys for key in _sections(one)]
    if by in known:
        return
    last = by.rpartition(".")[2]
    near = get_close_matches(by, known, 1) or [key for key in known if key.rpartition(".")[2] == last]
    if near:
        raise UserError(f"by = {by}: is no key of these runs; did you mean {near[0]}?")
    raise UserError(
        f"by = {by}: is no key of these runs; they have {', '.join(dict.fromkeys(k for o in keys for k in o))}"
    )


def _sections(keys: Mapping[str, Any], head: str = "") -> Iterable[str]:
    for key, value in keys.items():
        yield head + key
        if isinstance(value, Mapping):
            yield from _sections(value, f"{head}{key}.")


def _flat(keys: Mapping[str, Any], head: str = "") -> Iterable[tuple[str, object]]:
    for key, value in keys.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{head}{key}.")
        else:
            yield head + key, value


def _place(value: object) -> tuple[int, float, str]:
    """Numbers first, then words, then nothing."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return 0, value, ""
    return (2 if value is None else 1), 0.0, text.inline(value)


def _cell(value: object) -> object:
    """A number or a word as it is, anything else as one would write it."""
    return value if isinstance(value, int | float | str) or value is None else text.inline(value)


def _written(name: str, row: Mapping[Any, Any]) -> str:
    value, deviation = row[name], row.get(name + DEVIATION, math.nan)
    if value is None or (name not in FIGURES and value != value):
        return "-"
    if not isinstance(value, int | float) or isinstance(value, bool):
        return text.inline(value)
    number = f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.4g}"
    return number if math.isnan(deviation) else f"{number} ± {deviation:.2g}"
