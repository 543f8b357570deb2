"""Readers of the host's counters and gauges, on recorded trees and on this machine."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from harness.measure import gpu_state
from harness.measure.host_state import (
    Counters,
    Levels,
    involuntary_switches,
    processor_times,
    read_counters,
    read_levels,
    sources,
    throttled_seconds,
)
from tests.recorded_host import tree, write


def test_a_recorded_host_is_read_in_seconds(tmp_path: Path) -> None:
    tree(tmp_path, user=1000, idle=5000, steal=30, own=100, throttled_usec=2_500_000,
         waiting_ns=7_000_000_000)  # fmt: skip
    assert read_counters(tmp_path) == Counters(10.0, 50.0, 0.3, 1.0, 13, 2.5, 7.0)
    assert read_levels(tmp_path) == Levels(1.5, [2400.0, 800.0], 55.5)
    assert all(sources(tmp_path).values())


def test_what_a_host_does_not_tell_is_none_and_never_zero(tmp_path: Path) -> None:
    assert read_counters(tmp_path) == Counters(*[None] * 7)
    assert read_levels(tmp_path) == Levels(None, None, None)
    assert not any(sources(tmp_path).values())


def test_waiting_for_disks_is_idle_and_interrupts_are_busy(tmp_path: Path) -> None:
    write(tmp_path, {"proc/stat": "cpu  100 20 30 4000 500 6 7 800 99 0\n"})
    assert processor_times(tmp_path) == (1.63, 45.0, 8.0)


@pytest.mark.parametrize(
    ("cgroup", "stat"),
    [
        ("4:memory:/a\n1:cpu,cpuacct:/a\n", "sys/fs/cgroup/cpu,cpuacct/a/cpu.stat"),
        ("1:cpu:/a\n0::/\n", "sys/fs/cgroup/cpu/a/cpu.stat"),
        ("1:cpu:/not/mounted/here\n", "sys/fs/cgroup/cpu/cpu.stat"),
    ],
)
def test_throttling_in_cgroup_v1_is_nanoseconds(tmp_path: Path, cgroup: str, stat: str) -> None:
    write(tmp_path, {"proc/self/cgroup": cgroup, stat: "nr_periods 9\nthrottled_time 1500000000\n"})
    assert throttled_seconds(tmp_path) == 1.5


def test_inside_a_container_the_mounted_root_is_the_group(tmp_path: Path) -> None:
    write(tmp_path, {"proc/self/cgroup": "0::/../../outside\n",
                     "sys/fs/cgroup/cpu.stat": "throttled_usec 250000\n"})  # fmt: skip
    assert throttled_seconds(tmp_path) == 0.25


@pytest.mark.skipif(involuntary_switches() is None, reason="no /proc here")
def test_the_switches_of_all_threads_of_this_process_are_counted() -> None:
    stop = threading.Event()
    others = [threading.Thread(target=stop.wait) for _ in range(3)]
    for other in others:
        other.start()
    tasks = list(Path("/proc/self/task").iterdir())
    counted = involuntary_switches()
    stop.set()
    for other in others:
        other.join()
    assert len(tasks) >= 4
    assert counted is not None and counted >= 0


def test_nvml_reasons_for_slow_clocks_have_names_and_idleness_is_none() -> None:
    assert gpu_state.slowdowns(0x1) == []  # idle
    assert gpu_state.slowdowns(0x4 | 0x40) == ["power cap", "hardware thermal slowdown"]


class RecordedNvml:
    """NVML's answers of a card that reports no energy, as an older driver gives them."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    class NVMLError(Exception):
        pass

    def nvmlDeviceGetClockInfo(self, handle: object, kind: int) -> int:
        return {1: 1410, 2: 1593}[kind]

    def nvmlDeviceGetTemperature(self, handle: object, kind: int) -> int:
        return 61

    def nvmlDeviceGetPowerUsage(self, handle: object) -> int:
        return 250_500

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: object) -> int:
        raise self.NVMLError("Not Supported")

    def nvmlDeviceGetUtilizationRates(self, handle: object) -> object:
        return type("Rates", (), {"gpu": 40})

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: object) -> int:
        return 0x20

    def nvmlDeviceGetMemoryInfo(self, handle: object) -> object:
        return type("Memory", (), {"used": 2_000_000_000})


def test_a_gpu_is_read_in_watts_and_what_it_does_not_tell_is_none() -> None:
    level = gpu_state.read_level(RecordedNvml(), object())
    assert level == gpu_state.GpuLevel(
        clock_mhz=1410, memory_clock_mhz=1593, temperature_c=61, power_w=250.5, energy_j=None,
        utilisation=0.4, slowdowns=["software thermal slowdown"], memory_used_mb=2000.0,
    )  # fmt: skip


class TwoGpus(RecordedNvml):
    """Handles are the numbers of the cards in the driver's order."""

    UUIDS = ("GPU-aa11", "GPU-bb22")

    def nvmlDeviceGetCount(self) -> int:
        return len(self.UUIDS)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> bytes:
        return self.UUIDS[handle].encode()


@pytest.mark.parametrize(
    ("visible", "ordinal", "card"),
    [
        (None, 0, 0), (None, 1, 1), ("1", 0, 1), ("1,0", 0, 1), ("1,0", 1, 0), ("1", 1, None),
        ("", 0, None), ("-1", 0, None), ("1,-1,0", 1, None), ("GPU-bb", 0, 1),
        (" GPU-bb22 , 0", 1, 0), ("GPU-cc", 0, None),
    ],
)  # fmt: skip
def test_the_gpu_that_is_asked_is_the_one_that_cuda_shows_us(
    visible: str | None, ordinal: int, card: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = gpu_state.visible_device(ordinal)
    assert gpu_state.open_device(TwoGpus(), found) == card
