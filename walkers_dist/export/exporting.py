"""One pass over the tables of a run, or as many as it takes while the run goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from walkers_dist.api.listing import is_lost
from walkers_dist.api.opened import Run
from walkers_dist.config import text
from walkers_dist.config.errors import UserError
from walkers_dist.export.scalars import TABLES, scalars
from walkers_dist.export.writers import WRITERS, Writer
from walkers_dist.records.tail import Tail

POLL = 2.0  # s
GOES_ON = ("running", "paused", "analysing")


def export(run: Run, to: str, out: Path | None = None, *, follow: bool = False, poll: float = POLL) -> str:
    """Write a run's scalars and the pictures of its report for the tool `to`; returns where they lie.

    `follow`: go on until the run has ended. An export made before is replaced. Raises UserError.
    """
    if to not in WRITERS:
        raise UserError(f"--to {to}: must be {' or '.join(WRITERS)}")
    folder = out or run.path / to

    def begin() -> tuple[Writer, dict[str, Tail]]:
        writer: Writer = WRITERS[to](folder, run.path.resolve().name, text.read(run.directory.config))
        return writer, {table: Tail(run.directory.table(table)) for table in TABLES}

    writer, tails = begin()
    try:
        while True:
            ended = not (follow and _goes_on(run))
            if not _pass(tails, writer):  # a resume has cut a table: what was exported is no longer so
                writer.close()
                writer, tails = begin()
                continue
            if ended:
                break
            time.sleep(poll)
        _pictures(run, writer.picture)
    finally:
        writer.close()
    return writer.where


def _goes_on(run: Run) -> bool:
    info = run.directory.read_info()
    return info.get("status") in GOES_ON and not is_lost(run.directory, info)


def _pass(tails: dict[str, Tail], writer: Writer) -> bool:
    """Write what is new, in order of steps; False where a table was cut since the last look."""
    found = []
    for table, tail in tails.items():
        again, rows = tail.look()
        if again:
            return False
        found += [scalar for row in rows for scalar in scalars(table, row)]
    for scalar in sorted(found, key=lambda scalar: scalar.step):
        writer.scalar(scalar)
    return True


def _pictures(run: Run, write: Callable[[str, bytes, int], None]) -> None:
    from tempfile import TemporaryDirectory

    from walkers_dist.report import write_report
    from walkers_dist.report.figure import kept_as_png

    steps = run.results["step"]
    with TemporaryDirectory() as folder, kept_as_png() as pictures:
        write_report(run, Path(folder) / "report.html")
    for name, png in pictures.items():
        write(name, png, int(steps.max()) if len(steps) else 0)
