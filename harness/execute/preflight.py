"""Everything that can be wrong with a request, found before the first record is written.

Downloads what the unfinished fits need, and reads and checks their data.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from harness.data.split import draw
from harness.errors import RequestError
from harness.execute.metrics import check_metrics
from harness.execute.report import Reporter
from harness.plan import Fit, Plan
from harness.sources.base import Unreachable
from harness.stages.fetch import fetch_model
from harness.stages.prepare import read_task

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
        _persistently(fetch, plan.loaded.suite.limits.retries, reporter)
    for task in {fit.task.id: fit.task for fit in fits}.values():
        read = partial(read_task, task, cache, base, reporter.download)
        data = _persistently(read, plan.loaded.suite.limits.retries, reporter)
        budgets = [fit.spec["task"]["budget"] for fit in fits if fit.task.id == task.id]
        for name, pool in data.splits.items():
            sizes = [budget[name] for budget in budgets]
            most = None if None in sizes else max(sizes)
            # smaller draws are parts of larger ones
            drawn = draw(data.task.strata(pool), most, task.budget.seed)
            data.task.inspect(pool.take(drawn))


def _persistently(fetch: Callable[[], T], retries: int, reporter: Reporter) -> T:
    """Fetch, and once more where no answer came."""
    try:
        return fetch()
    except Unreachable as error:
        if not retries:
            raise
        reporter.note(f"{error}; trying again in {BACK_OFF_SECONDS:g} s")
        time.sleep(BACK_OFF_SECONDS)
        return fetch()
