"""``harness plan``: what would run, and what is already there."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

from harness.commands.arguments import add_launches, add_results, add_suite_selection
from harness.commands.context import plan_of
from harness.plan import Plan
from harness.printable import framework_aside, printable
from harness.records.store import Store, status_of

EXAMPLE = "harness plan nlp"

#: what of a run the table shows
COLUMNS = ("model", "task", "train", "recipe", "seed", "runtime", "fit", "run", "row id", "run id")
#: digits of an id that the table shows; every command takes an id by its first four or more
ID_DIGITS = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_results(parser)
    add_suite_selection(parser)
    add_launches(parser)


def run(args: argparse.Namespace) -> int:
    plan = plan_of(args, args.launches)
    store = Store(args.results, plan.loaded.suite.suite)
    rows = list(_rows(plan, store))
    if args.json:
        print(json.dumps(rows, indent=2))
        return 0
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    title = Text(printable(f"Plan of {plan.loaded.path}"))
    table = Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )
    columns = [name for name in COLUMNS if name != "train" or _has_curves(rows)]
    for name in columns:
        table.add_column(name, no_wrap=name.endswith(" id"), overflow="fold")
    for row in rows:
        shown = row | {
            "recipe": row["recipe"] + framework_aside(row["framework"]),
            "row id": (row.get("row_id") or "-")[:ID_DIGITS],
            "run id": (row["run_id"] or "-")[:ID_DIGITS],
        }
        table.add_row(*(Text(printable(shown[name])) for name in columns))
    Console().print(table)
    left = sum(row["run"] == "to do" for row in rows)
    print(f"{len(plan.fits)} fits, {len(rows)} runs, {left} to do")
    return 0


def _rows(plan: Plan, store: Store) -> Iterator[dict[str, Any]]:
    for fit in plan.fits:
        facts = {
            "model": fit.model.id,
            "task": fit.task.id,
            "train": fit.spec["task"]["budget"]["train"] or "all",
            "recipe": fit.spec["recipe"],
            "framework": fit.spec["framework"],
            "device": fit.spec["device"],
            "fit_dtype": fit.spec["fit_dtype"],
            "seed": fit.spec["seed"],
            "fit_id": fit.fit_id or None,
            "fit": _state(store.fit(fit.fit_id)) if fit.fit_id else "to do",
        }
        if not fit.runs:  # its dtype is measured when the suite runs
            yield facts | {"runtime": "after dtype is measured", "run_id": None, "run": "to do"}
        for run in fit.runs:
            yield facts | {
                "runtime": run.row["runtime"],
                "run_id": run.run_id,
                "row_id": run.row_id,
                "run": _state(store.run(run.run_id)),
            }


def _has_curves(rows: list[dict[str, Any]]) -> bool:
    """Whether some task is learned from training sets of several sizes."""
    sizes: dict[str, set[Any]] = {}
    for row in rows:
        sizes.setdefault(row["task"], set()).add(row["train"])
    return any(len(values) > 1 for values in sizes.values())


def _state(record: Any) -> str:
    return str((status_of(record) or {"status": "to do"})["status"])
