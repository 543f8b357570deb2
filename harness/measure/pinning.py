"""Thread pools and cores of a measuring process, set before anything sizes itself by them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

#: Read once by OpenMP, MKL, OpenBLAS, Accelerate and numexpr, when they load.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def set_thread_pools(threads: int) -> None:
    """Size every pool that reads the environment. Frameworks' own are set by their runtimes."""
    for name in THREAD_VARIABLES:
        os.environ[name] = str(threads)
    # pools shall not grow or shrink by the library's own judgement while they are timed
    os.environ["OMP_DYNAMIC"] = os.environ["MKL_DYNAMIC"] = "FALSE"


@contextmanager
def pinned(threads: int) -> Iterator[list[int] | None]:
    """Keep this process on ``threads`` of its cores meanwhile; gives them, or None if it cannot.

    The last cores are taken: the first serves most interrupts. The former affinity comes back, so
    that what is asked of the host afterwards is answered for all of it. Threads that were started
    meanwhile stay where they are.
    """
    try:
        allowed = os.sched_getaffinity(0)
        cores = sorted(allowed)[-threads:] if 0 < threads < len(allowed) else sorted(allowed)
        os.sched_setaffinity(0, cores)
    except (AttributeError, OSError):  # not Linux, or not allowed
        yield None
        return
    try:
        yield cores
    finally:
        os.sched_setaffinity(0, allowed)
