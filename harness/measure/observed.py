"""What was asked for beside what really runs: a difference is an error or a note."""

from __future__ import annotations

from typing import Any


def check_threads(asked: int, observed: dict[str, Any]) -> None:
    """A timing with other threads than asked for answers another question: an error."""
    if observed.get("threads") != asked:
        raise RuntimeError(
            f"{asked} threads were asked for, but {observed.get('threads')} are observed"
        )


def check_device(asked: str, observed: dict[str, Any]) -> None:
    """The CPU's timing must not stand for the GPU's: an error."""
    device = str(observed.get("device", asked))
    if device.partition(":")[0] != asked.partition(":")[0]:
        raise RuntimeError(f"device {asked!r} was asked for, but {device!r} computes")


def check_batch(asked: int, answered: int) -> None:
    """Fewer answers than inputs would be timed as if they were all: an error."""
    if answered != asked:
        raise RuntimeError(f"a batch of {asked} was asked for, but {answered} answers came back")


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
    for kind, count in sorted(pools.items()):
        if count > threads:
            found.append(f"the {kind} pool has {count} threads, {threads} were asked for")
    cores = asked.get("cores")
    if cores is None:
        found.append("the process is not pinned to cores: this system does not let it")
    elif len(cores) < threads:
        found.append(f"{threads} threads share {len(cores)} cores")
    return found
