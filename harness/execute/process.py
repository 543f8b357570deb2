"""The parent's end of a worker process."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.execute.environment import worker_environment
from harness.execute.logs import StageLog
from harness.execute.memory import group_bytes, system_kills
from harness.process_groups import Group
from harness.stages.job import Job

#: seconds between two looks at a working stage's memory and log
WATCH_SECONDS = 1.0


class StageFailed(Exception):
    """A stage ended without a result; ``status`` is what the record shall say.

    Two are no record's: ``request``, where what was asked for has no meaning or is not there, and
    ``environment``, where a disk or the network is to blame and the same command goes on later.
    ``passing``: the cause can pass, so that another try is worth while. ``log_tail``: the last
    lines of the stage's own log.
    """

    def __init__(
        self, status: str, reason: str, *, passing: bool = False, log_tail: list[str] | None = None
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.passing = passing
        self.log_tail = log_tail or []

    @property
    def is_request(self) -> bool:
        """Before any training, it ends the command."""
        return self.status in ("request", "environment")


@dataclass(frozen=True)
class Bounds:
    """What a stage may take: wall-clock seconds and bytes of its process group."""

    seconds: float
    memory_bytes: int


@dataclass
class WorkerProcess:
    """A worker for one framework, started when first needed and again after it died."""

    framework: str
    threads: int
    gpu: str | None = None  # which one its ``cuda`` is; None: as the environment says
    memory_bytes: int = 0  # the most that the last stage was seen to hold
    _group: Group | None = field(default=None, repr=False)
    _answers: int = -1

    def call(
        self,
        stage: str,
        job: Job,
        progress: Callable[[str, float, float, str], None],
        log: Path,
        bounds: Bounds,
    ) -> dict[str, Any]:
        """Work one stage, whose output goes to ``log``; blocks until it is done.

        Raises `StageFailed`. After a crash, a time-out or too much memory the worker is gone, and
        the next call starts another.
        """
        printed = StageLog(log)
        kills = system_kills()
        group = self._started(log)
        request = {"stage": stage, "job": job.dumps(), "log": str(log)}
        try:
            assert group.process.stdin is not None
            group.process.stdin.write((json.dumps(request) + "\n").encode())
            group.process.stdin.flush()
            for event in self._events(group, stage, bounds, printed):
                if "progress" in event:
                    progress(*event["progress"])
                elif "done" in event:
                    done: dict[str, Any] = event["done"]
                    return done
                else:
                    raise StageFailed(
                        event["error"],
                        event["reason"],
                        passing=event.get("passing", False),
                        log_tail=printed.tail(),
                    )
        except BrokenPipeError:
            pass
        except StageFailed as failure:
            failure.log_tail = failure.log_tail or printed.tail()
            raise
        finally:
            printed.cut()
        code = group.gone()
        self._forget()
        raise died("worker", stage, code, system_kills() > kills, printed.tail())

    def close(self) -> None:
        """End the worker and whatever it started."""
        if self._group is not None:
            self._group.end()
            self._forget()

    def interrupt(self) -> None:
        """End the stage at work, from another thread, in which `call` then sees its process gone;
        its pipes are that thread's."""
        if (group := self._group) is not None:
            group.end()

    def _started(self, log: Path) -> Group:
        if self._group is not None:
            if self._group.process.poll() is None:
                return self._group
            self._group.gone()  # it was ended between two stages: no stage was lost
            self._forget()
        reader, writer = os.pipe()
        environment = worker_environment(self.threads)
        if self.gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpu
        try:
            with open(log, "ab") as output:
                self._group = Group(
                    [sys.executable, "-m", "harness.execute.worker", str(writer)],
                    environment=environment,
                    log=output,
                    stdin=subprocess.PIPE,
                    pass_fds=(writer,),
                )
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        self._answers = reader
        return self._group

    def _forget(self) -> None:
        group, self._group = self._group, None
        if group is not None and group.process.stdin is not None:
            with suppress(OSError):  # what was not flushed has no reader any more
                group.process.stdin.close()
        if self._answers >= 0:
            os.close(self._answers)
            self._answers = -1

    def _events(
        self, group: Group, stage: str, bounds: Bounds, printed: StageLog
    ) -> Iterator[dict[str, Any]]:
        """What the worker says, until it ends; `StageFailed` where a bound is passed."""
        deadline = time.monotonic() + bounds.seconds
        look = time.monotonic() + WATCH_SECONDS  # also while the worker tells of its progress
        self.memory_bytes = 0
        buffer = b""
        with _watched(group.pid, self._answers) as poll:
            while True:
                if time.monotonic() >= look:
                    self._watch_memory(group, stage, bounds)
                    printed.cut()
                    look = time.monotonic() + WATCH_SECONDS
                line, newline, rest = buffer.partition(b"\n")
                if newline:
                    buffer = rest
                    yield json.loads(line)
                    continue
                left = deadline - time.monotonic()
                if left <= 0:
                    self._end(group)
                    raise StageFailed("timeout", f"{stage} took longer than {bounds.seconds:g} s")
                wait = max(0.0, min(left, look - time.monotonic()))
                ready = {fd for fd, _ in poll.poll(1000 * wait)}
                if self._answers in ready:
                    chunk = os.read(self._answers, 1 << 16)
                    if not chunk:
                        return
                    buffer += chunk
                elif ready or group.process.poll() is not None:
                    return  # it is dead, though a child of it may hold the pipe open

    def _watch_memory(self, group: Group, stage: str, bounds: Bounds) -> None:
        held = group_bytes(group.pid, worth_counting=bounds.memory_bytes)
        self.memory_bytes = max(self.memory_bytes, held)
        if held > bounds.memory_bytes:
            self._end(group, politely=False)  # at once: the machine is in danger
            raise too_large(stage, held, bounds)

    def _end(self, group: Group, *, politely: bool = True) -> None:
        group.end(politely=politely)
        self._forget()


def too_large(stage: str, held: int, bounds: Bounds) -> StageFailed:
    """What a stage that holds so many bytes is recorded as."""
    return StageFailed(
        "oom",
        f"{stage} held {held / 1e9:.1f} GB of memory, over its limit of "
        f"{bounds.memory_bytes / 1e9:.1f} GB",
    )


class _watched:
    """A poll object on a pipe and, where the system has such, on a process's own descriptor."""

    def __init__(self, pid: int, pipe: int) -> None:
        self._poll = select.poll()
        self._poll.register(pipe, select.POLLIN)
        try:
            self._process = os.pidfd_open(pid)
            self._poll.register(self._process, select.POLLIN)
        except (AttributeError, OSError):
            self._process = -1

    def __enter__(self) -> select.poll:
        return self._poll

    def __exit__(self, *exc: object) -> None:
        if self._process >= 0:
            os.close(self._process)


def died(who: str, stage: str, code: int, system_killed: bool, tail: list[str]) -> StageFailed:
    """What a stage is recorded as whose process (``who`` of ours) ended with an exit status, or,
    where that is negative, by a signal.

    ``system_killed``: the kernel killed for want of memory meanwhile.
    """
    last = f": {said}" if (said := _last_word(tail)) else ""
    if code == -signal.SIGKILL:
        why = " for want of memory" if system_killed else ""
        return StageFailed(
            "oom" if system_killed else "failed",
            f"the {who} process was killed by the system{why} during {stage}{last}"[:500],
            passing=True,
            log_tail=tail,
        )
    if code < 0:
        name = signal.Signals(-code).name
        text = f"the {who} process was ended by {name} during {stage}{last}"
    else:
        text = f"the {who} process ended with exit status {code} during {stage}{last}"
    # asked to end from outside, as by what watches a machine's memory, or by a Slurm that ends a
    # job and may reach this process before the one that has to unwind: no fault of the model
    return StageFailed("failed", text[:500], passing=code == -signal.SIGTERM, log_tail=tail)


def _last_word(tail: Sequence[str]) -> str:
    """The last line of a log that is not Python's own account of where it crashed."""
    heads = [i for i, line in enumerate(tail) if line.startswith("Fatal Python error")]
    said = [line for line in tail[: heads[0] if heads else None] if line.strip()]
    return said[-1] if said else ""
