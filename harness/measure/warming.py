"""Warm-up: every shape once, then equal work until its time no longer falls."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

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


def warm_up(
    call: Callable[[T], object],
    inputs: Sequence[T],
    *,
    shapes: Sequence[Hashable],
    max_seconds: float,
) -> WarmUp:
    """Call each shape once, then the same few inputs until their time no longer falls.

    ``shapes``: of each input, what a compiler or an allocator sees of it.

    Rounds repeat the same inputs because inputs differ in length: only equal work can tell
    whether the series has settled. It is a first guess; the blocks of the measurement decide.
    """
    begin = time.perf_counter()
    pairs = list(zip(shapes, inputs, strict=True))
    firsts = list({shape: item for shape, item in reversed(pairs)}.values())
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
