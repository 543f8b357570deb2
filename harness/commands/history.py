"""``harness history``: a suite's records over commits, and when something moved."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from harness.boards.index import HISTORY, write_index
from harness.commands.arguments import add_results, positive
from harness.compare.history import collect_history, page, step_text
from harness.errors import RequestError
from harness.records.files import write_bytes

EXAMPLE = "harness history nlp --page results/nlp/history.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_results(parser)
    parser.add_argument("suite", metavar="SUITE", help="a suite's name in the results folder")
    parser.add_argument("--last", type=positive, default=200, metavar="N", help="commits at most")
    parser.add_argument(
        "--page",
        type=Path,
        metavar="FILE",
        help="write a page with the series; the index links results/SUITE/history.html",
    )


def run(args: argparse.Namespace) -> int:
    try:
        found = collect_history(
            args.results, args.suite, args.last, lambda text: print(text, file=sys.stderr)
        )
    except ImportError as error:
        raise RequestError(
            f"harness history needs {error.name}: pip install 'pretrained-harness[history]'"
        ) from None
    if args.page is not None:
        write_bytes(args.page, page(args.suite, found).encode())
        if args.page.resolve() == (args.results / args.suite / HISTORY).resolve():
            write_index(args.results)  # which links it
    if args.json:
        print(json.dumps([asdict(series) for series in found], indent=2))
        return 0
    moved = [series for series in found if series.steps]
    for series in moved:
        host = f" on {series.host}" if series.host else ""
        print(f"{series.row}: {series.metric}{host}")
        for at in series.steps:
            print(f"  {step_text(series, at)}")
    print(f"{len(found)} series of {args.suite}, {len(moved)} of them moved")
    if args.page is not None:
        print(f"  {args.page}")
    return 0
