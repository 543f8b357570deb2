"""The ``harness`` command: parse, call, print.

Only the module of the command that is called is imported, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

from harness import __version__
from harness.errors import DiskTrouble, RequestError
from harness.printable import printable

DONE, WRONG_REQUEST, INTERRUPTED = 0, 2, 130

#: modules of `harness.commands`, in the order of ``--help``, and what each command does
COMMANDS = {
    "run": "fit, score and time what a suite asks for, and render its board",
    "plan": "show what would run and what is already there",
    "board": "render a suite's leaderboard again from its records",
    "choose": "say which pretrained model to build on, and why; asks without flags",
    "compare": "say whether anything got worse between two sides' records, and how sure that is "
    "(exit status 3 on a regression)",
    "baseline": "save records under a name to compare with later, or list, show and remove such "
    "baselines",
    "history": "follow a suite's records over the commits that changed them, and say when "
    "something moved",
    "bisect": "find the commit that made a row worse, running only that row",
    "serve": "show the results folder in a browser, for this machine only",
    "show": "print one record, readable",
    "export": "give a fitted model away: weights, tokenizer, labels, usage snippet",
    "fetch": "download and verify all that a suite needs, so that a run needs no network",
    "tune": "choose hyper-parameters on the validation split, equal trials for all",
    "time": "measure one fitted model on demand: latency, throughput, arrival rate",
    "explain": "measure how faithful the attributions of a fitted text classifier are",
    "doctor": "say what works here, what can be measured, and what disturbs",
    "digest": "print the SHA-256 of a source's files, to pin them in a suite",
    "schema": "print the JSON Schema of suite files, for editors",
    "verify": "check every record and artifact against its digest",
    "gc": "remove from the cache what no suite's plan needs; says what first",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    # A polite end by a scheduler is an interruption: workers are ended, nothing is half-written.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        argv = sys.argv[1:] if argv is None else argv
        args = _parser(argv).parse_args(argv)
        args.given = shlex.join(["harness", *argv])
        status: int = args.command(args)
        return status
    except RequestError as error:
        print(printable(f"harness: {error}"), file=sys.stderr)
        return WRONG_REQUEST
    except KeyboardInterrupt:
        print(
            "\nharness: interrupted; what is complete is kept, the same command goes on from there",
            file=sys.stderr,
        )
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output left (`harness plan nlp | head`).
        sys.stderr.close()
        return DONE
    except OSError as error:  # of commands that know no better place to name
        trouble = DiskTrouble.told_by(error, "the results folder or the cache")
        if trouble is None:
            raise
        print(printable(f"harness: {trouble}"), file=sys.stderr)
        return WRONG_REQUEST


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """Of all commands by name; of those that ``argv`` names, their modules add the rest."""
    parser = argparse.ArgumentParser(
        prog="harness",
        description="Which pretrained model should I build on? Fits, scores and times candidates "
        "and says how sure the answer is.",
        epilog="Start with:  harness run smoke    or, on a clone:  make bench SUITE=nlp",
    )
    parser.add_argument("--version", action="version", version=f"harness {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, what in COMMANDS.items():
        command = commands.add_parser(name, help=what)
        if name in argv:
            module = import_module(f"harness.commands.{name}")
            command.description = f"{what[0].upper()}{what[1:]}."
            command.epilog = f"Example: {module.EXAMPLE}"
            command.set_defaults(command=module.run)
            command.add_argument("--json", action="store_true", help="print JSON, for programs")
            module.add_arguments(command)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
