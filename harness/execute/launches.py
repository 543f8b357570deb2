"""Launches: fresh processes that time one run each, while this one waits, blocked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from harness.execute.environment import thread_environment
from harness.execute.logs import StageLog
from harness.execute.memory import group_bytes, limit_bytes, resident_bytes, system_kills
from harness.execute.process import (
    WATCH_SECONDS,
    Bounds,
    StageFailed,
    died,
    too_large,
)
from harness.execute.worker import says_out_of_memory
from harness.measure.launch import DEFAULT_SCENARIOS, TIMING_VERSION, UNSUPPORTED
from harness.measure.waiting import wait
from harness.process_groups import Group
from harness.records.files import read_json, write_json
from harness.records.store import Store
from harness.stages.job import Job
from harness.suite import Timing

#: A fresh timing process that takes longer than this hangs; the limits inside are far lower.
TIMEOUT_SECONDS = 900

#: Launches an arm for a comparison of two: with six, equal things still differ by more than 1% in
#: 64% of cases (36 launches of one loop, medians' coefficient of variation 3.3%), so no fewer.
COMPARED_LAUNCHES = 6


@dataclass(frozen=True)
class Interpreter:
    """Which Python measures, and what it sees: by default this one."""

    python: str = sys.executable
    #: a source tree whose harness (and plug-ins) go before the installed ones, run from there
    tree: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def sees(self, environment: Mapping[str, str]) -> dict[str, str]:
        """``environment`` with the tree in front and this one's own variables."""
        found = dict(environment)
        if self.tree is not None:
            paths = (str(self.tree.resolve()), found.get("PYTHONPATH", ""))
            found["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        return found | dict(self.environment)


OURS = Interpreter()


def usual_bounds() -> Bounds:
    """Where no suite says how much time and memory a launch may take."""
    return Bounds(TIMEOUT_SECONDS, limit_bytes(None))


def next_measurement(store: Store, run_id: str, host_id: str) -> Path:
    """The folder of a run's next measurement on a host; one that was cut off is begun anew."""
    folder = store.run(run_id) / "measurements"
    complete = {m.name for m in store.measurements(run_id, host_id)}
    taken = {int(name.rsplit("-", 1)[1]) for name in complete}
    number = next(n for n in count(1) if n not in taken)
    target = folder / f"{host_id}-{number}"
    if target.exists():
        shutil.rmtree(target)
    return target


def is_current(measurement: Path) -> bool:
    """False for a timing whose keys meant something else, or of other scenarios than suites
    measure; a failed launch is current."""
    timing = read_json(measurement / "timing.json")
    if timing is None:
        return True
    whole = set(DEFAULT_SCENARIOS) <= set(timing.get("scenarios", DEFAULT_SCENARIOS))
    return whole and timing.get("timing_version", 1) == TIMING_VERSION


def time_run(
    job: Job,
    runtime: str,
    timing: Timing,
    target: Path,
    log_path: Path,
    gpu: str | None,
    bounds: Bounds,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """One fresh process that times one run into ``target``; the content of its ``timing.json``.

    ``gpu`` is the index of the GPU that ``cuda`` means; ``stopped`` as of `launch`. Raises
    `StageFailed`.
    """
    spec = specification(
        runtime=runtime,
        artifact=job.artifact,
        exports=job.exports,
        inputs=job.timing_inputs,
        device=job.run["device"],
        threads=job.run["threads"],
        timing=timing,
        seed=job.spec["seed"],
        remote_code=job.runs_remote_code,
    )
    order = job.fit_folder / "launch.json"
    return launch(spec, order, target, log_path, gpu, bounds, stopped=stopped)


def specification(
    *,
    runtime: str,
    artifact: Path,
    exports: Path,
    inputs: Path,
    device: str,
    threads: int,
    timing: Timing,
    seed: int,
    scenarios: Sequence[str] | None = None,
    remote_code: bool = False,
) -> dict[str, Any]:
    """What `harness.measure.launch` reads: one measurement of one artifact in one runtime."""
    spec: dict[str, Any] = {
        "runtime": runtime,
        "artifact": str(artifact),
        "exports": str(exports),
        "device": device,
        "threads": threads,
        "inputs": str(inputs),
        "timing": timing.model_dump(),
        "seed": seed,
        "remote_code": remote_code,
    }
    if scenarios:
        spec["scenarios"] = list(scenarios)
    return spec


def _environment(spec: dict[str, Any], gpu: str | None) -> dict[str, str]:
    environment = thread_environment(spec["threads"])
    return environment if gpu is None else environment | {"CUDA_VISIBLE_DEVICES": gpu}


@contextmanager
def _process(
    command: Sequence[str], environment: Mapping[str, str], folder: Path | None, log: BinaryIO
) -> Iterator[subprocess.Popen[Any]]:
    """A command in a process group of its own, which no end of the block outlives."""
    group = Group(command, environment=environment, log=log, folder=folder)
    try:
        yield group.process
    except subprocess.TimeoutExpired:
        group.end()
        raise
    except BaseException:
        group.end(politely=False)
        raise
    group.gone()


def launch(
    spec: dict[str, Any],
    order: Path,
    target: Path,
    log_path: Path,
    gpu: str | None = None,
    bounds: Bounds | None = None,
    interpreter: Interpreter = OURS,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Start one measuring process and wait for it, blocked; the content of its ``timing.json``.

    ``order``: where the specification is handed over; ``target``: the folder that gets the records.
    Raises `StageFailed`; ``KeyboardInterrupt`` within `WATCH_SECONDS` of ``stopped``, for which
    another thread's error is a reason.
    """
    bounds = bounds or usual_bounds()
    printed = StageLog(log_path)
    kills = system_kills()
    # last, so that the cold start does not hold our own preparations
    write_json(order, spec | {"started_ns": time.monotonic_ns()})
    paths = (str(order.resolve()), str(target.resolve()))  # it may run in another folder
    command = [interpreter.python, "-m", "harness.measure.launch", *paths]
    environment = interpreter.sees(_environment(spec, gpu))
    try:
        with (
            open(log_path, "ab") as log,
            _process(command, environment, interpreter.tree, log) as process,
        ):
            code = _wait_within(process, bounds, printed, stopped)
    except subprocess.TimeoutExpired:
        reason = f"timing took longer than {bounds.seconds:g} s"
        raise StageFailed("timeout", reason, log_tail=printed.tail()) from None
    finally:
        printed.cut()
    facts = read_json(target / "timing.json")
    if code or facts is None:
        tail = printed.tail()
        reason = f"timing ended with exit status {code}: {' '.join(tail[-1:])}"
        if "No space left on device" in reason:
            raise StageFailed("environment", f"{reason}; make room and run the same command again")
        if code < 0:
            raise died("timing", "timing", code, system_kills() > kills, tail)
        failed = "oom" if says_out_of_memory(reason) else "failed"
        raise StageFailed("unsupported" if code == UNSUPPORTED else failed, reason, log_tail=tail)
    return facts


def _wait_within(
    process: subprocess.Popen[Any],
    bounds: Bounds,
    printed: StageLog,
    stopped: Callable[[], bool],
) -> int:
    """Its exit status; ``subprocess.TimeoutExpired``, or `StageFailed` for too much memory.

    Blocked, for a parent that polls disturbs, but for one look a second at counters; pages are
    walked only where those are past the limit.
    """
    deadline = time.monotonic() + bounds.seconds
    while True:
        left = deadline - time.monotonic()
        try:
            return wait(process, max(0.0, min(left, WATCH_SECONDS)))
        except subprocess.TimeoutExpired:
            if left <= WATCH_SECONDS:
                raise
        if stopped():
            raise KeyboardInterrupt
        printed.cut()
        if resident_bytes(process.pid) > bounds.memory_bytes:
            held = group_bytes(process.pid, worth_counting=bounds.memory_bytes)
            if held > bounds.memory_bytes:
                raise too_large("timing", held, bounds)


def few_launches(launches: int) -> str | None:
    """What to say of a comparison with so few launches an arm; None: they are enough."""
    if launches >= COMPARED_LAUNCHES:
        return None
    return (
        f"{launches} launches an arm are fewer than {COMPARED_LAUNCHES}: with {COMPARED_LAUNCHES}, "
        "two equal things still differ by over 1% more often than not"
    )
