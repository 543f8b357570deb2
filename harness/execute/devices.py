"""Who may use a device now: many that work, or one that measures.

The locks are files in the cache, so that all processes of ours on a host respect each other: a
measurement waits until the stages at work have ended, and no stage begins while it lasts. Nodes of
a cluster may share a cache, and do not wait for each other.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.devices import gpu_index, is_gpu
from harness.measure.gpu_state import visible_device
from harness.records.locks import acquire

#: seconds between the end of the last stage of ours on a device and a measurement on it: caches
#: are written back and threads that spin for work (OpenMP's, 0.2 s by default) go to sleep
QUIET_SECONDS = 0.3


@dataclass(frozen=True)
class Devices:
    """The devices of this host, by name: ``cpu``, ``cuda:0``, ..."""

    folder: Path  # of the lock files

    @classmethod
    def of(cls, cache_folder: Path) -> Devices:
        return cls(cache_folder / "locks" / f"devices-{_this_kernel()}")

    @contextmanager
    def working(self, *names: str) -> Iterator[None]:
        """While a stage works on these devices."""
        held: list[int] = []
        try:
            for name in sorted(set(names)):
                with self._gate(name):
                    held.append(_must(acquire(self._file(name), shared=True)))
            yield
        finally:
            for descriptor in held:
                os.utime(descriptor)  # when the last stage ended
                os.close(descriptor)

    @contextmanager
    def measuring(self, name: str) -> Iterator[None]:
        """While a measurement has a device to itself, after a quiet period."""
        with self._gate(name):  # held while waiting: later stages queue up behind
            descriptor = _must(acquire(self._file(name)))
        try:
            quiet = time.time() - os.fstat(descriptor).st_mtime
            if 0 <= quiet < QUIET_SECONDS:  # a clock set back must not make it wait for long
                time.sleep(QUIET_SECONDS - quiet)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _gate(self, name: str) -> Iterator[None]:
        descriptor = _must(acquire(self.folder / f"{name}.gate"))
        try:
            yield
        finally:
            os.close(descriptor)

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.lock"


def device_name(asked: str, gpu: str | None = None) -> str:
    """What a specification's ``cpu``, ``cuda`` or ``cuda:N`` is here: a GPU by the driver's number,
    or as ``CUDA_VISIBLE_DEVICES`` calls it. ``gpu``: the one that we were given for ``cuda``."""
    if not is_gpu(asked):
        return asked
    index = gpu_index(asked)
    if index is None and gpu is not None:
        return f"cuda:{gpu}"
    shown = visible_device(index or 0)
    return f"cuda:{index or 0}" if shown is None else f"cuda:{shown}"


@cache
def _this_kernel() -> str:
    """What all processes on this machine have in common and those of an equal one have not."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return platform.node()


def _must(descriptor: int | None) -> int:
    assert descriptor is not None  # it waits
    return descriptor
