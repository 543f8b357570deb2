"""What a comparison of two sides found: plain data that every renderer prints."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Kind = Literal["quality", "speed", "memory", "energy", "fact"]
Outcome = Literal[
    "regression", "improved", "equivalent", "inconclusive", "same", "changed", "not compared"
]
#: worst first: the order of tables
OUTCOMES: tuple[Outcome, ...] = (
    "regression", "inconclusive", "changed", "improved", "not compared", "equivalent", "same",
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One metric of one row on both sides.

    ``change``, ``low``, ``high``: head minus base for quality (as shares of 1), head / base - 1
    for everything else, in the metric's own direction; ``worse`` is +1 where more is worse.
    """

    row_id: str
    row: str
    task: str
    kind: Kind
    metric: str
    verdict: Outcome
    base: float | str | None = None
    head: float | str | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    margin: float | None = None
    worse: int = 1
    p_value: float | None = None
    q_value: float | None = None
    basis: str = ""
    reason: str = ""
    needs: str = ""
    causes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """All findings on two sides."""

    base: str
    head: str
    findings: tuple[Finding, ...]
    comparisons: int
    only_base: tuple[str, ...] = ()
    only_head: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    #: what differs between the sides, whichever row: libraries, hosts, commits
    differences: tuple[str, ...] = field(default=())

    def of(self, *verdicts: str) -> list[Finding]:
        return [finding for finding in self.findings if finding.verdict in verdicts]

    @property
    def regressed(self) -> bool:
        return bool(self.of("regression"))

    def counts(self) -> dict[str, int]:
        """Verdict to how many findings have it, worst first, zeros left out."""
        found = {verdict: len(self.of(verdict)) for verdict in OUTCOMES}
        return {verdict: count for verdict, count in found.items() if count}

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        from harness.records.files import SCHEMA_VERSION

        return {
            "schema_version": SCHEMA_VERSION,
            "base": self.base,
            "head": self.head,
            "verdict": "regression" if self.regressed else "no regression",
            "comparisons": self.comparisons,
            "counts": self.counts(),
            "only_base": list(self.only_base),
            "only_head": list(self.only_head),
            "notes": list(self.notes),
            "differences": list(self.differences),
            "findings": [asdict(finding) for finding in self.findings],
        }
