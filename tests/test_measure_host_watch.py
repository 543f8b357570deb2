"""The host watch: planted disturbances are found and named; a quiet host is left in peace."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.measure.host_state import TICKS_PER_SECOND, read_counters
from harness.measure.host_watch import OTHERS_CORES, Block, HostWatch, between, reasons
from harness.measure.reference_speed import (
    NEUTRAL,
    NEUTRAL_SIZE,
    Product,
    flops_of,
    flops_per_second,
    in_neutral_products,
    neutral_product,
    peak_flops_per_second,
)
from tests.recorded_host import tree

pytestmark = pytest.mark.alone

SPEED = {NEUTRAL: 100e9}


def block(tmp_path: Path, seconds: float = 1.0, **after: int) -> Block:
    """A recorded block on two cores: nothing but our own core's work, and what ``after`` says."""
    before = read_counters(tree(tmp_path / "before"))
    now = {"user": 1100, "own": 200} | after
    counters = read_counters(tree(tmp_path / "after", **now))
    return replace(between(before, counters, seconds, cores=2), reference=SPEED)


def why(found: Block, best: dict[str, float] = SPEED) -> tuple[str, ...]:
    return reasons(found, best, cores=2)


def test_our_own_work_alone_disturbs_nothing(tmp_path: Path) -> None:
    found = block(tmp_path)
    assert found.others_busy_cores == 0.0
    assert why(found) == ()


def test_another_process_on_the_other_core_is_found(tmp_path: Path) -> None:
    found = block(tmp_path, user=1190)
    assert found.others_busy_cores == pytest.approx(0.9)
    assert why(found) == ("other processes",)


def test_a_few_ticks_in_a_short_block_are_no_evidence(tmp_path: Path) -> None:
    # 4 ticks of 10 ms in a tenth of a second look like 0.4 cores
    assert why(block(tmp_path, seconds=0.1, user=1014, own=110)) == ()
    assert why(block(tmp_path, seconds=0.1, user=1015, own=110)) == ("other processes",)


def test_steal_is_found_from_two_percent_of_the_core_time(tmp_path: Path) -> None:
    assert why(block(tmp_path, steal=4)) == ()
    assert why(block(tmp_path, steal=5)) == ("steal",)


def test_preemption_and_the_quota_are_found(tmp_path: Path) -> None:
    taken = {"user": 1106}  # 6 ticks of others' work in a second
    assert why(block(tmp_path, waiting_ns=49_000_000, **taken)) == ()
    assert why(block(tmp_path, waiting_ns=51_000_000, **taken)) == ("preempted",)
    assert why(block(tmp_path, throttled_usec=300_000)) == ("CPU quota",)


def test_threads_that_wait_for_one_another_are_nobody_elses_doing(tmp_path: Path) -> None:
    # what TensorFlow does on two idle cores, as measured
    assert why(block(tmp_path, waiting_ns=190_000_000)) == ()
    unknown = replace(block(tmp_path, waiting_ns=190_000_000), others_busy_cores=None)
    assert why(unknown) == ("preempted",)


def test_a_slower_reference_than_the_launch_has_seen_is_found(tmp_path: Path) -> None:
    found = block(tmp_path)
    assert why(found, {NEUTRAL: 117e9}) == ()
    assert why(found, {NEUTRAL: 118e9}) == ("reference speed",)


def test_a_slow_gpu_is_found(tmp_path: Path) -> None:
    hot = ["power cap", "hardware thermal slowdown"]
    assert why(replace(block(tmp_path), gpu_slowdowns=hot)) == (
        "GPU slowed down: hardware thermal slowdown",
    )
    assert why(replace(block(tmp_path), gpu_slowdowns=["power cap"])) == ()


def test_unreadable_counters_say_nothing_instead_of_all_is_well(tmp_path: Path) -> None:
    watch = HostWatch(root=tmp_path / "nothing")
    watch.begin()
    found = watch.end_block()
    assert found.others_busy_cores is None and found.steal_share is None
    assert watch.summary()["others_busy_cores"] is None
    assert {"busy_s", "steal_s", "throttled_s"} <= set(watch.summary()["unavailable"])


def test_a_block_is_judged_by_the_best_speed_of_the_whole_launch(tmp_path: Path) -> None:
    pauses = iter([0.02] * 30 + [0.0] * 100)  # throttled at first, free later
    slow = Product("slow-at-first", "float32", 1e6, lambda: time.sleep(0.001 + next(pauses, 0.0)))
    watch = HostWatch([slow], root=tmp_path)
    watch.begin()
    first = watch.end_block()
    for _ in range(6):
        watch.end_block()
    assert "reference speed" not in first.reasons  # nothing better had been seen yet
    assert "reference speed" in watch.blocks[0].reasons


def test_a_block_needs_a_beginning() -> None:
    with pytest.raises(RuntimeError, match="begin"):
        HostWatch().end_block()


@contextmanager
def hogs(count: int) -> Iterator[None]:
    """Processes that keep a core busy each."""
    code = "print(flush=True)\nwhile True: pass"
    children = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(count)
    ]
    try:
        for child in children:
            assert child.stdout is not None
            child.stdout.readline()  # it runs
        yield
    finally:
        for child in children:
            child.kill()
            child.communicate()


def work(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def watched(blocks: int, seconds: float) -> dict[str, Any]:
    watch = HostWatch()
    watch.begin()
    for _ in range(blocks):
        work(seconds)
        watch.end_block()
    return watch.summary()


needs_proc = pytest.mark.skipif(read_counters().busy_s is None, reason="no /proc/stat here")


@needs_proc
@pytest.mark.skipif((os.cpu_count() or 1) > 16, reason="one hog is lost among so many cores")
def test_a_cpu_hog_on_the_other_core_disturbs_every_block() -> None:
    with hogs(1):
        summary = watched(blocks=4, seconds=0.3)
    assert summary["disturbed"] is True
    assert summary["disturbed_share"] == 1.0
    assert summary["why"]["other processes"] == 4
    assert summary["others_busy_cores"] > 0.3


@needs_proc
def test_our_own_work_is_not_taken_for_anothers() -> None:
    """Holds on a busy machine: the own time that is subtracted is what this process used."""
    before, cpu = read_counters(), time.process_time()
    work(0.5)
    after, used = read_counters(), time.process_time() - cpu
    assert before.own_s is not None and after.own_s is not None
    assert after.own_s - before.own_s == pytest.approx(used, abs=3 / TICKS_PER_SECOND)


def test_the_neutral_product_is_the_products_of_its_size() -> None:
    assert flops_of(3) == 54
    assert neutral_product().flops == 2 * NEUTRAL_SIZE**3
    assert flops_per_second(neutral_product()) > 1e8  # the slowest machines of today manage it


def test_the_speed_is_that_of_the_fastest_product() -> None:
    pauses = iter([0.0, 0.05, 0.002, 0.05, 0.05, 0.05])
    speed = flops_per_second(Product("p", "float32", 1e6, lambda: time.sleep(next(pauses))))
    assert 1e6 / 0.01 < speed <= 1e6 / 0.002  # one sleep may be late, five times so


def test_the_peak_is_at_least_a_single_products_speed() -> None:
    found = peak_flops_per_second({"a": neutral_product()}, 0.05)
    assert found["a"] > 0.5 * flops_per_second(neutral_product())


def test_a_latency_in_products_does_not_depend_on_the_hosts_speed() -> None:
    product_ms = flops_of(NEUTRAL_SIZE) / 50e9 * 1e3
    assert in_neutral_products(10 * product_ms, 50e9) == pytest.approx(10)
    assert in_neutral_products(5 * product_ms, 100e9) == pytest.approx(10)


@needs_proc
def test_looking_is_short_and_belongs_to_no_block() -> None:
    """In CPU time, which a busy machine stretches little: 3 ms where nobody disturbs."""
    watch = HostWatch()
    watch.begin()
    used, start = time.process_time(), time.perf_counter()
    for _ in range(10):
        watch.end_block()
    assert (time.process_time() - used) / 10 < 0.03
    assert sum(b.seconds for b in watch.blocks) < time.perf_counter() - start


def test_many_blocks_too_short_to_tell_apart_are_judged_with_their_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two ticks a block are no evidence; those of a dozen blocks are."""
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    watch = HostWatch(root=tree(tmp_path))
    watch.begin()
    for number in range(120):
        hog = max(0, number - 59)  # blocks in which the other core was busy
        tree(tmp_path, user=1000 + 4 * number + 4 + 2 * hog, own=100 + 4 * number + 4)
        time.sleep(0.02)
        watch.end_block()
    watch.finish()
    found = ["other processes" in block.reasons for block in watch.blocks]
    assert not any(found[:40]) and all(found[80:])


@needs_proc
@pytest.mark.skipif((os.cpu_count() or 1) > 10, reason="a larger share counts on more cores")
def test_blocks_too_short_to_tell_apart_share_the_verdict_of_the_whole() -> None:
    watch = HostWatch()
    watch.begin()
    for _ in range(3):
        watch.end_block()
    watch.finish()
    whole = watch.summary()
    assert whole["others_busy_cores"] is not None
    if whole["others_busy_cores"] > OTHERS_CORES:  # a neighbour, right now
        assert all("other processes" in block.reasons for block in watch.blocks)
