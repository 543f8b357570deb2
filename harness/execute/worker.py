"""One warm process per framework that works stages: requests in, events out, one JSON a line.

``python -m harness.execute.worker FD`` reads jobs from standard input and answers on the file
descriptor ``FD``; whatever a library prints goes to the log of the stage at hand. A crash here
costs that stage, not the suite.
"""

from __future__ import annotations

import errno
import faulthandler
import gc
import json
import os
import sys
import time
import traceback
from contextlib import suppress
from importlib import import_module
from typing import Any, TextIO

#: seconds between two progress events of a stage; more often would cost more than it tells
PROGRESS_EVERY = 0.2
#: what each stage is: a function of a job and a progress callback
STAGES = {
    "reading": "harness.stages.reading:read",
    "check": "harness.stages.resolve:check",
    "resolve": "harness.stages.resolve:resolve",
    "reference": "harness.stages.reference:reference",
    "similarity": "harness.stages.similarity:similarity",
    "fit": "harness.stages.fit:fit",
    "facts": "harness.stages.facts:facts",
    "export": "harness.stages.export:export_onnx",
    "score": "harness.stages.score:score",
    "explain": "harness.stages.explain:explain",
}
#: how allocators say that there is no more: CUDA's and PyTorch's on the CPU, TensorFlow's, Python's
_OUT_OF_MEMORY = (
    "out of memory", "can't allocate memory", "oom when allocating", "memoryerror",
)  # fmt: skip
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def main() -> int:
    descriptor = int(sys.argv[1])
    os.set_inheritable(descriptor, False)  # what a library starts must not hold it open
    answers = os.fdopen(descriptor, "w", buffering=1, encoding="utf-8")
    faulthandler.enable()  # where a crash happened, to the log
    try:
        for line in sys.stdin:
            request = json.loads(line)
            _log_to(request["log"])
            event = _work(request, answers)
            _leave_gpu()
            _answer(answers, event)
    except (KeyboardInterrupt, BrokenPipeError):  # the parent has ended this stage, or itself
        return 130
    return 0


def _leave_gpu() -> None:
    """Give back the GPU's memory that PyTorch keeps for its next tensors: the next process there
    may be one that is timed, or another framework's."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return
    gc.collect()  # what a stage left in cycles
    with suppress(RuntimeError):  # a GPU in trouble says so once more
        torch.cuda.empty_cache()


def _log_to(path: str) -> None:
    """Standard output and error of this process and its children, from now on, in one file."""
    sys.stdout.flush()
    sys.stderr.flush()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _answer(answers: TextIO, event: dict[str, Any]) -> None:
    answers.write(json.dumps(event) + "\n")
    answers.flush()


def _work(request: dict[str, Any], answers: TextIO) -> dict[str, Any]:
    """Run one stage; every exception becomes an event."""
    from harness.errors import DiskTrouble, Diverged, RequestError, Unsupported
    from harness.sources.base import Unreachable

    last = [0.0]

    def progress(stage: str, done: float, total: float, note: str) -> None:
        now = time.monotonic()
        if now - last[0] >= PROGRESS_EVERY or done >= total:
            last[0] = now
            _answer(answers, {"progress": [stage, done, total, note]})

    try:
        return {"done": work(request["stage"], request["job"], progress)}
    except Unreachable as error:
        return {"error": "environment", "reason": str(error), "passing": True}
    except DiskTrouble as error:
        return {"error": "environment", "reason": str(error)}
    except RequestError as error:
        return {"error": "request", "reason": str(error)}
    except Unsupported as error:
        return {"error": "unsupported", "reason": str(error)}
    except Diverged as error:
        return {"error": "diverged", "reason": str(error)}
    except MemoryError as error:
        return {"error": "oom", "reason": f"out of memory: {error}"}
    except BrokenPipeError:
        raise
    except Exception as error:
        with suppress(OSError):  # the log's disk may be the full one
            traceback.print_exc()
        return _unexpected(error, json.loads(request["job"])["cache"])


def _unexpected(error: Exception, cache: str) -> dict[str, Any]:
    text = str(error).strip().splitlines() or [""]
    reason = f"{type(error).__name__}: {text[0]}"[:500]
    if getattr(error, "errno", None) in _DISK or "No space left on device" in str(error):
        # Not this model's fault: nothing is recorded, and the same command goes on later.
        return {
            "error": "environment",
            "reason": f"{reason}. The cache {cache} or the results folder cannot be written; what "
            "is complete is kept. Make room there (`harness gc` says what it would remove), or "
            "set HARNESS_CACHE or --results to another disk, and run the same command again",
        }
    if isinstance(error, ConnectionError | TimeoutError):
        return {"error": "failed", "reason": reason, "passing": True}
    kind = "oom" if says_out_of_memory(str(error)) else "failed"
    return {"error": kind, "reason": reason}


def says_out_of_memory(text: str) -> bool:
    """Whether an error's text is an allocator's."""
    return any(sign in text.lower() for sign in _OUT_OF_MEMORY)


def work(stage: str, job_text: str, progress: Any) -> dict[str, Any]:
    """The stage by name, imported when first needed."""
    from harness.sources import remote_code
    from harness.stages.job import Job

    if stage not in STAGES:
        raise ValueError(f"unknown stage {stage!r}")
    module, _, name = STAGES[stage].partition(":")
    job = Job.loads(job_text)
    with remote_code(job.runs_remote_code):
        done: dict[str, Any] = getattr(import_module(module), name)(job, progress)
    return done


if __name__ == "__main__":
    raise SystemExit(main())
