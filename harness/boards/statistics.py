"""``statistics.json``: what a board says of several rows at once, for programs.

The flat rows of ``leaderboard.json`` hold everything about one row; resolutions, standings over
tasks and learning curves belong to a task or to the suite.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from harness.boards.across import Across
from harness.boards.curves import LearningCurve, size_of
from harness.records.files import SCHEMA_VERSION, finite

Flat = Mapping[str, Any]


def statistics(
    rows: Sequence[Flat],
    across: Across | None,
    curves: Sequence[LearningCurve],
    pairs: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Plain data. ``across`` is null for one task; curves are by fit and task; ``pairs`` as
    `harness.boards.pairs.Pairs.as_json` has them."""
    return {
        "schema_version": SCHEMA_VERSION,
        "resolution": {
            row["task"]: row["resolution"] for row in reversed(rows)
        },  # reversed: the largest training size, which stands first, has the last word
        "across_tasks": _across(across) if across else None,
        "learning_curves": [_curve(curve) for curve in curves],
        "pairs": list(pairs),
    }


def render_statistics(
    rows: Sequence[Flat],
    across: Across | None,
    curves: Sequence[LearningCurve],
    pairs: Sequence[Mapping[str, Any]],
) -> str:
    found = finite(statistics(rows, across, curves, pairs))
    return json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _fit(row: Flat) -> dict[str, Any]:
    return {key: row[key] for key in ("model", "recipe", "framework")}


def _across(across: Across) -> dict[str, Any]:
    return {
        "tasks": across.tasks,
        "tasks_left_out": across.left_out,
        "standings": [
            _fit(line.row)
            | {
                "tasks_complete": line.complete,
                "scores": line.scores,
                "ranks": line.ranks,
                "mean_rank": line.mean_rank,
                "mean_rank_low": line.rank_low,
                "mean_rank_high": line.rank_high,
                "mean_score": line.mean_score,
                "gaps": [asdict(gap) for gap in line.gaps],
            }
            for line in across.standings
        ],
        "win_rates": across.win_rates,
        "critical_difference": asdict(across.critical) if across.critical else None,
        "critical_difference_reason": across.critical_reason,
    }


def _curve(curve: LearningCurve) -> dict[str, Any]:
    law = curve.law
    points = [
        {"train_examples": size_of(row), "row_id": row["row_id"], "status": row["status"]}
        | {key: row[key] for key in ("score", "score_low", "score_high", "score_basis", "runs")}
        for row in curve.rows
    ]
    found: dict[str, Any] = {
        "task": curve.row["task"], **_fit(curve.row), "device": curve.row["device"],
        "points": points, "law": None, "reason": curve.reason,
    }  # fmt: skip
    if law is not None and curve.doubled is not None:
        limit, (size, doubled) = law.limit(), curve.doubled
        found["law"] = {
            "form": "score = a - b * n ** -c", "a": law.a, "b": law.b, "c": law.c,
            "a_low": limit.low, "a_high": limit.high, "notes": list(law.notes),
            "doubled": {"train_examples": size, "score": doubled.value,
                        "score_low": doubled.low, "score_high": doubled.high},
        }  # fmt: skip
    return found
