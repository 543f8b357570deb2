"""What machine this is: a timing without a statement about its host is no result."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

#: Distributions whose versions explain a difference between two measurements.
LIBRARIES = (
    "torch", "tensorflow", "keras", "keras-hub", "timm", "pillow", "transformers", "tokenizers",
    "safetensors",
    "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu", "scikit-learn", "scipy", "numpy",
)  # fmt: skip

#: ``git status`` on a large tree may be slow; a measurement does not wait longer for it.
_GIT_SECONDS = 10


def host_facts(
    threads: int, threads_observed: int | None = None, libraries: Iterable[str] = LIBRARIES
) -> dict[str, Any]:
    """``host.json``: hardware, software, load, and the state of the working folder's repository.

    ``threads`` is what was asked for. Memory is in GB (1e9 bytes), load the averages over 1, 5 and
    15 minutes. What cannot be read here is None.
    """
    hardware = hardware_facts()
    commit, dirty = git_state()
    return {
        "host_id": _digest(hardware),
        **{key: hardware[key] for key in ("cpu", "cores", "memory_gb", "gpu")},
        "architecture": hardware["architecture"],
        "os": platform.platform(),
        "python": platform.python_version(),
        "libraries": library_versions(libraries),
        "threads_asked": threads,
        "threads_observed": threads_observed,
        "load": load_average(),
        "git_commit": commit,
        "git_dirty": dirty,
    }


def host_id() -> str:
    """12 hex digits that name this hardware, whatever software runs on it."""
    return _digest(hardware_facts())


def has_gpu() -> bool:
    """True where the driver shows an NVIDIA GPU; no framework is imported for the answer."""
    return bool(gpus())


def hardware_facts() -> dict[str, Any]:
    """The part of the host that its id stands for: CPU, cores, memory and GPUs we may use."""
    return {
        "cpu": cpu_model(),
        "architecture": platform.machine(),
        "cores": available_cores(),
        "memory_gb": memory_gb(),
        "gpu": ", ".join(gpus()) or None,
    }


def _digest(hardware: dict[str, Any]) -> str:
    text = json.dumps(hardware, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The CPU's name as the system tells it."""
    try:
        for line in cpuinfo.read_text().splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    if platform.system() == "Darwin":
        name = _output("sysctl", "-n", "machdep.cpu.brand_string")
        if name:
            return name
    return platform.processor() or platform.machine() or "unknown"


def available_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores that this process may use: its affinity, or its cgroup's CPU quota if that is less."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        cores = os.cpu_count() or 1
    quota = _cpu_quota(cgroup)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def _cpu_quota(cgroup: Path) -> float | None:
    """CPUs allowed by cgroup v2's ``cpu.max`` or v1's CFS quota; None without a limit."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if quota in ("max", "-1"):
        return None
    return int(quota) / int(period)


def memory_gb(
    meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")
) -> float | None:
    """Memory that this process may use, in whole GB (1e9 bytes), so that a new kernel's small
    change of its own share does not make another host of this one."""
    sizes = []
    try:
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemTotal:"):
                sizes.append(int(line.split()[1]) * 1024)
    except OSError:
        try:
            sizes.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        except (AttributeError, ValueError, OSError):
            return None
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            sizes.append(int((cgroup / name).read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return float(round(min(sizes) / 1e9)) if sizes else None


def gpus() -> list[str]:
    """Name and memory, if it has its own, of every NVIDIA GPU, by the driver's own library; []
    where there is none.

    Needs the distribution ``nvidia-ml-py``, and respects ``CUDA_VISIBLE_DEVICES`` only so far as
    an empty or negative value hides all of them.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        return []
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        found = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            name = pynvml.nvmlDeviceGetName(handle)
            name = name.decode() if isinstance(name, bytes) else name
            try:
                total = pynvml.nvmlDeviceGetMemoryInfo(handle).total / 1e9
            except pynvml.NVMLError:  # a GPU that shares the CPU's memory (GB10) has none to tell
                found.append(str(name))
            else:
                found.append(f"{name} {total:.0f} GB")
        return found
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()


def library_versions(names: Iterable[str]) -> dict[str, str]:
    """Installed versions, without importing anything; missing distributions are left out."""
    versions = {}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def load_average() -> list[float] | None:
    """Runnable processes on average over 1, 5 and 15 minutes."""
    try:
        return [round(value, 2) for value in os.getloadavg()]
    except (AttributeError, OSError):
        return None


def git_state(folder: Path | None = None) -> tuple[str | None, bool | None]:
    """Commit and dirty flag of the repository round ``folder`` (default: the working folder)."""
    where = str(folder or Path.cwd())
    commit = _output("git", "-C", where, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return None, None
    changes = _output("git", "-C", where, "status", "--porcelain")
    return commit, None if changes is None else bool(changes)


def _output(*command: str) -> str | None:
    """What a command prints; None if it is not there or fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_GIT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
