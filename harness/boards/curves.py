"""Learning curves: the score of a fit by the size of its training set, and what more would bring.

Points are rows of one fit that differ in ``train_budget``. The same test examples score all of
them, so test examples are resampled once for the whole curve; seeds add their own noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.boards import wording
from harness.boards.collect import Records, Row
from harness.boards.columns import Cell, Header, fit_name
from harness.boards.outcomes import Outcomes, join
from harness.boards.table import Table
from harness.stats.bootstrap import mean_ratios, resampled_sums
from harness.stats.clusters import cluster_sums
from harness.stats.curve import PowerLaw, power_law
from harness.stats.paired import Difference
from harness.stats.seeds import seed_component

Flat = Mapping[str, Any]

#: Refits of a curve: enough for 95% limits, which move by some hundredths of their width
DRAWS = 1000


@dataclass(frozen=True)
class LearningCurve:
    """One fit on one task over training sizes, ascending.

    ``rows``: the flat row of each size (that of the fit's own runtime, complete or not);
    ``law``: the power law through the complete ones, or None with ``reason``.
    """

    rows: list[Flat]
    law: PowerLaw | None
    reason: str

    @property
    def row(self) -> Flat:
        """The row of the largest size."""
        return self.rows[-1]

    @property
    def doubled(self) -> tuple[int, Difference] | None:
        """Twice the largest training set: its size, and the score that the law expects of it."""
        complete = [row for row in self.rows if row["status"] == "ok"]
        if self.law is None or not complete:
            return None
        size = 2 * size_of(complete[-1])
        return size, self.law.predict(size)


def size_of(row: Flat) -> int:
    """Training examples that a row's fit saw: fewer than its budget where the data ends."""
    return int(row["train_examples"] or row["train_budget"])


def learning_curves(records: Records, ranked_rows: Sequence[Flat]) -> list[LearningCurve]:
    """Curves of all fits with several training sizes, in the order of ``ranked_rows``."""
    by_id = {row.flat["row_id"]: row for row in records.rows}
    groups: dict[tuple[Any, ...], dict[int, Flat]] = {}
    for flat in ranked_rows:
        if flat.get("train_budget") is None:
            continue
        key = tuple(flat[k] for k in ("task", "model", "recipe", "framework", "device"))
        groups.setdefault(key, {}).setdefault(flat["train_budget"], flat)  # its own runtime first
    curves = []
    for sizes in groups.values():
        if len(sizes) < 2:
            continue
        flats = [sizes[size] for size in sorted(sizes)]
        good = [flat for flat in flats if flat["status"] == "ok" and flat["score"] is not None]
        # flat rows from elsewhere come without records
        rows = [by_id[flat["row_id"]] for flat in good if flat["row_id"] in by_id]
        law = _law(rows, good)
        known = isinstance(law, PowerLaw)
        curves.append(
            LearningCurve(flats, law if known else None, "" if known else str(law))  # type: ignore[arg-type]
        )
    return curves


def _law(rows: Sequence[Row], flats: Sequence[Flat]) -> PowerLaw | str:
    outcomes = [found for row in rows if (found := row.outcomes()) is not None and len(found)]
    if len(outcomes) != len(flats) or not flats:
        return "no size is complete" if not flats else "a size has no outcomes"
    sizes = np.array([size_of(flat) for flat in flats], float)
    scores = np.array([flat["score"] for flat in flats], float)
    return power_law(sizes, scores, _draws(_joined(outcomes)))


def _joined(outcomes: list[Outcomes]) -> list[Outcomes]:
    """All on the test examples that they share, in one order."""
    shared = outcomes[0]
    for other in outcomes[1:]:
        shared, _ = join(shared, other)
    return [join(shared, one)[1] for one in outcomes]


def _draws(outcomes: list[Outcomes]) -> np.ndarray:
    """Scores that could have been as well: (draws, sizes); examples resampled, seeds as noise."""
    clusters = outcomes[0].clusters
    parts = [part for one in outcomes for part in (one.num, one.den)]
    sums = resampled_sums(cluster_sums(np.concatenate(parts), clusters).T, DRAWS, seed=0)
    rng = np.random.default_rng(1)
    drawn, at = np.empty((DRAWS, len(outcomes))), 0
    for i, one in enumerate(outcomes):
        seeds = len(one.num)
        num, den = sums[:, at : at + seeds], sums[:, at + seeds : at + 2 * seeds]
        drawn[:, i] = mean_ratios(num, den)
        at += 2 * seeds
        noise = seed_component(one.num.sum(axis=1) / one.den.sum(axis=1))
        if noise is not None:
            drawn[:, i] += np.sqrt(noise.variance) * rng.standard_t(noise.freedom, DRAWS)
    return np.clip(drawn, 0.0, 1.0)


def curve_table(curves: Sequence[LearningCurve], names: Mapping[str, str]) -> Table | None:
    """Scores by training size, and what twice the data should bring; None without a curve."""
    if not curves:
        return None
    budgets = sorted({row["train_budget"] for curve in curves for row in curve.rows})
    headers = (
        Header("fit", "model and recipe", numeric=False),
        *(Header(f"{size:,} examples", "score with its 95% interval") for size in budgets),
        Header("with twice the data", "score expected of the power law, 95% interval"),
        Header("limit", "score with unlimited data of this kind, if the law goes on"),
        Header("exponent", "c of score = a - b n^-c: the larger, the sooner the limit is near"),
        Header("remarks", "what to doubt", numeric=False),
    )
    lines = [[Cell(fit_name(curve.row, names)), *_scores(curve, budgets), *_expected(curve)]
             for curve in curves]  # fmt: skip
    return Table("Score by training size", headers, lines)


def _scores(curve: LearningCurve, budgets: Sequence[int]) -> list[Cell]:
    rows = {row["train_budget"]: row for row in curve.rows}
    cells = []
    for size in budgets:
        row = rows.get(size)
        if row is None or row["score"] is None:
            cells.append(Cell(wording.NOTHING if row is None else row["status"]))
            continue
        low, high = row["score_low"], row["score_high"]
        text = f"{wording.score(row['score'])} {wording.interval(low, high)}".strip()
        if row["status"] != "ok":
            text += f" ({row['status']})"
        cells.append(Cell(text, row["score"]))
    return cells


def _expected(curve: LearningCurve) -> list[Cell]:
    if curve.law is None or curve.doubled is None:
        nothing = Cell(wording.NOTHING)
        return [nothing, nothing, nothing, Cell(f"no curve: {curve.reason}")]
    size, score = curve.doubled
    remarks = "; ".join(curve.law.notes) or wording.NOTHING
    if curve.law.b == 0:
        return [Cell(wording.NOTHING)] * 3 + [Cell(remarks)]
    limit = curve.law.limit()
    return [
        Cell(f"{_with_interval(score)} at {size:,}", score.value),
        Cell(_with_interval(limit), limit.value),
        Cell(f"{curve.law.c:.2f}", curve.law.c),
        Cell(remarks),
    ]


def _with_interval(found: Difference) -> str:
    return f"{found.value:.3f} {wording.interval(found.low, found.high)}"
