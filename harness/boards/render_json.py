"""``leaderboard.json``: the list of flat rows, keys in the contract's order."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from harness.records.files import finite


def render_json(rows: Sequence[Mapping[str, Any]]) -> str:
    """One row a block; NaN and infinity are null with a reason beside them."""
    return json.dumps(finite(list(rows)), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
