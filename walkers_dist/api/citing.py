"""What to cite: the BibTeX entries of all that a configuration, or a run, uses, and of this package."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel

from walkers_dist.config.errors import UserError
from walkers_dist.config.load import load
from walkers_dist.config.papers import PACKAGE, entries, papers_of, parts
from walkers_dist.config.registry import KINDS, lookup
from walkers_dist.config.schema import CurvatureConfig
from walkers_dist.records import run_directory
from walkers_dist.records.experiment import experiment_of
from walkers_dist.records.run_directory import RunDirectory

Part = tuple[str, str, BaseModel | None]


def cite(what: str | Path, overrides: Sequence[str] = ()) -> str:
    """BibTeX of the configuration or run directory `what`: each entry once, under a comment that says what for.

    Of a run, also of what was measured later. What has no paper, and kinds of the user's own, are comments at the end.
    Raises UserError.
    """
    if Path(what).is_dir():
        if overrides:
            raise UserError(f"{overrides[0]}: a run is cited as it was run; only a configuration takes overrides")
        run = run_directory.open(Path(what))
        found = list(parts(experiment_of(run)))
        found += [part for part in _measured(run) if part[:2] not in {known[:2] for known in found}]
    else:
        found = list(parts(load(what, overrides)))
    return _written(found)


def _measured(run: RunDirectory) -> Iterator[Part]:
    """The measurements whose tables a run has."""
    for name in KINDS["probe"]:
        probe = lookup("probe", name)()
        if any(run.table(table).exists() for table in probe.tables):
            yield "probe", name, probe
    if run.table("eigenvalues").exists():
        density: dict[str, object] = {"density": {}} if run.table("density").exists() else {}
        yield "curvature", "curvature", CurvatureConfig.model_validate(density)


def _written(found: Sequence[Part]) -> str:
    uses: dict[str, list[str]] = {PACKAGE: ["the program"]}
    without, own = [], []
    for category, kind, keys in found:
        name = kind if category == kind else f"{category} {kind}"
        if ":" in kind:
            own.append(name)
            continue
        cited = papers_of(category, kind, keys)
        for key in dict.fromkeys(cited):
            uses.setdefault(key, []).append(name)
        if not cited:
            without.append(name)
    blocks = [f"% {', '.join(names)}\n{entries()[key]}" for key, names in uses.items()]
    if without:
        blocks.append(f"% without a paper: {', '.join(without)}")
    if own:
        blocks.append(f"% your own, to be cited by you: {', '.join(own)}")
    return "\n\n".join(blocks)
