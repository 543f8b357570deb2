"""``leaderboard.csv``: the flat rows as a spreadsheet reads them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from harness.boards.keys import KEYS
from harness.boards.wording import clean
from harness.records.files import finite


def render_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Full precision, empty cells for null, run ids joined by a space."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(KEYS)
    for row in rows:
        writer.writerow([_cell(finite(row[key])) for key in KEYS])
    return out.getvalue()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return " ".join(str(item) for item in value)
    if isinstance(value, str):
        text = value if value.isprintable() else clean(value)  # shown in terminals, too
        # a spreadsheet would run it as a formula
        return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
    return value
