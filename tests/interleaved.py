"""Launches of two arms in turns, so that a host which gets slower, or faster, wrongs neither."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def interleaved(a: Callable[[], T], b: Callable[[], T], launches: int) -> tuple[list[T], list[T]]:
    """What each launch gave, arm by arm, in order: ABBA, ``launches`` an arm.

    Each arm goes first as often as the other (or once more), as in `harness.execute.rerun`.
    """
    results: tuple[list[T], list[T]] = [], []
    for turn in range(launches):
        for arm in (0, 1) if turn % 2 == 0 else (1, 0):
            results[arm].append((a, b)[arm]())
    return results
