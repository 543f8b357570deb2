"""Recorded /proc and /sys trees, as a test writes them down."""

from __future__ import annotations

from pathlib import Path


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def tree(
    root: Path,
    *,
    user: int = 1000,
    idle: int = 5000,
    steal: int = 0,
    own: int = 100,
    switches: int = 10,
    throttled_usec: int = 0,
    waiting_ns: int = 0,
) -> Path:
    """A machine of two cores with one process of two threads; times of /proc in ticks."""
    files = {
        "proc/stat": f"cpu  {user} 0 0 {idle} 0 0 0 {steal} 0 0\ncpu0 1 0 0 1 0 0 0 0 0 0\n",
        "proc/self/stat": f"7 (a (b) c) R 1 7 7 0 -1 0 9 0 0 0 {own} 0 0 0 20 0 2 0 5 1 1\n",
        "proc/self/cgroup": "0::/job\n",
        "proc/self/task/7/status": f"Name:\tx\nvoluntary_ctxt_switches:\t5\n"
        f"nonvoluntary_ctxt_switches:\t{switches}\n",
        "proc/self/task/8/status": "Name:\tx\nnonvoluntary_ctxt_switches:\t3\n",
        "proc/loadavg": "1.50 0.70 0.30 2/100 999\n",
        "proc/self/task/7/schedstat": f"900 {waiting_ns} 12\n",
        "proc/self/task/8/schedstat": "100 0 2\n",
        "sys/fs/cgroup/job/cpu.stat": "usage_usec 12\nnr_throttled 4\n"
        f"throttled_usec {throttled_usec}\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2400000\n",
        "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "800000\n",
        "sys/class/thermal/thermal_zone0/temp": "41000\n",
        "sys/class/thermal/thermal_zone1/temp": "55500\n",
    }
    return write(root, files)
