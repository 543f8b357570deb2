"""What the task types have in common when they read a table: options, ids, text columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from harness.data.table import Table
from harness.errors import RequestError


def check_options(options: Mapping[str, Any], known: Sequence[str], task_type: str) -> None:
    """`RequestError` on an option that the task type does not have."""
    import difflib

    for name, value in options.items():
        if name in known and not (value is None or isinstance(value, str | int | float)):
            raise RequestError(
                f"task type {task_type}: option {name!r} is a word or a number, not a "
                f"{type(value).__name__}"
            )
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise RequestError(
                f"task type {task_type}: unknown option {name!r}; {hint}known: {', '.join(known)}"
            )


def row_ids(table: Table, split: str, column: str | None) -> list[str]:
    """Unique ids that do not depend on a draw: a named column's, else split and 0-based row."""
    if column is None:
        return [f"{split}-{row:06d}" for row in range(len(table))]
    seen: dict[str, int] = {}
    for row, value in enumerate(table.column(column)):
        key = "" if value is None else str(value)
        if not key:
            raise RequestError(f"{table.where(row)}: column {column!r} is empty; ids are needed")
        if key in seen:
            raise RequestError(
                f"{table.where(row)}: id {key!r} stands twice, first at {table.where(seen[key])}"
            )
        seen[key] = row
    return list(seen)


def texts(table: Table, column: str) -> list[str]:
    """A column of strings; `RequestError` with file:line on anything else."""
    values = table.column(column)
    for row, value in enumerate(values):
        if not isinstance(value, str):
            raise RequestError(
                f"{table.where(row)}: column {column!r} holds {_shown(value)}, not text"
            )
    return values


def labels(table: Table, column: str) -> list[str]:
    """A column of class labels as strings: 3, 3.0 and "3" are the same label."""
    result = []
    for row, value in enumerate(table.column(column)):
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        missing = value is None or (isinstance(value, float) and math.isnan(value))
        name = "" if missing else str(value).strip()
        if not name or isinstance(value, (list, dict)):
            raise RequestError(
                f"{table.where(row)}: column {column!r} holds {_shown(value)}, not a label"
            )
        result.append(name)
    return result


def _shown(value: Any) -> str:
    """A value's kind, and its content where it is short and no text of the data set."""
    if value is None or isinstance(value, (int, float)):
        return repr(value)
    return "an empty string" if value == "" else f"a {type(value).__name__}"
