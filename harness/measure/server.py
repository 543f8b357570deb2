"""Server: LoadGen's Poisson arrivals, and the largest rate whose latencies hold a bound.

One query is answered at a time, in the order of arrival, so a query waits while those before it
are answered; its latency counts from the moment it was *scheduled* to arrive (a load generator that
waits for the answer before it sends the next query would hide just that: "coordinated omission").
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np

from harness.measure.blocks import NO_WATCH, Draw, Watch
from harness.measure.latency import no_garbage_collection
from harness.measure.loadgen import System, run_test
from harness.measure.percentiles import samples_needed
from harness.measure.warming import ROUND

T = TypeVar("T")

#: Bisection ends when the rate that holds and the one that does not are this close.
CLOSE = 0.05
#: As long as no rate has held, the next one is smaller by this factor.
FALL = 4
#: Tests of one search: halving five times takes a bracket of [1/2, 1] to less than `CLOSE`.
MAX_TESTS = 8
#: Confidence that LoadGen's early stopping asks for, and how many queries beyond the fewest a test
#: gets, so that some may be late: with a half more, p99 may have one late query in 690.
CONFIDENCE, MORE_QUERIES = 0.99, 1.5
#: Inputs that LoadGen draws from, with replacement: enough for the lengths' distribution.
LIBRARY = 256


@dataclass(frozen=True)
class Probe:
    """One test at one rate. ``holds``: LoadGen calls it VALID."""

    rate_per_s: float
    holds: bool
    reason: str
    queries: int
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    completed_per_s: float | None
    disturbed: bool


@dataclass(frozen=True)
class Server:
    """``rate_per_s``: the largest that held; 0 where none did, with the reason."""

    rate_per_s: float
    fails_at_per_s: float | None  # the smallest rate tried that did not hold
    bound_ms: float
    percentile: float
    reason: str
    probes: tuple[Probe, ...]

    def as_dict(self) -> dict[str, Any]:
        """Its part of ``timing.json``."""
        return {
            "server_rate_per_s": self.rate_per_s,
            "server_fails_at_per_s": self.fails_at_per_s,
            "server_latency_bound_ms": self.bound_ms,
            "server_percentile": self.percentile,
            "server_reason": self.reason,
            "server_probes": [asdict(probe) for probe in self.probes],
        }


def measure_server(
    call: Callable[[T], object],
    inputs: Sequence[T],
    *,
    seed: int,
    bound_ms: float,
    percentile: float,
    seconds: float,
    sizes: np.ndarray | None = None,
    watch: Watch = NO_WATCH,
) -> Server:
    """The largest Poisson rate at which the ``percentile`` of latencies is ``bound_ms`` at most.

    ``percentile`` in (0, 1). A test lasts ``seconds`` or as many queries as LoadGen's early
    stopping needs, whichever is longer. All tests draw the same arrivals from ``seed``, stretched
    in time, so that they differ by their rate alone.
    """
    if not inputs:
        raise ValueError("there is no input to time")
    if sizes is None:
        sizes = np.ones(len(inputs))
    chosen = Draw(np.arange(len(inputs)), sizes, LIBRARY, seed).block()
    library = [inputs[i] for i in chosen]
    service_ms = _service_ms(call, library)
    if service_ms > bound_ms:
        reason = f"a query alone takes {service_ms:.3g} ms, more than the bound of {bound_ms:g} ms"
        return Server(0.0, None, bound_ms, percentile, reason, ())
    queries = math.ceil(MORE_QUERIES * samples_needed(percentile, CONFIDENCE))
    probes: list[Probe] = []
    holds, fails = 0.0, 1e3 / service_ms  # no rate above that of back-to-back answers lasts
    tried_fails: float | None = None
    watch.begin()
    with no_garbage_collection():
        while len(probes) < MAX_TESTS and fails > holds * (1 + CLOSE):
            rate = (holds + fails) / 2 if holds or not probes else fails / FALL
            probe = _probe(call, library, rate, queries, seed, bound_ms, percentile, seconds, watch)
            probes.append(probe)
            if probe.holds:
                holds = rate
            else:
                fails = tried_fails = rate
    reason = "" if holds else f"no rate held; the last failed: {probes[-1].reason}"
    return Server(holds, tried_fails, bound_ms, percentile, reason, tuple(probes))


def _service_ms(call: Callable[[T], object], library: Sequence[T]) -> float:
    """Mean time of a call, warm, over a few inputs of all lengths."""
    some = library[:: max(1, len(library) // (4 * ROUND))]
    for item in some:
        call(item)
    start = time.perf_counter()
    for item in some:
        call(item)
    return (time.perf_counter() - start) / len(some) * 1e3


def _probe(
    call: Callable[[T], object],
    library: Sequence[T],
    rate: float,
    queries: int,
    seed: int,
    bound_ms: float,
    percentile: float,
    seconds: float,
    watch: Watch,
) -> Probe:
    result = run_test(
        System(lambda index: call(library[index])),
        len(library),
        scenario="Server",
        settings={
            "server_target_qps": rate,
            "server_target_latency_ns": int(bound_ms * 1e6),
            "server_target_latency_percentile": percentile,
            "min_query_count": queries,
            "min_duration_ms": int(seconds * 1e3),
            "schedule_rng_seed": seed,
            "sample_index_rng_seed": seed,
            "qsl_rng_seed": seed,
        },
    )
    _, disturbed = watch.end_block()

    def carried(q: float) -> float | None:
        return result.percentile_ms(100 * q) if result.queries >= samples_needed(q) else None

    return Probe(
        rate_per_s=rate,
        holds=result.verdict.valid,
        reason=result.verdict.reason,
        queries=result.queries,
        p50_ms=carried(0.5),
        p90_ms=carried(0.9),
        p99_ms=carried(0.99),
        completed_per_s=result.figure("result_completed_samples_per_sec"),
        disturbed=disturbed,
    )
