"""What of curvature is asked for after a run: the section `curvature` of its configuration, and what is said now."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypedDict

from pydantic import ValidationError

from walkers_dist.config import merge
from walkers_dist.config.errors import UserError
from walkers_dist.config.explain import explain
from walkers_dist.config.schema import CurvatureConfig, DensityConfig, check_points
from walkers_dist.records.tables import MATRICES

NOTHING: dict[str, Any] = {"top": 0, "bottom": 0, "full": "never", "density": None, "vectors": False}
Density = bool | str | tuple[int, int]


class Asked(TypedDict, total=False):
    """What is said of an analysis, all by keyword; the keys of the section `curvature` say the same.

    `walkers`: points by name, `all` every one. `matrix`: of hessian, ggn, residual. Both are names, or words as
    `"hessian,ggn"`. `top`, `bottom`: eigenvalues of
    either end; `full`: all of them. `density`: True, `"PROBESxSTEPS"` or both numbers. `vectors`: those of the ends are
    kept.
    """

    walkers: Sequence[str] | str | None
    matrix: Sequence[str] | str | None
    top: int | None
    bottom: int | None
    full: bool
    density: Density | None
    vectors: bool


def selected(
    own: CurvatureConfig | None, points: Sequence[str], overrides: Sequence[str], asked: Asked
) -> CurvatureConfig:
    """`own`, or the defaults, with what is asked for; where that is something to measure (`top=5`), that alone.

    The points (`of`) and matrices come in the order of the tables. Raises UserError, also where nothing is asked for.
    """
    if unknown := [key for key in asked if key not in Asked.__annotations__]:
        raise UserError(f"{unknown[0]}: is none of what can be asked for: {', '.join(Asked.__annotations__)}")
    keys = _keys(own, points, overrides, asked)
    if "every" in keys:
        raise UserError(f"curvature.every = {keys['every']}: says when a run measures; here the steps do")
    wanted = _valid(own, points, keys)
    check_points("curvature.of", wanted.of, points)
    check_points("curvature.matrix", wanted.matrix, MATRICES)
    if not (wanted.top or wanted.bottom or wanted.density or wanted.full != "never"):
        raise UserError("nothing is asked for: top = 0, bottom = 0, full = never and no density")
    of, matrix = sorted(wanted.of, key=points.index), sorted(wanted.matrix, key=MATRICES.index)
    return wanted.model_copy(update={"of": tuple(of), "matrix": tuple(matrix)})


def check_sizes(wanted: CurvatureConfig, own: CurvatureConfig | None, P: int) -> None:
    """Raise UserError where an end is asked now to have more than the P eigenvalues that there are.

    What a run's own section says is no mistake: an analyst takes all there are.
    """
    for end in ("top", "bottom"):
        asked, usual = getattr(wanted, end), getattr(own or CurvatureConfig(), end)
        if asked > max(P, usual):
            raise UserError(f"curvature.{end} = {asked}: must be at most {P}, the number of parameters")


def _keys(own: CurvatureConfig | None, points: Sequence[str], overrides: Sequence[str], asked: Asked) -> dict[str, Any]:
    """Those of the section `curvature` that are said now; the overrides have the last word."""
    keys: dict[str, Any] = {key: asked[key] for key in ("top", "bottom") if asked.get(key) is not None}  # type: ignore
    if (walkers := asked.get("walkers")) is not None:
        keys["of"] = list(points) if (of := _names(walkers)) == ["all"] else of
    if (matrix := asked.get("matrix")) is not None:
        keys["matrix"] = _names(matrix)
    if asked.get("full"):
        keys["full"] = "always"
    if asked.get("vectors"):
        keys["vectors"] = True
    usual = (own.density if own and own.density else DensityConfig()).model_dump()
    if density := asked.get("density"):
        keys["density"] = usual | _numbers(density)
    for word in overrides:
        key, value = merge.split(word)
        if key.startswith("curvature."):
            raise UserError(f"{word}: keys of the section curvature stand alone here: {word.partition('.')[2]}")
        if key.startswith("density."):
            keys.setdefault("density", usual)
        merge.put(keys, key, value)
    return keys


def _names(said: Sequence[str] | str) -> list[str]:
    return said.split(",") if isinstance(said, str) else list(said)


def _valid(own: CurvatureConfig | None, points: Sequence[str], asked: dict[str, Any]) -> CurvatureConfig:
    keys = (own or CurvatureConfig()).model_dump()
    if own is None:
        keys["of"] = [name for name in keys["of"] if name in points] or list(points[:1])
    if asked.get("full", "never") != "never" or any(asked.get(key) for key in ("top", "bottom", "density")):
        keys |= NOTHING
    keys |= asked
    try:
        return CurvatureConfig.model_validate(keys)
    except ValidationError as error:
        raise explain(error, CurvatureConfig, keys, "curvature") from None


def _numbers(density: Density) -> dict[str, int]:
    """The keys of `density` that `PROBESxSTEPS` stands for; none for True."""
    if isinstance(density, bool):
        return {}
    if isinstance(density, str):
        if not re.fullmatch(r"\d+x\d+", density):
            raise UserError(f"density = {density}: must be PROBESxSTEPS, as in 10x100")
        probes, steps = map(int, density.split("x"))
    else:
        if not isinstance(density, tuple | list) or len(density) != 2:
            raise UserError(f"density = {density}: must be True, PROBESxSTEPS as in 10x100, or both numbers")
        probes, steps = density
    return {"probes": probes, "steps": steps}
