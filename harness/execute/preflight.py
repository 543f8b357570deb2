"""Everything that can be wrong with a request, found before the first record is written.

Downloads what the unfinished fits need, and has their data read and checked by a worker.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeVar

from harness.errors import RequestError
from harness.execute.devices import Devices
from harness.execute.memory import limit_bytes
from harness.execute.metrics import check_metrics
from harness.execute.process import Bounds, StageFailed, WorkerProcess
from harness.execute.report import Reporter
from harness.measure.host import available_cores
from harness.plan import Fit, Plan
from harness.sources import code_files
from harness.sources.base import Unreachable
from harness.sources.cache import disk_errors
from harness.stages.fetch import fetch_model
from harness.stages.job import Job
from harness.stages.prepare import SPLITS, fetch_task
from harness.suite import LoadedSuite, TaskEntry

T = TypeVar("T")

#: seconds before another try of what the network did not give. One further try is all: pip and the
#: hub's client have tried several times by then, and where there is no network that took long.
BACK_OFF_SECONDS = 2.0


def preflight(plan: Plan, fits: list[Fit], cache: Path, reporter: Reporter) -> None:
    """Raises `RequestError` with one message; otherwise a run needs no network any more."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(
            f"cache folder {cache} cannot be made ({error.strerror}); set HARNESS_CACHE"
        ) from None
    check_metrics(
        plan.loaded, {fit.task.id for fit in fits}, trusted=plan.options.trust_remote_code
    )
    base = plan.loaded.path.resolve().parent
    for model in {fit.model.id: fit.model for fit in fits}.values():
        fetch = partial(
            fetch_model,
            model,
            cache,
            base,
            trust_remote_code=plan.options.trust_remote_code,
            progress=reporter.download,
        )
        folder = persistently(fetch, plan.loaded.suite.limits.retries, reporter)
        if folder is not None and model.trust_remote_code and (code := code_files(folder)):
            reporter.note(
                f"{model.id}: Python code that came with this checkpoint will run on this machine "
                f"({', '.join(code)}), as the suite and --trust-remote-code say"
            )
    with closing(DataReader(plan.loaded, cache)) as reader:
        for task in {fit.task.id: fit.task for fit in fits}.values():
            fetch_data = partial(fetch_task, task, cache, base, reporter.download)
            persistently(fetch_data, plan.loaded.suite.limits.retries, reporter)
            reader.read(task, largest_draws([fit for fit in fits if fit.task.id == task.id]))


class DataReader:
    """Has a suite's data parsed by a worker process, within the limits of a stage."""

    def __init__(self, loaded: LoadedSuite, cache: Path) -> None:
        limits = loaded.suite.limits
        self._bounds = Bounds(limits.other_seconds, limit_bytes(limits.memory_gb))
        self._base = loaded.path.resolve().parent
        self._cache = cache
        self._logs = cache / "logs" / loaded.suite.suite
        self._worker = WorkerProcess("data", available_cores())

    def read(self, task: TaskEntry, draws: Mapping[str, int | None]) -> dict[str, int]:
        """How many examples each split of a fetched task has; see `harness.stages.reading`.

        `RequestError` for what is wrong in its files, or where one ends the worker.
        """
        job = reading_job(task, self._cache, self._base, draws)
        log = self._logs / f"{task.id}-reading.log"
        at_hand = [f"task {task.id!r}"]

        def note(stage: str, done: float, total: float, source: str) -> None:
            at_hand.append(source)

        try:
            with (
                disk_errors(f"task {task.id!r}", self._cache),
                Devices.of(self._cache).working("cpu"),
            ):
                return self._worker.call("reading", job, note, log, self._bounds)
        except StageFailed as failure:
            if failure.is_request:
                raise RequestError(failure.reason) from None
            raise RequestError(
                f"task {task.id!r}: {at_hand[-1]} cannot be read: {failure.reason} (log: {log})"
            ) from None

    def close(self) -> None:
        self._worker.close()


def reading_job(task: TaskEntry, cache: Path, base: Path, draws: Mapping[str, int | None]) -> Job:
    """What the stage that reads a task's data is told."""
    return Job(
        fit_id="",
        spec={"draws": dict(draws)},
        model={},
        task=task.model_dump(mode="json"),
        cache=cache,
        base=base,
        record=Path(),
    )


def largest_draws(fits: Sequence[Fit]) -> dict[str, int | None]:
    """Examples of each split that fits of one task draw at most, of which smaller draws are parts;
    None: all."""
    budgets = [fit.spec["task"]["budget"] for fit in fits]
    sizes = {name: [budget[name] for budget in budgets] for name in SPLITS}
    return {name: None if None in drawn else max(drawn) for name, drawn in sizes.items()}


def persistently(fetch: Callable[[], T], retries: int, reporter: Reporter) -> T:
    """Fetch, and once more where no answer came."""
    try:
        return fetch()
    except Unreachable as error:
        if not retries:
            raise
        reporter.note(f"{error}; trying again in {BACK_OFF_SECONDS:g} s")
        time.sleep(BACK_OFF_SECONDS)
        return fetch()
