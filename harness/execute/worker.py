"""One warm process per framework that works stages: requests in, events out, one JSON a line.

``python -m harness.execute.worker FD`` reads jobs from standard input and answers on the file
descriptor ``FD``; whatever a library prints goes to the log that the parent opened as standard
output. A crash here costs the stage at hand, not the suite.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from importlib import import_module
from typing import Any, TextIO

#: seconds between two progress events of a stage; more often would cost more than it tells
PROGRESS_EVERY = 0.2
#: what each stage is: a function of a job and a progress callback
STAGES = {
    "check": "harness.stages.resolve:check",
    "resolve": "harness.stages.resolve:resolve",
    "reference": "harness.stages.reference:reference",
    "fit": "harness.stages.fit:fit",
    "facts": "harness.stages.facts:facts",
    "export": "harness.stages.export:export_onnx",
    "score": "harness.stages.score:score",
}


def main() -> int:
    answers = os.fdopen(int(sys.argv[1]), "w", buffering=1, encoding="utf-8")
    for line in sys.stdin:
        request = json.loads(line)
        _answer(answers, _work(request, answers))
    return 0


def _answer(answers: TextIO, event: dict[str, Any]) -> None:
    answers.write(json.dumps(event) + "\n")
    answers.flush()


def _work(request: dict[str, Any], answers: TextIO) -> dict[str, Any]:
    """Run one stage; every exception becomes an event."""
    from harness.errors import Diverged, RequestError, Unsupported

    last = [0.0]

    def progress(stage: str, done: float, total: float, note: str) -> None:
        now = time.monotonic()
        if now - last[0] >= PROGRESS_EVERY or done >= total:
            last[0] = now
            _answer(answers, {"progress": [stage, done, total, note]})

    try:
        return {"done": work(request["stage"], request["job"], progress)}
    except RequestError as error:
        return {"error": "request", "reason": str(error)}
    except Unsupported as error:
        return {"error": "unsupported", "reason": str(error)}
    except Diverged as error:
        return {"error": "diverged", "reason": str(error)}
    except MemoryError as error:
        return {"error": "oom", "reason": f"out of memory: {error}"}
    except Exception as error:
        traceback.print_exc()  # to the log
        text = str(error).strip().splitlines() or [""]
        kind = "oom" if "out of memory" in str(error).lower() else "failed"
        return {"error": kind, "reason": f"{type(error).__name__}: {text[0]}"[:500]}


def work(stage: str, job_text: str, progress: Any) -> dict[str, Any]:
    """The stage by name, imported when first needed."""
    from harness.stages.job import Job

    if stage not in STAGES:
        raise ValueError(f"unknown stage {stage!r}")
    module, _, name = STAGES[stage].partition(":")
    done: dict[str, Any] = getattr(import_module(module), name)(Job.loads(job_text), progress)
    return done


if __name__ == "__main__":
    raise SystemExit(main())
