"""Every pair of a board's rows, tested on the test examples that both have seen.

A board tests its fits against the best one. Under a bound another row leads, and ties are not
transitive: who is tied with *that* row, only a test of that pair can say.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from harness.boards.collect import Row
from harness.boards.outcomes import Outcomes, join
from harness.stats.paired import paired_test

#: rows of one task and training size that are tested, the highest scores first: pairs grow with
#: their square
MOST_TESTED = 40


class Pairs:
    """p-values of "these two rows score the same", computed when first asked for.

    Only complete rows of one task and one training size are tested with each other.
    """

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        families: dict[Any, _Family] = {}
        self._family_of: dict[str, _Family] = {}
        for row in sorted(rows, key=lambda row: -(row.flat["score"] or 0.0)):
            flat = row.flat
            if flat["status"] != "ok" or flat["score"] is None:
                continue
            key = flat["task"], flat.get("train_budget")
            family = families.setdefault(key, _Family(*key))
            if family.add(row):
                self._family_of[flat["row_id"]] = family
        self._families = list(families.values())

    def p_value(self, a: str, b: str) -> float | None:
        """Of two rows by their ids, not corrected for other pairs; None where none was tested."""
        family = self._family_of.get(a)
        if family is None or family is not self._family_of.get(b):
            return None
        return family.p_value(family.side_of[a], family.side_of[b])

    def as_json(self) -> list[dict[str, Any]]:
        """One entry a task and training size: ``sides`` (row id to the number of its side) and
        ``p_values``, whose line i holds the tests of side i with those before it."""
        return [
            {
                "task": family.task,
                "train_budget": family.train_budget,
                "sides": family.side_of,
                "p_values": [
                    [family.p_value(i, j) for j in range(i)] for i in range(len(family.sides))
                ],
            }
            for family in self._families
        ]


@dataclass
class _Family:
    """Rows that are tested with each other. Rows of the same fits that answered every example
    alike, as two runtimes mostly do, are one side of a test."""

    task: str
    train_budget: int | None
    sides: list[tuple[Row, Outcomes]] = field(default_factory=list)
    side_of: dict[str, int] = field(default_factory=dict)
    _known: dict[tuple[int, int], float | None] = field(default_factory=dict)

    def add(self, row: Row) -> bool:
        """False where the row's predictions are not at hand, or enough rows are tested."""
        outcomes = row.outcomes()
        if outcomes is None or len(self.side_of) == MOST_TESTED:
            return False
        alike = (
            i for i, (other, its) in enumerate(self.sides)
            if _fits(other) == _fits(row) and _same(its, outcomes)
        )  # fmt: skip
        side = next(alike, len(self.sides))
        if side == len(self.sides):
            self.sides.append((row, outcomes))
        self.side_of[row.flat["row_id"]] = side
        return True

    def p_value(self, a: int, b: int) -> float | None:
        if a == b:
            return 1.0
        pair = min(a, b), max(a, b)  # one order: a permutation test draws
        if pair not in self._known:
            self._known[pair] = _tested(*self.sides[pair[0]], *self.sides[pair[1]])
        return self._known[pair]


def _tested(row_a: Row, a: Outcomes, row_b: Row, b: Outcomes) -> float | None:
    """None where they share no example. Two runtimes of one fit are compared by the seeds that
    both have."""
    theirs = _fits(row_b)
    shared = [fit for fit in _fits(row_a) if fit in theirs]
    if shared:
        a, b = row_a.outcomes(shared) or a, row_b.outcomes(shared) or b
    a, b = join(a, b)
    if not len(a):
        return None
    return paired_test(a.num, a.den, b.num, b.den, a.clusters, same_fits=bool(shared)).p_value


def _fits(row: Row) -> list[str]:
    return [run.fit_id for run in row.ok]


def _same(a: Outcomes, b: Outcomes) -> bool:
    return (
        a.ids.equals(b.ids)
        and a.num.shape == b.num.shape
        and bool((a.num == b.num).all() and (a.den == b.den).all())
    )
