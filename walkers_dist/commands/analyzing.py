"""`walkers analyze`: the curvature of a run that has ended, or of a network that was trained elsewhere."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from walkers_dist.commands.declaring import Add
from walkers_dist.config.errors import DONE, UserError
from walkers_dist.roles.progress import Line, duration

if TYPE_CHECKING:
    from walkers_dist.api.bare import Analysis
    from walkers_dist.api.blocks import At
    from walkers_dist.api.costs import Cost
    from walkers_dist.api.selection import Asked
    from walkers_dist.curvature import Operator

OF_A_NETWORK = ("model_args", "weights", "data", "data_args", "loss", "denominator", "dtype", "out")
OF_A_RUN = ("steps", "walkers")


def declare(add: Add) -> None:
    parser = add("analyze", "measure the curvature of a run's snapshots, or of any torch network", analyze)
    parser.add_argument(
        "overrides",
        metavar="[RUN] [key=value …]",
        nargs="*",
        help="a run directory; keys of the section curvature. What is not said is as in the run; where something is "
        "asked for, that alone is measured",
    )
    what = parser.add_argument_group("what is measured")
    what.add_argument("--steps", "--step", metavar="S,…", help="snapshots: last (default), all, or 0,100")
    what.add_argument("--walkers", metavar="W,…", help="points: center,w0, or all")
    what.add_argument("--matrix", metavar="M,…", help="of hessian, ggn (the Gauss-Newton matrix G), residual (H - G)")
    what.add_argument("--top", metavar="K", type=int, help="the K largest eigenvalues")
    what.add_argument("--bottom", metavar="K", type=int, help="the K smallest")
    what.add_argument("--full", action="store_true", help="all of them")
    what.add_argument("--density", metavar="PROBESxSTEPS", nargs="?", const="", help="the density of the spectrum")
    what.add_argument("--vectors", action="store_true", help="keep the eigenvectors of top and bottom")

    network = parser.add_argument_group("of a network without a run")
    network.add_argument("--model", metavar="MODULE:NAME", help="a torch module, or what makes one, as my_nets:Net")
    network.add_argument("--model-args", metavar="YAML", help="its arguments, as '{hidden: 3}'")
    network.add_argument("--weights", metavar="FILE", help="its state_dict, as safetensors (default: as it is made)")
    network.add_argument("--data", metavar="MODULE:NAME", help="a function that returns the data, as my_data:load")
    network.add_argument("--data-args", metavar="YAML", help="its arguments")
    network.add_argument("--loss", metavar="LOSS", help="cross_entropy (default), squared_error or MODULE:NAME")
    network.add_argument(
        "--denominator", metavar="D", help="what divides a loss of your own: samples, sum (nothing) or MODULE:NAME"
    )
    network.add_argument("--dtype", choices=("float32", "float64"), help="in which it is evaluated (default: float64)")
    network.add_argument("--out", metavar="DIR", help="where the results lie (default: runs/NAME-DIGEST)")

    parser.add_argument(
        "--ranks", metavar="N", type=int, default=1, help="processes that share each matrix (under torchrun: its ranks)"
    )
    parser.add_argument("--pending", action="store_true", help="what the run itself asked for and did not wait for")
    parser.add_argument("--dry-run", action="store_true", help="say what it would cost; nothing is measured")
    parser.add_argument("--yes", action="store_true", help="try also what does not fit into free memory")
    parser.add_argument("--no-report", action="store_true", help="do not draw the report")


def analyze(options: argparse.Namespace) -> int:
    run, keys = _run_among(options)
    asked = _asked(options)
    if (run is None) == (options.model is None):
        both = f"{run} and --model {options.model}: one of the two" if run else "neither RUN nor --model is given"
        raise UserError(f"{both}: name the run, or the network, that is to be analyzed")
    if options.pending:
        return _catch_up(run, keys, options, asked)
    return _run(run, keys, options, asked) if run else _network(keys, options, asked)


def _catch_up(run: str | None, keys: Sequence[str], options: argparse.Namespace, asked: Asked) -> int:
    from walkers_dist.roles.pending import catch_up

    if run is None or keys or options.steps is not None or any(asked.values()):
        raise UserError("--pending: measures what a run asked for itself: name the run, and nothing else")
    catch_up(run)
    if not options.no_report:
        from walkers_dist.api.opened import open_run
        from walkers_dist.report import write_report

        print(write_report(open_run(run)))
    return DONE


def _run(run: str, keys: Sequence[str], options: argparse.Namespace, asked: Asked) -> int:
    from walkers_dist.api import analyzing
    from walkers_dist.api.opened import open_run
    from walkers_dist.api.probing import steps_named

    if foreign := [name for name in OF_A_NETWORK if getattr(options, name) is not None]:
        raise UserError(f"--{foreign[0].replace('_', '-')}: belongs to --model, and not to a run")
    opened, steps = open_run(run), steps_named("last" if options.steps is None else options.steps)
    if options.dry_run:
        return _tell_cost(analyzing.estimate(opened, keys, steps=steps, **asked), options.yes)
    with Standing() as standing:
        analyzing.analyze(opened, keys, steps=steps, ranks=options.ranks, tell=standing.show, yes=options.yes, **asked)
    if not options.no_report and _rank() == 0:
        from walkers_dist.report import write_report

        print(write_report(opened))
    return DONE


def _network(keys: Sequence[str], options: argparse.Namespace, asked: Asked) -> int:
    from walkers_dist.api.analyzing import refuse_ranks
    from walkers_dist.api.bare_inputs import network
    from walkers_dist.api.blocks import Latest
    from walkers_dist.distributed.analysis import together

    refuse_ranks(options.ranks)

    if foreign := [name for name in OF_A_RUN if getattr(options, name) is not None]:
        raise UserError(f"--{foreign[0]}: belongs to a run, and not to --model")
    said = {name: getattr(options, name) for name in ("model", *OF_A_NETWORK) if name != "out"}
    words = dict(said)
    found = network(words.pop("model"), words.pop("data"), **words, rank=_rank())
    if options.dry_run:
        return _tell_cost(found.cost(keys, asked), options.yes)
    with Standing() as standing:

        def work(matrix: Callable[[str], Operator]) -> Analysis:
            found.matrix = Latest(matrix)
            out = Path(options.out) if options.out else None
            return found.analyze(keys, asked, out, standing.show, options.yes)

        analysis = together(options.ranks, "walkers_dist.api.bare_inputs:member", said, work, found.share)
    if analysis is None:
        return DONE
    if options.no_report:
        print(analysis.path)
        return DONE
    from walkers_dist.report.bare_page import write_network_report

    print(write_network_report(analysis))
    return DONE


def _rank() -> int:
    from walkers_dist.distributed.start import World

    world = World.from_environment()
    return world.rank if world else 0


def _tell_cost(cost: Cost, yes: bool) -> int:
    print(*cost.lines(), sep="\n", flush=True)
    if not yes:
        cost.refuse_too_large()
    return DONE


def _run_among(options: argparse.Namespace) -> tuple[str | None, list[str]]:
    """The run and the keys: a run's directory may have an `=` in its name, and may stand behind `--density`."""
    words = list(options.overrides)
    runs = _runs(words)
    if options.density and not (runs or options.model or re.match(r"\d", options.density)):
        words, options.density = [options.density, *words], ""
        runs = _runs(words)
    if len(runs) > 1:
        raise UserError(f"{runs[1]}: one run at a time, and an override is written key=value")
    return (runs[0] if runs else None), [word for word in words if word not in runs]


def _runs(words: Sequence[str]) -> list[str]:
    return [word for word in words if "=" not in word or Path(word).is_dir()]


def _asked(options: argparse.Namespace) -> Asked:
    return {
        "walkers": options.walkers and options.walkers.split(","),
        "matrix": options.matrix and options.matrix.split(","),
        "top": options.top,
        "bottom": options.bottom,
        "full": options.full,
        "density": True if options.density == "" else options.density,
        "vectors": options.vectors,
    }


class Standing:
    """The line that says where an analysis stands."""

    def __init__(self) -> None:
        self.line = Line()
        self._first: float | None = None
        self._shown = False

    def __enter__(self) -> Standing:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._shown:
            self.line.end()

    def show(self, at: At) -> None:
        made = at.share
        if self._first is None:
            self._first = made  # what an earlier start has done tells nothing about how long the rest takes
        if self.line.is_due(int(10 * made), last=made >= 1):
            since, fresh = time.monotonic() - self.line.started, made - self._first
            left = f"  {duration(since * (1 - made) / fresh)} left" if fresh > 0 else ""
            self.line.show(f"{at}{left}")
            self._shown = True
