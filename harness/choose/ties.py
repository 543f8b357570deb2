"""Which candidates no paired test tells from the leader, within whatever bounds were asked.

Stands once more in ``choose.js``; change both together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.boards.rank import SIGNIFICANCE
from harness.choose.evidence import Candidate, PValue, rounded
from harness.stats.holm import holm

#: True: no test tells them apart; None: no test was made
Verdict = bool | None


@dataclass(frozen=True)
class Ties:
    """``tied``: the leader, and those that no test tells from it. ``untested``: those that were
    not tested with it. All others are told apart."""

    tied: tuple[Candidate, ...]
    untested: tuple[Candidate, ...]


def ties(leader: Candidate, admissible: Sequence[Candidate], p_value: PValue) -> Ties:
    """As a board does it: the leader is tested with every other fit, Holm-corrected over these;
    a fit's other runtimes are tested with the one that stands for it."""
    stands_for: dict[tuple[Any, ...], Candidate] = {}
    for candidate in sorted(admissible, key=_first):
        stands_for.setdefault(candidate.fit, candidate)
    stands_for[leader.fit] = leader
    tests = {
        fit: p_values(leader, other, p_value)
        for fit, other in stands_for.items() if other is not leader
    }  # fmt: skip
    corrected = iter(holm([p for ps in tests.values() for p in ps if p is not None]))
    of_fit: dict[tuple[Any, ...], Verdict] = {leader.fit: True}
    for fit, ps in tests.items():
        of_fit[fit] = verdict([None if p is None else next(corrected) for p in ps])

    def found(c: Candidate) -> Verdict:
        first = stands_for[c.fit]
        if c is first or not of_fit[c.fit]:
            return of_fit[c.fit]
        return verdict(p_values(first, c, p_value))

    verdicts = [(c, found(c)) for c in admissible]
    return Ties(
        tied=tuple(c for c, same in verdicts if same),
        untested=tuple(c for c, same in verdicts if same is None),
    )


def p_values(a: Candidate, b: Candidate, p_value: PValue) -> list[float | None]:
    """One a data set, None where none was tested."""
    return [
        p_value(row["row_id"], other["row_id"])
        for row, other in zip(a.rows, b.rows, strict=True)
    ]  # fmt: skip


def verdict(ps: Sequence[float | None]) -> Verdict:
    """Over data sets: told apart on any of them is told apart."""
    if any(p is not None and p <= SIGNIFICANCE for p in ps):
        return False
    return None if None in ps else True


def _first(c: Candidate) -> tuple[bool, float, str]:
    """The runtime that trained a fit stands for it; without that, the highest score."""
    own = c["runtime"] == c["framework"] and c["dtype"] != "int8"
    return not own, -rounded(c.values["score"] or 0.0), c.key
