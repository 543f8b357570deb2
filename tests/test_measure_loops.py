"""Latency and throughput loops on calls whose cost is known."""

from __future__ import annotations

import gc
import itertools
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest

from harness.measure import warming
from harness.measure.blocks import Draw
from harness.measure.latency import MIN_BLOCKS, SETTLE_CALLS, Limits, measure_latency
from harness.measure.memory import peak_memory_mb
from harness.measure.throughput import Throughput, best, measure_throughput
from harness.measure.waiting import wait
from harness.measure.warming import MAX_ROUNDS, WarmUp, warm_up

pytestmark = pytest.mark.alone


def busy(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def test_samples_are_milliseconds_of_single_calls():
    result = measure_latency(lambda _: busy(0.002), [0] * 99, seed=1, limits=Limits(5, 72, 5))
    assert 60 <= len(result.samples_ms) < 72 + 15
    assert min(result.samples_ms) >= 2.0
    assert sorted(result.samples_ms)[10] < 20.0
    # LoadGen's own clock, which holds the way there and back too, says the same
    ours = np.median([sorted(b.samples_ms)[len(b.samples_ms) // 2] for b in result.blocks])
    assert result.loadgen_p50_ms == pytest.approx(ours, rel=0.1)


def test_it_stops_at_max_seconds_but_not_before_min_samples():
    def measured(min_samples: int) -> int:
        limits = Limits(min_samples, 1000, 0.02, within=1e-6)
        return len(
            measure_latency(lambda _: busy(0.002), [0] * 99, seed=1, limits=limits).samples_ms
        )

    assert 1 <= measured(1) <= 15
    assert 40 <= measured(40) <= 55


def test_it_stops_when_the_median_is_known_well_enough():
    limits = Limits(20, 2000, 20, within=0.5)
    result = measure_latency(lambda _: busy(0.001), [0] * 600, seed=1, limits=limits)
    assert result.stopped == "interval"
    assert result.within <= 0.5
    assert len(result.blocks) >= MIN_BLOCKS
    assert len(result.samples_ms) < 1000


def test_no_input_is_met_twice_before_all_were():
    seen: list[int] = []
    limits = Limits(240, 240, 5, within=1e-6)
    result = measure_latency(seen.append, range(400), seed=1, limits=limits)
    assert result.unique_inputs
    count = sum(len(block.samples_ms) for block in result.blocks)
    # each block begins with untimed calls, always of the same input
    tail = seen[-(count + SETTLE_CALLS * len(result.blocks)) :]
    measured = [index for index in tail if index != tail[0]]
    assert len(set(measured)) == len(measured) == count
    assert not set(measured) & set(seen[: -len(tail)])


def test_inputs_are_drawn_by_seed():
    def drawn(seed: int) -> list[int]:
        return Draw(np.arange(90), np.arange(90), 30, seed).block()

    assert drawn(1) == drawn(1) != drawn(2)


def test_blocks_are_alike_in_length_and_go_through_all_inputs():
    sizes = np.random.default_rng(1).lognormal(3, 1, 120)
    draw = Draw(np.arange(120), sizes, 12, seed=1)
    blocks = [draw.block() for _ in range(10)]
    assert sorted(index for block in blocks for index in block) == list(range(120))
    assert not draw.repeats
    means = [sizes[block].mean() for block in blocks]
    shuffled = np.random.default_rng(2).permutation(sizes).reshape(10, 12).mean(1)
    assert np.std(means) < 0.8 * np.std(shuffled)
    medians = [np.median(sizes[block]) for block in blocks]
    assert np.std(medians) < 0.1 * np.mean(medians)
    draw.block()
    assert draw.repeats


def test_every_shape_is_called_before_the_first_sample():
    seen: list[int] = []
    inputs = [3, 3, 7, 1, 7, 2] * 4
    warm = warm_up(seen.append, inputs, shapes=inputs, max_seconds=5)
    assert set(seen[:4]) == {1, 2, 3, 7}
    assert (warm.shapes, warm.shapes_met) == (4, 4)
    assert warm.calls == len(seen)


class Clock:
    """A clock that moves only by what calls cost."""

    def __init__(self, costs: Iterator[float]) -> None:
        self.costs = costs
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def call(self, _: object) -> None:
        self.now += next(self.costs)


def warm_up_costing(
    monkeypatch: pytest.MonkeyPatch, costs: Iterator[float], max_seconds: float
) -> WarmUp:
    clock = Clock(costs)
    monkeypatch.setattr(warming, "time", clock)
    return warm_up(clock.call, [0], shapes=[0], max_seconds=max_seconds)


def test_warm_up_goes_on_while_calls_get_faster(monkeypatch):
    """One call for the shape, three faster rounds, and two that gain nothing."""
    costs = itertools.chain([1.0, 0.8, 0.64, 0.512], itertools.repeat(0.512))
    warm = warm_up_costing(monkeypatch, costs, max_seconds=100)
    assert (warm.calls, warm.settled) == (6, True)
    assert warm.seconds == pytest.approx(1.0 + 0.8 + 0.64 + 3 * 0.512)


def test_warm_up_that_never_settles_ends_and_says_so(monkeypatch):
    falling = (0.9**i for i in itertools.count())
    warm = warm_up_costing(monkeypatch, falling, max_seconds=100)
    assert (warm.calls, warm.settled) == (1 + MAX_ROUNDS, False)


def test_warm_up_ends_when_its_time_is_up(monkeypatch):
    warm = warm_up_costing(monkeypatch, itertools.repeat(1.0), max_seconds=2.5)
    assert (warm.calls, warm.settled) == (3, False)


def test_the_garbage_collector_rests_while_sampling_and_works_again_after():
    states: list[bool] = []
    assert gc.isenabled()
    measure_latency(lambda _: states.append(gc.isenabled()), [0], seed=1, limits=Limits(3, 3, 1))
    assert states[-3:] == [False] * 3
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_the_garbage_collector_works_again_after_a_failing_call():
    def fail(_: int) -> None:
        if not gc.isenabled():
            raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        measure_latency(fail, [0], seed=1, limits=Limits(1, 1, 1))
    assert gc.isenabled()


def test_nothing_to_time_is_an_error():
    with pytest.raises(ValueError, match="no input"):
        measure_latency(print, [], seed=1, limits=Limits(1, 1, 1))
    with pytest.raises(ValueError, match="no batch"):
        measure_throughput(print, [], [], batch_size=1, seconds=1)


def test_throughput_is_examples_over_seconds():
    point = measure_throughput(lambda _: busy(0.005), [0] * 4, [8] * 4, batch_size=8, seconds=0.1)
    assert point.batch_size == 8
    assert point.batches % 4 == 0
    assert point.examples_per_s == pytest.approx(8 * point.batches / point.seconds)
    assert 400 < point.examples_per_s <= 1600


def test_a_part_of_the_batches_stands_for_all_of_them():
    """Costs fall linearly from 8 to 0.04 ms; the first batches alone would say 8 ms."""
    costs = [0.008 * (1 - i / 200) for i in range(200)]
    called: list[float] = []

    def call(cost: float) -> None:
        called.append(cost)
        busy(cost)

    point = measure_throughput(call, costs, [1] * 200, batch_size=1, seconds=0.08)
    timed = called[-point.batches :]
    assert len(set(timed)) < 100
    assert np.mean(timed) == pytest.approx(np.mean(costs), rel=0.2)


def test_the_best_point_is_the_fastest_and_the_smaller_of_equals():
    points = [Throughput(1, 10, 1, 1), Throughput(8, 50, 1, 1), Throughput(32, 50, 1, 1)]
    assert best(points) == points[1]
    assert best([]) is None


def test_peak_memory_grows_with_what_is_held_and_does_not_fall():
    code = (
        "from harness.measure.memory import peak_memory_mb as peak; before = peak(); "
        "block = bytearray(b'x') * 200_000_000; held = peak(); del block; "
        "print(held - before, peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    held, after = map(float, done.stdout.split())
    assert 195 < held < 250
    assert after > 195


def test_peak_memory_is_not_that_of_the_process_that_started_it():
    child = "from harness.measure.memory import peak_memory_mb as peak; print(peak())"
    parent = (
        "import subprocess, sys; block = bytearray(b'x') * 300_000_000; "
        f"subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    )
    command = [sys.executable, "-c", parent]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 150


def test_waiting_returns_the_exit_status():
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"])
    assert wait(process, 30) == 7
    assert wait(process, 30) == 7  # again, when it is gone


def test_waiting_too_long_is_a_timeout_and_leaves_the_process_alone():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            wait(process, 0.05)
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_peak_memory_reads_the_high_water_mark_in_mb(tmp_path):
    (tmp_path / "status").write_text("Name:\tx\nVmPeak:\t 9000000 kB\nVmHWM:\t  500000 kB\n")
    assert peak_memory_mb(tmp_path / "status") == pytest.approx(512.0)
