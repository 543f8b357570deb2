"""Energy: counters of recorded powercap trees, estimates that say so, honest absence."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.errors import RequestError
from harness.measure import energy
from harness.measure.energy import (
    Meter,
    RaplZone,
    energy_source,
    idle_watts,
    measured,
    plain_name,
    rapl_zones,
    table_watts,
)
from tests.recorded_host import write


def powercap(root: Path) -> Path:
    """Two packages, one with cores and memory; psys covers all of it once more."""
    names = {
        "intel-rapl:0": "package-0",
        "intel-rapl:0:0": "core",
        "intel-rapl:0:1": "dram",
        "intel-rapl:1": "package-1",
        "intel-rapl:2": "psys",
    }
    files = {}
    for zone, name in names.items():
        folder = f"sys/class/powercap/{zone}"
        files |= {
            f"{folder}/name": f"{name}\n",
            f"{folder}/energy_uj": "5000000\n",
            f"{folder}/max_energy_range_uj": "65000000\n",
        }
    return write(root, files)


def set_joules(root: Path, zone: str, joules: float) -> None:
    """As the kernel would: the whole number at once."""
    target = root / f"sys/class/powercap/{zone}/energy_uj"
    beside = target.with_suffix(".new")
    beside.write_text(f"{round(joules * 1e6)}\n")
    beside.replace(target)


def test_packages_and_memory_count_once(tmp_path: Path) -> None:
    zones = rapl_zones(powercap(tmp_path))
    assert [zone.name for zone in zones] == [
        "intel-rapl:0 package-0",
        "intel-rapl:0:1 dram",
        "intel-rapl:1 package-1",
    ]
    assert [zone.wraps_at for zone in zones] == [65.0] * 3


def test_a_counter_that_may_not_be_read_is_left_out(tmp_path: Path) -> None:
    powercap(tmp_path)
    broken = tmp_path / "sys/class/powercap/intel-rapl:1/energy_uj"
    broken.unlink()
    broken.mkdir()  # reading it fails, for root as well
    assert len(rapl_zones(tmp_path)) == 2


def test_a_counter_that_wraps_around_goes_on(tmp_path: Path) -> None:
    meter = Meter(rapl_zones(powercap(tmp_path)))
    set_joules(tmp_path, "intel-rapl:0", 64)  # 59 J
    assert meter.joules() == pytest.approx(59)
    set_joules(tmp_path, "intel-rapl:0", 2)  # to 65, and 2 on top: 3 J
    assert meter.joules() == pytest.approx(62)
    set_joules(tmp_path, "intel-rapl:1", 6)
    assert meter.joules() == pytest.approx(63)


@contextmanager
def drawing(root: Path, watts: Callable[[], float]) -> Iterator[None]:
    """A package whose counter grows with real time, at the power of the moment."""
    done = threading.Event()

    def grow() -> None:
        joules, last = 60.0, time.perf_counter()
        while not done.wait(0.002):
            now = time.perf_counter()
            joules, last = (joules + watts() * (now - last)) % 65.0, now
            set_joules(root, "intel-rapl:0", joules)

    set_joules(root, "intel-rapl:0", 60.0)
    thread = threading.Thread(target=grow)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_idle_power_is_taken_off(tmp_path: Path) -> None:
    power = [20.0]
    sources = rapl_zones(powercap(tmp_path))[:1]
    with drawing(tmp_path, lambda: power[0]), measured(sources, idle_seconds=0.3) as found:
        power[0] = 70.0
        time.sleep(0.5)
    assert found.idle_watts == pytest.approx(20, rel=0.2)
    assert found.joules is not None and found.total_joules is not None
    assert found.joules / found.seconds == pytest.approx(50, rel=0.2)
    assert found.total_joules > found.joules
    assert found.basis.startswith("counters (intel-rapl:0 package-0)")


def test_long_work_is_polled_so_that_no_turn_is_lost(tmp_path: Path) -> None:
    sources = rapl_zones(powercap(tmp_path))[:1]
    with drawing(tmp_path, lambda: 200.0):  # a turn of 65 J every 0.33 s
        watts = idle_watts(sources, 0.1)
        assert watts == pytest.approx(200, rel=0.3)
        with measured(sources, idle_seconds=0.0, poll_seconds=0.05) as found:
            time.sleep(1.0)
    assert found.total_joules is not None
    assert found.total_joules / found.seconds == pytest.approx(200, rel=0.2)


CPUINFO = (
    "processor\t: 0\nmodel name\t: {name}\nphysical id\t: 0\nflags\t\t: fpu {flags}\n\n"
    "processor\t: 1\nmodel name\t: {name}\nphysical id\t: 0\nflags\t\t: fpu {flags}\n"
)


def machine(root: Path, name: str, flags: str = "") -> Path:
    return write(root, {"proc/cpuinfo": CPUINFO.format(name=name, flags=flags)})


def test_without_counters_stated_watts_make_an_estimate_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_WATTS_PER_CORE", "10")
    source = energy_source("cpu", tmp_path)
    begin = time.process_time()
    with source.measured() as found:
        while time.process_time() - begin < 0.2:
            pass
    assert found.joules == pytest.approx(2.0, abs=0.5)
    assert found.basis == "estimated: CPU time of the process times 10 W a core"


@pytest.mark.parametrize("stated", ["ten", "0", "-3", "inf", "nan"])
def test_stated_watts_are_a_number(
    stated: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_WATTS_PER_CORE", stated)
    with pytest.raises(RequestError, match="HARNESS_WATTS_PER_CORE="):
        energy_source("cpu", tmp_path)


def test_without_anything_there_is_no_figure_but_a_reason(tmp_path: Path) -> None:
    source = energy_source("cpu", machine(tmp_path, "AMD EPYC", "hypervisor"))
    with source.measured() as found:
        pass
    assert (found.joules, found.basis) == (None, "unavailable")
    assert found.reason is not None and "virtual machine" in found.reason


def test_counters_go_before_estimates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_WATTS_PER_CORE", "10")
    source = energy_source("cpu", powercap(tmp_path))
    assert source.basis.startswith("counters") and source.watts_per_core is None


def test_a_gpu_is_never_estimated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(energy.gpu_state, "gpu_level", lambda index: None)
    monkeypatch.setenv("HARNESS_WATTS_PER_CORE", "10")
    source = energy_source("cuda", powercap(tmp_path))
    assert source.basis == "unavailable"


@dataclass(frozen=True)
class Unstable:
    name: str = "x"
    wraps_at: float | None = None

    def joules(self) -> float:
        return next(FALLING)


FALLING = iter([5.0, 3.0, 4.0])


def test_a_counter_that_was_reset_does_not_take_energy_back() -> None:
    meter = Meter([Unstable()])
    assert meter.joules() == 0.0
    assert meter.joules() == 1.0


@pytest.mark.parametrize(
    ("told", "plain"),
    [
        ("Intel(R) Xeon(R) Gold 6148 CPU @ 2.40GHz", "intel xeon gold 6148"),
        ("AMD EPYC 7763 64-Core Processor", "amd epyc 7763"),
    ],
)
def test_a_cpus_name_without_its_trimmings(told: str, plain: str) -> None:
    assert plain_name(told) == plain


def test_the_table_knows_a_cpu_by_its_exact_name_only(tmp_path: Path) -> None:
    pytest.importorskip("codecarbon", reason="extra `energy` is not installed")
    known = machine(tmp_path / "known", "AMD EPYC 7763 64-Core Processor")
    assert table_watts(known) == (280 / 2, "")  # 280 W (AMD's data sheet), two threads here
    watts, why_not = table_watts(machine(tmp_path / "other", "AMD EPYC"))
    assert watts is None and "does not know 'AMD EPYC'" in why_not


def test_zones_are_read_in_joules(tmp_path: Path) -> None:
    powercap(tmp_path)
    zone = RaplZone("a", tmp_path / "sys/class/powercap/intel-rapl:0", 65.0)
    assert zone.joules() == 5.0
