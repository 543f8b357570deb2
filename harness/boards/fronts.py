"""Rows that no other row of the task beats on score and on one cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.stats.pareto import pareto_front

#: axis to the key of a row that it compares; less is better on each
AXES = {
    "latency": "latency_p50_ms",
    "size": "size_mb",
    "memory": "peak_memory_mb",
    "fit_time": "fit_seconds",
    "energy": "energy_j_per_1000",
}


def fronts(rows: Sequence[Mapping[str, Any]]) -> list[list[str] | None]:
    """For each row the axes on whose front it stands; None where it is not complete.

    Rows compete within a task, a training size and a host: latencies of two hosts say nothing
    of two models. Fronts are of point estimates; rows that tie in score may change places.
    """
    found: list[list[str] | None] = [None] * len(rows)
    groups: dict[tuple[Any, ...], list[int]] = {}
    for i, row in enumerate(rows):
        if row["status"] == "ok" and row["score"] is not None:
            found[i] = []
            family = row["task"], row.get("train_budget"), row["host_id"]
            groups.setdefault(family, []).append(i)
    for members in groups.values():
        score = np.array([rows[i]["score"] for i in members], float)
        for axis, key in AXES.items():
            values = [rows[i].get(key) for i in members]
            cost = np.array([np.nan if v is None else v for v in values], float)
            for i, on_front in zip(members, pareto_front(score, cost), strict=True):
                names = found[i]
                if on_front and names is not None:
                    names.append(axis)
    return found
