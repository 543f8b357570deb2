"""Arguments that several commands take, and the readers of their values."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_results(parser: argparse.ArgumentParser) -> None:
    """``--results DIR``, where the command reads or writes records."""
    parser.add_argument(
        "--results", type=Path, default=Path("results"), metavar="DIR",
        help="results folder (default: results)",
    )  # fmt: skip


def add_suite(parser: argparse.ArgumentParser) -> None:
    """``SUITE``, as `load_suite` takes it."""
    parser.add_argument("suite", metavar="SUITE", help="a name under suites/, or a YAML file")


def add_suite_selection(parser: argparse.ArgumentParser) -> None:
    """A suite and what of it, as `harness.commands.context.plan_of` reads them."""
    add_suite(parser)
    parser.add_argument("--full", action="store_true", help="lift the budget: all examples")
    parser.add_argument(
        "--seeds", type=_seeds, default=(), metavar="1,2,3", help="seeds instead of the suite's"
    )
    add_only(
        parser,
        "only these models, tasks, recipes or frameworks; names of one kind add up, kinds narrow "
        "each other: --only A B TASK is both models on that task; or rows, by the beginnings of "
        "their row_ids",
    )
    parser.add_argument(
        "--data", action="append", default=[], metavar="TASK=SOURCE",
        help="other data for a task: a file, a folder of splits, or a source; repeat for more",
    )  # fmt: skip
    parser.add_argument(
        "--budget", default="", metavar="train=N,test=N", help="limits instead of the suite's"
    )
    add_trust(parser)


def add_trust(parser: argparse.ArgumentParser) -> None:
    """``--trust-remote-code``, the command line's half of the decision."""
    parser.add_argument(
        "--trust-remote-code", action="store_true",
        help="allow code from a checkpoint whose suite entry says trust_remote_code: true",
    )  # fmt: skip


def add_only(parser: argparse.ArgumentParser, help_text: str) -> None:
    """``--only NAME ...``, which may be repeated."""
    parser.add_argument(
        "--only", nargs="+", action="extend", default=[], metavar="NAME", help=help_text
    )


def add_launches(parser: argparse.ArgumentParser) -> None:
    """``--launches N`` instead of the suite's, as `plan_of` takes it."""
    parser.add_argument(
        "--launches", type=natural, metavar="N",
        help="fresh processes per timed run instead of the suite's; 0: score, do not time",
    )  # fmt: skip


def natural(text: str) -> int:
    """A whole number, zero included."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError("a whole number")
    return int(text)


def positive(text: str) -> int:
    """A whole number above zero."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("a whole number above zero")
    return int(text)


def positive_number(text: str) -> float:
    """A finite number above zero."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("a number above zero")
    return number


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError("whole numbers separated by commas") from None
