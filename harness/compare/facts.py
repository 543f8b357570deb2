"""Deterministic facts: no noise, so no statistics. They are the same, or they changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.compare.finding import Outcome
from harness.compare.margins import margin_of
from harness.compare.sides import Launch, SideRow, alike


@dataclass(frozen=True)
class Fact:
    """A fact on both sides, and the verdict: a size that grew beyond its margin is worse."""

    metric: str
    base: Any
    head: Any
    verdict: Outcome
    change: float | None = None  # head / base - 1
    margin: float | None = None


#: sizes, less of which is better, to the key of records that tells them. Allocations are told by
#: PyTorch's allocator on CUDA alone; what an operating system counts (peak memory) has noise.
SIZES = {
    "params": "params",
    "flops": "flops_per_example",
    "size_mb": "size_mb",
    "peak_allocations": "device_allocated_mb",
}


def facts(base: SideRow, head: SideRow, margins: Mapping[str, float]) -> list[Fact]:
    """Sizes and what was predicted, where both sides tell."""
    found = []
    launches = alike(base.launches, head.launches)
    for metric, key in SIZES.items():
        a, b = (_value(s, ls, key) for s, ls in zip((base, head), launches, strict=True))
        if a is None or b is None:
            continue
        margin = margin_of(metric, "size", margins)
        change = b / a - 1 if a else (0.0 if b == a else float("inf"))
        verdict: Outcome = "same" if a == b else "changed"
        if change > margin:
            verdict = "regression"
        elif change < -margin:
            verdict = "improved"
        found.append(Fact(metric, a, b, verdict, change if abs(change) < 1e9 else None, margin))
    if base.predictions and head.predictions:
        same = base.predictions == head.predictions
        found.append(
            Fact("predictions", base.predictions, head.predictions, "same" if same else "changed")
        )
    return found


def _value(side: SideRow, launches: Sequence[Launch], key: str) -> float | None:
    """From the row, else from its runs' metrics or from launches."""
    places: list[Mapping[str, Any]] = [side.flat]
    places += [run.metrics for run in side.row.ok]
    places += [launch.timing for launch in launches]
    for place in places:
        value = place.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    return None
