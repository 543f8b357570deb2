"""From the start of a process to its first answer."""

from __future__ import annotations

import os
import time
from pathlib import Path


def seconds_since_start(started_ns: int | None = None, stat: Path | None = None) -> float | None:
    """Seconds since this process was started.

    ``started_ns``: the parent's ``time.monotonic_ns()`` just before it started us; that clock is
    the whole machine's on Linux, macOS and Windows. Without it, the kernel's note of our start in
    ``/proc/self/stat`` (in clock ticks, mostly 10 ms), or None where there is none.
    """
    if started_ns is not None:
        return (time.monotonic_ns() - started_ns) / 1e9
    try:
        # the second field, a name in brackets, may hold blanks; the start is field 22
        fields = (stat or Path("/proc/self/stat")).read_text().rpartition(")")[2].split()
        started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started
    except (OSError, ValueError, IndexError, AttributeError):
        return None
