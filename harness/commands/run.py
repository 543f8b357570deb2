"""``harness run``: plan, check, execute, render."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from harness import registry
from harness.commands.arguments import add_launches, add_results, add_suite_selection, positive
from harness.commands.board import render
from harness.commands.context import plan_of, this_machine
from harness.execute.base import ExecutorOptions, Outcome, Place
from harness.execute.conduct import disk_told, execute, set_damaged_aside, unfinished
from harness.execute.preflight import preflight
from harness.execute.report import make_reporter
from harness.printable import printable
from harness.records.locks import locked
from harness.records.store import Store
from harness.sources import default_cache
from harness.sources.cache import in_use
from harness.track.base import Tracker, TrackingFailed, entries, make_tracker

EXAMPLE = "harness run nlp --only minilm"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_results(parser)
    add_suite_selection(parser)
    add_launches(parser)
    parser.add_argument("--retry", action="store_true", help="try failed fits and runs again")
    parser.add_argument(
        "--refit", action="store_true",
        help="fit again what has records but is no longer in the cache; records stay as they are",
    )  # fmt: skip
    parser.add_argument(
        "--jobs", type=positive, metavar="N",
        help="fits at a time, at most (default: as many as the cores and the memory carry)",
    )  # fmt: skip
    parser.add_argument(
        "--devices", type=lambda text: tuple(text.split(",")), default=(), metavar="cpu,cuda:0",
        help="the only devices to use (default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--executor", default="local", metavar="NAME",
        help="where to work: local (default), ray or slurm, which are clusters",
    )  # fmt: skip
    parser.add_argument(
        "--address", default="", metavar="HOST:PORT", help="of the cluster (--executor ray)"
    )
    parser.add_argument(
        "--store", default="", metavar="URL",
        help="where the cluster's nodes share what fits made: file:///folder, s3://..., gs://...",
    )  # fmt: skip
    parser.add_argument(
        "--track", action="append", default=[], metavar="NAME:URI",
        help="mirror the runs in a tracking server, for example mlflow:http://127.0.0.1:5000",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    start = time.monotonic()
    plan = plan_of(args, args.launches)
    trackers = [make_tracker(target) for target in args.track]
    store = Store(args.results, plan.loaded.suite.suite)
    store.check_writable()
    cache = default_cache()
    reporter = make_reporter()
    try:
        place = Place(store, cache, this_machine(), args.retry, args.refit)
        options = ExecutorOptions(args.jobs, args.devices, args.address, args.store)
        kind = registry.executors.get(args.executor, "--executor")
        with disk_told(place), in_use(cache), kind(place, reporter, options) as executor:
            set_damaged_aside(plan, place, reporter)
            if todo := unfinished(plan, place):
                preflight(plan, todo, cache, reporter)
            plan, outcome = execute(plan, place, executor, reporter, args.given)
    finally:
        reporter.close()
    written = render(store.folder, None, quiet=args.json)
    if args.json:
        print(json.dumps(_summary(store, outcome), indent=2))
    else:
        _say(written, outcome, time.monotonic() - start)
    for tracker in trackers:
        _mirror(tracker, store, quiet=args.json)
    return outcome.exit_status


def _mirror(tracker: Tracker, store: Store, *, quiet: bool) -> None:
    """Tell a tracker what the records hold; a warning where it cannot be told.

    One process at a time: two that share a suite's fits end together, and each would find the
    tracker without the other's runs and make them.
    """
    try:
        with locked(store.folder / ".locks" / "mirror.lock"):
            found = list(entries(store))
            written = tracker.mirror(store.suite, found)
    except (TrackingFailed, OSError) as error:  # another process may set a damaged record aside
        print(
            f"harness: warning: not mirrored: {printable(error)}\n  the records are complete; the "
            "same command mirrors them once the server answers",
            file=sys.stderr,
        )
        return
    if not quiet:
        print(f"  {printable(tracker.uri)}: {written} of {len(found)} written, the rest was there")


def _summary(store: Store, outcome: Outcome) -> dict[str, object]:
    return {
        "results": str(store.folder),
        "done": outcome.done,
        "kept": outcome.kept,
        "failed": [
            {"what": what, "status": status, "reason": reason}
            for what, status, reason in outcome.bad
        ],
        "seconds": round(outcome.seconds, 3),
    }


def _say(written: list[Path], outcome: Outcome, seconds: float) -> None:
    """The closing summary: what was done, what failed, where everything lies."""
    out = sys.stdout
    failed = [entry for entry in outcome.bad if entry[1] not in ("unsupported", "skipped")]
    print(file=out)
    print(
        f"{outcome.done} runs made, {outcome.kept} were there already, {len(failed)} failed, "
        f"in {seconds:.0f} s",
        file=out,
    )
    for what, status, reason in outcome.bad:
        print(printable(f"  {status}: {what}: {reason}"), file=out)
    if failed:
        print("  they are not tried again without --retry", file=out)
    for path in written:
        print(f"  {path}", file=out)
