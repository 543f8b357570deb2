"""Throughput: LoadGen's Offline over a sweep of batch sizes, examples per second."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from harness.measure.blocks import NO_WATCH, Watch
from harness.measure.latency import no_garbage_collection
from harness.measure.loadgen import BatchSystem, Verdict, run_test

T = TypeVar("T")

#: Batches that a point rests on at least, where there are so many.
MIN_BATCHES = 3
#: Tests of one point: LoadGen calls one that ends under the minimum duration INVALID, and the next
#: one is then made longer by as much as was missing; one of them may repeat a disturbed one.
MAX_TESTS = 3
#: A repeated test is this much longer than the first one's speed says.
SPARE = 1.2
#: Samples of one test: a fast baseline would else be handed millions at once.
MAX_SAMPLES = 200_000


@dataclass(frozen=True)
class Throughput:
    """One point of the sweep."""

    batch_size: int
    examples_per_s: float
    seconds: float  # timed
    batches: int  # timed
    verdict: Verdict = field(default_factory=lambda: Verdict(True))
    disturbed: bool = False
    repeated: bool = False  # in place of a disturbed test

    def as_dict(self) -> dict[str, object]:
        return vars(self) | {
            "verdict": self.verdict.word,
            "verdict_reason": self.verdict.reason,
        }


def measure_throughput(
    call: Callable[[T], object],
    batches: Sequence[T],
    examples: Sequence[int],
    *,
    batch_size: int,
    seconds: float,
    watch: Watch = NO_WATCH,
) -> Throughput:
    """Examples per second over ``batches``, which are sorted by length as scoring sorts them.

    ``examples`` counts the examples of each batch. LoadGen hands over all samples in one query, so
    a system may batch them as it likes: here as scoring does. Where all batches do not fit into
    ``seconds``, evenly spaced ones stand for the rest (time grows steadily along the sorted
    batches, so that this midpoint rule estimates the whole split's rate; the first few alone would
    be the longest). Each chosen batch is called once untimed before, which lets compilers and
    allocators see its shape. Whole passes over the batches are repeated for ``seconds`` at least. A
    disturbed test is repeated once.
    """
    if not batches:
        raise ValueError("there is no batch to time")
    middle = batches[len(batches) // 2]
    call(middle)
    start = time.perf_counter()
    call(middle)
    cost = max(time.perf_counter() - start, 1e-9)
    count = min(len(batches), max(MIN_BATCHES, int(seconds / cost)))
    chosen = [int(i) for i in (np.arange(count) + 0.5) * len(batches) / count]
    start = time.perf_counter()
    for index in chosen:
        call(batches[index])
    one_pass = max(time.perf_counter() - start, 1e-9)
    members = [int(examples[index]) for index in chosen]
    timed = [batches[i] for i in chosen]
    repeated = False
    with no_garbage_collection():
        watch.begin()
        for _ in range(MAX_TESTS):
            passes = _passes(one_pass, seconds, sum(members))
            point = _offline(call, timed, members, passes, batch_size, seconds)
            disturbed = watch.end_block()[1]
            point = replace(point, disturbed=disturbed, repeated=repeated)
            if not point.verdict.valid and passes * sum(members) < MAX_SAMPLES:
                one_pass = point.seconds / passes / SPARE
            elif disturbed and not repeated:
                repeated = True
            else:
                break
    return point


def _passes(one_pass: float, seconds: float, samples: int) -> int:
    """Passes over the batches that fill ``seconds``, with half a pass to spare."""
    return max(1, min(math.ceil(seconds / one_pass + 0.5), MAX_SAMPLES // samples))


def _offline(
    call: Callable[[T], object],
    batches: Sequence[T],
    members: Sequence[int],
    passes: int,
    batch_size: int,
    seconds: float,
) -> Throughput:
    """One Offline test: a single query of ``passes`` times all members of all batches.

    Sample indices count through the batches, so that which batch a sample belongs to is known
    before the test, and the inputs are padded and in memory, as LoadGen's rules have it.
    """
    samples = sum(members)

    def answer(indices: list[int]) -> None:
        if len(indices) != passes * samples:
            raise RuntimeError(f"LoadGen issued {len(indices)} samples, not {passes * samples}")
        for _ in range(passes):
            for batch in batches:
                call(batch)

    start = time.perf_counter()
    result = run_test(
        BatchSystem(answer),
        samples,
        scenario="Offline",
        settings={
            # LoadGen sizes its query by rate x duration x 1.1, or by the count if that is more
            "offline_expected_qps": 1e-6,
            "min_query_count": passes * samples,
            "min_duration_ms": int(seconds * 1e3),
        },
    )
    rate = result.figure("result_samples_per_second")
    timed = passes * samples / rate if rate else time.perf_counter() - start
    return Throughput(
        batch_size, passes * samples / timed, timed, passes * len(batches), result.verdict
    )


def best(points: Sequence[Throughput]) -> Throughput | None:
    """The point with the highest rate; the smaller batch where two are equal."""
    return max(points, key=lambda p: (p.examples_per_s, -p.batch_size), default=None)
