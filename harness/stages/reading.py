"""A task's data before any fit: parsed and checked whole, in a worker as every other stage.

Files come from outside, and a parser that they crash must not take the command along.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from harness.backends.base import Progress
from harness.data.split import draw
from harness.stages.job import Job
from harness.stages.prepare import read_task


def read(job: Job, progress: Progress) -> dict[str, Any]:
    """How many examples each split of the job's task has; `RequestError` on anything wrong in them.

    ``spec["draws"]`` (split to examples, None: all) says what is inspected more closely. The source
    at hand is told as the note of a progress event that has no total, which is never left out.
    """
    entry = job.task_entry
    reading = partial(progress, "reading", 0, 0)
    data = read_task(entry, job.cache, job.base, reading)
    for name, size in job.spec["draws"].items():
        reading((getattr(entry.data, name) or entry.data.train).source)
        pool = data.splits[name]
        drawn = draw(data.task.strata(pool), size, entry.budget.seed)
        data.task.inspect(pool.take(drawn))
    return {name: len(examples) for name, examples in data.splits.items()}
