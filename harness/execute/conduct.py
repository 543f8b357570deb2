"""From a plan to complete records: what every executor needs done before and after.

Checkpoints are checked, `auto` is resolved once and stored, damaged records are set aside; then an
executor works what the store does not hold.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.errors import DiskTrouble, RequestError
from harness.execute.base import Assignment, Executor, Outcome, Place
from harness.execute.claims import claim
from harness.execute.process import StageFailed
from harness.execute.report import PlainReporter, Reporter
from harness.execute.walk import Walker, failures_of, is_held, launches_left, status
from harness.plan import Fit, Plan, Run, make_plan
from harness.records.digests import NO_DIGEST, damage, seal
from harness.records.files import read_json, write_json
from harness.records.identity import digest
from harness.records.locks import acquire, locked
from harness.records.resolved import dtypes, read_resolved, write_resolved
from harness.records.store import status_of
from harness.sources.cache import note_results
from harness.specifications import pins
from harness.stages.reference import reference_framework


def unfinished(plan: Plan, place: Place) -> list[Fit]:
    """The fits with work left, those included whose `auto` is still open."""
    walker = Walker(place, PlainReporter())
    return [fit for fit in plan.fits if not fit.fit_id or not complete(fit, walker)]


def execute(
    plan: Plan, place: Place, executor: Executor, reporter: Reporter, command: str = ""
) -> tuple[Plan, Outcome]:
    """Work everything that the store does not hold; returns the plan with `auto` resolved.

    ``command``: what was asked for, which boards tell; empty: a run of the suite by its name.
    """
    start = time.monotonic()
    outcome = Outcome()
    with disk_told(place):
        walker = Walker(place, reporter)
        try:
            _check(plan, unfinished(plan, place), walker)
            plan = resolve(plan, walker, place.store.results / "resolved.json")
        finally:
            if not executor.take_over(walker):
                walker.close()
        note_results(place.cache, place.store.results)
        write_json(place.store.folder / "plan.json", summary(plan, place.store.folder, command))
        todo = unfinished(plan, place)
        outcome.kept = len(plan.runs()) - sum(len(fit.runs) for fit in todo)
        reporter.begin(plan, todo)
        outcome.add(executor.work([Assignment.of(plan, fit) for fit in todo]))
        worked = {fit.key for fit in todo}
        for fit in plan.fits:  # what an earlier execution left failed counts as well
            if fit.key not in worked:
                outcome.add(failures_of(place, fit))
    outcome.seconds = time.monotonic() - start
    return plan, outcome


def fit_only(plan: Plan, walker: Walker, resolved_file: Path) -> tuple[Fit, dict[str, Any]]:
    """Fit the plan's only fit, without any run of it; its facts ({} if it failed)."""
    plan = resolve(plan, walker, resolved_file)
    (fit,) = plan.fits
    record = walker.place.store.fit(fit.fit_id)
    held = claim(walker.place, fit.fit_id, wait=True)
    assert held is not None
    try:
        if not walker.done(record):
            walker.fit(Assignment.of(plan, fit), Outcome())
    finally:
        held.release()
    return fit, read_json(record / "fit.json") or {}


def examine(
    plan: Plan, walker: Walker, resolved_file: Path, stage: str, seconds: float | None = None
) -> dict[str, Any]:
    """What a stage says of the plan's only fit, recorded nowhere: `StageFailed` if it fails.

    ``seconds``: when a stage that can stop half-way does so.
    """
    plan = resolve(plan, walker, resolved_file)
    (fit,) = plan.fits
    walker.reporter.stage(stage, fit)
    assignment = Assignment.of(plan, fit)
    job = replace(walker.job(assignment, walker.place.store.fit(fit.fit_id)), seconds=seconds)
    return walker.call(assignment, fit.spec["framework"], stage, job)


def set_damaged_aside(plan: Plan, place: Place, reporter: Reporter) -> None:
    """Move complete records whose files are not what was written, so that they are made again;
    and seal measurements that were cut off before they were.

    A record that another process works on is left to it: half-written it looks damaged.
    """
    store = place.store
    for fit in plan.fits:
        if not fit.fit_id:
            continue
        damaged = any(_damage(*record) for record in _complete_of(fit, place))
        if not damaged and not any(_unsealed(fit, place)):
            continue
        lock = acquire(store.lock(fit.fit_id), wait=False)
        if lock is None:
            continue
        try:
            for record, last in _complete_of(fit, place):
                if why := _damage(record, last):
                    moved = store.set_aside(record)
                    reporter.note(f"record {record}: {why}; kept as {moved}, and made again")
            for measurement in _unsealed(fit, place):
                seal(measurement)
        finally:
            os.close(lock)


def _unsealed(fit: Fit, place: Place) -> Iterator[Path]:
    """Measurements of this host whose last file is there, but not its digests. Those of runs that
    carry none themselves are older than digests."""
    for run in fit.runs:
        if "digest" not in (status_of(place.store.run(run.run_id)) or {}):
            continue
        for folder in place.store.measurements(run.run_id, place.machine.host_id):
            if (folder / "timing.json").is_file() and not (folder / "digests.json").exists():
                yield folder


def _complete_of(fit: Fit, place: Place) -> Iterator[tuple[Path, str]]:
    """The complete records of a fit, its runs and their measurements on this host, with the file
    that completed each."""
    store = place.store
    yield from _completed(store.fit(fit.fit_id), "status.json")
    for run in fit.runs:
        yield from _completed(store.run(run.run_id), "status.json")
        for folder in store.measurements(run.run_id, place.machine.host_id):
            timed = (folder / "timing.json").is_file()
            yield from _completed(folder, "digests.json" if timed else "status.json")


def _completed(record: Path, last: str) -> Iterator[tuple[Path, str]]:
    if (record / last).exists():
        yield record, last


def _damage(record: Path, last: str) -> str | None:
    why = damage(record, last)
    return None if why == NO_DIGEST else why


@contextmanager
def disk_told(place: Place) -> Iterator[None]:
    """A disk that is full or cannot be written as one clear message instead of a traceback."""
    try:
        yield
    except OSError as error:
        trouble = DiskTrouble.told_by(error, f"{place.store.folder} or {place.cache}")
        if trouble is None:
            raise
        raise trouble from None


def complete(fit: Fit, walker: Walker, left: Callable[[Place, Run], int] = launches_left) -> bool:
    """Nothing of a fit, its runs and their timings is left to do; ``left`` counts launches.

    A lost artifact is work only where it is asked for (`Place.refit`): records outlive the cache.
    """
    place = walker.place
    record = place.store.fit(fit.fit_id)
    if not walker.done(record):
        return False
    if status(record) != "ok":
        return True
    if place.refit and not is_held(place, fit):
        return False
    return all(
        walker.done(place.store.run(run.run_id)) and not left(place, run) for run in fit.runs
    )


def _check(plan: Plan, fits: list[Fit], walker: Walker) -> None:
    """`RequestError` for a damaged checkpoint, before any training or record of it.

    Checkpoints are checked in the framework that they are published for.
    """
    checked = set()
    for fit in fits:
        assignment = Assignment.of(plan, fit)
        job = walker.job(assignment, Path())
        framework = reference_framework(job) or fit.spec["framework"]
        key = framework, digest(fit.spec["model"])
        if not fit.spec["model"]["files"] or key in checked:
            continue
        checked.add(key)
        job = replace(job, spec=job.spec | {"framework": framework})
        try:
            walker.call(assignment, framework, "check", job)
        except StageFailed as failure:
            if failure.is_request:
                raise RequestError(f"model {fit.model.id!r}: {failure.reason}") from None
            # what cannot be loaded here is found again, and recorded, by its fit


def resolve(plan: Plan, walker: Walker, path: Path) -> Plan:
    """Measure open `auto` settings once, store them, and plan again with them."""
    open_keys = plan.open_keys
    if not open_keys:
        return plan
    # Held throughout: of two processes, one measures and the other reads.
    with locked(walker.place.store.results / ".locks" / "resolved.lock"):
        entries = read_resolved(path)
        known = dtypes(entries, retry=walker.place.retry)
        for key, fit in open_keys.items():
            if key in known:
                continue
            assignment = Assignment.of(plan, fit)
            walker.reporter.stage("resolve", fit)
            job = walker.job(assignment, Path())
            try:
                entries[key] = walker.call(
                    assignment, fit.spec["framework"], "resolve", job, alone=True
                )
            except StageFailed as failure:
                if failure.is_request:
                    raise RequestError(failure.reason) from None
                # float32 always works; that the measurement failed is part of the record
                figures = {"failed": f"{failure.status}: {failure.reason}"}
                entries[key] = {"fit_dtype": "float32", "figures": figures}
                walker.reporter.note(
                    f"{fit.model.id}: what `fit_dtype: auto` means could not be measured "
                    f"({failure.reason}); float32 is taken, until --retry"
                )
            write_resolved(path, entries)
    return make_plan(plan.loaded, plan.options, dtypes(entries), walker.place.machine)


def _needs(plan: Plan) -> dict[str, list[str]]:
    """What `harness gc` keeps for fits that have no record yet: names of models' folders, and
    SHA-256 (or where there is none, sources) of downloads."""
    models = {fit.model.id: fit.spec["model"]["files"] for fit in plan.fits}
    return {
        "models": sorted({digest(files) for files in models.values()}),
        "files": sorted({pin for fit in plan.fits for pin in pins(fit.spec)}),
    }


def summary(plan: Plan, folder: Path, command: str = "") -> dict[str, Any]:
    """``plan.json`` of a results ``folder``: what boards need to know of the suite, rows that never
    ran included."""
    from harness.stages.prepare import describe, seen_from

    suite = plan.loaded.suite
    rows: dict[str, dict[str, Any]] = {}
    for fit, run in plan.runs():
        row = rows.setdefault(run.row_id, {"row_id": run.row_id, "row": run.row, "runs": []})
        row["runs"].append({"run_id": run.run_id, "fit_id": fit.fit_id, "seed": fit.spec["seed"]})
    used_tasks = {fit.task.id for fit in plan.fits}
    used_models = {fit.model.id for fit in plan.fits}
    return {
        "suite": suite.suite,
        "needs": _needs(plan),
        "title": suite.title or suite.suite,
        "description": suite.description,
        "leaderboard": suite.leaderboard,
        "command": command or f"harness run {suite.suite}",
        "full": plan.options.full,
        "margins": suite.margins,
        "timing": suite.timing.model_dump(mode="json"),
        "limits": suite.limits.model_dump(mode="json"),
        "models": {
            m.id: {
                "name": m.name or m.id,
                "kind": m.kind,
                "licence": m.licence,
                "url": m.url,
                "source": m.source or next((f.source for f in m.files.values()), ""),
                "pooling": m.pooling,
            }
            for m in suite.models
            if m.id in used_models
        },
        "tasks": {t.id: describe(t) for t in suite.tasks if t.id in used_tasks},
        "data": {
            t.id: seen_from(t, plan.loaded.path.resolve().parent, folder).model_dump()
            for t in suite.tasks
            if t.id in used_tasks
        },
        "rows": list(rows.values()),
    }
