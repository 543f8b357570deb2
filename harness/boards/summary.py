"""One order over several tasks, for the fits that were complete on all of them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Flat = Mapping[str, Any]


@dataclass(frozen=True)
class Standing:
    """A fit over all tasks; ``ranks`` has one entry a task, None where it is not complete.

    Ranks here are counted again among the fits that are complete on all tasks, so that a fit
    that ran on one task only moves nobody; ``mean`` and ``ranks`` are None for others.
    """

    row: Flat
    mean: float | None
    ranks: list[int | None]
    complete: int


def mean_ranks(fits: Sequence[Flat], tasks: Sequence[str]) -> list[Standing]:
    """``fits``: one ranked row per fit and task. Best mean rank first, then by coverage."""
    groups: dict[tuple[str, str, str], dict[str, Flat]] = {}
    for row in fits:
        groups.setdefault((row["model"], row["recipe"], row["framework"]), {})[row["task"]] = row
    ranks = {
        key: {task: row["rank"] for task, row in group.items() if row["rank"] is not None}
        for key, group in groups.items()
    }
    everywhere = [key for key, known in ranks.items() if len(known) == len(tasks)]
    standings = []
    for key, group in groups.items():
        places: list[int | None] = [None] * len(tasks)
        if key in everywhere:
            places = [
                1 + sum(ranks[other][task] < ranks[key][task] for other in everywhere)
                for task in tasks
            ]
        known = [place for place in places if place is not None]
        mean = statistics.fmean(known) if known else None
        standings.append(Standing(next(iter(group.values())), mean, places, len(ranks[key])))
    return sorted(
        standings,
        key=lambda s: (s.mean is None, s.mean or 0.0, -s.complete),
    )
