"""``harness show``: one record, readable."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from harness.commands.arguments import add_results
from harness.errors import RequestError
from harness.printable import printable
from harness.records.files import read_json
from harness.records.store import status_of

EXAMPLE = "harness show 3f2a"

#: longer lists (raw samples) are summarised for people; ``--json`` prints them whole
LONGEST_LIST = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_results(parser)
    parser.add_argument("id", metavar="ID", help="a run_id, fit_id or row_id, or its beginning")


def run(args: argparse.Namespace) -> int:
    record = find_record(args.results, args.id)
    content = _content(record)
    if args.json:
        print(json.dumps(content, indent=2))
        return 0
    print(record)
    for name, value in content.items():
        print(f"\n{name}")
        _print(value, 1)
    return 0


def find_record(results: Path, wanted: str) -> Path:
    """The record folder of a run, fit or row whose id starts with ``wanted``."""
    found: dict[str, Path] = {}
    for folder in (*results.glob("*/fits/*"), *results.glob("*/runs/*")):
        if folder.name.startswith(wanted):
            found[folder.name] = folder
    if not found:
        for folder, row_id in _rows(results):
            if row_id.startswith(wanted):
                found.setdefault(row_id, folder)
    if not found:
        raise RequestError(
            f"no record in {results} begins with {wanted!r}; `harness plan SUITE --json` lists ids"
        )
    if len(found) > 1:
        raise RequestError(
            f"{wanted!r} is ambiguous: {', '.join(sorted(found)[:6])}; give more digits"
        )
    return next(iter(found.values()))


def find_run(results: Path, wanted: str) -> tuple[Path, dict[str, Any]]:
    """The record folder of a complete run, by its id or its row's, and its specification."""
    record = find_record(results, wanted)
    if record.parent.name != "runs":
        raise RequestError(f"{wanted!r} is a fit; name a row or a run (`harness plan --json`)")
    spec = read_json(record / "spec.json")
    if spec is None or (status_of(record) or {}).get("status") != "ok":
        raise RequestError(f"run {record.name} is not complete; run the suite first")
    return record, spec


def _rows(results: Path) -> list[tuple[Path, str]]:
    """Record folder of the first run of every row."""
    rows = []
    for plan in results.glob("*/plan.json"):
        for row in (read_json(plan) or {}).get("rows", []):
            rows.append((plan.parent / "runs" / row["runs"][0]["run_id"], row["row_id"]))
    return rows


def _content(record: Path) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for name in ("status", "spec", "fit", "metrics", "explain"):
        value = read_json(record / f"{name}.json")
        if value is not None:
            content[name] = value
    for folder in sorted((record / "measurements").glob("*")):
        content[f"measurement {folder.name}"] = read_json(folder / "timing.json")
    return content


def _print(value: Any, depth: int) -> None:
    pad = "  " * depth
    for key, item in value.items():
        if isinstance(item, dict) and item:
            print(printable(f"{pad}{key}"))
            _print(item, depth + 1)
        elif isinstance(item, list) and len(item) > LONGEST_LIST:
            print(printable(f"{pad}{key}: {len(item)} values, {item[0]} ... {item[-1]}"))
        elif isinstance(item, float):
            print(printable(f"{pad}{key}: {item:.6g}"))
        else:
            print(printable(f"{pad}{key}: {item}"))
