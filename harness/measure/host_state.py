"""What the host tells of itself at one moment: counters that only grow, and levels.

Every reader takes ``root``, so that a recorded tree (``root/proc``, ``root/sys``) can be read as
well as this machine. What cannot be read is None: the record then says `unavailable`, not zero.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path("/")

#: unit of the times in /proc/stat and /proc/PID/stat: 1/100 s on every Linux of today
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(frozen=True)
class Counters:
    """Totals since the machine or the process started; a difference of two covers a block."""

    busy_s: float | None  # core-seconds of work by all processes, stolen time left out
    idle_s: float | None  # core-seconds without work, waiting for disks included
    steal_s: float | None  # core-seconds that the hypervisor gave to other guests
    own_s: float | None  # core-seconds of work by this process, all of its threads
    involuntary_switches: int | None  # times that a thread of this process had to make way
    throttled_s: float | None  # time for which the cgroup's CPU quota stopped us
    waiting_s: float | None  # thread-seconds in which this process could have run and had no core


@dataclass(frozen=True)
class Levels:
    """What a gauge shows now."""

    load: float | None  # runnable tasks, mean over a minute
    clocks_mhz: list[float] | None  # per core
    temperature_c: float | None  # of the hottest thermal zone


def read_counters(root: Path = ROOT, pid: int | str = "self") -> Counters:
    """The counters now. ``pid``: the process that counts as our own."""
    busy, idle, steal = processor_times(root)
    return Counters(
        busy, idle, steal,
        process_seconds(root, pid), involuntary_switches(root, pid),
        throttled_seconds(root, pid), waiting_seconds(root, pid),
    )  # fmt: skip


def read_levels(root: Path = ROOT) -> Levels:
    return Levels(load_1min(root), clocks_mhz(root), temperature_c(root))


def sources(root: Path = ROOT) -> dict[str, bool]:
    """Which of the readings this host gives, by name."""
    readings: dict[str, Any] = asdict(read_counters(root)) | asdict(read_levels(root))
    return {name: value is not None for name, value in readings.items()}


def processor_times(root: Path = ROOT) -> tuple[float | None, float | None, float | None]:
    """(busy, idle, steal) core-seconds of the whole machine, from /proc/stat.

    Guests' time is part of ``user`` already (proc(5)).
    """
    try:
        fields = (root / "proc/stat").read_text().split("\n", 1)[0].split()
        user, nice, system, idle, iowait, irq, softirq, steal = map(int, fields[1:9])
    except (OSError, ValueError):
        return None, None, None
    busy = user + nice + system + irq + softirq
    return tuple(t / TICKS_PER_SECOND for t in (busy, idle + iowait, steal))  # type: ignore[return-value]


def process_seconds(root: Path = ROOT, pid: int | str = "self") -> float | None:
    """User and system time of a process, in ticks like the machine's, so that they subtract."""
    try:
        text = (root / f"proc/{pid}/stat").read_text()
        fields = text.rpartition(")")[2].split()  # the name before it may hold spaces
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND
    except (OSError, ValueError, IndexError):
        return None


def involuntary_switches(root: Path = ROOT, pid: int | str = "self") -> int | None:
    """Summed over the threads that live: the process's own file counts its first thread only."""
    total, seen = 0, False
    for status in (root / f"proc/{pid}/task").glob("*/status"):
        try:
            value = _field(status.read_text(), "nonvoluntary_ctxt_switches:")
        except OSError:  # the thread has just ended
            continue
        if value is not None:
            total, seen = total + int(value), True
    return total if seen else None


def throttled_seconds(root: Path = ROOT, pid: int | str = "self") -> float | None:
    """Time stopped by the cgroup's quota: v2's ``throttled_usec`` or v1's ``throttled_time`` (ns).

    The process's own group first; inside a container its path is often not mounted, and the
    mount's root is the group.
    """
    for stat in _cpu_stat_files(root, pid):
        try:
            text = stat.read_text()
        except OSError:
            continue
        for name, unit in (("throttled_usec", 1e6), ("throttled_time", 1e9)):
            value = _field(text, name + " ")
            if value is not None:
                return int(value) / unit
    return None


def _cpu_stat_files(root: Path, pid: int | str) -> list[Path]:
    mount = root / "sys/fs/cgroup"
    folders = []
    try:
        lines = (root / f"proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            folders.append(mount / path.lstrip("/"))
        elif "cpu" in controllers.split(","):
            folders += [mount / name / path.lstrip("/") for name in (controllers, "cpu")]
    folders += [mount, mount / "cpu", mount / "cpu,cpuacct"]
    return [folder / "cpu.stat" for folder in dict.fromkeys(folders)]


def waiting_seconds(root: Path = ROOT, pid: int | str = "self") -> float | None:
    """Time spent runnable on a run queue, in ns of ``schedstat``, summed over the threads that live
    (the kernel's Documentation/scheduler/sched-stats.rst)."""
    total, seen = 0, False
    for file in (root / f"proc/{pid}/task").glob("*/schedstat"):
        try:
            total, seen = total + int(file.read_text().split()[1]), True
        except (OSError, ValueError, IndexError):  # the thread has just ended
            continue
    return total / 1e9 if seen else None


def load_1min(root: Path = ROOT) -> float | None:
    try:
        return float((root / "proc/loadavg").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def clocks_mhz(root: Path = ROOT) -> list[float] | None:
    """Each core's clock as cpufreq tells it. /proc/cpuinfo's figure is no substitute: in virtual
    machines it is a constant."""
    found = []
    cpus = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq")
    for file in sorted(cpus, key=lambda f: int(f.parts[-3][3:])):
        try:
            found.append(int(file.read_text()) / 1000)
        except (OSError, ValueError):
            continue
    return found or None


def temperature_c(root: Path = ROOT) -> float | None:
    found = []
    for file in (root / "sys/class/thermal").glob("thermal_zone*/temp"):
        try:
            found.append(int(file.read_text()) / 1000)
        except (OSError, ValueError):  # a zone whose sensor sleeps answers with an error
            continue
    return max(found, default=None)


def _field(text: str, name: str) -> str | None:
    for line in text.splitlines():
        if line.startswith(name):
            return line[len(name) :].split()[0]
    return None
