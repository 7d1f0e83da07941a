"""`walkers export`: a run for TensorBoard or Weights and Biases."""

from __future__ import annotations

import argparse
from pathlib import Path

from walkers_dist.commands.declaring import Add, takes_run
from walkers_dist.config.errors import DONE


def declare(add: Add) -> None:
    parser = add("export", "write a run's figures and pictures for another tool", export)
    takes_run(parser)
    parser.add_argument("--to", metavar="TOOL", required=True, help="tensorboard or wandb")
    parser.add_argument("--out", metavar="DIR", help="where (default: RUN/TOOL); an earlier export there is replaced")
    parser.add_argument("--follow", action="store_true", help="go on until the run has ended")


def export(options: argparse.Namespace) -> int:
    from walkers_dist.api.opened import open_run
    from walkers_dist.export import exporting

    out = Path(options.out) if options.out else None
    print(exporting.export(open_run(options.run), options.to, out, follow=options.follow))
    return DONE
