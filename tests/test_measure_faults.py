"""Planted faults: what a dishonest, an unsteady or a moody runtime looks like in the record."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from harness.backends.base import Batch, Predictor
from harness.measure.blocks import NO_WATCH
from harness.measure.latency import MAX_REPEATS, MIN_BLOCKS, Limits, measure_latency
from harness.measure.scenarios import offline, single_stream
from harness.tasks.base import Encoded
from tests import tiny_models

pytestmark = pytest.mark.alone

INPUTS = tiny_models.tokens([1 + i % 29 for i in range(900)])
WORK_S = 0.0005


def work(seconds: float = WORK_S) -> None:
    """Sleep, which neighbours on a busy machine stretch less than they stretch work."""
    time.sleep(seconds)


class Planted(Predictor):
    """Answers zeros after ``delay(number of the call, batch)`` seconds."""

    def __init__(self) -> None:
        self.calls = 0

    def delay(self, batch: Batch) -> float:
        return WORK_S

    def predict(self, batch: Batch) -> np.ndarray:
        self.calls += 1
        work(self.delay(batch))
        return np.zeros((1, 2), np.float32)

    def observed(self) -> dict[str, Any]:
        return {"threads": 1}


class EveryHundredth(Planted):
    def delay(self, batch: Batch) -> float:
        return 0.05 if self.calls % 100 == 99 else WORK_S


class SlowsDown(Planted):
    def delay(self, batch: Batch) -> float:
        return WORK_S * (1 + self.calls / 60)


class Caches(Planted):
    """Remembers answers by input."""

    def __init__(self) -> None:
        super().__init__()
        self.known: set[bytes] = set()

    def delay(self, batch: Batch) -> float:
        key = batch["input_ids"].tobytes()
        met = key in self.known
        self.known.add(key)
        return 0.0 if met else 0.004


class Disturbing:
    """A watch that finds the blocks of these numbers, from 1, disturbed."""

    def __init__(self, *disturbed: int) -> None:
        self.disturbed, self.blocks, self.begun = disturbed, 0, 0

    def begin(self) -> None:
        self.begun += 1

    def end_block(self) -> tuple[dict[str, Any], bool]:
        self.blocks += 1
        return {"block": self.blocks}, self.blocks in self.disturbed


def timed(predictor: Predictor, samples: int, **more: Any) -> dict[str, Any]:
    timing = {
        "min_samples": samples, "max_samples": samples, "max_seconds": 20.0, "within": 0.02, **more,
    }  # fmt: skip
    return single_stream(predictor, INPUTS, timing, 1, NO_WATCH)


def test_a_sleep_on_every_hundredth_query_shows_in_p99_and_not_in_p50():
    honest, planted = timed(Planted(), 400), timed(EveryHundredth(), 400)
    assert planted["latency_p99_ms"] >= 50
    assert planted["latency_p50_ms"] < 2 * honest["latency_p50_ms"]


def test_one_that_slows_down_is_not_steady():
    facts = timed(SlowsDown(), 400, max_seconds=2.0)
    assert facts["steady"] is False
    assert facts["stopped"] in ("max_samples", "max_seconds")


def test_one_that_caches_answers_is_found_out_and_timed_without_its_cache():
    facts = timed(Caches(), 100)
    assert facts["answers_cached"] is True
    assert facts["repeat_ratio"] < 0.2
    assert facts["unique_inputs"] is True
    assert facts["latency_p50_ms"] > 4.0
    assert timed(Planted(), 100)["answers_cached"] is False


def test_fewer_samples_than_p99_needs_give_null_and_the_number_needed():
    facts = timed(Planted(), 100)
    assert facts["latency_p99_ms"] is None
    assert facts["latency_p99_ms_reason"].endswith("needs 299")
    assert facts["latency_p90_ms"] is not None


def test_too_few_queries_for_loadgen_are_invalid_with_its_reason():
    facts = timed(Planted(), 8)
    assert facts["verdict"] == "INVALID"
    assert "too few queries" in facts["verdict_reason"]


def test_a_minimum_duration_that_is_not_met_is_invalid():
    facts = timed(Planted(), 72, min_seconds=60.0, max_seconds=0.1)
    assert facts["verdict"] == "INVALID"
    assert "minimum duration not met" in facts["verdict_reason"]


def test_a_minimum_duration_is_that_of_all_blocks_together_and_goes_before_max_samples():
    """A fast model is sampled for as long as it takes, its blocks growing with the time."""
    facts = timed(Planted(), 72, min_seconds=1.0)
    assert (facts["verdict"], facts["verdict_reason"]) == ("VALID", "")
    assert sum(block["seconds"] for block in facts["latency_blocks"]) >= 1.0
    assert facts["samples"] > 200
    assert MIN_BLOCKS <= len(facts["latency_blocks"]) < 40


def test_disturbed_blocks_are_repeated_up_to_a_limit_and_their_share_is_told():
    result = measure_latency(
        lambda _: work(), range(900), seed=1, limits=Limits(72, 72, 20, within=1e-6),
        watch=Disturbing(1, 3),
    )  # fmt: skip
    assert [block.repeated for block in result.blocks][:4] == [True, False, True, False]
    assert result.disturbed_share == 2 / len(result.blocks)
    assert result.blocks[0].host == {"block": 1}
    kept = [block for block in result.blocks if not block.repeated]
    assert len(result.samples_ms) <= sum(len(block.samples_ms) for block in kept)

    always = measure_latency(
        lambda _: work(), range(900), seed=1, limits=Limits(72, 72, 20, within=1e-6),
        watch=Disturbing(*range(100)),
    )  # fmt: skip
    assert sum(block.repeated for block in always.blocks) == MAX_REPEATS
    assert always.disturbed_share == 1.0
    assert always.samples_ms


SWEEP = {"batch_sizes": [4, 8], "sweep_seconds": 0.05}


def test_a_disturbed_point_of_the_throughput_sweep_is_repeated_once_and_said():
    watch = Disturbing(1, 3, 4)  # the first point's first test, both of the second's
    points = offline(Planted(), INPUTS, SWEEP, 1, watch)["throughput"]
    assert watch.begun == 2 and watch.blocks == 4
    assert [(p["disturbed"], p["repeated"]) for p in points] == [(False, True), (True, True)]
    quiet = offline(Planted(), INPUTS, SWEEP, 1, NO_WATCH)["throughput"]
    assert [(p["disturbed"], p["repeated"]) for p in quiet] == [(False, False)] * 2


def test_throughput_counts_examples_not_the_features_that_long_ones_are_cut_into():
    halves = Encoded(INPUTS.inputs, {}, np.arange(len(INPUTS)) // 2, INPUTS.truncated[::2])
    assert halves.features_per_example == 2.0
    whole = offline(Planted(), INPUTS, SWEEP, 1, NO_WATCH)
    found = offline(Planted(), halves, SWEEP, 1, NO_WATCH)
    assert found["throughput_per_s"] < 0.75 * whole["throughput_per_s"]
    point = found["throughput"][0]
    features = point["batches"] * 4 / point["seconds"]
    assert point["examples_per_s"] == pytest.approx(features / 2)


class ByTheExample(Planted):
    def delay(self, batch: Batch) -> float:
        return 0.002 * len(batch["input_ids"])


def test_a_sweep_ends_with_the_size_of_which_one_batch_fills_its_seconds():
    sweep = {"batch_sizes": [64, 4, 32, 16], "sweep_seconds": 0.05}
    found = offline(ByTheExample(), INPUTS, sweep, 1, NO_WATCH)
    assert [point["batch_size"] for point in found["throughput"]] == [4, 16, 32]
    assert found["batch_sizes_left_out"] == [64]
