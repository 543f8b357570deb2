"""What was asked for beside what really runs: a difference is an error or a note."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

#: A thread computes where it uses this share of the busiest one's CPU time: those that only start
#: work or wait for it use some hundredths.
COMPUTES = 0.2


def check_threads(asked: int, observed: dict[str, Any]) -> None:
    """A timing with other threads than asked for answers another question: an error."""
    if observed.get("threads") != asked:
        raise RuntimeError(
            f"{asked} threads were asked for, but {observed.get('threads')} are observed"
        )


def check_device(asked: str, observed: dict[str, Any]) -> None:
    """The CPU's timing must not stand for the GPU's, nor one GPU's for another's: an error."""
    device = str(observed.get("device", asked))
    kind, _, number = asked.partition(":")
    found, _, found_number = device.partition(":")
    if found != kind or (number and found_number and found_number != number):
        raise RuntimeError(f"device {asked!r} was asked for, but {device!r} computes")


def check_batch(asked: int, answered: int) -> None:
    """Fewer answers than inputs would be timed as if they were all: an error."""
    if answered != asked:
        raise RuntimeError(f"a batch of {asked} was asked for, but {answered} answers came back")


def working_threads(
    work: Callable[[], object], tasks: Path = Path("/proc/self/task")
) -> int | None:
    """Threads of this process that computed during ``work``, by their CPU time (`COMPUTES`).

    What runs, whatever a library says of its pools. ``work`` lasts some clock ticks (4 ms), by
    which the kernel brings the times of running threads up to date. None where it tells none.
    """
    before = _cpu_times(tasks)
    work()
    used = [time - before.get(name, 0) for name, time in _cpu_times(tasks).items()]
    busiest = max(used, default=0)
    return sum(time >= COMPUTES * busiest for time in used) if busiest else None


def _cpu_times(tasks: Path) -> dict[str, int]:
    """CPU time of each thread in ns, by its number."""
    found = {}
    for file in tasks.glob("*/schedstat"):
        try:
            found[file.parent.name] = int(file.read_text().split()[0])
        except (OSError, ValueError, IndexError):  # the thread has just ended
            continue
    return found


def thread_pools() -> dict[str, int]:
    """Threads of the native pools in this process, as threadpoolctl reads them: ``openmp``,
    ``blas``. Pools that no library has loaded are not there."""
    from threadpoolctl import threadpool_info

    pools: dict[str, int] = {}
    for pool in threadpool_info():
        kind = pool["user_api"]
        pools[kind] = max(pools.get(kind, 0), int(pool["num_threads"]))
    return pools


def notes(asked: dict[str, Any], observed: dict[str, Any], pools: dict[str, int]) -> list[str]:
    """Differences that leave the timing valid, each a sentence for the reader."""
    found = []
    if (dtype := observed.get("dtype")) and asked.get("dtype") and dtype != asked["dtype"]:
        found.append(f"dtype {asked['dtype']} was asked for, {dtype} is observed")
    threads = asked["threads"]
    sizes = sorted(pools.items())
    if "interop_threads" in observed:
        sizes.append(("inter-op", observed["interop_threads"]))
    for kind, count in sizes:
        if count > threads:
            found.append(f"the {kind} pool has {count} threads, {threads} were asked for")
    if (working := observed.get("working_threads") or 0) > threads:
        found.append(f"{working} threads computed, {threads} were asked for")
    cores = asked.get("cores")
    if cores is None:
        found.append("the process is not pinned to cores: this system does not let it")
    elif len(cores) < threads:
        found.append(f"{threads} threads share {len(cores)} cores")
    return found
