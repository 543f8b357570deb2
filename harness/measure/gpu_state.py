"""What an NVIDIA GPU tells of itself through its driver's library (``nvidia-ml-py``).

Nothing here imports a framework. Where the library, the driver or the GPU is missing, `gpu_level`
is None; a single reading that a card does not give is None as well.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

#: Bits of NVML's ``nvmlClocksEventReasons`` that mean: slower than its clocks allow. (Idle,
#: application clocks and display settings are not.)
SLOWDOWNS = {
    0x0000000000000004: "power cap",
    0x0000000000000008: "hardware slowdown",
    0x0000000000000010: "sync boost",
    0x0000000000000020: "software thermal slowdown",
    0x0000000000000040: "hardware thermal slowdown",
    0x0000000000000080: "hardware power brake",
}
#: Of these: told, and nobody's disturbance. Many cards (L4, T4, a laptop's) work at their power cap
#: under any steady load, and so they will for a user.
OWN_LIMITS = {"power cap"}


@dataclass(frozen=True)
class GpuLevel:
    """One GPU now."""

    clock_mhz: float | None  # of the multiprocessors
    memory_clock_mhz: float | None
    temperature_c: float | None
    power_w: float | None
    energy_j: float | None  # since the driver was loaded (Volta and later)
    utilisation: float | None  # share of the last moments in which some kernel ran
    slowdowns: list[str] | None  # names of `SLOWDOWNS` that hold now
    memory_used_mb: float | None  # by all processes


@contextmanager
def library() -> Iterator[Any | None]:
    """``pynvml``, initialised; None where there is no library or no driver."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no module, no shared library, no driver: each has an exception of its own
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def visible_device(ordinal: int) -> int | str | None:
    """What this process's ``cuda:ordinal`` is to NVML, which does not heed CUDA_VISIBLE_DEVICES: a
    number in the driver's order, or the beginning of a UUID; None where it is hidden.

    Numbers mean that order under ``CUDA_DEVICE_ORDER=PCI_BUS_ID``, which our processes run with.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return ordinal
    devices: list[int | str] = []
    for entry in map(str.strip, visible.split(",")):
        if entry.isdecimal():
            devices.append(int(entry))
        elif entry.startswith(("GPU-", "MIG-")):
            devices.append(entry)
        else:  # CUDA heeds what stands before an entry that names no device
            break
    return devices[ordinal] if ordinal < len(devices) else None


def gpu_level(ordinal: int = 0) -> GpuLevel | None:
    """This process's ``cuda:ordinal``; None where there is none to ask."""
    with library() as nvml:
        if nvml is None:
            return None
        try:
            handle = open_device(nvml, visible_device(ordinal))
        except nvml.NVMLError:
            return None
        return None if handle is None else read_level(nvml, handle)


def open_device(nvml: Any, device: int | str | None) -> Any | None:
    """NVML's handle of a `visible_device`; None where there is none of that UUID. Raises NVML's
    errors."""
    if isinstance(device, int):
        return nvml.nvmlDeviceGetHandleByIndex(device)
    if device is None or device.startswith("MIG-"):
        return device and nvml.nvmlDeviceGetHandleByUUID(device)
    for number in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(number)
        uuid = nvml.nvmlDeviceGetUUID(handle)
        if (uuid.decode() if isinstance(uuid, bytes) else uuid).startswith(device):
            return handle
    return None


def read_level(nvml: Any, handle: Any) -> GpuLevel:
    """All readings of an open device."""

    def ask(question: Callable[[], Any]) -> Any:
        try:
            return question()
        except (nvml.NVMLError, AttributeError):  # AttributeError: an older nvidia-ml-py
            return None

    power = ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle))  # mW
    energy = ask(lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle))  # mJ
    used = ask(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu)  # percent
    reasons = ask(lambda: nvml.nvmlDeviceGetCurrentClocksEventReasons(handle))
    if reasons is None:  # its name before driver 535
        reasons = ask(lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))
    memory = ask(lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used)
    return GpuLevel(
        clock_mhz=ask(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
        memory_clock_mhz=ask(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM)),
        temperature_c=ask(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
        power_w=None if power is None else power / 1e3,
        energy_j=None if energy is None else energy / 1e3,
        utilisation=None if used is None else used / 100,
        slowdowns=None if reasons is None else slowdowns(reasons),
        memory_used_mb=None if memory is None else memory / 1e6,
    )


def slowdowns(reasons: int) -> list[str]:
    """Names of the reasons for slower clocks in NVML's bit mask."""
    return [name for bit, name in SLOWDOWNS.items() if reasons & bit]


def process_memory_mb(pid: int) -> float | None:
    """GPU memory of one process, over all GPUs; None where the driver does not tell it."""
    with library() as nvml:
        if nvml is None:
            return None
        total, seen = 0.0, False
        try:
            for index in range(nvml.nvmlDeviceGetCount()):
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle):
                    if process.pid == pid and process.usedGpuMemory is not None:
                        total, seen = total + process.usedGpuMemory / 1e6, True
        except nvml.NVMLError:
            return None
        return total if seen else None
