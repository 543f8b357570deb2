"""What change matters: margins, by metric or by group of metrics."""

from __future__ import annotations

from collections.abc import Mapping

from harness.errors import RequestError
from harness.suite import MARGINS

#: Changes below these are of no consequence to a user: a point of quality is what a test set of
#: a few thousand examples can tell at all; 3% of time is below what one feels and above what a
#: launch's median wanders on a quiet machine; memory and energy meters are coarser.
DEFAULTS: dict[str, float] = {
    "quality": 0.01,
    "speed": 0.03,
    "memory": 0.05,
    "energy": 0.05,
    "size": 0.05,
}

#: metric of a row to its group; quality is whatever a task calls its primary metric
GROUPS: dict[str, str] = {
    "latency_p50_ms": "speed",
    "throughput_per_s": "speed",
    "peak_memory_mb": "memory",
    "energy_j_per_1000": "energy",
    "size_mb": "size",
    "params": "size",
    "flops": "size",
    "peak_allocations": "size",
}


def margin_of(metric: str, group: str, given: Mapping[str, float]) -> float:
    """A metric's own margin, else its group's, else the default of the group."""
    return float(given.get(metric, given.get(group, DEFAULTS[group])))


def parse_margins(texts: list[str]) -> dict[str, float]:
    """``quality=0.5pt``, ``speed=10%`` or ``speed=0.1``; a bare ``10%`` is the margin of speed."""
    found = {}
    for text in texts:
        name, _, value = text.rpartition("=")
        name = name.strip() or "speed"
        if name not in MARGINS:
            raise RequestError(
                f"--margin {text}: unknown metric {name!r}; known: {', '.join(MARGINS)}"
            )
        number = value.strip().removesuffix("points").removesuffix("pt").removesuffix("%").strip()
        try:
            margin = float(number) / (1 if number == value.strip() else 100)
        except ValueError:
            margin = -1.0
        if not 0 < margin < 1:
            raise RequestError(f"--margin {text}: wanted a share such as speed=3% or quality=1pt")
        found[name] = margin
    return found
