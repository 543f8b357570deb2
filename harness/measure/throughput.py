"""Throughput: examples per second over a sweep of batch sizes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from harness.measure.latency import no_garbage_collection

T = TypeVar("T")

#: Batches that a point rests on at least, where there are so many.
MIN_BATCHES = 3


@dataclass(frozen=True)
class Throughput:
    """One point of the sweep."""

    batch_size: int
    examples_per_s: float
    seconds: float  # timed
    batches: int  # timed


def measure_throughput(
    call: Callable[[T], object],
    batches: Sequence[T],
    examples: Sequence[float],
    *,
    batch_size: int,
    seconds: float,
) -> Throughput:
    """Examples per second over ``batches``, which are sorted by length as scoring sorts them.

    ``examples`` counts the examples of each batch. Where all batches do not fit into ``seconds``,
    evenly spaced ones stand for the rest (time grows steadily along the sorted batches, so that
    this midpoint rule estimates the whole split's rate; the first few alone would be the longest).
    Each chosen batch is called once untimed before, which lets compilers and allocators see its
    shape. Short lists are repeated for about ``seconds``.
    """
    if not batches:
        raise ValueError("there is no batch to time")
    middle = batches[len(batches) // 2]
    call(middle)
    start = time.perf_counter()
    call(middle)
    cost = max(time.perf_counter() - start, 1e-9)
    count = min(len(batches), max(MIN_BATCHES, int(seconds / cost)))
    chosen = ((np.arange(count) + 0.5) * len(batches) / count).astype(int)
    for index in chosen:
        call(batches[index])
    passed, timed = 0, 0.0
    with no_garbage_collection():
        begin = time.perf_counter_ns()
        # whole passes, so that every length has its share; another one only if it ends nearer
        while not passed or timed * (1 + 0.5 / passed) < seconds:
            for index in chosen:
                call(batches[index])
            passed += 1
            timed = (time.perf_counter_ns() - begin) / 1e9
    done = passed * float(sum(examples[index] for index in chosen))
    return Throughput(batch_size, done / timed, timed, passed * count)


def best(points: Sequence[Throughput]) -> Throughput | None:
    """The point with the highest rate; the smaller batch where two are equal."""
    return max(points, key=lambda p: (p.examples_per_s, -p.batch_size), default=None)
