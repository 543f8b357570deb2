"""Ranks of fits, ties with the best, and what each runtime changes.

A *fit* here is model x recipe x framework on one task. It is ranked by the score of its own
runtime (the one that trained it); its other runtimes inherit the rank and differ in
``score_delta``. A fit with missing seeds is not ranked among complete ones.

The best is picked after seeing the scores, so its own score is a little flattered; the tests
against it are Holm-corrected over all fits of the task.

Where a task is learned from training sets of several sizes, fits of one size are ranked among
each other: more data is no merit of a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.boards.collect import Records, Row
from harness.boards.fronts import fronts
from harness.boards.outcomes import Outcomes, join
from harness.boards.shapes import METRICS
from harness.stats.holm import holm
from harness.stats.paired import PairedTest, difference_components, paired_difference, paired_test
from harness.stats.resolution import resolution, smallest_count
from harness.stats.seeds import Component

#: Chance of calling any fit of a task worse than the best when it is not
SIGNIFICANCE = 0.05

#: What a definition may rank by: the task's primary metric, or one named metric
RANKABLE = ("score", *METRICS)

#: task, model, recipe, framework, training size (None where a task has one size only)
FitKey = tuple[str, str, str, str, int | None]


@dataclass(frozen=True)
class Fit:
    """The rows of one fit; the first is its own runtime's, which ranks it."""

    key: FitKey
    rows: tuple[Row, ...]

    @property
    def own(self) -> Row:
        return self.rows[0]


def fit_key(row: Mapping[str, Any]) -> FitKey:
    return row["task"], row["model"], row["recipe"], row["framework"], row.get("train_budget")


def first_rows(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """One row per fit: its own runtime's, which comes first."""
    found: dict[Any, Mapping[str, Any]] = {}
    for row in rows:
        found.setdefault(fit_key(row), row)
    return list(found.values())


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
    board: list[dict[str, Any]] = []
    for group in _families(records.rows):
        fits = fits_of(group)
        places, shown = _rank(fits, rank_by)
        for fit in sorted(fits, key=lambda fit: _order(places.get(fit.key), fit)):
            for row in fit.rows:
                flat = {**row.flat, **_change(row, fit), "resolution": shown}
                if row.flat["status"] == "ok":
                    flat.update(places.get(fit.key, {}))
                board.append(flat)
    for flat, axes in zip(board, fronts(board), strict=True):
        flat["pareto"] = axes
    return board


def _families(rows: tuple[Row, ...]) -> list[tuple[Row, ...]]:
    """Rows that are ranked among each other: of one task, of one training size, largest first."""
    groups: dict[str, dict[int, list[Row]]] = {}
    for row in rows:
        sizes = groups.setdefault(row.flat["task"], {})
        sizes.setdefault(row.flat.get("train_budget") or 0, []).append(row)
    return [tuple(sizes[size]) for sizes in groups.values() for size in sorted(sizes, reverse=True)]


def _distance(row: Row) -> tuple[bool, bool]:
    """How far a row is from its fit's own runtime, which bears the framework's name."""
    return row.flat["runtime"] != row.flat["framework"], row.flat["dtype"] == "int8"


def _order(place: dict[str, Any] | None, fit: Fit) -> tuple[bool, int, float]:
    score = fit.own.flat["score"]
    return place is None, place["rank"] if place else 0, -(score if score is not None else -1.0)


def _rank(fits: list[Fit], rank_by: str) -> tuple[dict[FitKey, dict[str, Any]], float | None]:
    """Ranks of one family's complete fits, and the difference that it can show.

    Equal scores share a rank, and the next is skipped.
    """
    complete = [
        fit for fit in fits if fit.own.flat["status"] == "ok" and fit.own.flat[rank_by] is not None
    ]
    if not complete:
        return {}, None
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
    if rank_by != "score":
        return places, None
    places[best.key]["tied_with_best"] = True
    tested = _pairs(best, others)
    p_values = holm([pair.test.p_value for pair in tested])
    for pair, p in zip(tested, p_values, strict=True):
        places[pair.fit.key].update(p_vs_best=p, tied_with_best=p > SIGNIFICANCE)
    return places, _resolution(tested)


@dataclass(frozen=True)
class _Pair:
    """A fit against the best one: the test of "both score the same", and what is known of the gap.

    ``examples``: how many both have seen.
    """

    fit: Fit
    test: PairedTest
    components: list[Component]
    examples: int


def _pairs(best: Fit, others: list[Fit]) -> list[_Pair]:
    """Paired tests on the test examples that both have seen; none where they share nothing."""
    reference = best.own.outcomes()
    found = []
    for fit in others:
        outcomes = fit.own.outcomes()
        if reference is None or outcomes is None:
            continue
        a, b = join(reference, outcomes)
        if len(a):
            found.append(_pair(fit, a, b))
    return found


def _pair(fit: Fit, a: Outcomes, b: Outcomes) -> _Pair:
    sides = a.num, a.den, b.num, b.den, a.clusters
    return _Pair(fit, paired_test(*sides), difference_components(*sides), len(a))


def _resolution(tested: list[_Pair]) -> float | None:
    """The smallest difference from the best fit that would have been called one.

    Of the better half of the pairs: a fit that only guesses disagrees with the best on much more
    than its rivals do. At Holm's first step, so that it holds whatever the other pairs show.
    """
    if not tested:
        return None
    alpha = SIGNIFICANCE / len(tested)
    near = tested[: (len(tested) + 1) // 2]
    exact = [pair for pair in near if pair.test.method == "mcnemar"]
    floor = smallest_count(alpha) / min(pair.examples for pair in exact) if exact else 0.0
    return resolution([pair.components for pair in near], alpha, floor)


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
