"""The memory of a process group, watched from outside.

Not by address-space limits: CUDA reserves far more addresses than it uses. The proportional set
size (PSS) counts a page shared by n processes as 1/n, so that a group's sum is what it really
holds; it costs a walk over the page tables, so the resident set, which is never smaller, is looked
at first.
"""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from harness.measure.memory_watch import descendants

#: share of the machine's memory that one stage may take where the suite sets no limit: the system
#: begins to kill when nothing is left, and may pick another process than the one that grew
DEFAULT_SHARE = 0.9

_PAGE = os.sysconf("SC_PAGE_SIZE")


def machine_bytes() -> int:
    """What this process's machine or container has."""
    total = int(psutil.virtual_memory().total)
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            total = min(total, int(Path(name).read_text()))
        except (OSError, ValueError):  # no such group, or "max"
            continue
    return total


def available_bytes() -> int:
    return min(int(psutil.virtual_memory().available), machine_bytes())


def limit_bytes(memory_gb: float | None) -> int:
    """The limit of a suite in bytes (1 GB is 1e9), or the default of this machine."""
    return int(memory_gb * 1e9) if memory_gb else int(DEFAULT_SHARE * machine_bytes())


def group_bytes(pid: int, worth_counting: float) -> int:
    """What a process and its descendants hold: PSS, or the resident set where that is below
    ``worth_counting`` or PSS cannot be read."""
    try:
        top = psutil.Process(pid)
        pids = [pid, *(child.pid for child in top.children(recursive=True))]
    except psutil.Error:
        return 0
    resident = sum(_resident(p) for p in pids)
    if resident < worth_counting:
        return resident
    shares = [_proportional(p) for p in pids]
    return resident if None in shares else sum(share or 0 for share in shares)


def resident_bytes(pid: int) -> int:
    """Resident sets of a process and its descendants, never less than they really hold.

    Counters only, 0.1 ms for a process of 1.8 GB with few threads (its PSS: 35 ms, for which its
    pages are walked): cheap enough beside a measurement. 0 where there is no /proc.
    """
    return sum(_resident(p) for p in [pid, *descendants(pid)])


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        try:
            return int(psutil.Process(pid).memory_info().rss)
        except psutil.Error:
            return 0


def _proportional(pid: int) -> int | None:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None


def system_kills() -> int:
    """Processes that the kernel has killed for want of memory, on this machine and in this group;
    0 where neither can be read."""
    total = 0
    for name, key in (("/proc/vmstat", "oom_kill"), ("/sys/fs/cgroup/memory.events", "oom_kill")):
        try:
            for line in Path(name).read_text().splitlines():
                if line.startswith(f"{key} "):
                    total += int(line.split()[1])
        except (OSError, ValueError):
            continue
    return total
