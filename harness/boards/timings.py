"""What a row's launches say together: those of one host, and their medians."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from harness.stats.launches import launch_interval

Timing = Mapping[str, Any]
#: timing.json of a launch, and its host.json
Measured = tuple[Timing, Mapping[str, Any]]

#: Figures of which a row shows the median over launches
_MEDIANS = (
    "latency_p50_ms", "latency_p90_ms", "latency_p99_ms",
    "throughput_per_s", "peak_memory_mb", "energy_j_per_1000",
)  # fmt: skip
_INTERVALS = (
    ("latency_p50_ms", "latency_p50_low_ms", "latency_p50_high_ms"),
    ("throughput_per_s", "throughput_low_per_s", "throughput_high_per_s"),
)


def host_of(host: Mapping[str, Any]) -> str:
    return str(host.get("host_id", "unknown"))


def chosen(measured: Sequence[Measured], near: str | None) -> tuple[str | None, list[Timing]]:
    """The host that a row's timings are shown of, and its launches: ``near``, or else the one that
    measured most (the first by id among equals); (None, []) without a launch.

    Of several versions of the timing code the newest: keys of an older one mean something else.
    """
    launches: dict[str, list[Timing]] = {}
    for timing, host in measured:
        launches.setdefault(host_of(host), []).append(timing)
    if not launches:
        return None, []
    host_id = min(launches, key=lambda name: (name != near, -len(launches[name]), name))
    # a record without a version is of the first
    newest = max(timing.get("timing_version", 1) for timing in launches[host_id])
    timings = [t for t in launches[host_id] if t.get("timing_version", 1) == newest]
    return host_id, timings


def over_launches(timings: Sequence[Timing]) -> dict[str, Any]:
    """Medians over launches, intervals by `launch_interval` (two launches at least), whether all
    were steady and VALID; {} without a launch.

    A median of launches' medians: launches differ more than the samples of one do.
    """
    if not timings:
        return {}
    found: dict[str, Any] = {
        "launches": sum(bool(t.keys() & {"latency_p50_ms", "throughput_per_s"}) for t in timings)
    }
    for key in _MEDIANS:
        values = _carried(timings, key)
        found[key] = statistics.median(values) if values else None
    for key, low, high in _INTERVALS:
        interval = launch_interval(_carried(timings, key))
        found[low], found[high] = (interval.low, interval.high) if interval else (None, None)
    bases = (t["energy_basis"] for t in timings if t.get("energy_basis") is not None)
    found["energy_basis"] = next(bases, None)
    starts = [t["first_answer_seconds"] for t in timings if t.get("first_answer_seconds")]
    found["first_answer_seconds"] = statistics.median(starts) if starts else None
    steady = [t["steady"] for t in timings if "steady" in t]
    found["steady"] = all(steady) if steady else None
    found["timing_verdict"] = _verdict(timings, "verdict")
    found["throughput_verdict"] = _verdict(timings, "throughput_verdict")
    return found | _server(timings)


def _carried(timings: Sequence[Timing], key: str) -> list[float]:
    """A figure of the launches that measured it; [] where one of them cannot carry it.

    A launch of other scenarios does not have the key; a percentile that the samples do not carry
    is there, and null.
    """
    values = [t[key] for t in timings if key in t]
    return [] if None in values else values


def _server(timings: Sequence[Timing]) -> dict[str, Any]:
    """The median Server rate under the bound that most launches were judged by; {} without one."""
    asked = ("server_percentile", "server_latency_bound_ms")
    served = [t for t in timings if t.get("server_rate_per_s") is not None]
    if not served:
        return {}
    (bound, _), *_ = Counter(tuple(t.get(key) for key in asked) for t in served).most_common(1)
    rates = [t["server_rate_per_s"] for t in served if tuple(t.get(key) for key in asked) == bound]
    return {"server_rate_per_s": statistics.median(rates), **dict(zip(asked, bound, strict=True))}


def _verdict(timings: Sequence[Timing], key: str) -> str | None:
    """VALID where all launches are that have such a verdict, None where none has."""
    verdicts = {t[key] for t in timings if t.get(key)}
    return None if not verdicts else "VALID" if verdicts == {"VALID"} else "INVALID"
