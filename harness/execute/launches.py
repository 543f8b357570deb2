"""Launches: fresh processes that time one run each, while this one waits, blocked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from harness.execute.environment import thread_environment
from harness.execute.process import StageFailed
from harness.measure.launch import UNSUPPORTED
from harness.measure.waiting import wait
from harness.records.files import read_json, write_json
from harness.records.store import Store
from harness.stages.job import Job
from harness.suite import Timing

#: A fresh timing process that takes longer than this hangs; the limits inside are far lower.
TIMEOUT_SECONDS = 900


def next_measurement(store: Store, run_id: str, host_id: str) -> Path:
    """The folder of a run's next measurement on a host."""
    folder = store.run(run_id) / "measurements"
    numbers = (int(m.name.rsplit("-", 1)[1]) for m in folder.glob(f"{host_id}-*"))
    return folder / f"{host_id}-{1 + max(numbers, default=0)}"


def time_run(
    job: Job, runtime: str, timing: Timing, target: Path, log_path: Path
) -> dict[str, Any]:
    """One fresh process that times one run into ``target``; the content of its ``timing.json``.

    Raises `StageFailed`.
    """
    order = job.fit_folder / "launch.json"
    write_json(
        order,
        {
            "runtime": runtime,
            "artifact": str(job.artifact),
            "exports": str(job.exports),
            "device": job.run["device"],
            "threads": job.run["threads"],
            "inputs": str(job.timing_inputs),
            "timing": timing.model_dump(),
            "seed": job.spec["seed"],
        },
    )
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with open(log_path, "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "harness.measure.launch", str(order), str(target)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=thread_environment(job.run["threads"]),
            start_new_session=True,
        )
        try:
            code = wait(process, TIMEOUT_SECONDS)  # blocked: a polling parent disturbs
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise StageFailed("timeout", f"timing took longer than {TIMEOUT_SECONDS} s") from None
        except BaseException:
            process.kill()
            process.wait()
            raise
    facts = read_json(target / "timing.json")
    if code or facts is None:
        tail = log_path.read_text(errors="replace").strip().splitlines()[-1:]
        status = "unsupported" if code == UNSUPPORTED else "failed"
        raise StageFailed(status, f"timing ended with exit status {code}: {' '.join(tail)}")
    return facts
