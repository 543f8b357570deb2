"""What works on one side and fails on the other: runs, seed by seed, and launches of good runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.boards.collect import Run
from harness.compare.finding import Finding, Outcome
from harness.compare.sides import SideRow


def failures(common: Mapping[str, Any], base: SideRow, head: SideRow) -> list[Finding]:
    """Findings on the status of a row's runs and of its launches; ``common``: what all findings
    on the row say.

    What fails on both sides got no worse, and is not compared.
    """
    return [*_runs(common, base, head), *_launches(common, base, head)]


def _runs(common: Mapping[str, Any], base: SideRow, head: SideRow) -> list[Finding]:
    verdict = _verdict(base, head)
    if verdict is None:
        return []
    told = head if verdict == "regression" or not base.flat["reason"] else base
    return [
        Finding(
            **common, kind="fact", metric="status", verdict=verdict,
            base=str(base.flat["status"]), head=str(head.flat["status"]),
            reason=str(told.flat["reason"] or "no reason recorded"),
        )
    ]  # fmt: skip


def _verdict(base: SideRow, head: SideRow) -> Outcome | None:
    """None where the same seeds are good on both sides."""
    if _fail_anew(base, head):
        return "regression"
    if _fail_anew(head, base):
        return "improved"
    both_good = bool(base.row.ok and head.row.ok)
    missing = any(run.status == "missing" for side in (base, head) for run in side.row.runs)
    return "not compared" if missing or not both_good else None


def _fail_anew(before: SideRow, after: SideRow) -> list[Run]:
    """Failed runs of ``after`` whose seed was good before (or, if it is a new one, all seeds)."""
    earlier = {run.seed: run.status == "ok" for run in before.row.runs}
    all_good = bool(earlier) and all(earlier.values())
    return [
        run
        for run in after.row.runs
        if run.status not in ("ok", "missing") and earlier.get(run.seed, all_good)
    ]


def _launches(common: Mapping[str, Any], base: SideRow, head: SideRow) -> list[Finding]:
    """A crash or a time-out of HEAD's launches is worse where BASE's went well."""
    if not base.failed_launches and not head.failed_launches:
        return []
    worse = bool(head.failed_launches and base.launches and not base.failed_launches)
    return [
        Finding(
            **common, kind="fact", metric="launches",
            verdict="regression" if worse else "not compared",
            base="failed" if base.failed_launches else "ok",
            head="failed" if head.failed_launches else "ok",
            reason="; ".join(
                f"{label}: {reason}"
                for label, side in (("BASE", base), ("HEAD", head))
                for reason in side.failed_launches
            ),
        )
    ]  # fmt: skip
