"""What a machine has and what fits take of it: cores, memory, GPUs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.errors import RequestError
from harness.execute.base import Assignment
from harness.execute.memory import available_bytes
from harness.plan import Machine


@dataclass(frozen=True)
class Share:
    """What one assignment has been given."""

    cores: int
    bytes: int
    gpu: str | None


@dataclass
class Resources:
    """What is free. Not for several threads at once: its user holds a lock."""

    cores: int
    free_cores: int
    free_gpus: list[str] = field(default_factory=list)
    gpus: int = 0
    cpu_allowed: bool = True
    at_work: int = 0
    promised: int = 0  # bytes that are granted and may not yet be taken

    @classmethod
    def of(cls, machine: Machine, devices: Sequence[str]) -> Resources:
        """A machine's, or of them only the ``devices`` (``cpu``, ``cuda:0``, ...)."""
        there = gpu_indices() if machine.gpu else []
        for device in devices:
            if device != "cpu" and not re.fullmatch(r"cuda:\d+", device):
                raise RequestError(
                    f"--devices: {device!r} is no device; write cpu, cuda:0, cuda:1, ..."
                )
            if device != "cpu" and device.removeprefix("cuda:") not in there:
                has = ", ".join(["cpu", *(f"cuda:{i}" for i in there)])
                raise RequestError(f"--devices: there is no {device} here; there is {has}")
        wanted = [d.removeprefix("cuda:") for d in devices if d != "cpu"] if devices else there
        return cls(
            machine.cores, machine.cores, wanted, len(wanted), not devices or "cpu" in devices
        )

    def check(self, assignments: Sequence[Assignment]) -> None:
        """`RequestError` for work that has no device here."""
        for assignment in assignments:
            device = assignment.fit.spec["device"]
            if device == "cpu" and not self.cpu_allowed:
                raise RequestError(
                    f"--devices leaves out the cpu, which {assignment.fit.model.id} on "
                    f"{assignment.fit.task.id} needs; add cpu, or leave it out with --only"
                )

    def cores_of(self, assignment: Assignment) -> int:
        """A GPU's fit asks for all threads and needs few: the GPUs share the cores."""
        asked = int(assignment.fit.spec["threads"])
        if assignment.fit.spec["device"] == "cuda" and self.gpus:
            return min(asked, max(1, self.cores // self.gpus))
        return asked

    def at_a_time(self, assignments: Sequence[Assignment]) -> int:
        """How many of the smallest of these run at a time, memory aside."""
        smallest = min(self.cores_of(assignment) for assignment in assignments)
        return max(1, self.cores // smallest)

    def take(self, assignment: Assignment, expected_bytes: int) -> Share | None:
        """A share, if there is room for it; one alone is always let in."""
        cores = self.cores_of(assignment)
        on_gpu = assignment.fit.spec["device"] == "cuda" and self.gpus > 0
        if on_gpu and not self.free_gpus:
            return None
        if self.at_work and (
            cores > self.free_cores or expected_bytes + self.promised > available_bytes()
        ):
            return None
        self.free_cores -= cores
        self.at_work += 1
        self.promised += expected_bytes
        return Share(cores, expected_bytes, self.free_gpus.pop(0) if on_gpu else None)

    def give_back(self, share: Share) -> None:
        self.free_cores += share.cores
        self.at_work -= 1
        self.promised -= share.bytes
        if share.gpu is not None:
            self.free_gpus.append(share.gpu)


def gpu_indices() -> list[str]:
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` would name them."""
    import os

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [part.strip() for part in visible.split(",") if part.strip()]
    try:
        import pynvml

        pynvml.nvmlInit()
        return [str(i) for i in range(pynvml.nvmlDeviceGetCount())]
    except Exception:  # no driver library, or no driver: the one that there is
        return ["0"]
