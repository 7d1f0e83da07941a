"""`walkers report`, `list`, `compare`: what runs left behind, as a page and as tables."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from walkers_dist.commands.declaring import Add
from walkers_dist.config.errors import DONE


def declare(add: Add) -> None:
    page = add("report", "draw the pictures of a run into its report.html, or of several runs into one page", report)
    page.add_argument("runs", metavar="RUN", nargs="+", help="a run directory, or a quoted pattern of such")
    page.add_argument("--out", metavar="FILE", help="the page (default: RUN/report.html; of several: compare.html)")

    several = add("list", "show the runs in a folder, a line each", list_runs)
    several.add_argument("folder", metavar="DIR", nargs="?", default="runs", help="the folder (default: runs)")

    table = add("compare", "show several runs in one table", compare)
    table.add_argument("runs", metavar="RUN", nargs="+", help="a run directory, or a quoted pattern of such")
    table.add_argument("--by", metavar="KEY", help="one row per value of this key of the configuration")
    table.add_argument("--latex", action="store_true", help="as a LaTeX tabular, with rules of booktabs")


def report(options: argparse.Namespace) -> int:
    from walkers_dist.distributed import leash

    if leash.VARIABLE in os.environ:
        leash.wear()
    from walkers_dist.api.opened import runs_of
    from walkers_dist.report import write_comparison, write_report

    runs, page = list(runs_of(options.runs)), Path(options.out) if options.out else None
    if len(runs) == 1:
        print(write_report(runs[0], page))
    else:
        print(write_comparison(runs, page or Path("compare.html")))
    return DONE


def list_runs(options: argparse.Namespace) -> int:
    from walkers_dist.api import listing

    print(listing.table(listing.list_runs(options.folder)) or f"{options.folder}: holds no run")
    return DONE


def compare(options: argparse.Namespace) -> int:
    from walkers_dist.api.comparing import shown
    from walkers_dist.api.opened import runs_of

    print(shown(runs_of(options.runs).compare(options.by), options.latex))
    return DONE
