"""``harness board``: render again from records."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from harness.errors import RequestError
from harness.records.files import read_json

#: columns for tables that go to a file or a pipe, where no terminal says how wide it is
PIPE_WIDTH = 160


def render_board(args: argparse.Namespace) -> int:
    folder = args.results / args.suite
    if read_json(folder / "plan.json") is None:
        known = sorted(p.parent.name for p in args.results.glob("*/plan.json"))
        raise RequestError(
            f"no records of a suite {args.suite!r} in {args.results}; "
            f"there are: {', '.join(known) or 'none'}"
        )
    paths = render(folder, args.definition, quiet=args.json)
    if args.json:
        print(json.dumps([str(path) for path in paths], indent=2))
    else:
        for path in paths:
            print(f"  {path}")
    return 0


def render(folder: Path, definition_name: str | None, *, quiet: bool) -> list[Path]:
    """Write the four leaderboard files of a suite's records and, unless quiet, print the board."""
    from harness.boards.board import build, write
    from harness.boards.definition import load_definition

    chosen = definition_name or (read_json(folder / "plan.json") or {}).get("leaderboard")
    definition = load_definition(chosen or "default")
    board = build(folder, definition)
    paths = write(board, folder, definition)
    if not quiet:
        from rich.console import Console

        from harness.boards.terminal import print_board

        width = None if sys.stdout.isatty() else PIPE_WIDTH
        print_board(board.page, Console(width=width))
    return paths
