"""A rank from start to end: it learns what it is, plays that role, and leaves with the right exit code."""

from __future__ import annotations

import functools
import secrets
import socket
import sys
import time
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist

from walkers_dist.config.course import Course
from walkers_dist.config.errors import DONE, FAILED, INTERRUPTED, WRONG_INPUT, RunFailed, UserError
from walkers_dist.config.schema import check_apart
from walkers_dist.distributed import devices
from walkers_dist.distributed.channel import GroupChannel
from walkers_dist.distributed.control import listening
from walkers_dist.distributed.exchange import CollectiveExchange, GroupLink, LocalExchange
from walkers_dist.distributed.groups import broadcast
from walkers_dist.distributed.local import REFUSED_KEY, RUN_KEY
from walkers_dist.distributed.plan import Entry, make_plan
from walkers_dist.distributed.signals import Received, ignore, stop_signals
from walkers_dist.distributed.start import World, follow, lead, let_others_leave, tell_of_leaving
from walkers_dist.landscape import build
from walkers_dist.records.checkpoints import open_checkpoint
from walkers_dist.records.experiment import experiment_of
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.roles.analyst import analyse
from walkers_dist.roles.coordinator import ME, Coordinator
from walkers_dist.roles.desk import Desk
from walkers_dist.roles.ending import await_analysts, conclude, note_timings, wait_for_the_end
from walkers_dist.roles.entering import enter
from walkers_dist.roles.guard import Guard
from walkers_dist.roles.loop import walk
from walkers_dist.roles.party import Party
from walkers_dist.roles.pending import list_pending
from walkers_dist.roles.preparation import Preparation, first_center, prepare
from walkers_dist.roles.request import Request
from walkers_dist.roles.requeued import followed
from walkers_dist.roles.supervisor import supervise
from walkers_dist.roles.walkers import Walkers

PATIENCE = 30.0  # s that a file another node wrote may take to come into sight


def run_rank(world: World, request: Request, started: float) -> int:
    """Be one rank of a run; returns the exit code. `started`: when the user's command began, in `time.time()`."""
    store = world.connect()
    address = devices.address_towards(world.host)
    mine = Entry(socket.gethostname(), devices.visible_gpus("auto"), secrets.token_hex(8), address)
    if world.rank == 0:
        code = _coordinate(world, store, mine, request, started)
        if world.hosts_store and code in (DONE, INTERRUPTED):
            let_others_leave(store, world.size)
        return code
    code = _follow(world, store, mine)
    tell_of_leaving(store, world.rank)
    return code


def _follow(world: World, store: dist.Store, mine: Entry) -> int:
    party = Party(world, store, follow(store, world.rank, mine, world.again))
    seat = party.seat
    if seat.role == "spare":
        return DONE
    if not _comes_into_sight(party.run):
        print(
            f"walkers: {seat.name} on {mine.host} does not see {party.run.path}: a run directory must lie on a file "
            "system that all ranks share",
            file=sys.stderr,
            flush=True,
        )
        return FAILED
    guard = Guard(party.run, seat.name)
    ignore()  # the coordinator says when it ends; srun's SIGTERM after a first failure would hide the code of that
    if seat.role == "analyst":
        return _analyse(party)
    return guard.play(lambda: _walk(party, guard))


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
        begun = store.get(RUN_KEY).decode()
        request = replace(request, config=None, overrides=(), run_dir=None, resume=begun, paused=False)
    try:
        ignore()  # once it has listened to them
        with stop_signals() as signals:
            request = followed(request)
            preparation = prepare(request)
            check_apart(preparation.experiment)
            publish = functools.partial(_publish, preparation, request, store)
            start = lead(store, world.size, mine, publish, preparation.experiment.exchange.timeouts.start)
            party = Party(world, store, start)
            assert preparation.run is not None
            guard = Guard(preparation.run, ME)
            return guard.play(lambda: _lead(party, guard, preparation, request, signals, started))
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
    party: Party, guard: Guard, preparation: Preparation, request: Request, signals: Received, started: float
) -> int:
    run, plan, experiment = guard.run, party.plan, preparation.experiment
    course = preparation.course()
    desk = preparation.desk(course, request)
    beyond = party.start.published["beyond"]
    with listening(run, desk.answer, experiment.control.bind, party.world.host, beyond):
        _train(party, guard, preparation, course, desk, signals, started)
        return conclude(run, len(plan.analysts), signals, request.report)  # the others leave, and nobody is watched


def _train(
    party: Party,
    guard: Guard,
    preparation: Preparation,
    course: Course,
    desk: Desk,
    signals: Received,
    started: float,
) -> None:
    """All steps, and the analysts' work."""
    run, plan, experiment = guard.run, party.plan, preparation.experiment
    with party.watched(guard, experiment.exchange.timeouts.silence):
        core, link = party.group("core"), party.group("link")
        center = first_center(preparation, experiment.walker_names)
        broadcast(core, center)
        coordinator = Coordinator(
            seats=plan.walkers,
            run=run,
            course=course,
            landscape=preparation.landscape,
            link=GroupLink(link),
            channel=GroupChannel(core, len(plan.walkers) + 1),
            signals=signals,
            desk=desk,
            center=center,
            begin=party.history.begin,
            state=preparation.state,
        )
        note_timings(run, start=time.time() - started)
        walk(course, [coordinator], party.history.begin)
        note_timings(run, training=coordinator.trained, measuring=coordinator.measuring)
        if not signals.name and experiment.at_end == "wait":
            await_analysts(run, len(plan.analysts), signals)
        elif not signals.name:
            list_pending(run, preparation.landscape)


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
        "history": preparation.history.to_json(),
        "beyond": devices.first_beyond_loopback(entry.address for entry in roster),
    }


# ---- walkers --------------------------------------------------------------------------------------------------


def _walk(party: Party, guard: Guard) -> int:
    run, plan, seat, history = guard.run, party.plan, party.seat, party.history
    experiment = experiment_of(run)
    devices.set_up_process(experiment.threads)
    course = Course(experiment, history)
    with stop_signals(), party.watched(guard, experiment.exchange.timeouts.silence):
        core, force, link = (party.group(name) for name in ("core", "force", "link"))
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
        if history.resumed:
            walkers.resume(open_checkpoint(run, history.begin))
        walk(course, [walkers], history.begin)
        wait_for_the_end(run)
    return DONE


# ---- analyst --------------------------------------------------------------------------------------------------


def _analyse(party: Party) -> int:
    run, seat, analysts = party.run, party.seat, len(party.plan.analysts)
    if party.world.restarts_analysts:
        analyse(str(run.path), seat.number, analysts, seat.gpu)
        return DONE
    return supervise(run, seat.number, analysts, seat.gpu)
