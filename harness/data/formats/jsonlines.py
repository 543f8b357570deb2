"""JSON Lines: one object a line. A key that a line lacks is None there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.data.formats.text import lines_of, parse_json, read_text
from harness.data.table import Table
from harness.errors import RequestError


def read_jsonl(path: Path, origin: str, *, encoding: str = "utf-8") -> Table:
    """Columns are the union of all keys, in order of appearance; blank lines are left out."""
    rows: list[dict[str, Any]] = []
    numbers: list[int] = []
    for number, line in enumerate(lines_of(read_text(path, origin, encoding)), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError as error:
            raise RequestError(f"{origin}:{number}: not valid JSON: {error}") from None
        if not isinstance(row, dict):
            raise RequestError(
                f"{origin}:{number}: a line holds one JSON object, here it is a "
                f"{type(row).__name__}"
            )
        rows.append(row)
        numbers.append(number)
    names = dict.fromkeys(name for row in rows for name in row)
    return Table({name: [row.get(name) for row in rows] for name in names}, origin, numbers)
