"""The Server scenario on a service whose queueing theory is known."""

from __future__ import annotations

import time

import pytest

from harness.measure.server import measure_server

pytestmark = pytest.mark.alone

#: one answer takes this long; sleeping, so that a busy machine stretches it little
SERVICE_S = 0.004


def serve(_: int) -> None:
    time.sleep(SERVICE_S)


def test_the_largest_rate_that_holds_lies_below_capacity_and_above_a_light_load():
    """M/D/1: at a load of 0.5 a query waits for half a service on average, and for less than seven
    in 99% of cases; at 1 / service the queue grows without end."""
    found = measure_server(
        serve, range(64), seed=1, bound_ms=20 * SERVICE_S * 1e3, percentile=0.9, seconds=0.3
    )
    capacity = 1 / SERVICE_S
    assert 0.2 * capacity < found.rate_per_s < capacity
    assert found.fails_at_per_s is None or found.fails_at_per_s > found.rate_per_s
    held = [probe for probe in found.probes if probe.holds]
    assert max(probe.rate_per_s for probe in held) == found.rate_per_s
    assert all(probe.p90_ms <= found.bound_ms for probe in held)
    assert all(probe.p99_ms is None or probe.queries >= 299 for probe in found.probes)


def test_latency_counts_from_the_scheduled_time():
    """Every answer takes one service: only waiting, if counted, can break a bound of three."""
    found = measure_server(
        serve, range(64), seed=1, bound_ms=3 * SERVICE_S * 1e3, percentile=0.9, seconds=0.3
    )
    late = [probe for probe in found.probes if not probe.holds]
    assert late and "latency bound not held" in late[0].reason
    assert max(probe.p90_ms for probe in late) > 3 * SERVICE_S * 1e3


def test_a_bound_below_one_answer_holds_at_no_rate():
    found = measure_server(serve, range(64), seed=1, bound_ms=1, percentile=0.9, seconds=0.3)
    assert found.rate_per_s == 0.0
    assert "a query alone takes" in found.reason
    assert found.probes == ()


def test_nothing_to_time_is_an_error():
    with pytest.raises(ValueError, match="no input"):
        measure_server(serve, [], seed=1, bound_ms=1, percentile=0.9, seconds=0.3)
