"""Records to rows: one flat mapping per row of the plan, over its seeds and measurements.

A row without a score keeps its place, with a status and the reason: never a zero, never dropped.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.boards import model_facts, shapes
from harness.boards.hosts import hosts_of
from harness.boards.keys import KEYS
from harness.boards.outcomes import Damaged, Outcomes, read_outcomes, stack
from harness.boards.shapes import METRICS
from harness.boards.timings import chosen, host_of, over_launches
from harness.errors import RequestError
from harness.records.digests import NO_DIGEST, damage
from harness.records.files import SCHEMA_VERSION, read_json, refuse_newer
from harness.records.store import EXPLAIN_FILE, measurement_folders
from harness.stats.seeds import score_interval

#: Largest difference between metrics.json's score and the one that predictions.parquet yields
SCORE_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Run:
    """One run as its folder tells it; ``outcomes`` only where the status is ``ok``."""

    run_id: str
    fit_id: str
    seed: int
    status: str
    reason: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    fit_spec: Mapping[str, Any] = field(default_factory=dict)
    fit: Mapping[str, Any] = field(default_factory=dict)
    #: the fit's facts.json; {} in records that are older than it
    facts: Mapping[str, Any] = field(default_factory=dict)
    outcomes: Outcomes | None = None
    #: explain.json; {} where the stage `explain` did not run
    explained: Mapping[str, Any] = field(default_factory=dict)
    #: (timing, host) of each measurement
    measurements: tuple[tuple[Mapping[str, Any], Mapping[str, Any]], ...] = ()


@dataclass(frozen=True)
class Row:
    """A row of the board: its flat mapping, and the runs behind it."""

    flat: dict[str, Any]
    runs: tuple[Run, ...]

    @property
    def ok(self) -> list[Run]:
        return [run for run in self.runs if run.status == "ok"]

    @property
    def hosts(self) -> set[str]:
        """Those that timed it."""
        return {host_of(host) for run in self.ok for _, host in run.measurements}

    def outcomes(self, fit_ids: Iterable[str] | None = None) -> Outcomes | None:
        """Outcomes of the row's good runs, or only those of the given fits, in that order."""
        by_fit = {run.fit_id: run.outcomes for run in self.ok}
        found = [by_fit[fit_id] for fit_id in (by_fit if fit_ids is None else fit_ids)]
        return stack([o for o in found if o is not None]) if found else None


@dataclass(frozen=True)
class Records:
    """A suite's plan and its rows, in the plan's order."""

    plan: Mapping[str, Any]
    rows: tuple[Row, ...]
    #: host_id to host facts, of every host that measured or trained
    hosts: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class _Fit:
    """A fit's record; of a damaged one, only what is wrong with it."""

    spec: Mapping[str, Any] = field(default_factory=dict)
    status: Mapping[str, Any] = field(default_factory=dict)
    fit: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    damage: str = ""


def read_plan(results_folder: Path) -> dict[str, Any]:
    """``plan.json`` of a suite's records; `RequestError` where it is missing, newer or foreign."""
    path = results_folder / "plan.json"
    plan = read_json(path)
    if plan is None:
        raise RequestError(
            f"no records in {results_folder}: plan.json is missing or damaged; "
            "run the suite first (harness run SUITE)"
        )
    refuse_newer(path, plan)
    if wrong := shapes.fault(shapes.Plan, plan):
        raise RequestError(f"{path}: not the plan of a suite's records: {wrong}")
    return plan


def collect(results_folder: Path, near: str | None = None) -> Records:
    """Everything a board needs of ``results/<suite>``.

    `RequestError` as `read_plan` raises it, and for records of a newer schema.

    ``near``: a host_id whose timings come first; without it, or of rows that it did not time,
    those of the host that timed a row most.
    """
    plan = read_plan(results_folder)
    fits: dict[str, _Fit] = {}
    rows = []
    for entry in plan["rows"]:
        runs = tuple(_read_run(results_folder, planned, fits) for planned in entry["runs"])
        rows.append(Row(flat_row(plan, entry, runs, near), runs))
    return Records(plan, tuple(rows), hosts_of(run for row in rows for run in row.ok))


def _read_run(folder: Path, planned: Mapping[str, Any], fits: dict[str, _Fit]) -> Run:
    run_id, fit_id = planned["run_id"], planned["fit_id"]
    if fit_id not in fits:
        fits[fit_id] = _read_fit(folder / "fits" / fit_id)
    fit = fits[fit_id]
    known: dict[str, Any] = {
        "run_id": run_id, "fit_id": fit_id, "seed": planned["seed"],
        "fit_spec": fit.spec, "fit": fit.fit, "facts": fit.facts,
    }  # fmt: skip
    if fit.damage:
        return Run(**known, status="damaged", reason=f"its fit: {fit.damage}")
    place = folder / "runs" / run_id
    try:
        _check_digests(place)
        status = _read(shapes.Status, place / "status.json")
        if not status:
            if fit.status.get("status", "ok") != "ok":
                reason = f"its fit: {fit.status.get('reason') or 'no reason recorded'}"
                return Run(**known, status=fit.status["status"], reason=reason)
            return Run(**known, status="missing", reason="not run yet")
        if status["status"] != "ok":
            reason = status.get("reason") or "no reason recorded"
            return Run(**known, status=status["status"], reason=reason)
        return Run(**known, status="ok", **_read_results(place))
    except Damaged as damage:
        return Run(**known, status="damaged", reason=str(damage))


def _read_fit(place: Path) -> _Fit:
    try:
        _check_digests(place)
        return _Fit(
            _read(shapes.FitSpec, place / "spec.json"),
            _read(shapes.Status, place / "status.json"),
            _read(shapes.Fit, place / "fit.json"),
            _read(shapes.Facts, place / "facts.json"),
        )
    except Damaged as damage:
        return _Fit(damage=str(damage))


def _read_results(place: Path) -> dict[str, Any]:
    """What a run that claims to be complete has brought; `Damaged` where that cannot be."""
    metrics = _read(shapes.Metrics, place / "metrics.json")
    if not metrics:
        raise Damaged("metrics.json cannot be read")
    outcomes = read_outcomes(place / "predictions.parquet")
    _check_score(metrics, outcomes)
    measured = measurement_folders(place)
    for folder in measured:
        _check_digests(folder, "digests.json")
    measurements = tuple(
        (timing, _read(shapes.Host, folder / "host.json"))
        for folder in measured
        if (timing := _read(shapes.Timing, folder / "timing.json"))
    )
    return {
        "metrics": metrics, "outcomes": outcomes, "measurements": measurements,
        "explained": _read(shapes.Explained, place / EXPLAIN_FILE),
    }  # fmt: skip


def _check_digests(record: Path, last: str = "status.json") -> None:
    """`Damaged` where a complete record is not what was written; older ones carry no digests."""
    if (what := damage(record, last)) not in (None, NO_DIGEST):
        raise Damaged(f"{record.name}: {what}")


def _read(shape: type[shapes.Shape], path: Path) -> dict[str, Any]:
    """A file of a record, {} where there is none; `Damaged` where it holds something else.

    `RequestError` where its schema is newer than this program, whose shapes it need not have.
    """
    value = read_json(path)
    if value is None:
        return {}
    refuse_newer(path, value)
    if wrong := shapes.fault(shape, value):
        raise Damaged(f"{path.name}: {wrong}")
    return value


def _check_score(metrics: Mapping[str, Any], outcomes: Outcomes) -> None:
    """`Damaged` unless the two files of a run tell the same score."""
    score = metrics.get("score")
    if score is None:
        raise Damaged(f"no score: {metrics.get('score_reason', 'metrics.json has none')}")
    if not abs(score - outcomes.score) <= SCORE_TOLERANCE:
        raise Damaged(
            f"metrics.json says {score:.6f}, predictions.parquet yields {outcomes.score:.6f}"
        )


def flat_row(
    plan: Mapping[str, Any],
    entry: Mapping[str, Any],
    runs: tuple[Run, ...],
    near: str | None = None,
) -> dict[str, Any]:
    flat: dict[str, Any] = dict.fromkeys(KEYS)
    named, task = entry["row"], plan["tasks"].get(entry["row"]["task"], {})
    model = plan["models"].get(named["model"], {})
    good = [run for run in runs if run.status == "ok"]
    status, reason = _status(runs)
    flat.update(named)
    flat.update(
        row_id=entry["row_id"],
        schema_version=SCHEMA_VERSION,
        seeds=len(runs),
        seeds_ok=len(good),
        status=status,
        reason=reason,
        runs=[run.run_id for run in runs],
        score_name=task.get("primary"),
        task_type=task.get("type"),
        model_kind=model.get("kind"),
        model_name=model.get("name") or named["model"],
        model_family=_first(run.facts.get("family") for run in good),
        weights_licence=model.get("licence"),
        data_licence=task.get("licence"),
        fit_dtype=_first(run.fit_spec.get("fit_dtype") for run in runs),
        train_score=_mean(run.fit.get("train_score") for run in good),
        validation_score=_mean(run.fit.get("validation_score") for run in good),
        params=_first(run.metrics.get("params", run.fit.get("params")) for run in good),
        size_mb=_first(run.metrics.get("size_mb") for run in good),
        fit_seconds=_mean(run.fit.get("seconds") for run in good),
        fit_examples_per_second=_mean(run.fit.get("examples_per_second") for run in good),
        train_examples=_first(run.fit.get("train_examples") for run in good),
        train_available=_first(run.fit.get("train_available") for run in good),
        examples_available=_first(run.metrics.get("examples_available") for run in good),
        parity_rel_diff=_worst(run.metrics.get("parity_rel_diff") for run in good),
        prediction_agreement=_mean(run.metrics.get("prediction_agreement") for run in good),
        truncated_share=_first(_of_test(run, "truncated_share", "test") for run in good),
        max_length=_first(_max_length(task, run) for run in good),
        overlap_share=_first(_of_test(run, "overlap", "share") for run in good),
    )
    if flat["fit_seconds"] is None:
        flat["fit_seconds_reason"] = _first(run.fit.get("seconds_reason") for run in good)
    flat.update(_faithfulness([run.explained for run in good if run.explained]))
    for name in METRICS:
        flat[name] = _mean(run.metrics.get("metrics", {}).get(name) for run in good)
    host_id, timings = chosen([pair for run in good for pair in run.measurements], near)
    flat["host_id"] = host_id or _first(run.fit.get("host_id") for run in good)
    flat.update(over_launches(timings))
    flat.update(model_facts.model_facts(flat, [(run.fit, run.facts) for run in good], timings))
    if good:
        flat.update(_score(good))
    return flat


def _max_length(task: Mapping[str, Any], run: Run) -> int | None:
    """Tokens that a run read of an input, at most; None where its task reads no tokens.

    An entry of the matrix may override the task's, and only the fit's specification tells.
    """
    if task.get("max_length") is None:
        return None
    fitted = run.fit_spec.get("task") or {}
    return int(fitted.get("max_length") or task["max_length"])


def _status(runs: tuple[Run, ...]) -> tuple[str, str]:
    """``ok``, ``partial k/n``, or what befell all runs; with the reasons, each once."""
    bad = [run for run in runs if run.status != "ok"]
    if not runs:
        return "missing", "the plan has no runs for it"
    if not bad:
        return "ok", ""
    several = len(runs) > 1
    reasons: dict[str, list[str]] = {}
    for run in bad:
        reasons.setdefault(f"{run.status}: {run.reason}", []).append(str(run.seed))
    if len(bad) < len(runs) or len({run.status for run in bad}) > 1:
        text = "; ".join(f"seed {', '.join(seeds)} {why}" for why, seeds in reasons.items())
    else:
        text = "; ".join(dict.fromkeys(run.reason for run in bad))
        if several and len(reasons) == 1:
            text += f" (all {len(runs)} seeds)"
    if len(bad) < len(runs):
        return f"partial {len(runs) - len(bad)}/{len(runs)}", text
    return Counter(run.status for run in bad).most_common(1)[0][0], text


def _score(good: list[Run]) -> dict[str, Any]:
    """Score and interval; the score is the mean of the seeds' own, the interval of shared ids."""
    outcomes = stack([run.outcomes for run in good if run.outcomes is not None])
    found: dict[str, Any] = {"examples": len(outcomes)}
    found["score"] = _mean(run.metrics["score"] for run in good)
    if len(outcomes):
        score = score_interval(outcomes.num, outcomes.den, outcomes.clusters)
        found.update(
            score_low=_number(score.low), score_high=_number(score.high), score_basis=score.basis
        )
    return found


def _faithfulness(explained: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over the seeds that were explained, and whether each is shown to be above random."""
    keys = ("faithfulness_aopc", "faithfulness_aopc_random")
    found: dict[str, Any] = {key: _mean(e.get(key) for e in explained) for key in keys}
    lows = [(e.get("comprehensiveness") or {}).get("better_by_low") for e in explained]
    shown = all(low is not None and low > 0 for low in lows) if lows else None
    return found | {"faithfulness_shown": shown}


def _of_test(run: Run, key: str, part: str) -> Any:
    """A figure of the test split, from the run's metrics or else from its fit."""
    for record in (run.metrics, run.fit):
        value = record.get(key)
        if isinstance(value, Mapping):
            value = value.get(part)
        if value is not None:
            return value
    return None


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _first(values: Iterable[Any]) -> Any:
    return next((value for value in values if value is not None), None)


def _mean(values: Iterable[Any]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _worst(values: Iterable[Any]) -> float | None:
    return max((float(value) for value in values if value is not None), default=None)
