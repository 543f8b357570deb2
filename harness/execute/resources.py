"""What a machine has and what fits take of it: cores, memory, GPUs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.devices import gpu_index, is_gpu
from harness.errors import RequestError
from harness.execute.base import Assignment
from harness.execute.memory import available_bytes
from harness.plan import Machine


@dataclass(frozen=True)
class Share:
    """What one assignment has been given."""

    cores: int
    bytes: int
    gpu: str | None  # what its ``cuda`` is; None for the CPU's, and where it names one itself
    held: str | None  # the GPU that no other has meanwhile


@dataclass
class Resources:
    """What is free. Not for several threads at once: its user holds a lock."""

    cores: int
    free_cores: int
    free_gpus: list[str] = field(default_factory=list)
    gpus: int = 0
    visible: tuple[str, ...] = ()  # all GPUs here, in CUDA's order: ``cuda:N`` is the N-th
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
            machine.cores, machine.cores, wanted, len(wanted), tuple(there),
            not devices or "cpu" in devices,
        )  # fmt: skip

    def check(self, assignments: Sequence[Assignment]) -> None:
        """`RequestError` for work that has no device here."""
        for assignment in assignments:
            device = assignment.fit.spec["device"]
            index = gpu_index(device)
            left_out = device == "cpu" and not self.cpu_allowed
            if index is not None and index < len(self.visible):
                left_out = self.visible[index] not in self.free_gpus
            if left_out:
                raise RequestError(
                    f"--devices leaves out {device}, which {assignment.fit.model.id} on "
                    f"{assignment.fit.task.id} needs; add {device}, or leave it out with --only"
                )

    def cores_of(self, assignment: Assignment) -> int:
        """A GPU's fit asks for all threads and needs few: the GPUs share the cores."""
        asked = int(assignment.fit.spec["threads"])
        if is_gpu(assignment.fit.spec["device"]) and self.gpus:
            return min(asked, max(1, self.cores // self.gpus))
        return asked

    def at_a_time(self, assignments: Sequence[Assignment]) -> int:
        """How many of the smallest of these run at a time, memory aside."""
        smallest = min(self.cores_of(assignment) for assignment in assignments)
        return max(1, self.cores // smallest)

    def take(self, assignment: Assignment, expected_bytes: int) -> Share | None:
        """A share, if there is room for it; one alone is always let in."""
        cores = self.cores_of(assignment)
        device = assignment.fit.spec["device"]
        candidates = self._gpus_for(device)
        free = [gpu for gpu in self.free_gpus if gpu in candidates]
        if candidates and not free:
            return None
        if self.at_work and (
            cores > self.free_cores or expected_bytes + self.promised > available_bytes()
        ):
            return None
        self.free_cores -= cores
        self.at_work += 1
        self.promised += expected_bytes
        held = free[0] if free else None
        if held is not None:
            self.free_gpus.remove(held)
        return Share(cores, expected_bytes, held if gpu_index(device) is None else None, held)

    def _gpus_for(self, device: str) -> tuple[str, ...]:
        """Those that a device may be; none for the CPU, and for what is not there."""
        index = gpu_index(device)
        if not is_gpu(device) or not self.gpus:
            return ()
        return self.visible if index is None else self.visible[index : index + 1]

    def give_back(self, share: Share) -> None:
        self.free_cores += share.cores
        self.at_work -= 1
        self.promised -= share.bytes
        if share.held is not None:
            self.free_gpus.append(share.held)


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
