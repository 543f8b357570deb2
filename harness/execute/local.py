"""The local executor: works a plan on this machine, one stage after the other.

Fits go framework by framework, so that one warm process serves many; every timing gets a fresh
process while the workers wait, blocked, for their next job.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness import registry
from harness.errors import RequestError
from harness.execute.launches import next_measurement, time_run
from harness.execute.process import StageFailed, WorkerProcess
from harness.execute.report import Reporter, label
from harness.plan import Fit, Machine, Plan, Run, make_plan
from harness.records.files import read_json, write_json
from harness.records.identity import digest
from harness.records.store import ANSWERS, Store, finish, is_done, status_of
from harness.stages import facts as facts_stage
from harness.stages.job import Job
from harness.stages.reference import reference_framework


@dataclass
class Outcome:
    """What an execution did."""

    done: int = 0
    kept: int = 0  # complete before
    bad: list[tuple[str, str, str]] = field(default_factory=list)  # what, status, reason
    seconds: float = 0.0

    @property
    def exit_status(self) -> int:
        return 1 if any(status not in ANSWERS for _, status, _ in self.bad) else 0


@dataclass
class LocalExecutor:
    """Works plans into a store. Close it (or use ``with``) so that no worker outlives it."""

    store: Store
    cache: Path
    machine: Machine
    reporter: Reporter
    retry: bool = False
    resolved_file: Path | None = None  # default: ``resolved.json`` of the store's results
    workers: dict[str, WorkerProcess] = field(default_factory=dict)

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, *exc: object) -> None:
        for worker in self.workers.values():
            worker.close()

    def unfinished(self, plan: Plan) -> list[Fit]:
        """The fits with work left, those included whose `auto` is still open."""
        return [fit for fit in plan.fits if not fit.fit_id or not self._complete(plan, fit)]

    def execute(self, plan: Plan) -> tuple[Plan, Outcome]:
        """Work everything that the store does not hold; returns the plan with `auto` resolved."""
        start = time.monotonic()
        outcome = Outcome()
        self._check(plan, self.unfinished(plan))
        plan = self._resolve(plan)
        write_json(self.store.folder / "plan.json", summary(plan))
        todo = self.unfinished(plan)
        outcome.kept = len(plan.runs()) - sum(len(fit.runs) for fit in todo)
        self.reporter.begin(plan, todo)
        for fit in todo:
            self._work_fit(plan, fit, outcome)
        for fit in plan.fits:  # what an earlier execution left failed counts as well
            if fit not in todo:
                self._collect_failures(fit, outcome)
        outcome.seconds = time.monotonic() - start
        return plan, outcome

    def fit_only(self, plan: Plan) -> tuple[Fit, dict[str, Any]]:
        """Fit the plan's only fit, without any run of it; its facts ({} if it failed)."""
        plan = self._resolve(plan)
        (fit,) = plan.fits
        record = self.store.fit(fit.fit_id)
        if not self._is_done(record):
            self._fit(fit, self._job(plan, fit, record), record, Outcome())
        return fit, read_json(record / "fit.json") or {}

    def _complete(self, plan: Plan, fit: Fit) -> bool:
        if not self._is_done(self.store.fit(fit.fit_id)):
            return False
        if _status(self.store.fit(fit.fit_id)) != "ok":
            return True
        return all(
            self._is_done(self.store.run(run.run_id)) and not self._launches(plan, run)
            for run in fit.runs
        )

    def _is_done(self, record: Path) -> bool:
        """Complete, and not a failure that ``--retry`` asks to try again."""
        return is_done(record) and not (self.retry and _status(record) not in ANSWERS)

    def _launches(self, plan: Plan, run: Run) -> int:
        """Timing launches still to be made for a run on this host."""
        record = self.store.run(run.run_id)
        if not run.timed or (is_done(record) and _status(record) != "ok"):
            return 0
        here = self.store.measurements(run.run_id, self.machine.host_id)
        if self.retry:
            here = [m for m in here if (m / "timing.json").is_file()]
        return max(0, plan.loaded.suite.timing.launches - len(here))

    def _check(self, plan: Plan, fits: list[Fit]) -> None:
        """`RequestError` for a damaged checkpoint, before any training or record of it.

        Checkpoints are checked in the framework that they are published for.
        """
        checked = set()
        for fit in fits:
            job = self._job(plan, fit, Path())
            framework = reference_framework(job) or fit.spec["framework"]
            key = framework, digest(fit.spec["model"])
            if not fit.spec["model"]["files"] or key in checked:
                continue
            checked.add(key)
            job = replace(job, spec=job.spec | {"framework": framework})
            try:
                self._worker(framework, fit).call("check", job, self.reporter.progress)
            except StageFailed as failure:
                if failure.status == "request":
                    raise RequestError(f"model {fit.model.id!r}: {failure.reason}") from None
                # what cannot be loaded here is found again, and recorded, by its fit

    def _resolve(self, plan: Plan) -> Plan:
        """Measure open `auto` settings once, store them, and plan again with them."""
        open_keys = plan.open_keys
        if not open_keys:
            return plan
        path = self.resolved_file or self.store.results / "resolved.json"
        stored = read_json(path) or {}
        entries = stored.get("entries", {})
        for key, fit in open_keys.items():
            if key in entries:
                continue
            worker = self._worker(fit.spec["framework"], fit)
            self.reporter.stage("resolve", fit)
            try:
                entries[key] = worker.call(
                    "resolve", self._job(plan, fit, Path()), self.reporter.progress
                )
            except StageFailed as failure:
                if failure.status == "request":
                    raise RequestError(failure.reason) from None
                # float32 always works; that the measurement failed is part of the record
                entries[key] = {"fit_dtype": "float32", "figures": {"failed": failure.reason}}
            write_json(path, {"entries": entries})
        resolved = {key: entry["fit_dtype"] for key, entry in entries.items()}
        return make_plan(plan.loaded, plan.options, resolved, self.machine)

    def _worker(self, framework: str, fit: Fit) -> WorkerProcess:
        threads = fit.spec["threads"]
        name = f"{framework}-{threads}"
        if name not in self.workers:
            self.workers[name] = WorkerProcess(framework, threads, self._log(name))
        return self.workers[name]

    def _job(self, plan: Plan, fit: Fit, record: Path, run: Run | None = None) -> Job:
        return Job(
            fit_id=fit.fit_id,
            spec=fit.spec,
            model=fit.model.model_dump(mode="json"),
            task=fit.task.model_dump(mode="json"),
            cache=self.cache,
            base=plan.loaded.path.resolve().parent,
            record=record,
            trust_remote_code=plan.options.trust_remote_code,
            run_id=run.run_id if run else "",
            run=run.spec if run else {},
        )

    def _work_fit(self, plan: Plan, fit: Fit, outcome: Outcome) -> None:
        record = self.store.fit(fit.fit_id)
        job = self._job(plan, fit, record)
        if not self._is_done(record) or (_status(record) == "ok" and not _cached(job)):
            if not self._fit(fit, job, record, outcome):
                return
        elif _status(record) != "ok":
            self._collect_failures(fit, outcome)
            return
        for run in fit.runs:
            self._work_run(plan, fit, run, outcome)

    def _fit(self, fit: Fit, job: Job, record: Path, outcome: Outcome) -> bool:
        """Fit, or fit again where the cache lost an artifact; True if there is one now."""
        self.reporter.stage("fit", fit)
        start = time.monotonic()
        again = is_done(record) and _status(record) == "ok"
        if not again:
            write_json(record / "spec.json", fit.spec)
        framework = fit.spec["framework"]
        try:
            if reference := reference_framework(job):
                self._worker(reference, fit).call("reference", job, self.reporter.progress)
            facts = self._worker(framework, fit).call("fit", job, self.reporter.progress)
        except StageFailed as failure:
            self._fail(record, failure, "fit", fit, None, outcome)
            return False
        if not again:
            write_json(record / "fit.json", facts)
            write_json(record / "facts.json", self._model_facts(fit, job))
            finish(record, "ok", seconds=time.monotonic() - start)
        self.reporter.stage_done("fit", fit, time.monotonic() - start, facts)
        return True

    def _model_facts(self, fit: Fit, job: Job) -> dict[str, Any]:
        """What needs no clock; a model that cannot be counted is fitted all the same."""
        if not facts_stage.counted(job):
            return facts_stage.unknown(f"{fit.spec['model']['kind']} models are not counted")
        try:
            worker = self._worker(facts_stage.COUNTED_BY, fit)
            return worker.call("facts", job, self.reporter.progress)
        except StageFailed as failure:
            return facts_stage.unknown(failure.reason)

    def _work_run(self, plan: Plan, fit: Fit, run: Run, outcome: Outcome) -> None:
        record = self.store.run(run.run_id)
        job = self._job(plan, fit, record, run)
        runtime = registry.runtimes.get(run.row["runtime"])
        if self._is_done(record):
            if _status(record) != "ok":
                self._note(record, fit, run, outcome)
                return
            outcome.kept += 1
        start = time.monotonic()
        stage = "export"
        try:
            if runtime.needs == "onnx" and (not self._is_done(record) or self._launches(plan, run)):
                self._worker("torch", fit).call("export", job, self.reporter.progress)
            stage = "score"
            if not self._is_done(record) or not job.timing_inputs.is_file():
                self.reporter.stage("score", fit, run)
                if self._is_done(record):  # only the timing inputs are lost: keep the record
                    job = replace(job, record=job.fit_folder / "again")
                else:
                    write_json(record / "spec.json", run.spec)
                facts = self._worker(runtime.framework, fit).call(
                    "score", job, self.reporter.progress
                )
                self.reporter.stage_done("score", fit, time.monotonic() - start, facts, run)
            if not self._is_done(record):
                finish(record, "ok", seconds=time.monotonic() - start)
                outcome.done += 1
        except StageFailed as failure:
            self._fail(record, failure, stage, fit, run, outcome)
            return
        for _ in range(self._launches(plan, run)):
            self._time(plan, fit, run, job, outcome)

    def _time(self, plan: Plan, fit: Fit, run: Run, job: Job, outcome: Outcome) -> None:
        """One launch of one run; a failed one leaves the run scored all the same."""
        target = next_measurement(self.store, run.run_id, self.machine.host_id)
        self.reporter.stage("time", fit, run)
        start = time.monotonic()
        try:
            facts = time_run(
                job, run.row["runtime"], plan.loaded.suite.timing, target, self._log("time")
            )
        except StageFailed as failure:
            self._fail(target, failure, "time", fit, run, outcome)
            return
        self.reporter.stage_done("time", fit, time.monotonic() - start, facts, run)

    def _log(self, name: str) -> Path:
        return self.cache / "logs" / f"{self.store.suite}-{name}.log"

    def _fail(
        self,
        record: Path,
        failure: StageFailed,
        stage: str,
        fit: Fit,
        run: Run | None,
        outcome: Outcome,
    ) -> None:
        if failure.status == "request":
            raise RequestError(failure.reason)
        finish(record, failure.status, failure.reason, stage=stage)  # type: ignore[arg-type]
        self._note(record, fit, run, outcome)
        self.reporter.failed(stage, fit, run, failure.status, failure.reason)

    def _note(self, record: Path, fit: Fit, run: Run | None, outcome: Outcome) -> None:
        status = status_of(record) or {}
        what = label(fit, run)
        outcome.bad.append((what, status.get("status", "failed"), status.get("reason", "")))

    def _collect_failures(self, fit: Fit, outcome: Outcome) -> None:
        record = self.store.fit(fit.fit_id)
        if _status(record) != "ok":
            self._note(record, fit, None, outcome)
            return
        for run in fit.runs:
            if _status(self.store.run(run.run_id)) != "ok":
                self._note(self.store.run(run.run_id), fit, run, outcome)
            for measurement in self.store.measurements(run.run_id, self.machine.host_id):
                if is_done(measurement):  # only a failed measurement has a status
                    self._note(measurement, fit, run, outcome)


def summary(plan: Plan) -> dict[str, Any]:
    """``plan.json``: what boards need to know of the suite, rows that never ran included."""
    from harness.stages.prepare import describe

    suite = plan.loaded.suite
    rows: dict[str, dict[str, Any]] = {}
    for fit, run in plan.runs():
        row = rows.setdefault(run.row_id, {"row_id": run.row_id, "row": run.row, "runs": []})
        row["runs"].append({"run_id": run.run_id, "fit_id": fit.fit_id, "seed": fit.spec["seed"]})
    used_tasks = {fit.task.id for fit in plan.fits}
    used_models = {fit.model.id for fit in plan.fits}
    return {
        "suite": suite.suite,
        "title": suite.title or suite.suite,
        "description": suite.description,
        "leaderboard": suite.leaderboard,
        "command": f"make bench SUITE={suite.suite}",
        "full": plan.options.full,
        "margins": suite.margins,
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
        "rows": list(rows.values()),
    }


def _status(record: Path) -> str:
    return str((status_of(record) or {}).get("status", "missing"))


def _cached(job: Job) -> bool:
    from harness.stages.fit import fit_is_cached

    return fit_is_cached(job.fit_folder)
