"""The walkers of one process: rows of a matrix that move by their dynamics and by the forces of their coupling."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from walkers_dist.config.course import Change, Course, Due
from walkers_dist.config.kinds import Sums
from walkers_dist.coupling.rows import sum_finite_rows
from walkers_dist.distributed.channel import Channel
from walkers_dist.distributed.exchange import CENTER_AT_REPORTS, Exchange, Link
from walkers_dist.landscape import Landscape
from walkers_dist.landscape.normals import Asked, keys
from walkers_dist.probes.figures import measure
from walkers_dist.records.background import BackgroundWriter
from walkers_dist.records.checkpoints import Checkpoint, write_checkpoint
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.records.snapshots import write_snapshot

if TYPE_CHECKING:
    from walkers_dist.config.kinds import State

Written = tuple[str, int, str, int, list[str]]  # snapshot | checkpoint, step, SHA-256, bytes, who is in it
COUPLING = "coupling"
"""The name under which what the coupling remembers of the center goes into a checkpoint."""
DESCENT = "descent"
"""Likewise what the dynamics remember of a center that descends."""


def center_at_exchanges(course: Course, P: int) -> bool:
    """Whether the coordinator receives the center after every exchange; else at the reports that need it."""
    coupling = course.experiment.coupling
    return not (coupling.follows_mean or coupling.descends) and P <= CENTER_AT_REPORTS


def center_at_report(course: Course, P: int, due: Due) -> bool:
    """Whether the coordinator receives the center at this report."""
    needed = due.rows or due.distances or due.snapshot or due.checkpoint
    return needed and course.experiment.has_center and not center_at_exchanges(course, P)


class Walkers:
    """`X: [K, P]` are the rows of this process, `c: [P]` its replica of the center."""

    def __init__(
        self,
        *,
        process: str,
        names: Sequence[str],
        run: RunDirectory,
        course: Course,
        landscape: Landscape,
        exchange: Exchange,
        link: Link | None,
        channel: Channel,
    ) -> None:
        self.process, self.names = process, list(names)
        self.run, self.course, self.landscape = run, course, landscape
        self.exchange, self.link, self.channel = exchange, link, channel
        dynamics, coupling = course.experiment.dynamics, course.experiment.coupling
        if course.resumed:  # `resume` fills them; the file of a start may be gone by now
            self.X = torch.zeros(len(self.names), landscape.size, dtype=landscape.dtype, device=landscape.device)
        else:
            self.X = torch.stack([landscape.start(name) for name in self.names])
        self.c = self.X.new_zeros(landscape.size)
        self.state: State = {}
        self.descent: State = {}
        memory = coupling.state(self.names, landscape.size)
        self.memory: State = {key: value.to(self.X) for key, value in memory.items()}
        self.sums = Sums.zeros(self.X, coupling.scalars, coupling.vectors)
        self._minibatch = landscape.minibatches(self.names, None if dynamics.full_batch else dynamics.batch_size)
        seed, to = course.experiment.seed, landscape.device
        self._keys, self._key_of_center = (keys(seed, who, "dynamics").to(to) for who in (self.names, ["center"]))
        self._writer: BackgroundWriter[Written] = BackgroundWriter()
        self.elapsed = self.measuring = 0.0
        self._since = time.perf_counter()

    # ---- a step -----------------------------------------------------------------------------------------------

    def step(self, t: int) -> None:
        dynamics, coupling = self.course.experiment.dynamics, self.course.experiment.coupling
        X, c, sums, travelling = self.X, self.c, False, False
        g = X
        for event in coupling.events(t):
            if event == "gradient":
                g = dynamics.gradient(X, Asked(lambda X: self._minibatch(X, t), self._keys, t), self.state, t)
            elif event == "dynamics":
                dynamics.step(X, g, self.state, t, self.landscape.output_bias)
            elif event == "move":
                coupling.move(X, c, self.memory, t)
            elif event == "message":
                coupling.message(X, c, self.memory, t, self.sums)
                self.exchange.start(self.sums.flat)
                sums = travelling = True
            elif event == "force":
                coupling.force(X, g, c, self.memory, t)
            elif event == "center":
                self._move_center(t)
                travelling = False
            elif event == "descend":
                self._descend(t, sums)
            elif event == "forget":
                self.state.clear()
            elif event == "losses" and "losses" not in self.memory:
                with torch.no_grad():
                    self.memory["losses"] = self.landscape.loss(X, walkers=self.names)[:, None].to(X)
        if travelling:
            self._move_center(t)

    def _move_center(self, t: int) -> None:
        """Move this replica of the center by the sums over all walkers, and pass it on."""
        self.exchange.finish()
        if self.link:
            self.link.settle()
        self.course.experiment.coupling.center(self.c, self.sums, self.memory, t)
        if self.link and center_at_exchanges(self.course, len(self.c)):
            self.link.send(self.c)

    def _descend(self, t: int, sums: bool) -> None:
        """Move this replica of the center by the dynamics, on a gradient of its own: of the sums, if there are any."""
        dynamics, coupling, c = self.course.experiment.dynamics, self.course.experiment.coupling, self.c[None]

        def slope(C: Tensor) -> Tensor:
            if sums:
                return coupling.center_gradient(C, self.c, self.sums, self.memory, t)
            return self._gradient_of_center(C)

        g = dynamics.gradient(c, Asked(slope, self._key_of_center, t), self.descent, t)
        if self.link:
            self.link.settle()
        dynamics.move(c, g, self.descent, t)

    def _gradient_of_center(self, c: Tensor) -> Tensor:
        """That of the training set, of which every process has a share."""
        return self.landscape.mean_gradient(c, self._sums(c, "train", None))

    # ---- a report ---------------------------------------------------------------------------------------------

    def changed(self, changes: Sequence[Change]) -> None:
        pass

    @torch.no_grad()
    def report(self, t: int, due: Due) -> None:
        started = time.perf_counter()
        self.channel.settle()
        if due.rows or due.distances or due.snapshot or due.checkpoint:
            self._find_center()
        if self.link and center_at_report(self.course, len(self.c), due):
            self.link.settle()
            self.link.send(self.c)
        tensors: dict[str, Tensor] = {"finite": self.X.sum(dim=1).isfinite().cpu()}
        if due.rows:
            tensors["rows"] = self._figures(self.X, self.names)
            if self.course.experiment.has_center:
                tensors["center"] = self._figures(self.c[None], None)
        if due.distances:
            tensors["X"] = self.X.cpu()
        self.measuring += time.perf_counter() - started
        if due.snapshot or due.checkpoint:
            self._write(t, due)
        self.elapsed += time.perf_counter() - self._since
        self._since = time.perf_counter()
        self.channel.send(tensors, self._note())

    def hear(self) -> None:
        answer = self.channel.hear()
        self._since = time.perf_counter()  # a pause is an answer held back
        self.course.heed(answer)

    def close(self) -> None:
        """The closing report: what was still being written after the last step."""
        self._writer.close()
        self.channel.send({}, self._note())
        if self.link:
            self.link.drain()
        self.channel.settle()

    def _note(self) -> dict[str, Any]:
        return {
            "written": self._writer.finished(),
            "checksum": checksum(self.c),
            "elapsed": self.elapsed,
            "measuring": self.measuring,
        }

    def _find_center(self) -> None:
        """Where the center is the mean of the walkers, it is that of those that are finite."""
        if not self.course.experiment.coupling.follows_mean or not self.course.experiment.has_center:
            return
        sum_finite_rows(self.X, self.sums)
        self.exchange.start(self.sums.flat)
        self.exchange.finish()
        if self.link:
            self.link.settle()
        torch.div(self.sums.vector, self.sums.count.clamp(min=1), out=self.c)

    def _figures(self, theta: Tensor, walkers: Sequence[str] | None) -> Tensor:
        """The figures of a row of `results.csv`: [K, 7], float64, on the CPU.

        Without walkers it is the center, on this process's share of the data and then summed over all processes.
        """
        return measure(self.landscape, theta, lambda split: self._sums(theta, split, walkers)).cpu()

    def _sums(self, theta: Tensor, split: str, walkers: Sequence[str] | None) -> Tensor:
        if walkers:
            return self.landscape.sums(theta, split=split, walkers=walkers)
        share = self.exchange.place, self.exchange.places
        sums = self.landscape.sums(theta, split=split, share=share)
        self.exchange.start(sums)
        self.exchange.finish()
        return sums

    # ---- what is written --------------------------------------------------------------------------------------

    def _write(self, t: int, due: Due) -> None:
        """Have a copy of the rows, one at a time, written in the background."""
        self._writer.drain()
        X = torch.empty_like(self.X, device="cpu", pin_memory=self.X.is_cuda).copy_(self.X)
        points = dict(zip(self.names, X, strict=True))
        if due.snapshot:
            self._write_snapshot(t, points)
        if due.checkpoint:
            self._write_checkpoint(t, points)

    def _write_snapshot(self, t: int, points: Mapping[str, Tensor]) -> None:
        def write() -> Written:
            digest = write_snapshot(self.run, t, self.process, points)
            return "snapshot", t, digest.sha256, digest.size, self.names

        self._writer.submit(write)

    def _write_checkpoint(self, t: int, points: Mapping[str, Tensor]) -> None:
        state = self.state_dict()
        for name, named in state.items():
            for key, value in named.items():
                named[key] = points[name] if key == "x" and name in points else value.clone()

        def write() -> Written:
            digest = write_checkpoint(self.run, t, self.process, state)
            return "checkpoint", t, digest.sha256, digest.size, list(state)

        self._writer.submit(write)

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """All that a resume needs of these walkers: walker -> name -> tensor."""
        rows = {"x": self.X, **{f"dynamics.{key}": v for key, v in self.state.items()}}
        rows |= {f"coupling.{key}": v for key, v in self.memory.items() if v.ndim == 2}
        named = {name: {key: v[k] for key, v in rows.items()} for k, name in enumerate(self.names)}
        if self.exchange.place == 0:  # every process holds the same of the center
            shared = {
                COUPLING: {key: v for key, v in self.memory.items() if v.ndim == 1},
                DESCENT: {key: v[0] for key, v in self.descent.items()},
            }
            named |= {name: of_center for name, of_center in shared.items() if of_center}
        return named

    def resume(self, checkpoint: Checkpoint) -> None:
        """Take up the state of these walkers from a checkpoint, whichever processes wrote it."""
        shared = {COUPLING, DESCENT} & set(checkpoint.walkers)
        self.load_state_dict(checkpoint.tensors([*self.names, *shared]))

    def load_state_dict(self, named: Mapping[str, Mapping[str, Tensor]]) -> None:
        """The inverse of `state_dict`, for any set of walkers."""
        for key in named[self.names[0]]:
            rows = torch.stack([named[name][key] for name in self.names]).to(self.X)
            if key == "x":
                self.X.copy_(rows)
            elif key.startswith("dynamics."):
                self.state[key.removeprefix("dynamics.")] = rows
            else:
                self.memory[key.removeprefix("coupling.")] = rows
        for key, value in named.get(COUPLING, {}).items():
            self.memory[key] = value.to(self.X)
        for key, value in named.get(DESCENT, {}).items():
            self.descent[key] = value[None].to(self.X)


def checksum(c: Tensor) -> int:
    """A sum over the bits of a replica, modulo 2^32: equal replicas have equal ones."""
    return int(c.view(torch.int32).sum(dtype=torch.int32))  # a wider sum would first make a wider copy
