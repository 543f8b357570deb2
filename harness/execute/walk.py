"""How one host works an assignment: a fit through its stages, then each of its runs.

Every stage is a call of a worker process; every timing is a launch of its own. What a stage leaves
in the cache and what stands in the records decides what is still to be done, so that the walk can
be cut off anywhere and begun anew.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness import registry
from harness.errors import DiskTrouble, RequestError
from harness.execute.base import Assignment, Outcome, Place
from harness.execute.devices import Devices, device_name
from harness.execute.launches import is_current, next_measurement, time_run
from harness.execute.memory import limit_bytes
from harness.execute.process import Bounds, StageFailed, WorkerProcess
from harness.execute.report import Reporter, label
from harness.plan import Fit, Run
from harness.records.digests import seal
from harness.records.files import read_json, sweep, write_json
from harness.records.store import Status, finish, is_done, status_of
from harness.stages import facts as facts_stage
from harness.stages.export import is_exported
from harness.stages.job import Job, timing_inputs
from harness.stages.reference import reference_framework

#: seconds before the first further try; four times as long before each one after it
BACK_OFF_SECONDS = 1.0


@dataclass
class Walker:
    """One host's hands: its workers, which only the thread that made it may use."""

    place: Place
    reporter: Reporter
    gpu: str | None = None  # the index of the one that ``cuda`` means; None: any
    stopped: Callable[[], bool] = lambda: False
    workers: dict[str, WorkerProcess] = field(default_factory=dict)
    #: how walks of the assignment before this one were lost: of what was at hand, so they are told
    #: by the first record that this one completes
    lost: list[str] = field(default_factory=list)
    _tries: list[str] = field(default_factory=list)  # what went wrong and was tried again

    @property
    def devices(self) -> Devices:
        return Devices.of(self.place.cache)

    def close(self) -> None:
        for worker in self.workers.values():
            worker.close()

    def interrupt(self) -> None:
        """End the stage at work, from another thread; ours clears up."""
        for worker in list(self.workers.values()):
            worker.interrupt()

    def work(self, assignment: Assignment) -> Outcome:
        """The whole assignment; the caller holds the fit's lock (`harness.execute.claims`)."""
        outcome = Outcome()
        fit = assignment.fit
        record = self.place.store.fit(fit.fit_id)
        if not self.done(record) or (status(record) == "ok" and not self._cached(assignment)):
            if not self.fit(assignment, outcome):
                return outcome
        elif status(record) != "ok":
            outcome.add(failures_of(self.place, fit))
            return outcome
        for run in fit.runs:
            self._run(assignment, run, outcome)
        return outcome

    def done(self, record: Path) -> bool:
        return self.place.settled(record)

    def fit(self, assignment: Assignment, outcome: Outcome) -> bool:
        """Fit, or fit again where the cache lost an artifact; True if there is one now."""
        fit = assignment.fit
        record = self.place.store.fit(fit.fit_id)
        job = self.job(assignment, record)
        self.reporter.stage("fit", fit)
        start = time.monotonic()
        again = is_done(record) and status(record) == "ok"
        sweep(job.fit_folder)
        if not again:
            sweep(record)
            write_json(record / "spec.json", fit.spec)
        framework = fit.spec["framework"]
        self._tries = []
        try:
            if reference := reference_framework(job):
                self.call(assignment, reference, "reference", job)
            facts = self.call(assignment, framework, "fit", job)
            memory = self.worker(framework, fit).memory_bytes  # not that of the model's facts
        except StageFailed as failure:
            self._fail(record, failure, "fit", fit, None, outcome)
            return False
        if again:
            self._compare(record, fit, facts)
        else:
            write_json(record / "fit.json", {k: v for k, v in facts.items() if k != "from_cache"})
            write_json(record / "facts.json", self._model_facts(assignment, job))
            self._finish(record, start, memory)
        self.reporter.stage_done("fit", fit, time.monotonic() - start, facts)
        return True

    def _compare(self, record: Path, fit: Fit, facts: dict[str, Any]) -> None:
        """Say where a fit that was made again is not, bit for bit, the one on record."""
        recorded = (read_json(record / "fit.json") or {}).get("artifact_files")
        if recorded is None:  # those of older fits carry no digests
            self.reporter.note(f"{label(fit)}: made again; its record holds no digest to compare")
            return
        made = facts.get("artifact_files", {})
        names = sorted(n for n in {*recorded, *made} if recorded.get(n) != made.get(n))
        if names:
            self.reporter.note(
                f"{label(fit)}: made again, and {', '.join(names)} differs from what "
                f"{record / 'fit.json'} names; scores and timings on record are of the lost weights"
            )

    def _model_facts(self, assignment: Assignment, job: Job) -> dict[str, Any]:
        """What needs no clock; a model that cannot be counted is fitted all the same."""
        if not facts_stage.counted(job):
            kind = assignment.fit.spec["model"]["kind"]
            return facts_stage.unknown(f"{kind} models are not counted")
        try:
            return self.call(assignment, facts_stage.COUNTED_BY, "facts", job)
        except StageFailed as failure:
            if failure.status == "environment":
                raise RequestError(failure.reason) from None
            return facts_stage.unknown(failure.reason)

    def launches(self, assignment: Assignment, run: Run) -> int:
        """Timing launches still to be made for a run on this host."""
        return launches_left(self.place, run)

    def job(self, assignment: Assignment, record: Path, run: Run | None = None) -> Job:
        fit = assignment.fit
        return Job(
            fit_id=fit.fit_id,
            spec=fit.spec,
            model=fit.model.model_dump(mode="json"),
            task=fit.task.model_dump(mode="json"),
            cache=self.place.cache,
            base=assignment.base,
            record=record,
            trust_remote_code=assignment.trust_remote_code,
            run_id=run.run_id if run else "",
            run=run.spec if run else {},
        )

    def call(
        self, assignment: Assignment, framework: str, stage: str, job: Job, *, alone: bool = False
    ) -> dict[str, Any]:
        """One stage in the framework's worker; tried again after causes that can pass.

        ``alone``: it measures, so nothing else of ours may work on its device.
        """
        limits = assignment.limits
        seconds = getattr(limits, f"{stage}_seconds", limits.other_seconds)
        bounds = Bounds(seconds, limit_bytes(limits.memory_gb))
        log = self.log(job.run_id or job.fit_id or job.model["id"], stage)
        worker = self.worker(framework, assignment.fit, stage)
        device = device_name(assignment.fit.spec["device"], self.gpu)
        devices = self.devices

        def once() -> dict[str, Any]:
            with devices.measuring(device) if alone else devices.working("cpu", device):
                self._go_on()
                return worker.call(stage, job, self.reporter.progress, log, bounds)

        return self._tried(once, limits.retries, stage)

    def _tried(
        self, once: Callable[[], dict[str, Any]], retries: int, stage: str
    ) -> dict[str, Any]:
        wait = BACK_OFF_SECONDS
        for left in range(retries, -1, -1):
            try:
                return once()
            except StageFailed as failure:
                if not failure.passing or not left or self.stopped():
                    raise
                self._tries.append(f"{stage}: {failure.reason}")
                self.reporter.note(f"{failure.reason}; trying again in {wait:g} s")
                time.sleep(wait)
                wait *= 4
        raise AssertionError("unreachable")

    def _go_on(self) -> None:
        """``KeyboardInterrupt`` where the command ends, be it by an error of another thread."""
        if self.stopped():
            raise KeyboardInterrupt

    def worker(self, framework: str, fit: Fit, stage: str = "fit") -> WorkerProcess:
        """The process that works a stage: TensorFlow, once started, sees the GPU or sees none, and
        references are computed on the CPU."""
        threads = fit.spec["threads"]
        name = f"{framework}-{threads}-{'cpu' if stage == 'reference' else fit.spec['device']}"
        if fit.model.trust_remote_code:  # no other model shall meet what its code left behind
            name += f"-{fit.model.id}"
        if name not in self.workers:
            self.workers[name] = WorkerProcess(framework, threads, self.gpu)
        return self.workers[name]

    def log(self, name: str, stage: str) -> Path:
        """What a stage of a fit or run printed, over all its tries."""
        return self.place.cache / "logs" / self.place.store.suite / f"{name}-{stage}.log"

    def _cached(self, assignment: Assignment) -> bool:
        from harness.stages.fit import fit_is_cached

        folder = self.job(assignment, Path()).fit_folder
        if fit_is_cached(folder):
            return True
        if folder.exists():  # half of it is of no use, and its export is not that of a new fit
            shutil.rmtree(folder)
        return False

    def _run(self, assignment: Assignment, run: Run, outcome: Outcome) -> None:
        fit = assignment.fit
        record = self.place.store.run(run.run_id)
        job = self.job(assignment, record, run)
        runtime = registry.runtimes.get(run.row["runtime"])
        if self.done(record):
            if status(record) != "ok":
                _note(record, fit, run, outcome)
                return
            outcome.kept += 1
        start = time.monotonic()
        stage = "export"
        self._tries = []
        if not self.done(record):
            sweep(record)
            write_json(record / "spec.json", run.spec)
        try:
            left = not self.done(record) or self.launches(assignment, run) or self.place.refit
            if runtime.needs == "onnx" and left:
                self.call(assignment, "torch", "export", job)
            stage = "score"
            lost = left and not is_exported(job.fit_folder, runtime.name)
            if not self.done(record) or lost or not job.timing_inputs.is_file():
                self.reporter.stage("score", fit, run)
                if self.done(record):  # only what the cache held is lost: keep the record
                    job = replace(job, record=job.fit_folder / "again")
                facts = self.call(assignment, runtime.framework, "score", job)
                self.reporter.stage_done("score", fit, time.monotonic() - start, facts, run)
            if not self.done(record):
                self._finish(record, start, self.worker(runtime.framework, fit).memory_bytes)
                outcome.done += 1
        except StageFailed as failure:
            self._fail(record, failure, stage, fit, run, outcome)
            return
        for _ in range(self.launches(assignment, run)):
            self._time(assignment, run, job, outcome)

    def _time(self, assignment: Assignment, run: Run, job: Job, outcome: Outcome) -> None:
        """One launch of one run; a failed one leaves the run scored all the same."""
        fit = assignment.fit
        target = next_measurement(self.place.store, run.run_id, self.place.machine.host_id)
        self.reporter.stage("time", fit, run)
        start = time.monotonic()
        log = self.log(run.run_id, "time")
        limits = assignment.limits
        bounds = Bounds(limits.time_seconds, limit_bytes(limits.memory_gb))
        self._tries = []

        def once() -> dict[str, Any]:
            with self.devices.measuring(device_name(run.spec["device"], self.gpu)):
                self._go_on()
                return time_run(
                    job, run.row["runtime"], assignment.timing, target, log, self.gpu, bounds,
                    self.stopped,
                )  # fmt: skip

        try:
            facts = self._tried(once, limits.retries, "time")
        except StageFailed as failure:
            self._fail(target, failure, "time", fit, run, outcome)
            return
        seal(target, **self._tried_facts())
        self.reporter.stage_done("time", fit, time.monotonic() - start, facts, run)

    def _finish(self, record: Path, start: float, memory: int) -> None:
        facts: dict[str, Any] = {"seconds": time.monotonic() - start}
        if memory:  # a short stage ends before it is looked at
            facts["memory_mb"] = memory / 1e6
        finish(record, "ok", **facts, **self._tried_facts())

    def _tried_facts(self) -> dict[str, Any]:
        tried, self.lost = [*self.lost, *self._tries], []
        return {"tries": 1 + len(tried), "tried": tried} if tried else {}

    def _fail(
        self,
        record: Path,
        failure: StageFailed,
        stage: str,
        fit: Fit,
        run: Run | None,
        outcome: Outcome,
    ) -> None:
        self._go_on()  # else it was we who ended the stage
        if failure.status == "environment":
            raise RequestError(failure.reason)
        with suppress(OSError):
            if shutil.disk_usage(self.place.cache).free < 1 << 20:
                raise DiskTrouble(
                    f"the disk of the cache {self.place.cache} is full ({failure.reason}); what is "
                    "complete is kept. Make room, or set HARNESS_CACHE to another disk, and run "
                    "the same command again"
                )
        # a setting that has no meaning here, say: what could be checked before has been
        why = "failed" if failure.status == "request" else failure.status
        if (
            status(record) == "ok"
        ):  # what the cache lost could not be made again: no news of the fit
            outcome.bad.append((label(fit, run), why, failure.reason))
        else:
            finish(
                record,
                why,  # type: ignore[arg-type]
                failure.reason,
                stage=stage,
                log_tail=failure.log_tail,
                **self._tried_facts(),
            )
            _note(record, fit, run, outcome)
        self.reporter.failed(stage, fit, run, why, failure.reason)


def launches_left(place: Place, run: Run) -> int:
    """Timing launches still to be made for a run on a place's host."""
    record = place.store.run(run.run_id)
    if not run.timed or (is_done(record) and status(record) != "ok"):
        return 0
    here = place.store.measurements(run.run_id, place.machine.host_id)
    here = [m for m in here if is_current(m)]
    if place.retry:
        here = [m for m in here if (m / "timing.json").is_file()]
    return max(0, run.launches - len(here))


def is_held(place: Place, fit: Fit) -> bool:
    """Whether the cache holds a fit's artifact, and all that its scored runs are timed with."""
    from harness.stages.fit import fit_is_cached

    folder = place.cache / "fits" / fit.fit_id
    return fit_is_cached(folder) and all(
        timing_inputs(folder, run.spec).is_file() and is_exported(folder, run.row["runtime"])
        for run in fit.runs
        if status(place.store.run(run.run_id)) == "ok"
    )


def fail_next(place: Place, fit: Fit, why: Status, reason: str, log_tail: Sequence[str]) -> bool:
    """Record the failure of a walk that did not live to record it, as that of the first record
    that it left incomplete; False where there is none. The caller holds the fit's lock."""
    records = [(place.store.fit(fit.fit_id), fit.spec, "fit")]
    if status(records[0][0]) in ("missing", "ok"):  # a fit that failed has no runs
        records += [(place.store.run(run.run_id), run.spec, "score") for run in fit.runs]
    for record, spec, stage in records:
        if not is_done(record):
            sweep(record)
            write_json(record / "spec.json", spec)
            finish(record, why, reason, stage=stage, log_tail=list(log_tail))
            return True
    return False


def failures_of(place: Place, fit: Fit) -> Outcome:
    """What the records of a fit, its runs and their measurements say went wrong."""
    outcome = Outcome()
    record = place.store.fit(fit.fit_id)
    if status(record) != "ok":
        _note(record, fit, None, outcome)
        return outcome
    for run in fit.runs:
        if status(place.store.run(run.run_id)) != "ok":
            _note(place.store.run(run.run_id), fit, run, outcome)
        for measurement in place.store.measurements(run.run_id, place.machine.host_id):
            if is_done(measurement):  # only a failed measurement has a status
                _note(measurement, fit, run, outcome)
    return outcome


def _note(record: Path, fit: Fit, run: Run | None, outcome: Outcome) -> None:
    facts = status_of(record) or {}
    outcome.bad.append((label(fit, run), facts.get("status", "failed"), facts.get("reason", "")))


def status(record: Path) -> str:
    """The status of a record; ``missing`` while it is not complete."""
    return str((read_json(record / "status.json") or {}).get("status", "missing"))
