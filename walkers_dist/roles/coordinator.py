"""The coordinator: holds the center that is published, writes the tables, seals what is written, decides the end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from walkers_dist.config.course import Change, Course, Due
from walkers_dist.config.errors import RunFailed
from walkers_dist.distributed.channel import Channel, Message
from walkers_dist.distributed.exchange import Link
from walkers_dist.distributed.plan import Seat
from walkers_dist.distributed.signals import Received
from walkers_dist.landscape import Landscape
from walkers_dist.probes.distances import Distances
from walkers_dist.probes.figures import ROWS, cells
from walkers_dist.records.background import BackgroundWriter
from walkers_dist.records.checkpoints import checkpoint_parts, write_checkpoint
from walkers_dist.records.files import Digest
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.records.snapshots import snapshot_parts, write_snapshot
from walkers_dist.records.tables import COLUMNS, Table
from walkers_dist.roles.by_hand import STEPS, STOP
from walkers_dist.roles.desk import Desk
from walkers_dist.roles.progress import Progress
from walkers_dist.roles.rate import Rate
from walkers_dist.roles.standing import Standing
from walkers_dist.roles.walkers import Written, center_at_exchanges, center_at_report

ME = "coordinator"


class Coordinator:
    """`c: [P]` is the center, on the CPU; `seats` are the walker processes in the order of their rows."""

    def __init__(
        self,
        *,
        seats: Sequence[Seat],
        run: RunDirectory,
        course: Course,
        landscape: Landscape,
        link: Link,
        channel: Channel,
        signals: Received,
        desk: Desk,
        center: Tensor,
        begin: int,
        state: Mapping[str, Any],
    ) -> None:
        self.seats, self.run, self.course, self.landscape = seats, run, course, landscape
        self.link, self.channel, self.signals, self.desk = link, channel, signals, desk
        experiment = course.experiment
        self.c = center
        self.per_epoch = landscape.steps_per_epoch(experiment.dynamics.batch_size)
        digits = 9 if landscape.dtype == torch.float32 else 17
        self.results = Table(run.table("results"), COLUMNS["results"], digits)
        self.distances: Table | None = None  # made with its first rows
        self.events, self._rate = desk.events, Rate(run, desk)
        self.snapshots = snapshot_parts(run)
        self.checkpoints = checkpoint_parts(run, experiment.checkpoint.keep if experiment.checkpoint else 1)
        self._writer: BackgroundWriter[Written] = BackgroundWriter()
        self._made: list[Change] = [Change(**change) for change in state.get("changes", [])]
        self._stop: str | None = state.get("stop")  # what the rule has decided and no walker has heard yet
        self._stopped: str | None = state.get("stopped")  # why the rule ended the run
        self._reason = self._stopped  # why the run ends, if not because its steps are made
        self.interrupted: str | None = None
        self._isolated: set[str] = set()
        self._elapsed_before: float = state.get("elapsed", 0.0)
        self.elapsed, self.measuring = self._elapsed_before, 0.0
        self._begin = begin
        self._measured: int | None = None  # the last step with rows, and the losses there
        self._losses: dict[str, float] = {}
        self.progress = Progress(begin)

    @property
    def trained(self) -> float:
        """Seconds of stepping since this start."""
        return self.elapsed - self._elapsed_before

    # ---- a step -----------------------------------------------------------------------------------------------

    def changed(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self._made.append(change)
            self.events.tell(change)
            if (change.source, change.key) == (STOP, STEPS):
                self._reason = "as asked for"

    def step(self, t: int) -> None:
        experiment = self.course.experiment
        exchanged = "message" in experiment.coupling.events(experiment.clock(t))
        if exchanged and center_at_exchanges(self.course, len(self.c)):
            self.link.receive(self.c)

    def report(self, t: int, due: Due) -> None:
        pending, positions = self._stop, self._positions()
        self._answer(t, due)
        if center_at_report(self.course, len(self.c), due):
            self.link.receive(self.c)
        messages = self.channel.receive()
        self._take_notes(messages)
        self._refuse_divergence(t, messages)
        if due.rows:
            self._write_rows(t, messages, due)
        if due.distances:
            self._write_distances(t, messages)
        if due.snapshot:
            self._write_snapshot(t, due)
        if due.checkpoint:
            self._write_checkpoint(t, due, pending, positions)
        self._seal(messages)
        self._publish(t)

    def hear(self) -> None:
        pass

    def close(self) -> None:
        """The closing report: everything that was still being written is sealed, or the run has failed."""
        self._writer.close()
        messages = self.channel.receive()
        self._take_notes(messages)
        self._seal(messages)
        if left := {**self.snapshots.pending(), **self.checkpoints.pending()}:
            raise RunFailed(f"parts of snapshots or checkpoints are missing at the end: {left}")
        for table in (self.results, self.distances, self.events):
            if table:
                table.sync()
                table.close()
        self.progress.done(self.course.last, self._reason)

    # ---- what it decides --------------------------------------------------------------------------------------

    def _answer(self, t: int, due: Due) -> None:
        """Answer this report with what was decided since the one before, so that no walker waits for a decision."""
        self._rate.look(self.course.experiment)
        with self.desk.deciding(self.course, t, lambda: self.signals.name) as answer:
            self.interrupted = self.interrupted or self.signals.name
            if not due.last and (reason := self._stop or self.interrupted):
                answer["last"] = t + 1
                self.course.end(t + 1)
                self.events.tell(Change(t, "stop", reason, "", f"last step {t + 1}"))
                self._reason, self._stopped, self._stop = reason, self._stop, None
        self.channel.answer(answer)

    def _publish(self, t: int) -> None:
        self.desk.standing = Standing(
            *(t, self.course.last, self._begin, self.elapsed, self.trained, self._measured, self._losses)
        )

    def _consider_stopping(self, rows: Mapping[str, Sequence[float]]) -> None:
        rule = self.course.experiment.stop
        if rule is None or self._stop or self._stopped:
            return
        column = {"train_loss": 1, "train_grad_norm": 2}[rule.metric]
        walkers = [figures[column] for name, figures in rows.items() if name != "center"]
        value = {
            "mean": sum(walkers) / len(walkers),
            "all": max(walkers) if all(map(math.isfinite, walkers)) else math.nan,
            "center": rows.get("center", [math.nan] * 7)[column],
        }[rule.of]
        if value < rule.below:
            self._stop = f"{rule.metric} of {rule.of} = {value:.6g} is below {rule.below:g}"

    def _refuse_divergence(self, t: int, messages: Sequence[Message]) -> None:
        for seat, (tensors, _) in zip(self.seats, messages, strict=True):
            for name, finite in zip(seat.walkers, tensors["finite"].tolist(), strict=True):
                if finite or name in self._isolated:
                    continue
                if self.course.experiment.exchange.on_divergence == "stop":
                    raise RunFailed(f"{name} diverged: its parameters are not finite at step {t}")
                self._isolated.add(name)
                self.events.tell(Change(t, "fault", name, "", "diverged; it goes on alone"))

    # ---- what it writes ---------------------------------------------------------------------------------------

    def _take_notes(self, messages: Sequence[Message]) -> None:
        notes = [note for _, note in messages]
        if len({note["checksum"] for note in notes}) > 1:
            raise RunFailed("the replicas of the center differ between walker processes")
        self.elapsed = self._elapsed_before + notes[0]["elapsed"]
        self.measuring = notes[0]["measuring"]

    def _write_rows(self, t: int, messages: Sequence[Message], due: Due) -> None:
        rows: dict[str, list[float]] = {}
        if "center" in messages[0][0]:
            rows["center"] = messages[0][0]["center"][0].tolist()
        for seat, (tensors, _) in zip(self.seats, messages, strict=True):
            rows |= zip(seat.walkers, tensors["rows"].tolist(), strict=True)
        lr = self.course.experiment.dynamics.lr
        splits = self.landscape.splits
        self.results.append(
            [
                [t, self._epoch(t, name), name, lr, *cells(figures, ROWS, splits), self.elapsed]
                for name, figures in rows.items()
            ]
        )
        self._measured, self._losses = t, {name: figures[1] for name, figures in rows.items()}
        self._consider_stopping(rows)
        share = self.measuring / max(self.trained, 1e-9)
        self.progress.show(t, self.course.last, self._losses, share)

    def _epoch(self, t: int, name: str) -> float | None:
        return self.course.experiment.gradients(t, name) / self.per_epoch if self.per_epoch else None

    def _write_distances(self, t: int, messages: Sequence[Message]) -> None:
        probes = self.course.experiment.probes
        assert probes is not None and isinstance(probes.distances, Distances)
        X = torch.cat([tensors["X"] for tensors, _ in messages])
        names = [name for seat in self.seats for name in seat.walkers]
        if self.course.experiment.has_center:
            X, names = torch.cat([self.c[None], X]), ["center", *names]
        if self.distances is None:
            self.distances = Table(self.run.table("distances"), COLUMNS["distances"])
        self.distances.append(probes.distances.rows(X, names, t))

    def _write_snapshot(self, t: int, due: Due) -> None:
        self._refuse_lost_ownership()
        has_center = self.course.experiment.has_center
        self.snapshots.expect(t, [*([ME] if has_center else []), *(s.name for s in self.seats)], due.last)
        if has_center:
            c = self.c.clone()

            def write() -> Written:
                digest = write_snapshot(self.run, t, ME, {"center": c})
                return "snapshot", t, digest.sha256, digest.size, ["center"]

            self._writer.submit(write)

    def _positions(self) -> dict[str, int]:
        """How long the tables are."""
        return {table.path.stem: table.position() for table in (self.results, self.distances) if table}

    def _write_checkpoint(self, t: int, due: Due, pending: str | None, positions: dict[str, int]) -> None:
        self._refuse_lost_ownership()
        for table in (self.results, self.distances):
            if table:
                table.sync()
        self.checkpoints.expect(t, [ME, *(s.name for s in self.seats)], due.last)
        c = self.c.clone()
        state = {
            "changes": [asdict(change) for change in self._made if change.step < t],
            "stop": pending,
            "stopped": self._stopped if due.last else None,
            "elapsed": self.elapsed,
            "positions": positions,
        }

        def write() -> Written:
            digest = write_checkpoint(self.run, t, ME, {"center": {"x": c}}, state)
            return "checkpoint", t, digest.sha256, digest.size, ["center"]

        self._writer.submit(write)

    def _seal(self, messages: Sequence[Message]) -> None:
        """Complete the snapshots, and then the checkpoints, whose every part has been written by now."""
        written = {seat.name: note["written"] for seat, (_, note) in zip(self.seats, messages, strict=True)}
        written[ME] = self._writer.finished()
        for kind, parts in (("snapshot", self.snapshots), ("checkpoint", self.checkpoints)):
            for process, files in written.items():
                for what, step, sha256, size, names in files:
                    if what == kind:
                        parts.add(step, process, Digest(sha256, size), names)

    def _refuse_lost_ownership(self) -> None:
        if not self.run.owns():
            raise RunFailed(f"{self.run.path}: another process owns this run directory now")
