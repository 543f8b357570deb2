"""``harness baseline save|list|show|rm``: records kept under a name, small enough for git."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from harness.boards import wording
from harness.commands.arguments import add_results
from harness.compare.baseline import (
    archive_file,
    baseline_file,
    describe,
    every,
    open_baseline,
    remove,
    save,
)
from harness.compare.judge import row_name
from harness.compare.sides import read_side
from harness.errors import RequestError

EXAMPLE = "harness baseline save v1 --suite nlp"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_results(parser)
    parser.add_argument("action", choices=("save", "list", "show", "rm"))
    parser.add_argument("name", metavar="NAME", nargs="?", help="not needed for list")
    parser.add_argument("--suite", metavar="SUITE", help="save: only this suite's records")
    parser.add_argument("--force", action="store_true", help="save: replace one of that name")
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="DIR",
        help="save: the records of another results folder",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    if args.action != "list" and not args.name:
        raise RequestError(f"harness baseline {args.action}: name the baseline")
    actions = {"save": _save, "list": _list, "show": _show, "rm": _remove}
    actions[args.action](args)
    return 0


def _save(args: argparse.Namespace) -> None:
    from harness.measure.host import git_state

    target = baseline_file(args.results, args.name)
    if target.is_file() and not args.force:
        raise RequestError(f"baseline {args.name!r} exists ({target}); --force replaces it")
    commit, dirty = git_state()
    made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    facts = {"git_commit": commit, "git_dirty": dirty, "saved": made}
    if args.source is not None:
        # records from elsewhere, kept where baselines are looked for
        path = save(args.source, args.name, args.suite, facts, into=args.results)
    else:
        path = save(args.results, args.name, args.suite, facts)
    description = describe(args.results, args.name)
    if args.json:
        print(json.dumps(description, indent=2))
        return
    print(_line(description))
    print(f"  {path}\n  {archive_file(args.results, args.name)}")


def _list(args: argparse.Namespace) -> None:
    found = every(args.results)
    if args.json:
        print(json.dumps(found, indent=2))
        return
    for description in found:
        print(_line(description))
    if not found:
        print(f"no baselines in {args.results / 'baselines'}; harness baseline save NAME makes one")


def _show(args: argparse.Namespace) -> None:
    description = describe(args.results, args.name)
    with open_baseline(args.results, args.name) as folder:
        side = read_side(args.name, folder)
    if args.json:
        rows = [dict(row.flat) for row in side.rows.values()]
        print(json.dumps({**description, "rows_kept": rows}, indent=2))
        return
    print(_line(description))
    print(f"  sha256 {description['sha256']}\n  hosts {', '.join(description['hosts']) or 'none'}")
    for row in side.rows.values():
        print(
            f"  {row.row_id}  {row_name(row)}: {row.flat['score_name']} "
            f"{wording.score(row.flat['score'])}, {row.flat['seeds_ok']} seeds, "
            f"{len(row.launches)} launches"
        )


def _remove(args: argparse.Namespace) -> None:
    remove(args.results, args.name)
    print(json.dumps({"removed": args.name}) if args.json else f"removed {args.name}")


def _line(description: dict[str, Any]) -> str:
    commit = str(description.get("git_commit") or "no commit")[:10]
    dirty = " (uncommitted changes)" if description.get("git_dirty") else ""
    return (
        f"{description['name']}: {', '.join(description['suites'])}, {description['rows']} rows, "
        f"{description['bytes'] / 1e3:,.0f} kB, saved {description.get('saved', 'once')}, "
        f"{commit}{dirty}"
    )
