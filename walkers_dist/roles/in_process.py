"""All roles in this process, without a group: for notebooks, debuggers and tests; the results are the same."""

from __future__ import annotations

import socket
import time

import torch

from walkers_dist.config.errors import RunFailed
from walkers_dist.distributed import devices
from walkers_dist.distributed.channel import LocalChannel
from walkers_dist.distributed.control import listening
from walkers_dist.distributed.exchange import LocalExchange, LocalLink
from walkers_dist.distributed.plan import Plan, Seat
from walkers_dist.distributed.signals import Received, stop_signals
from walkers_dist.landscape import build
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.roles.analyst import Analyst
from walkers_dist.roles.coordinator import ME, Coordinator
from walkers_dist.roles.ending import conclude, note_timings
from walkers_dist.roles.entering import enter
from walkers_dist.roles.loop import walk
from walkers_dist.roles.pending import list_pending
from walkers_dist.roles.preparation import Preparation, first_center, prepare
from walkers_dist.roles.request import Request
from walkers_dist.roles.requeued import followed
from walkers_dist.roles.round_robin import RoundRobin
from walkers_dist.roles.walkers import Walkers


def run_in_process(request: Request) -> tuple[RunDirectory, int]:
    """Run what was asked for here; returns where it lies and its exit code.

    Raises `UserError` before anything is made, `RunFailed` where the run failed.
    """
    started = time.time()
    threads = torch.get_num_threads()
    request = followed(request)
    preparation = prepare(request)
    try:
        preparation.stay_alone()
        with stop_signals() as signals:
            signals.patience = 1
            return _run(preparation, request, signals, started)
    finally:
        torch.set_num_threads(threads)
        if preparation.run:
            preparation.run.release()


def _run(preparation: Preparation, request: Request, signals: Received, started: float) -> tuple[RunDirectory, int]:
    experiment = preparation.experiment
    gpu = next(iter(devices.visible_gpus(experiment.device)), None)
    plan = Plan((Seat(0, ME), Seat(1, "walkers", (0, experiment.walkers), 0, gpu)))
    seat = plan.walkers[0]
    run = enter(preparation, plan, request.run_dir)
    try:
        course = preparation.course()
        device = devices.device_of(gpu)
        landscape = build(experiment.landscape, seed=experiment.seed, dtype=experiment.dtype, device=device)
        channel, link = LocalChannel(), LocalLink()
        center = first_center(preparation, experiment.walker_names)
        walkers = (RoundRobin if experiment.exchange.order else Walkers)(
            process=seat.name,
            names=seat.walkers,
            run=run,
            course=course,
            landscape=landscape,
            exchange=LocalExchange(),
            link=link,
            channel=channel,
        )
        walkers.c.copy_(center)
        if preparation.checkpoint:
            walkers.resume(preparation.checkpoint)
        desk = preparation.desk(course, request)
        coordinator = Coordinator(
            seats=plan.walkers,
            run=run,
            course=course,
            landscape=preparation.landscape,
            link=link,
            channel=channel,
            signals=signals,
            desk=desk,
            center=center,
            begin=preparation.history.begin,
            state=preparation.state,
        )
        note_timings(run, start=time.time() - started)
        with listening(run, desk.answer, experiment.control.bind):
            walk(course, [walkers, coordinator], preparation.history.begin)
            note_timings(run, training=coordinator.trained, measuring=coordinator.measuring)
            if not signals.name and experiment.at_end == "leave":
                list_pending(run, preparation.landscape)
            elif not signals.name and experiment.analysts:
                run.update_info(status="analysing")
                signals.patience = 0  # there is no report any more at which one could act
                analysing = time.perf_counter()
                Analyst(run, 0, 1, device).work()
                note_timings(run, analysis=time.perf_counter() - analysing)
            return run, conclude(run, 0, signals, request.report)
    except KeyboardInterrupt:
        run.update_info(status="interrupted")
        raise
    except BaseException as error:
        run.fail(f"{socket.gethostname()}: {type(error).__name__}: {error}")
        run.update_info(status="failed")
        if isinstance(error, RunFailed):
            raise RunFailed(f"{error} (see {run.error})") from error
        raise
