"""What this host lets be measured, and what keeps it busy right now: the answers of `doctor`."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.measure import gpu_state, host_state
from harness.measure.energy import energy_source
from harness.measure.host_state import ROOT
from harness.measure.host_watch import OTHERS_CORES, HostWatch
from harness.measure.memory_watch import footprint
from harness.measure.reference_speed import NEUTRAL

#: What each reading of `host_state` is good for.
_PURPOSES = {
    "busy_s": "other processes' work",
    "steal_s": "time given to other guests",
    "involuntary_switches": "preemption",
    "throttled_s": "CPU quota's stops",
    "waiting_s": "waiting for a core",
    "load": "load average",
    "clocks_mhz": "CPU clocks",
    "temperature_c": "temperature",
}
#: A look of 1.5 s: long enough for 10 ms ticks to show a fifth of a core, short enough to wait for.
_LOOKS, _LOOK_SECONDS = 6, 0.25
#: a slower look than the fastest by more is worth a remark
_SPREAD = 0.15


@dataclass(frozen=True)
class Ability:
    """One thing to measure: how it is read here, or why it cannot be."""

    name: str
    available: bool
    detail: str


def abilities(root: Path = ROOT) -> list[Ability]:
    """In the order in which they matter; nothing here imports a framework."""
    seen = host_state.sources(root)
    found = [
        Ability(purpose, seen[name], "" if seen[name] else "not readable")
        for name, purpose in _PURPOSES.items()
    ]
    sets = footprint(root=root)
    kind = "proportional set (PSS)" if sets.pss_mb is not None else "resident set only"
    there = sets.rss_mb is not None
    found.append(Ability("memory", there, kind if there else "not readable"))
    energy = energy_source("cpu", root)
    known = bool(energy.sources) or energy.watts_per_core is not None
    found.append(Ability("energy", known, energy.basis if known else energy.why_not))
    loadgen = find_spec("mlperf_loadgen") is not None
    found.append(
        Ability("load generator", loadgen, "" if loadgen else "mlcommons-loadgen is not installed")
    )
    return [*found, _gpu()]


def _gpu() -> Ability:
    level = gpu_state.gpu_level()
    if level is None:
        why = "no driver or no GPU" if find_spec("pynvml") else "nvidia-ml-py is not installed"
        return Ability("GPU", False, why)
    silent = [name for name, value in asdict(level).items() if value is None]
    return Ability("GPU", True, f"it does not tell {', '.join(silent)}" if silent else "")


def look(root: Path = ROOT) -> dict[str, Any]:
    """What disturbs this host now, in a second and a half in which this process does nothing.

    ``disturbed`` and ``why`` as in a measurement; ``busiest``: processes that take a fifth of a
    core or more, with ``cores``; ``reference``: FLOP/s and their spread, (highest - lowest) by
    highest.
    """
    watch = HostWatch(root=root)
    before, start = _times(), time.perf_counter()
    watch.begin()
    for _ in range(_LOOKS):
        time.sleep(_LOOK_SECONDS)
        watch.end_block()
    watch.finish()
    seconds = time.perf_counter() - start
    summary = watch.summary()
    speeds = summary["reference_flops_per_s"][NEUTRAL]
    spread = (speeds["highest"] - speeds["lowest"]) / speeds["highest"]
    return {
        **{key: summary[key] for key in ("disturbed", "disturbed_share", "why",
                                         "others_busy_cores", "steal_share", "waiting_share")},
        "load": summary["after"]["load"],
        "reference": speeds | {"spread": spread, "steady": spread <= _SPREAD},
        "busiest": _busiest(before, _times(), seconds),
    }  # fmt: skip


def _times() -> dict[int, tuple[str, float]]:
    """CPU seconds of every process that may be seen, this one left out: pid to (name, seconds)."""
    import os

    import psutil

    found = {}
    for process in psutil.process_iter(["pid", "name", "cpu_times"]):
        times = process.info["cpu_times"]
        if times is not None and process.info["pid"] != os.getpid():
            found[process.info["pid"]] = (process.info["name"], times.user + times.system)
    return found


def _busiest(
    before: dict[int, tuple[str, float]], after: dict[int, tuple[str, float]], seconds: float
) -> list[dict[str, Any]]:
    taken = [
        ((spent - before.get(pid, (name, spent))[1]) / seconds, pid, name)
        for pid, (name, spent) in after.items()
    ]
    busiest = sorted((entry for entry in taken if entry[0] >= OTHERS_CORES), reverse=True)
    return [{"pid": pid, "name": name, "cores": cores} for cores, pid, name in busiest]
