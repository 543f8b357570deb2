"""Energy in joules: from hardware counters, else estimated and called so, else `unavailable`.

Counters only grow, so two readings suffice and nobody polls beside the work. What the host draws
when idle is measured first and taken off. Neither of two libraries that were looked at measures
here: zeus (0.16) polls each RAPL counter ten times a second from a process of its own, and
codecarbon (3.3) runs a thread, asks where it is, and falls back to a table of CPUs by likeness of
their names, or to 4 W a core. That table is good, and the extra ``energy`` brings it: an *exact*
name on a machine that is no virtual one yields an estimate. The environment variable
``HARNESS_WATTS_PER_CORE`` states the host's instead.
"""

from __future__ import annotations

import csv
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from harness.devices import gpu_index, is_gpu
from harness.errors import RequestError
from harness.measure import gpu_state
from harness.measure.host_state import ROOT

#: Seconds over which the idle power is measured. RAPL's counters move every millisecond, NVML's
#: every 20 to 100: a second holds enough steps for both.
IDLE_SECONDS = 1.0
#: A RAPL counter of 2^32 units of 15.3 microjoules wraps after 65.5 kJ; within 20 s only a package
#: of 3.3 kW does that twice.
POLL_SECONDS = 20.0

UNAVAILABLE = "unavailable"

#: a fact of the machine, as its owner knows it: no suite can
WATTS_VARIABLE = "HARNESS_WATTS_PER_CORE"


class Counter(Protocol):
    """Joules since some moment."""

    @property
    def name(self) -> str: ...

    def joules(self) -> float: ...

    @property
    def wraps_at(self) -> float | None:
        """Joules after which it begins anew; None if it does not."""


@dataclass(frozen=True)
class RaplZone:
    """One powercap zone of a CPU package or of its memory."""

    name: str
    folder: Path
    wraps_at: float | None

    def joules(self) -> float:
        return int((self.folder / "energy_uj").read_text()) / 1e6


@dataclass(frozen=True)
class GpuCounter:
    """The whole card's energy, as NVML counts it (Volta and later)."""

    name: str
    ordinal: int  # of ``cuda:ordinal`` in this process
    wraps_at: float | None = None

    def joules(self) -> float:
        level = gpu_state.gpu_level(self.ordinal)
        if level is None or level.energy_j is None:
            raise OSError(f"{self.name} does not tell its energy any more")
        return level.energy_j


def rapl_zones(root: Path = ROOT) -> list[RaplZone]:
    """Packages and memories whose counters can be read (since 2020 by root alone, unless changed).

    Zones of cores and graphics are parts of their package, ``psys`` covers everything again: they
    would be counted twice.
    """
    zones = []
    for folder in sorted((root / "sys/class/powercap").glob("*-rapl:*")):
        try:
            name = (folder / "name").read_text().strip()
            if not name.startswith(("package", "dram")):
                continue
            limit = int((folder / "max_energy_range_uj").read_text()) / 1e6
            zone = RaplZone(f"{folder.name} {name}", folder, limit)
            zone.joules()
        except (OSError, ValueError):
            continue
        zones.append(zone)
    return zones


def counters(device: str = "cpu", root: Path = ROOT) -> list[Counter]:
    """The counters that cover a device: the CPU's always, the GPU's where it computes."""
    found: list[Counter] = list(rapl_zones(root))
    if is_gpu(device):
        ordinal = gpu_index(device) or 0
        level = gpu_state.gpu_level(ordinal)
        if level is not None and level.energy_j is not None:
            found.append(GpuCounter(f"NVML GPU {gpu_state.visible_device(ordinal)}", ordinal))
    return found


class Meter:
    """Adds up what counters rise by, over their wrapping around."""

    def __init__(self, sources: Sequence[Counter]) -> None:
        self._sources = sources
        self._last = [source.joules() for source in sources]
        self._total = 0.0

    def joules(self) -> float:
        """Since the meter was made. To be asked before any counter can wrap around twice."""
        for position, source in enumerate(self._sources):
            now = source.joules()
            rise = now - self._last[position]
            if rise < 0 and source.wraps_at is not None:
                rise += source.wraps_at
            self._total += max(0.0, rise)
            self._last[position] = now
        return self._total


@dataclass
class Energy:
    """What was used, with where the figure comes from: ``counters``, ``estimated``, or nothing."""

    joules: float | None = None  # idle taken off
    basis: str = UNAVAILABLE
    reason: str | None = None  # where it is None
    seconds: float = 0.0
    idle_watts: float | None = None
    total_joules: float | None = None  # idle included

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def idle_watts(sources: Sequence[Counter], seconds: float = IDLE_SECONDS) -> float:
    """Power of the host while this process sleeps, its neighbours' work included."""
    meter, start = Meter(sources), time.perf_counter()
    time.sleep(seconds)
    return meter.joules() / (time.perf_counter() - start)


@contextmanager
def measured(
    sources: Sequence[Counter],
    *,
    watts_per_core: float | None = None,
    why_not: str = "",
    idle_seconds: float = IDLE_SECONDS,
    poll_seconds: float | None = None,
) -> Iterator[Energy]:
    """Fills an `Energy` over the body of a ``with``.

    With ``sources`` it is their rise less the idle power; else, with ``watts_per_core``, this
    process's CPU time times that: an estimate, which leaves memory and idleness out. Long bodies
    give ``poll_seconds`` (`POLL_SECONDS`), so that a counter cannot wrap around unseen.
    """
    energy = Energy()
    if not sources:
        start, cpu = time.perf_counter(), time.process_time()
        yield energy
        energy.seconds = time.perf_counter() - start
        if watts_per_core is None:
            energy.reason = why_not or "no counter is readable"
            return
        energy.joules = (time.process_time() - cpu) * watts_per_core
        energy.basis = f"estimated: CPU time of the process times {watts_per_core:.3g} W a core"
        return
    energy.idle_watts = idle_watts(sources, idle_seconds)
    meter, start = Meter(sources), time.perf_counter()
    with _polled(meter, poll_seconds) as read:
        yield energy
        total = read()
    energy.seconds = time.perf_counter() - start
    energy.total_joules = total
    energy.joules = max(0.0, total - energy.idle_watts * energy.seconds)
    names = ", ".join(source.name for source in sources)
    energy.basis = f"counters ({names}) of the whole host, idle power taken off"


@contextmanager
def _polled(meter: Meter, seconds: float | None) -> Iterator[Callable[[], float]]:
    """The meter's reading, asked every ``seconds`` by a thread meanwhile (None: by nobody)."""
    lock, done = threading.Lock(), threading.Event()

    def read() -> float:
        with lock:
            return meter.joules()

    def poll() -> None:
        while not done.wait(seconds):
            read()

    thread = threading.Thread(target=poll, daemon=True) if seconds is not None else None
    if thread:
        thread.start()
    try:
        yield read
    finally:
        done.set()
        if thread:
            thread.join()


@dataclass(frozen=True)
class Source:
    """How this host's energy can be had: by counters, or by watts a core, or why not at all."""

    sources: list[Counter]
    watts_per_core: float | None
    why_not: str

    @property
    def basis(self) -> str:
        if self.sources:
            return "counters: " + ", ".join(source.name for source in self.sources)
        if self.watts_per_core is not None:
            return f"estimated, {self.watts_per_core:.3g} W a core"
        return UNAVAILABLE

    @contextmanager
    def measured(self, poll_seconds: float | None = None) -> Iterator[Energy]:
        with measured(
            self.sources,
            watts_per_core=self.watts_per_core,
            why_not=self.why_not,
            poll_seconds=poll_seconds,
        ) as energy:
            yield energy


def energy_source(device: str = "cpu", root: Path = ROOT) -> Source:
    """The best there is for a device: counters, then watts that were stated, then the table.

    Raises `RequestError` where `WATTS_VARIABLE` holds no number above zero.

    A GPU's energy is never estimated: its power swings too widely for a figure on paper.
    """
    found = counters(device, root)
    on_gpu = is_gpu(device)
    if found and (not on_gpu or any(isinstance(c, GpuCounter) for c in found)):
        return Source(found, None, "")
    if on_gpu:
        return Source([], None, "NVML tells no energy of this GPU")
    stated = os.environ.get(WATTS_VARIABLE)
    if stated:
        return Source([], _stated_watts(stated), "")
    watts, why_not = table_watts(root)
    return Source([], watts, f"no RAPL counter is readable; {why_not}")


def _stated_watts(text: str) -> float:
    try:
        watts = float(text)
    except ValueError:
        watts = 0.0
    if not 0 < watts < float("inf"):
        raise RequestError(f"{WATTS_VARIABLE}={text!r}: give watts a core, such as 8.5")
    return watts


def table_watts(root: Path = ROOT) -> tuple[float | None, str]:
    """Design power by hardware thread, from codecarbon's table: (watts, why there are none).

    Only where /proc/cpuinfo shows the whole CPU: a virtual machine sees a few threads of a package,
    and its share of the package's power cannot be known.
    """
    try:
        text = (root / "proc/cpuinfo").read_text()
    except OSError:
        return None, "the CPU is not told"
    lines = [line.partition(":") for line in text.splitlines()]
    values = [(key.strip(), value.strip()) for key, _, value in lines]
    name = next((value for key, value in values if key == "model name"), "")
    if any(key == "flags" and "hypervisor" in value.split() for key, value in values):
        return None, "in a virtual machine the CPU's power on paper says nothing of our share"
    table = _table()
    if table is None:
        return None, "the table of CPUs is not installed (extra `energy`)"
    watts = table.get(plain_name(name))
    if watts is None:
        return None, f"the table of CPUs does not know {name!r}"
    packages = len({value for key, value in values if key == "physical id"}) or 1
    threads = sum(key == "processor" for key, _ in values)
    return watts * packages / max(1, threads), ""


def plain_name(name: str) -> str:
    """A CPU's name without trademarks, clock and filling words, as tables list it."""
    for noise in ("(R)", "(TM)", "(r)", "(tm)", " CPU", " Processor"):
        name = name.replace(noise, "")
    words = name.partition("@")[0].split()
    return " ".join(w for w in words if not w.endswith("-Core")).lower()


def _table() -> dict[str, float] | None:
    """Names to watts; read as a file, since importing codecarbon looks for GPUs and prints."""
    found = find_spec("codecarbon")
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent / "data/hardware/cpu_power.csv"
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = [(row["Name"], row["TDP"]) for row in csv.DictReader(file)]
    except (OSError, KeyError):
        return None
    return {plain_name(name): float(watts) for name, watts in rows if _is_number(watts)}


def _is_number(text: str | None) -> bool:
    return text is not None and text.replace(".", "", 1).isdigit()
