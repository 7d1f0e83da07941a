"""A rank from start to end: it learns what it is, plays that role, and leaves with the right exit code."""

from __future__ import annotations

import functools
import os
import secrets
import socket
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from walkers_dist.config.course import Change, Course
from walkers_dist.config.errors import DONE, FAILED, WRONG_INPUT, RunFailed, UserError
from walkers_dist.distributed import devices
from walkers_dist.distributed.channel import GroupChannel
from walkers_dist.distributed.exchange import CollectiveExchange, GroupLink, LocalExchange
from walkers_dist.distributed.groups import broadcast, make_group
from walkers_dist.distributed.heartbeat import Heartbeat
from walkers_dist.distributed.local import REFUSED_KEY, RUN_KEY
from walkers_dist.distributed.plan import Entry, Plan, Seat, make_plan
from walkers_dist.distributed.signals import Received, stop_signals
from walkers_dist.distributed.start import Start, World, follow, lead
from walkers_dist.landscape import build
from walkers_dist.records.checkpoints import open_checkpoint
from walkers_dist.records.experiment import experiment_of
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.roles.analyst import analyse
from walkers_dist.roles.coordinator import ME, Coordinator
from walkers_dist.roles.ending import conclude, note_timings, wait_for_the_end
from walkers_dist.roles.guard import Guard
from walkers_dist.roles.loop import walk
from walkers_dist.roles.preparation import Preparation, enter, first_center, prepare
from walkers_dist.roles.request import Request
from walkers_dist.roles.supervisor import supervise
from walkers_dist.roles.walkers import Walkers

PATIENCE = 30.0  # s that a file another node wrote may take to come into sight


def run_rank(world: World, request: Request, started: float) -> int:
    """Be one rank of a run; returns the exit code. `started`: when the user's command began, in `time.time()`."""
    store = world.connect()
    mine = Entry(socket.gethostname(), devices.visible_gpus("auto"), secrets.token_hex(8))
    if world.rank == 0:
        return _coordinate(world, store, mine, request, started)
    start = follow(store, world.rank, mine, world.again)
    plan = Plan.from_json(start.published["plan"])
    seat = plan.seats[world.rank]
    if seat.role == "spare":
        return DONE
    run = RunDirectory(Path(start.published["run"]))
    if not _comes_into_sight(run):
        print(
            f"walkers: {seat.name} on {mine.host} does not see {run.path}: a run directory must lie on a file system "
            "that all ranks share",
            file=sys.stderr,
            flush=True,
        )
        return FAILED
    guard = Guard(run, seat.name)
    if seat.role == "analyst":
        return _analyse(world, plan, seat, guard)
    return guard.play(lambda: _walk(world, start, plan, seat, guard))


def _comes_into_sight(run: RunDirectory) -> bool:
    """Whether this rank sees the run directory, which another node may have made a moment ago."""
    deadline = time.monotonic() + PATIENCE
    while not run.info.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


# ---- coordinator ----------------------------------------------------------------------------------------------


def _coordinate(world: World, store: dist.Store, mine: Entry, request: Request, started: float) -> int:
    preparation: Preparation | None = None
    if store.check([RUN_KEY]):  # ranks of this job were started before: go on with its run
        request = Request(resume=store.get(RUN_KEY).decode())
    try:
        with stop_signals() as signals:
            preparation = prepare(request)
            publish = functools.partial(_publish, preparation, request, store)
            start = lead(store, world.size, mine, publish, preparation.experiment.exchange.timeouts.start)
            plan = Plan.from_json(start.published["plan"])
            run = preparation.run
            assert run is not None
            guard = Guard(run, ME)
            return guard.play(lambda: _lead(world, start, plan, guard, preparation, request, signals, started))
    except UserError as error:
        if preparation and preparation.run and not request.resume:
            preparation.run.remove()
        store.set(REFUSED_KEY, str(error))
        print(f"walkers: {error}", file=sys.stderr, flush=True)
        return WRONG_INPUT
    except RunFailed as error:
        if preparation and preparation.run:
            preparation.run.fail(f"{ME}: {error}")
            preparation.run.update_info(status="failed")
        print(f"walkers: {error}", file=sys.stderr, flush=True)
        return FAILED


def _lead(
    world: World,
    start: Start,
    plan: Plan,
    guard: Guard,
    preparation: Preparation,
    request: Request,
    signals: Received,
    started: float,
) -> int:
    run, experiment = guard.run, preparation.experiment
    with _Beating(world, start, guard, [s.name for s in plan.walkers], experiment.exchange.timeouts.silence):
        core, link = (_group(world, start, plan, name) for name in ("core", "link"))
        center = first_center(preparation, experiment.walker_names)
        broadcast(core, center)
        course = preparation.course()
        coordinator = Coordinator(
            seats=plan.walkers,
            run=run,
            course=course,
            landscape=preparation.landscape,
            link=GroupLink(link),
            channel=GroupChannel(core, len(plan.walkers) + 1),
            signals=signals,
            center=center,
            begin=preparation.begin,
            state=preparation.state,
        )
        note_timings(run, start=time.time() - started)
        walk(course, [coordinator], preparation.begin)
        note_timings(run, training=coordinator.trained, measuring=coordinator.measuring)
        return conclude(run, len(plan.analysts), bool(coordinator.interrupted), signals, request.report)


def _publish(preparation: Preparation, request: Request, store: dist.Store, roster: list[Entry]) -> dict[str, Any]:
    """What every rank must know: the plan, where the run lies, and where in it they begin."""
    experiment = preparation.experiment
    plan = make_plan(
        roster,
        walkers=experiment.walkers,
        per_process=experiment.walkers_per_process,
        analysts=experiment.analysts,
        device=experiment.device,
    )
    run = enter(preparation, plan, request.run_dir)
    store.set(RUN_KEY, str(run.path))
    return {
        "plan": plan.to_json(),
        "run": str(run.path),
        "begin": preparation.begin,
        "resumed": preparation.checkpoint is not None,
        "stopped": preparation.stopped,
        "made": [vars(change) for change in preparation.made],
        "given": [vars(change) for change in preparation.given],
    }


# ---- walkers --------------------------------------------------------------------------------------------------


def _walk(world: World, start: Start, plan: Plan, seat: Seat, guard: Guard) -> int:
    published, run = start.published, guard.run
    experiment = experiment_of(run)
    devices.set_up_process(experiment.threads)
    course = Course(
        experiment,
        made=[Change(**change) for change in published["made"]],
        given=[Change(**change) for change in published["given"]],
        resumed_at=published["begin"] if published["resumed"] else None,
    )
    if published["stopped"]:
        course.end(published["begin"])
    with stop_signals(), _Beating(world, start, guard, [ME], experiment.exchange.timeouts.silence):
        core, force, link = (_group(world, start, plan, name) for name in ("core", "force", "link"))
        device = devices.device_of(seat.gpu)
        landscape = build(experiment.landscape, seed=experiment.seed, dtype=experiment.dtype, device=device)
        center = torch.empty(landscape.size, dtype=landscape.dtype)
        broadcast(core, center)
        walkers = Walkers(
            process=seat.name,
            names=seat.walkers,
            run=run,
            course=course,
            landscape=landscape,
            exchange=CollectiveExchange(force, seat.number, len(plan.walkers)) if force else LocalExchange(),
            link=GroupLink(link) if link else None,
            channel=GroupChannel(core, len(plan.walkers) + 1),
        )
        walkers.c.copy_(center)
        del center
        if published["resumed"]:
            walkers.resume(open_checkpoint(run, published["begin"]))
        walk(course, [walkers], published["begin"])
        wait_for_the_end(run)
    return DONE


# ---- analyst --------------------------------------------------------------------------------------------------


def _analyse(world: World, plan: Plan, seat: Seat, guard: Guard) -> int:
    analysts = len(plan.analysts)
    if world.restarts_analysts:
        analyse(str(guard.run.path), seat.number, analysts, seat.gpu)
        return DONE
    return supervise(guard.run, seat.number, analysts, seat.gpu)


# ---- what they share ------------------------------------------------------------------------------------------


def _group(world: World, start: Start, plan: Plan, name: str) -> Any:
    walkers = [seat.rank for seat in plan.walkers]
    members = {"core": [0, *walkers], "force": walkers, "link": [0, walkers[0]]}[name]
    backend = plan.force_backend or "gloo" if name == "force" else "gloo"
    address = devices.address_towards(world.host)
    store = start.store(world.connect(own=False))
    return make_group(store, name, members, world.rank, backend=backend, address=address)


class _Beating:
    """A heartbeat for as long as the context lasts; a silent process ends the run, named in `error.txt`."""

    def __init__(self, world: World, start: Start, guard: Guard, others: list[str], silence: float) -> None:
        self.guard = guard
        self._make = lambda: Heartbeat(
            lambda: start.store(world.connect(own=False)), guard.name, others, silence, self._end
        )

    def __enter__(self) -> None:
        self._heartbeat = self._make()

    def __exit__(self, *_: object) -> None:
        self._heartbeat.stop()

    def _end(self, name: str, seconds: float) -> None:
        self.guard.fail(f"{name} has been silent for {seconds:.0f} s (exchange.timeouts.silence)")
        os._exit(FAILED)
