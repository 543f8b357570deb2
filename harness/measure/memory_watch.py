"""Peak memory of a process and its children, sampled from outside.

The kernel keeps a process's largest resident set (``VmHWM``), but not that of its children, and a
resident set counts pages that others share as if they were its own. The proportional set (PSS)
divides those among their users; it has no high-water mark, so somebody has to look:
``python -m harness.measure.memory_watch PID`` looks until its standard input ends, then prints the
peaks. It never runs beside a timed pass.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.measure.host_state import ROOT

#: Seconds between two looks: a batch of the largest size takes longer, and reading the sets of a
#: process of 1 GB takes about 1 ms.
INTERVAL_SECONDS = 0.02

MB = 1e6


@dataclass(frozen=True)
class Footprint:
    """Memory of a process and its children in MB (1e6 bytes); None where /proc does not tell."""

    rss_mb: float | None
    pss_mb: float | None


@dataclass(frozen=True)
class Peaks:
    """The largest values of each that were seen, which may be of different moments."""

    rss_mb: float | None
    pss_mb: float | None
    samples: int
    interval_seconds: float


def footprint(pid: int | str = "self", root: Path = ROOT, without: int | None = None) -> Footprint:
    """The sets of a process and all its descendants now, summed, but for ``without``'s.

    PSS sums without counting anything twice; RSS counts what parent and child share twice.
    """
    rss: float | None = None
    pss: float | None = None
    for one in [pid, *(child for child in descendants(pid, root) if child != without)]:
        sizes = _sizes(root / f"proc/{one}")
        if sizes["Rss:"] is not None:
            rss = (rss or 0.0) + sizes["Rss:"]
        if sizes["Pss:"] is not None:
            pss = (pss or 0.0) + sizes["Pss:"]
    return Footprint(rss, pss)


def descendants(pid: int | str, root: Path = ROOT) -> list[int]:
    """Children, their children and so on, as ``/proc/PID/task/TID/children`` lists them."""
    found: list[int] = []
    open_pids: list[int | str] = [pid]
    while open_pids:
        for file in (root / f"proc/{open_pids.pop()}/task").glob("*/children"):
            try:
                children = [int(child) for child in file.read_text().split()]
            except OSError:  # ended meanwhile
                continue
            found += children
            open_pids += children
    return found


def _sizes(folder: Path) -> dict[str, Any]:
    """Rss and Pss in MB from ``smaps_rollup``; the resident set alone where that is not allowed."""
    sizes: dict[str, float | None] = {"Rss:": None, "Pss:": None}
    try:
        for line in (folder / "smaps_rollup").read_text().splitlines():
            name = line.split(None, 1)[0]
            if name in sizes:
                sizes[name] = int(line.split()[1]) * 1024 / MB
    except (OSError, IndexError):
        pass
    if sizes["Rss:"] is None:
        try:
            for line in (folder / "status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    sizes["Rss:"] = int(line.split()[1]) * 1024 / MB
        except OSError:
            pass
    return sizes


@contextmanager
def watched(interval_seconds: float = INTERVAL_SECONDS) -> Iterator[Callable[[], Peaks]]:
    """Have this process and its children sampled during the block, by a process that is left out.

    What is yielded gives the peaks once the block is over. A peak between two looks can be missed;
    a process's own ``VmHWM`` cannot.
    """
    command = [sys.executable, "-m", __name__, str(os.getpid()), str(interval_seconds)]
    pipe = subprocess.PIPE
    found: list[Peaks] = []
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as looker:
        assert looker.stdin is not None and looker.stdout is not None
        try:
            looker.stdout.readline()  # it has looked once
            yield lambda: found[0]
        finally:
            looker.stdin.close()
            answer = looker.stdout.read()
    found.append(Peaks(**json.loads(answer)))


def _look_on(pid: int, interval_seconds: float) -> None:
    """What `watched` starts: says a line after the first look, the peaks when its input ends."""
    peaks = Peaks(None, None, 0, interval_seconds)
    over = False
    while not over:
        seen = footprint(pid, without=os.getpid())
        peaks = Peaks(
            _larger(peaks.rss_mb, seen.rss_mb),
            _larger(peaks.pss_mb, seen.pss_mb),
            peaks.samples + 1,
            interval_seconds,
        )
        if peaks.samples == 1:
            print(flush=True)
        over = bool(select.select([sys.stdin], [], [], interval_seconds)[0])
    print(json.dumps(asdict(peaks)))


def _larger(one: float | None, other: float | None) -> float | None:
    return max((value for value in (one, other) if value is not None), default=None)


def memory_facts(
    idle: Footprint, peaks: Peaks, high_water_mb: float | None = None
) -> dict[str, Any]:
    """The keys of ``timing.json``: ``peak_memory_mb`` is the proportional set over the idle one.

    ``idle`` is the same process before it has loaded a framework; ``high_water_mb`` its ``VmHWM``
    at the end, which no look can miss. Without PSS the resident sets stand in, and the basis says
    so.
    """
    kind, peak, floor = "proportional", peaks.pss_mb, idle.pss_mb
    if peak is None or floor is None:
        kind, floor = "resident", idle.rss_mb
        peak = max((v for v in (peaks.rss_mb, high_water_mb) if v is not None), default=None)
    facts: dict[str, Any] = {
        "memory": {
            "idle_rss_mb": idle.rss_mb,
            "idle_pss_mb": idle.pss_mb,
            "peak_rss_mb": peaks.rss_mb,
            "peak_pss_mb": peaks.pss_mb,
            "high_water_rss_mb": high_water_mb,
            "samples": peaks.samples,
            "interval_seconds": peaks.interval_seconds,
        }
    }
    if peak is None or floor is None:
        return facts | {
            "peak_memory_mb": None,
            "peak_memory_mb_reason": "neither smaps_rollup nor status of the process is readable",
        }
    return facts | {
        "peak_memory_mb": max(0.0, peak - floor),
        "peak_memory_basis": f"peak {kind} set of the process and its children over its "
        f"{floor:.0f} MB when idle; sampled from outside after the timing",
    }


if __name__ == "__main__":
    _look_on(int(sys.argv[1]), float(sys.argv[2]))
