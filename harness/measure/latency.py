"""Latency at batch 1: warm up until it has settled, then time single calls on real inputs."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

T = TypeVar("T")

#: Inputs of one settling round: enough that one slow call does not decide, few enough that a
#: round is short.
ROUND = 8
#: A round that beats the best one before by less than this has settled. Above the 3.3% by which
#: medians of equal launches differ on a shared machine.
SETTLED = 0.05
#: Rounds in a row that must have settled.
QUIET_ROUNDS = 2
#: Rounds after which warm-up ends, settled or not.
MAX_ROUNDS = 20


@dataclass(frozen=True)
class WarmUp:
    """What happened before the first sample."""

    calls: int
    seconds: float
    settled: bool  # false: a limit ended it, the series may still be getting faster
    shapes: int  # distinct shapes called at least once
    shapes_met: int  # distinct shapes among the inputs


@dataclass(frozen=True)
class Latency:
    """Raw samples in milliseconds, in the order in which they were taken."""

    samples_ms: list[float]
    warm_up: WarmUp


def measure_latency(
    call: Callable[[T], object],
    inputs: Sequence[T],
    *,
    seed: int,
    min_samples: int,
    max_samples: int,
    max_seconds: float,
    shape: Callable[[T], Hashable] = lambda _: None,
) -> Latency:
    """Time ``call`` on single inputs, drawn by ``seed``, in a closed loop.

    Sampling ends at ``max_samples``, or once ``max_seconds`` have passed and at least
    ``min_samples`` are taken; when the inputs run out they begin anew. Warm-up has its own
    ``max_seconds``. ``shape`` tells which inputs share a compiled program or an allocation: each
    shape is called once before the first sample, as far as the time allows.
    """
    if not inputs:
        raise ValueError("there is no input to time")
    order = np.random.default_rng(seed).permutation(len(inputs))[:max_samples]
    drawn = [inputs[i] for i in order]
    warm = warm_up(call, drawn, max_seconds=max_seconds, shape=shape)
    samples: list[float] = []
    with no_garbage_collection():
        begin = time.perf_counter_ns()
        limit = begin + int(max_seconds * 1e9)
        while len(samples) < max_samples:
            item = drawn[len(samples) % len(drawn)]
            start = time.perf_counter_ns()
            call(item)
            end = time.perf_counter_ns()
            samples.append((end - start) / 1e6)
            if end >= limit and len(samples) >= min_samples:
                break
    return Latency(samples, warm)


def warm_up(
    call: Callable[[T], object],
    inputs: Sequence[T],
    *,
    max_seconds: float,
    shape: Callable[[T], Hashable],
) -> WarmUp:
    """Call each shape once, then the same few inputs until their time no longer falls.

    Rounds repeat the same inputs because inputs differ in length: only equal work can tell
    whether the series has settled.
    """
    begin = time.perf_counter()
    firsts = list({shape(item): item for item in reversed(inputs)}.values())
    seen = 0
    for item in firsts:
        if seen and time.perf_counter() - begin > max_seconds:
            break
        call(item)
        seen += 1
    calls, best, quiet = seen, float("inf"), 0
    for _ in range(MAX_ROUNDS):
        start = time.perf_counter()
        for item in inputs[:ROUND]:
            call(item)
        seconds = time.perf_counter() - start
        calls += len(inputs[:ROUND])
        quiet = quiet + 1 if seconds > best * (1 - SETTLED) else 0
        best = min(best, seconds)
        if quiet >= QUIET_ROUNDS or time.perf_counter() - begin > max_seconds:
            break
    return WarmUp(calls, time.perf_counter() - begin, quiet >= QUIET_ROUNDS, seen, len(firsts))


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Collect once, then keep the collector away: its pauses are not the model's."""
    enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if enabled:
            gc.enable()
