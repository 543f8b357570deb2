"""One training a process, for comparisons whose arms must not disturb each other."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

THREADS = int(os.environ.get("BENCH_THREADS", os.cpu_count() or 1))

#: seconds of training, and what it yields
Trained = tuple[float, list[Any]]


def in_fresh_process(
    environment: dict[str, str], work: Callable[..., Trained], *arguments: Any
) -> tuple[float, list[Any], float]:
    """``work``'s answer, and the CPU seconds that its process took for it."""
    before = dict(os.environ)
    os.environ.update(environment)  # the process inherits it when it starts
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return pool.submit(_timed, work, *arguments).result()
    finally:
        os.environ.clear()
        os.environ.update(before)


def _timed(work: Callable[..., Trained], *arguments: Any) -> tuple[float, list[Any], float]:
    begun = time.process_time()
    seconds, answer = work(*arguments)
    return seconds, answer, time.process_time() - begun
