"""Ranks of fits, ties with the best, and what each runtime changes.

A *fit* here is model x recipe x framework on one task. It is ranked by the score of its own
runtime (the one that trained it); its other runtimes inherit the rank and differ in
``score_delta``. A fit with missing seeds is not ranked among complete ones.

The best is picked after seeing the scores, so its own score is a little flattered; the tests
against it are Holm-corrected over all fits of the task.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.boards.collect import METRICS, Records, Row
from harness.boards.outcomes import join
from harness.stats.holm import holm
from harness.stats.paired import paired_difference, paired_test

#: Chance of calling any fit of a task worse than the best when it is not
SIGNIFICANCE = 0.05

#: What a definition may rank by: the task's primary metric, or one named metric
RANKABLE = ("score", *METRICS)

FitKey = tuple[str, str, str, str]


@dataclass(frozen=True)
class Fit:
    """The rows of one fit; the first is its own runtime's, which ranks it."""

    key: FitKey
    rows: tuple[Row, ...]

    @property
    def own(self) -> Row:
        return self.rows[0]


def fit_key(row: dict[str, Any]) -> FitKey:
    return row["task"], row["model"], row["recipe"], row["framework"]


def fits_of(rows: tuple[Row, ...]) -> list[Fit]:
    """Rows grouped into fits, in the plan's order."""
    groups: dict[FitKey, list[Row]] = {}
    for row in rows:
        groups.setdefault(fit_key(row.flat), []).append(row)
    return [Fit(key, tuple(sorted(group, key=_distance))) for key, group in groups.items()]


def ranked(records: Records, rank_by: str = "score") -> list[dict[str, Any]]:
    """Flat rows with ranks, ties and deltas: tasks in the plan's order, best fits first.

    Ties are tested on per-example outcomes, which exist for the primary metric only: ranked by
    anything else, ``tied_with_best`` and ``p_vs_best`` stay null.
    """
    tasks = list(dict.fromkeys(row.flat["task"] for row in records.rows))
    board: list[dict[str, Any]] = []
    for task in tasks:
        fits = fits_of(tuple(row for row in records.rows if row.flat["task"] == task))
        places = _rank(fits, rank_by)
        for fit in sorted(fits, key=lambda fit: _order(places.get(fit.key), fit)):
            for row in fit.rows:
                flat = {**row.flat, **_change(row, fit)}
                if row.flat["status"] == "ok":
                    flat.update(places.get(fit.key, {}))
                board.append(flat)
    return board


def _distance(row: Row) -> tuple[bool, bool]:
    """How far a row is from its fit's own runtime, which bears the framework's name."""
    return row.flat["runtime"] != row.flat["framework"], row.flat["dtype"] == "int8"


def _order(place: dict[str, Any] | None, fit: Fit) -> tuple[bool, int, float]:
    score = fit.own.flat["score"]
    return place is None, place["rank"] if place else 0, -(score if score is not None else -1.0)


def _rank(fits: list[Fit], rank_by: str) -> dict[FitKey, dict[str, Any]]:
    """Ranks of one task's complete fits. Equal scores share a rank, and the next is skipped."""
    complete = [
        fit for fit in fits if fit.own.flat["status"] == "ok" and fit.own.flat[rank_by] is not None
    ]
    if not complete:
        return {}
    # rounding: two orders of summation must not break a tie
    scores = {fit.key: round(fit.own.flat[rank_by], 12) for fit in complete}
    complete.sort(key=lambda fit: -scores[fit.key])
    best, *others = complete
    places = {
        fit.key: {
            "rank": 1 + sum(other > scores[fit.key] for other in scores.values()),
            "gap_to_best": scores[best.key] - scores[fit.key],
        }
        for fit in complete
    }
    if rank_by == "score":
        places[best.key]["tied_with_best"] = True
        tested = [(fit, p) for fit in others if (p := _p_value(best.own, fit.own)) is not None]
        for (fit, _), p in zip(tested, holm([p for _, p in tested]), strict=True):
            places[fit.key].update(p_vs_best=p, tied_with_best=p > SIGNIFICANCE)
    return places


def _p_value(best: Row, other: Row) -> float | None:
    """Two-sided p of "both score the same", on the test examples that both have seen."""
    a, b = best.outcomes(), other.outcomes()
    if a is None or b is None:
        return None
    a, b = join(a, b)
    if not len(a):
        return None
    return paired_test(a.num, a.den, b.num, b.den, a.clusters).p_value


def _change(row: Row, fit: Fit) -> dict[str, float | None]:
    """Score of a runtime minus that of the runtime that trained it, the same weights in both."""
    fit_ids = {run.fit_id for run in row.ok}
    for own in fit.rows:
        shared = [run.fit_id for run in own.ok if run.fit_id in fit_ids]
        if own.flat["runtime"] == own.flat["framework"] and shared:
            break
    else:
        return {}
    if own is row:
        return {}
    a, b = row.outcomes(shared), own.outcomes(shared)
    assert a is not None and b is not None
    a, b = join(a, b)
    if not len(a):
        return {}
    found = paired_difference(a.num, a.den, b.num, b.den, a.clusters, same_fits=True)
    return {
        "score_delta": found.value,
        "score_delta_low": found.low,
        "score_delta_high": found.high,
    }
