"""What a page needs to answer as the command does: rows, and the scripts that judge them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.boards import wording

#: what choose.js and form.js read of a row
COLUMNS = (
    "row_id", "suite", "model", "model_name", "model_kind", "task", "task_type", "recipe",
    "framework", "runtime", "device", "dtype", "status", "score", "score_low", "score_high",
    "tied_with_best", "score_delta_high", "latency_p50_ms", "latency_p90_ms", "latency_p99_ms",
    "size_mb", "peak_memory_mb", "fit_seconds", "energy_j_per_1000", "throughput_per_s",
    "train_examples", "runs", "faithfulness_aopc", "faithfulness_aopc_random", "faithfulness_shown",
)  # fmt: skip
#: a larger page would carry its rows twice over: there, the command answers
MOST_ROWS = 5000


def form_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows for the form; none where they are too many, or tell no task type."""
    typed = [row for row in rows if row.get("task_type")]
    if len(typed) > MOST_ROWS:
        return []
    return [{name: _shown(row.get(name)) for name in COLUMNS} for row in typed]


def _shown(value: Any) -> Any:
    """Names are not ours: what would change how others are read is taken out."""
    return wording.clean(value) if isinstance(value, str) else value


def form_script() -> str:
    """The rule and the form's wiring, one script."""
    folder = Path(__file__).parent
    return "\n".join((folder / name).read_text() for name in ("choose.js", "form.js"))
