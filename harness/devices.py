"""Names of devices: ``cpu``; ``cuda``, a process's GPU; ``cuda:N``, the N-th that it sees; and in
suites ``auto``, ``cuda`` where there is a GPU and else ``cpu``."""

from __future__ import annotations

import re

#: what a suite may ask for, and how that is said
PATTERN = r"^(auto|cpu|cuda(:\d{1,4})?)$"
KNOWN = "auto, cpu, cuda, cuda:N"


def known(name: str) -> str:
    """The name; `ValueError` for one that no device has."""
    if not re.fullmatch(PATTERN, name):
        raise ValueError(f"no such device; known: {KNOWN}")
    return name


def is_gpu(device: str) -> bool:
    """Whether ``cpu``, ``cuda`` or ``cuda:N`` is a GPU."""
    return device.partition(":")[0] == "cuda"


def gpu_index(device: str) -> int | None:
    """The N of ``cuda:N``; None where no GPU is named."""
    number = device.partition(":")[2]
    return int(number) if number else None
