"""``harness board``: render again from records."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.arguments import add_results
from harness.errors import RequestError
from harness.records.files import read_json

EXAMPLE = "harness board nlp --results results/reference"

if TYPE_CHECKING:
    from harness.boards.board import Board
    from harness.boards.definition import Definition
    from harness.boards.evidence import Texts

#: columns for tables that go to a file or a pipe, where no terminal says how wide it is
PIPE_WIDTH = 160


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_results(parser)
    parser.add_argument(
        "suite", metavar="SUITE",
        help="a suite's name in the results folder; or a file of rows: leaderboard.parquet",
    )  # fmt: skip
    parser.add_argument(
        "--definition", metavar="NAME", help="a board under leaderboards/, or a YAML file"
    )
    parser.add_argument(
        "--with-examples", action="store_true",
        help="show texts of wrong examples, read from the data that was run: for your eyes, not to "
        "publish where their licence forbids it; needs --to",
    )  # fmt: skip
    parser.add_argument(
        "--pictures", type=Path, metavar="DIR", help="also write pictures there, as SVG and PNG"
    )
    parser.add_argument(
        "--pr", action="store_true", help="print a short Markdown table for a pull request, only"
    )
    parser.add_argument(
        "--to", type=Path, metavar="DIR", help="folder to write into (needed for a file of rows)"
    )


def run(args: argparse.Namespace) -> int:
    from harness.boards.flat import SUFFIXES

    if args.suite.endswith(SUFFIXES):
        return _render_rows(args)
    folder = args.results / args.suite
    if read_json(folder / "plan.json") is None:
        known = sorted(p.parent.name for p in args.results.glob("*/plan.json"))
        raise RequestError(
            f"no records of a suite {args.suite!r} in {args.results}; "
            f"there are: {', '.join(known) or 'none'}"
        )
    board, definition = _built(
        folder, args.definition, _texts(args, folder), beside=args.to is None
    )
    if args.pr:
        from harness.boards.pull_request import render_pull_request

        print(render_pull_request(board.page), end="")
        return 0
    paths = _write(board, definition, args.to or folder, index=args.to is None)
    if args.pictures:
        from harness.boards import pictures

        paths += pictures.write(board.page, args.pictures)
    if not args.json:
        _print(board)
    _say(paths, args.json)
    return 0


def render(folder: Path, definition_name: str | None, *, quiet: bool) -> list[Path]:
    """Write the leaderboard files of a suite's records and, unless quiet, print the board."""
    board, definition = _built(folder, definition_name, None, beside=True)
    paths = _write(board, definition, folder, index=True)
    if not quiet:
        _print(board)
    return paths


def _built(
    folder: Path, definition_name: str | None, texts: Texts | None, *, beside: bool
) -> tuple[Board, Definition]:
    from harness.boards.board import build
    from harness.boards.collect import read_plan
    from harness.boards.definition import load_definition

    chosen = definition_name or read_plan(folder).get("leaderboard")
    definition = load_definition(chosen or "default")
    return build(folder, definition, texts, beside=beside), definition


def _write(board: Board, definition: Definition, folder: Path, *, index: bool) -> list[Path]:
    from harness.boards.board import write
    from harness.boards.index import write_index

    try:
        paths = write(board, folder, definition)
        return [*paths, write_index(folder.parent)] if index else paths
    except OSError as error:
        raise RequestError(f"{folder} cannot be written: {error.strerror}") from None


def _print(board: Board) -> None:
    from rich.console import Console

    from harness.boards.terminal import print_board

    print_board(board.page, Console(width=None if sys.stdout.isatty() else PIPE_WIDTH))


def _say(paths: list[Path], as_json: bool) -> None:
    if as_json:
        print(json.dumps([str(path) for path in paths], indent=2))
        return
    for path in paths:
        print(f"  {path}")


def _render_rows(args: argparse.Namespace) -> int:
    """A page and a CSV of flat rows that a file holds."""
    from harness.boards.definition import load_definition
    from harness.boards.flat import read_rows, write_flat

    if args.to is None:
        raise RequestError(f"name a folder for the board of {args.suite}: --to DIR")
    for option, given in (("--pr", args.pr), ("--with-examples", args.with_examples)):
        if given:
            raise RequestError(f"{option} needs a suite's records; {args.suite} holds rows only")
    if args.pictures:
        raise RequestError(f"--pictures needs a suite's records; {args.suite} holds rows only")
    definition = load_definition(args.definition or "default")
    table = read_rows(Path(args.suite))
    paths = write_flat(table, args.to, definition, Path(args.suite).stem, args.given)
    _say(paths, args.json)
    return 0


def _texts(args: argparse.Namespace, folder: Path) -> Texts | None:
    """Texts of test examples by task and id, from the data that was run, where asked for."""
    if not args.with_examples:
        return None
    if args.to is None:
        raise RequestError(
            "--with-examples writes texts that may not be yours to publish, and results folders "
            "get shared: name a folder for that page with --to DIR"
        )
    from harness.boards.collect import read_plan
    from harness.boards.example_texts import read_texts

    return read_texts(read_plan(folder), folder)
