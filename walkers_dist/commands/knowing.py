"""`walkers data` and `schema`: which data sets there are, which keys a configuration has."""

from __future__ import annotations

import argparse
import json

from walkers_dist.commands.declaring import Add
from walkers_dist.config.errors import DONE


def declare(add: Add) -> None:
    data = add("data", "list the data sets and where they lie, or fetch one", data_list)
    what = data.add_subparsers(title="commands", metavar="COMMAND", required=True)
    what.add_parser("list", help="which there are, and where").set_defaults(command=data_list)
    fetch = what.add_parser("fetch", help="download one into the cache")
    fetch.add_argument("name", metavar="NAME", help="mnist, fashion_mnist or cifar10")
    fetch.set_defaults(command=data_fetch)

    add("schema", "print the JSON schema of the configuration, for editors", schema)


def data_list(options: argparse.Namespace) -> int:
    from walkers_dist.api.datasets import table

    print(table())
    return DONE


def data_fetch(options: argparse.Namespace) -> int:
    from walkers_dist.api.datasets import fetch

    print(fetch(options.name))
    return DONE


def schema(options: argparse.Namespace) -> int:
    from walkers_dist.config import json_schema

    print(json.dumps(json_schema.schema(), indent=2))
    return DONE
