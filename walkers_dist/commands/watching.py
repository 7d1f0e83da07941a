"""`walkers watch`: a run followed in the terminal while it goes on; of one that has ended, how it ended."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from walkers_dist.commands.declaring import Add, takes_run
from walkers_dist.config.errors import DONE, UserError

if TYPE_CHECKING:
    from walkers_dist.watch.following import State


def declare(add: Add) -> None:
    parser = add("watch", "follow a run: progress, loss per walker, distances, the latest spectrum", watch)
    takes_run(parser)
    parser.add_argument(
        "--every", metavar="SECONDS", type=float, default=0.5, help="between two looks (default: %(default)s)"
    )


def watch(options: argparse.Namespace) -> int:
    """Elsewhere than in a terminal: a line for each tenth of the way, then the screen as it is at the end, as text."""
    from rich.console import Console

    from walkers_dist.records import run_directory
    from walkers_dist.watch.following import Follower
    from walkers_dist.watch.screen import screen

    if not 0.05 <= options.every <= 3600:
        raise UserError(f"--every {options.every:g}: must be from 0.05 to 3600 seconds")
    follower = Follower(run_directory.open(options.run))
    console = Console(highlight=False)
    if console.is_terminal:
        from rich.live import Live

        with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:

            def show(state: State) -> None:
                live.update(screen(state, console.width), refresh=True)

            _until_ended(follower.look, show, options.every)
    else:
        from walkers_dist.roles.progress import Line, say

        line = Line()

        def tell(state: State) -> None:
            if not state.has_ended and line.is_due(10 * state.step // max(state.steps, 1)):
                say(f"step {state.step}/{state.steps}  {state.status}")

        console.print(screen(_until_ended(follower.look, tell, options.every), console.width))
    return DONE


def _until_ended(look: Callable[[], State], show: Callable[[State], object], every: float) -> State:
    while True:
        state = look()
        show(state)
        if state.has_ended:
            return state
        time.sleep(every)
