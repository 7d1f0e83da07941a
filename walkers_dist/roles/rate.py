"""The learning rate from curvature: what the analyst measures last sets it, as a live change, while the run goes on."""

from __future__ import annotations

import math

from walkers_dist.config import formula
from walkers_dist.config.errors import RunFailed, UserError
from walkers_dist.config.schema import CurvatureConfig, Experiment
from walkers_dist.distributed.control import Log
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.records.tail import Tail
from walkers_dist.roles.by_hand import CURVATURE, changes_by_hand
from walkers_dist.roles.desk import Desk

KEY = "dynamics.lr"


class Rate:
    """Looks at the analyst's table at every report, and gives the desk what follows from it."""

    def __init__(self, run: RunDirectory, desk: Desk) -> None:
        self._desk = desk
        self._tail = Tail(run.table("eigenvalues"))
        self._log = Log(run.logs / "curvature.log")
        # What a resume finds measured before the last change from curvature has acted, and so acts no second time.
        self._used = max((change.step for change in changes_by_hand(run) if change.source == CURVATURE), default=0) - 1

    def look(self, experiment: Experiment) -> None:
        """At a report that is still open. What is impossible is logged, and changes nothing."""
        curvature = experiment.curvature
        if curvature is None or curvature.lr is None or (found := self._newest(curvature)) is None:
            return
        self._used, largest = found
        if not 0 < largest < math.inf:
            self._say(f"the largest eigenvalue is {largest:g}: {KEY} stays {experiment.dynamics.lr:g}")
            return
        lr = formula.value(curvature.lr, largest)
        if lr == experiment.dynamics.lr:
            return
        try:
            told = self._desk.change([(KEY, lr)], None, source=CURVATURE)
        except (UserError, RunFailed) as error:
            self._say(f"refused: {error}")
        else:
            self._say(f"the largest eigenvalue is {largest:g}: {told['says']}")

    def _newest(self, curvature: CurvatureConfig) -> tuple[int, float] | None:
        """The largest eigenvalue that is new, and the step at which it was measured."""
        _, rows = self._tail.look()
        wanted = ("center" if "center" in curvature.of else curvature.of[0], "hessian", "1")
        found = [
            (int(row["step"]), float(row["eigenvalue"]))
            for row in rows
            if (row["walker"], row["matrix"], row["rank"]) == wanted and row["side"] in ("top", "full")
        ]
        return found[-1] if found and found[-1][0] > self._used else None

    def _say(self, line: str) -> None:
        self._log.say(f"step {self._used}: {line}")
