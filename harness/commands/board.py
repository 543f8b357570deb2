"""``harness board``: render again from records."""

from __future__ import annotations

import argparse
import json

from harness.errors import RequestError
from harness.records.files import read_json


def render_board(args: argparse.Namespace) -> int:
    from harness.boards.board import render
    from harness.boards.terminal import print_board

    folder = args.results / args.suite
    if read_json(folder / "plan.json") is None:
        known = sorted(p.parent.name for p in args.results.glob("*/plan.json"))
        raise RequestError(
            f"no records of a suite {args.suite!r} in {args.results}; "
            f"there are: {', '.join(known) or 'none'}"
        )
    paths = render(folder, args.definition)
    if args.json:
        print(json.dumps({name: str(path) for name, path in paths.items()}, indent=2))
        return 0
    print_board(folder)
    for path in paths.values():
        print(f"  {path}")
    return 0
