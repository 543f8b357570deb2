"""``harness show``: one record, readable."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
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
    parser.add_argument(
        "id", metavar="ID", help="a run_id, fit_id or row_id (all its runs), or its beginning"
    )


def run(args: argparse.Namespace) -> int:
    places = [
        run if run.is_dir() or not fit.is_dir() else fit  # a run whose fit failed leaves nothing
        for run, fit in _find(args.results, args.id)
    ]
    contents = [_content(place) for place in places]
    if args.json:
        print(json.dumps(contents[0] if len(contents) == 1 else contents, indent=2))
        return 0
    for number, (place, content) in enumerate(zip(places, contents, strict=True)):
        print(("\n" if number else "") + printable(place))
        if not content:
            print("  not run yet")
        for name, value in content.items():
            print(f"\n{printable(name)}")
            _print(value, 1)
    return 0


#: the folder of a run's record, and that of its fit's; twice the same where a fit was asked for
_Places = tuple[Path, Path]


def _find(results: Path, wanted: str) -> list[_Places]:
    """The places of a run or fit, or of all runs of a row, whose id starts with ``wanted``."""
    found: dict[str, list[_Places]] = {}
    for folder in (*results.glob("*/fits/*"), *results.glob("*/runs/*")):
        if folder.name.startswith(wanted):
            found[folder.name] = [(folder, folder)]
    if not found:
        for row_id, places in _rows(results):
            if row_id.startswith(wanted):
                found.setdefault(row_id, places)
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
    """The record folder of a complete run, by its id or its row's (its first run), and its
    specification."""
    record, _ = _find(results, wanted)[0]
    if record.parent.name != "runs":
        raise RequestError(f"{wanted!r} is a fit; name a row or a run (`harness plan --json`)")
    spec = read_json(record / "spec.json")
    if spec is None or (status_of(record) or {}).get("status") != "ok":
        raise RequestError(f"run {record.name} is not complete; run the suite first")
    return record, spec


def _rows(results: Path) -> Iterator[tuple[str, list[_Places]]]:
    """Every planned row's id and the places of its runs; of plans that are ours."""
    from harness.boards.collect import read_plan

    for plan in results.glob("*/plan.json"):
        try:
            rows = read_plan(plan.parent)["rows"]
        except RequestError:
            continue
        for row in rows:
            places = [
                (plan.parent / "runs" / run["run_id"], plan.parent / "fits" / run["fit_id"])
                for run in row["runs"]
            ]
            if places:
                yield row["row_id"], places


def _content(record: Path) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for name in ("status", "spec", "fit", "metrics", "explain"):
        value = read_json(record / f"{name}.json")
        if value is not None:
            content[name] = value
    for folder in sorted((record / "measurements").glob("*")):
        # a launch that failed has a status instead
        timing = read_json(folder / "timing.json") or read_json(folder / "status.json")
        if timing is not None:
            content[f"measurement {folder.name}"] = timing
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
