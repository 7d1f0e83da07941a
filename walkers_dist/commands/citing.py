"""`walkers cite`: what to cite of the methods and measurements that an experiment uses."""

from __future__ import annotations

import argparse

from walkers_dist.commands.declaring import Add, takes_overrides
from walkers_dist.config.errors import DONE


def declare(add: Add) -> None:
    parser = add("cite", "print the BibTeX of the methods and measurements that an experiment uses", cite)
    parser.add_argument("what", metavar="CONFIG|RUN", help="a YAML file, or a run directory")
    takes_overrides(parser, "of a configuration: its keys, as key.sub=value")


def cite(options: argparse.Namespace) -> int:
    from walkers_dist.api import citing

    print(citing.cite(options.what, options.overrides))
    return DONE
