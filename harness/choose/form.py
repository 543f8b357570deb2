"""What a page needs to answer as the command does: rows, tests, and the scripts that judge them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.boards import wording
from harness.boards.rank import SIGNIFICANCE
from harness.choose.evidence import GUESSING, KEY
from harness.choose.interpretability import READABLE
from harness.choose.question import BOUNDS, CRITERIA, PERCENTILES, Criterion

#: what choose.js and form.js read of a row, beside the columns of criteria
_COLUMNS = (
    "row_id", "suite", *KEY, "model_name", "model_kind", "task", "task_type", "status",
    "score_name", "train_examples", "runs", "host_id", "server_percentile",
    "server_latency_bound_ms",
    "faithfulness_aopc", "faithfulness_aopc_random", "faithfulness_shown",
)  # fmt: skip
#: a larger page would carry its rows twice over: there, the command answers
MOST_ROWS = 5000


@dataclass(frozen=True)
class Form:
    """``data``: what ``choose.js`` takes, and how a console reads the same rows; None where there
    is no form, and ``reason`` why (empty: the rows tell no task type)."""

    data: Mapping[str, Any] | None
    reason: str = ""
    #: criteria that some row has evidence on
    measured: tuple[Criterion, ...] = ()

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        return self.data["rows"] if self.data else ()

    @property
    def tasks(self) -> list[str]:
        """Task types and data sets that one may ask for."""
        of_type = [row["task_type"] for row in self.rows]
        return list(dict.fromkeys(of_type + [row["task"] for row in self.rows]))

    @property
    def devices(self) -> list[str]:
        return sorted({row["device"] for row in self.rows if row["device"]})

    @property
    def fields(self) -> list[tuple[str, str]]:
        """(name, label) of the numbers that one may give; bounds on what some row has."""
        bounds = [(b.name, b.text) for b in BOUNDS.values() if b.criterion in self.measured]
        return [("examples", "training examples"), *bounds]

    @property
    def percentiles(self) -> tuple[str, ...]:
        return PERCENTILES


def make_form(
    rows: Sequence[Mapping[str, Any]],
    pairs: Sequence[Mapping[str, Any]] = (),
    command: str = "",
    results: str = "",
) -> Form:
    """``rows``: every row of the board, whatever its definition shows or ranks by. ``pairs``: as
    `harness.boards.pairs.Pairs.as_json`. ``command``: with the flags that make a console read the
    same rows; ``results``: the results folder of its records, relative to the page."""
    typed = [row for row in rows if row.get("task_type")]
    if len(typed) > MOST_ROWS:
        ask = f" Ask on a console: {command}" if command else ""
        return Form(None, f"Left out of a page of more than {MOST_ROWS:,} rows.{ask}")
    if not typed:
        return Form(None)
    columns = [*_COLUMNS, *(column for c in CRITERIA.values() for column in _columns(c))]
    kept = [{name: _shown(row.get(name)) for name in columns} for row in typed]
    data = {"rows": kept, "pairs": list(pairs), "rule": rule(), "command": command,
            "results": results}  # fmt: skip
    measured = (
        c for c in CRITERIA.values()
        if any(row[column] is not None for row in kept for column in _columns(c))
    )  # fmt: skip
    return Form(data, measured=tuple(measured))


def rule() -> dict[str, Any]:
    """The tables of the rule, which ``choose.js`` takes from here."""
    return {
        "key": KEY,
        "criteria": {c.name: {"column": c.column, "more": c.more, "unit": c.unit, "label": c.label}
                     for c in CRITERIA.values()},
        "bounds": {b.name: {"criterion": b.criterion.name, "flag": b.flag}
                   for b in BOUNDS.values()},
        "guessing": GUESSING,
        "readable": READABLE,
        "significance": SIGNIFICANCE,
    }  # fmt: skip


def form_script() -> str:
    """The rule and the form's wiring, one script."""
    folder = Path(__file__).parent
    return "\n".join((folder / name).read_text() for name in ("choose.js", "form.js"))


def _columns(criterion: Criterion) -> list[str]:
    return list(dict.fromkeys(criterion.column.format(percentile=p) for p in PERCENTILES))


def _shown(value: Any) -> Any:
    """Names are not ours: what would change how others are read is taken out."""
    return wording.clean(value) if isinstance(value, str) else value
