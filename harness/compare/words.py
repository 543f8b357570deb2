"""Findings in words and figures, shared by all renderers. Texts are raw: each escapes its own."""

from __future__ import annotations

from harness.boards import wording
from harness.compare.finding import Finding, Report

METRICS = {
    "latency_p50_ms": "latency p50",
    "throughput_per_s": "throughput",
    "peak_memory_mb": "peak memory",
    "energy_j_per_1000": "energy",
    "size_mb": "size",
    "params": "parameters",
    "flops": "FLOPs",
    "peak_allocations": "peak allocations",
    "predictions": "predictions",
    "median_s": "median time",
    "status": "status",
    "launches": "launches",
}
UNITS = {
    "latency_p50_ms": "ms",
    "throughput_per_s": "/s",
    "peak_memory_mb": "MB",
    "median_s": "s",
    "size_mb": "MB",
    "peak_allocations": "MB",
    "energy_j_per_1000": "J/1000",
}


def metric(finding: Finding) -> str:
    return METRICS.get(finding.metric) or wording.metric_name(finding.metric)


def value(finding: Finding, side: float | str | None) -> str:
    """A side's figure with its unit."""
    if side is None:
        return wording.NOTHING
    if isinstance(side, str):
        return wording.clean(side.split("+")[0])
    if finding.kind == "quality":
        return wording.score(side)
    if finding.metric in ("params", "flops"):
        return wording.count(side)
    return f"{wording.significant(side)} {UNITS.get(finding.metric, '')}".strip()


def change(finding: Finding) -> str:
    """How much: points of quality, percent of everything else."""
    if finding.change is None:
        return wording.NOTHING
    if finding.kind == "quality":
        return f"{wording.points(finding.change)} pt"
    return f"{_percent(finding.change)}%"


def interval(finding: Finding) -> str:
    if finding.low is None or finding.high is None:
        return wording.NOTHING
    if finding.kind == "quality":
        return f"[{wording.points(finding.low)}, {wording.points(finding.high)}]"
    return f"[{_percent(finding.low)}, {_percent(finding.high)}]"


def margin(finding: Finding) -> str:
    if finding.margin is None:
        return wording.NOTHING
    return f"{100 * finding.margin:g} {'pt' if finding.kind == 'quality' else '%'}".replace(
        " %", "%"
    )


def why(finding: Finding) -> str:
    """Reason, what it would take, and likely causes, in one line."""
    parts = [wording.clean(finding.reason)] if finding.reason else []
    if finding.needs and finding.verdict == "inconclusive":
        parts.append(f"would take {wording.clean(finding.needs)}")
    if finding.causes and finding.verdict in ("regression", "improved", "changed"):
        parts.append(cause(finding))
    return "; ".join(parts)


def cause(finding: Finding) -> str:
    if not finding.causes:
        return "cause: nothing that the records hold changed"
    return "likely cause: " + wording.clean(", ".join(finding.causes[:3]))


def headline(report: Report) -> str:
    """The answer in one sentence."""
    bad = report.of("regression")
    if not bad:
        undecided = report.of("inconclusive")
        if undecided:
            return (
                f"No regression found; {len(undecided)} of {len(report.findings)} metrics "
                "stay inconclusive."
            )
        return "No regression."
    rows = len({finding.row_id for finding in bad})
    plural = "s" if len(bad) > 1 else ""
    return f"{len(bad)} regression{plural} in {rows} row{'s' if rows > 1 else ''}."


def multiplicity(report: Report) -> str:
    return (
        f"{report.comparisons} comparisons tested; false discoveries held under 5% "
        "(Benjamini-Hochberg)"
    )


def sentence(finding: Finding) -> str:
    """What got worse, by how much, how sure: for annotations and JUnit."""
    text = (
        f"{wording.clean(finding.row)}: {metric(finding)} "
        f"{value(finding, finding.base)} to {value(finding, finding.head)}"
    )
    if finding.change is not None:
        text += f" ({change(finding)}"
        if finding.low is not None:
            text += f", 95% interval {interval(finding)}"
        text += f", margin {margin(finding)})"
    reason = why(finding)
    return f"{text}; {reason}" if reason else text


def _percent(share: float) -> str:
    """Signed, one decimal, no negative zero."""
    rounded = round(100 * share, 1) + 0.0
    return f"{rounded:+.1f}" if rounded else "0.0"
