"""The parent's end of a worker process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.execute.environment import worker_environment
from harness.stages.job import Job

#: lines of a dead worker's log that go into the record
LOG_TAIL = 5


class StageFailed(Exception):
    """A stage ended without a result; ``status`` is what the record shall say."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class WorkerProcess:
    """A worker for one framework, started when first needed and again after it died."""

    def __init__(self, framework: str, threads: int, log: Path) -> None:
        self.framework = framework
        self.threads = threads
        self.log = log
        self._process: subprocess.Popen[str] | None = None
        self._answers: Any = None

    def call(
        self, stage: str, job: Job, progress: Callable[[str, float, float, str], None]
    ) -> dict[str, Any]:
        """Work one stage; blocks until it is done. Raises `StageFailed`."""
        process = self._started()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps({"stage": stage, "job": job.dumps()}) + "\n")
            process.stdin.flush()
            for line in self._answers:
                event = json.loads(line)
                if "progress" in event:
                    progress(*event["progress"])
                elif "done" in event:
                    done: dict[str, Any] = event["done"]
                    return done
                else:
                    raise StageFailed(event["error"], event["reason"])
        except BrokenPipeError:
            pass
        code = process.wait()
        self._process = None
        raise StageFailed("failed", f"{_ended(code)} during {stage}: {self._log_tail()}")

    def close(self) -> None:
        """End the worker and whatever it started."""
        if self._process is None:
            return
        process, self._process = self._process, None
        if process.poll() is None:
            try:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            except ProcessLookupError:
                process.wait()
        self._answers.close()

    def _started(self) -> subprocess.Popen[str]:
        if self._process is not None:
            return self._process
        self.log.parent.mkdir(parents=True, exist_ok=True)
        reader, writer = os.pipe()
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "harness.execute.worker", str(writer)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(writer,),
                env=worker_environment(self.threads),
                text=True,
                # Its own session: a Ctrl-C in the terminal reaches the parent alone, which then
                # ends the worker in order.
                start_new_session=True,
            )
        os.close(writer)
        self._answers = os.fdopen(reader, encoding="utf-8")
        return self._process

    def _log_tail(self) -> str:
        try:
            lines = self.log.read_text(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return " | ".join(lines[-LOG_TAIL:])[-500:]


def _ended(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        hint = ", perhaps for want of memory" if name == "SIGKILL" else ""
        return f"the worker process was ended by {name}{hint}"
    return f"the worker process ended with exit status {code}"
