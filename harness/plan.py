"""From a suite to the fits and runs it asks for, each with its identity.

Planning imports no framework and opens no network (unless a hub revision is not a commit):
identities come from the digests that the suite pins, from local files, and from the installed
versions of the libraries a stage loads.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from harness import registry
from harness.errors import RequestError
from harness.records.identity import OpenDigest, digest
from harness.selection import Row, Selection
from harness.specifications import (
    STAGE_VERSIONS,
    identity,
    installed,
    libraries_of,
    metric_scripts,
    model_spec,
    resolved_model,
    resolved_task,
    task_spec,
    without_test,
)
from harness.suite import Entry, LoadedSuite, Model, Settings, Suite, TaskEntry


@dataclass(frozen=True)
class Options:
    """What the command line changes of a suite."""

    full: bool = False
    seeds: tuple[int, ...] = ()
    #: what `harness.selection` selects by; empty: everything
    only: tuple[str, ...] = ()
    trust_remote_code: bool = False


@dataclass(frozen=True)
class Machine:
    """What a plan depends on of the machine: which host, what `auto` and `threads: 0` mean."""

    host_id: str
    gpu: bool
    cores: int


@dataclass(frozen=True)
class Run:
    """One fit scored by one runtime on one device in one dtype."""

    run_id: str
    row_id: str
    row: dict[str, Any]
    spec: dict[str, Any]
    timed: bool
    launches: int = 1  # fresh processes that time it, if it is timed


@dataclass(frozen=True)
class Fit:
    """One training, and the runs that it feeds. ``fit_id`` is empty while `auto` is open."""

    fit_id: str
    spec: dict[str, Any]
    model: Model  # its sources as the plan resolved them
    task: TaskEntry  # as above
    auto_key: str  # where `results/resolved.json` holds the fit dtype; empty if not `auto`
    runs: list[Run] = field(default_factory=list)

    @property
    def key(self) -> tuple[str, str, str]:
        """Unique in a plan. Two models of the same bytes, or two tasks that differ in their test
        split only, are trained once: their fits share an id, not their rows."""
        return (self.fit_id or digest(self.spec), self.model.id, self.task.id)


@dataclass(frozen=True)
class Plan:
    loaded: LoadedSuite
    options: Options
    fits: list[Fit]

    @property
    def open_keys(self) -> dict[str, Fit]:
        """`auto` settings still to be measured here, with a fit that needs each."""
        return {fit.auto_key: fit for fit in self.fits if not fit.fit_id}

    def runs(self) -> list[tuple[Fit, Run]]:
        return [(fit, run) for fit in self.fits for run in fit.runs]


@contextmanager
def _collector_resting() -> Iterator[None]:
    """A plan is a million objects without a cycle among them, and going over all of them again and
    again took Python's collector a third of the time."""
    was_at_work = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_at_work:
            gc.enable()


@_collector_resting()
def make_plan(
    loaded: LoadedSuite,
    options: Options,
    resolved: dict[str, str],
    machine: Machine,
) -> Plan:
    """Expand the matrix.

    ``resolved`` maps auto keys to dtypes measured earlier on this host; a fit whose key is
    missing keeps an empty ``fit_id`` and no runs until it is measured.
    """
    suite = loaded.suite
    models = {model.id: model for model in suite.models}
    tasks = {task.id: task for task in suite.tasks}
    for i, task in enumerate(suite.tasks):
        registry.tasks.get(task.type, loaded.where("tasks", i, "type"))
    _refuse_endless(loaded, options)
    selection = Selection(options.only, _names(suite), str(loaded.path))
    curves = _with_curves(loaded, options)
    fits: dict[tuple[str, str, str], Fit] = {}
    rows: dict[tuple[Any, ...], tuple[Fit, str]] = {}
    model_parts: dict[str, dict[str, Any]] = {}  # worked out once: they may read files
    task_parts: dict[tuple[int, str], dict[str, Any]] = {}
    for i, entry in enumerate(suite.matrix):
        where = loaded.where("matrix", i)
        run_parts: _RunParts = {}
        for framework in frameworks_of(entry):
            backend = registry.backends.get(framework, where)
            for model_id in entry.models:
                model = models[model_id]
                if model.kind not in backend.kinds:
                    raise RequestError(
                        f"{where}: {framework} cannot fit models of kind {model.kind!r} "
                        f"({model_id}); it knows {', '.join(backend.kinds)}"
                    )
                for task_id in entry.tasks:
                    called = {
                        "model": model_id, "task": task_id, "recipe": entry.recipe,
                        "framework": framework,
                    }  # fmt: skip
                    if selection.leaves_out(called):
                        continue
                    sizes = training_sizes(tasks[task_id], entry, options.full)
                    if task_id in curves and None in sizes:
                        raise RequestError(
                            f"{where}: {task_id} is learned from training sets of several sizes; "
                            "give budget.train of this entry a size, or several, too"
                        )
                    for size, asked in product(sizes, entry.devices or suite.devices):
                        device = _device(asked, machine.gpu)
                        row = {"train_budget": size} if task_id in curves else {}
                        runtimes = backend.runtime, *entry.runtimes
                        place = {"suite": suite.suite, **called, "device": device}
                        wanted = selection.of(_rows(place, runtimes, row, where), called)
                        if not wanted:
                            continue
                        if model_id not in model_parts:
                            model_parts[model_id] = model_spec(model, loaded.path.parent)
                        if (i, task_id) not in task_parts:
                            task_parts[i, task_id] = task_spec(
                                tasks[task_id], loaded.path.parent, entry, options.full
                            )
                        family = _family(
                            loaded,
                            entry,
                            resolved_model(model, model_parts[model_id]),
                            resolved_task(tasks[task_id], task_parts[i, task_id]),
                            model_parts[model_id],
                            _sized(task_parts[i, task_id], size),
                            framework,
                            device,
                            resolved,
                            machine,
                        )
                        templates = (
                            _run_templates(family, loaded, entry, wanted, run_parts)
                            if not family.open
                            else []
                        )
                        seeds = options.seeds or entry.seeds or suite.seeds
                        drawn = backend.draws(entry.recipe, family.spec["settings"])
                        if not drawn and not entry.seeds:
                            seeds = seeds[:1]
                        for order, seed in enumerate(seeds):
                            fit = family.fit(seed)
                            known = fits.setdefault(fit.key, fit)
                            _refuse_two_of_a_row(rows, known, fit.spec, row, where)
                            timed = order == 0 or suite.timing.seeds == "all"
                            for template in templates:
                                template.add_to(known, timed)
    selection.check()
    if not fits:
        raise RequestError(
            f"{loaded.path}: nothing to run with --only {' '.join(options.only)}: the matrix has "
            "these names, but not together"
        )
    return Plan(loaded, options, list(fits.values()))


def frameworks_of(entry: Entry) -> tuple[str, ...]:
    """What trains an entry's models."""
    return entry.frameworks or (("sklearn",) if entry.recipe == "baseline" else ("torch",))


def _names(suite: Suite) -> dict[str, set[str]]:
    """What the matrix names, by kind."""
    matrix = suite.matrix
    return {
        "model": {name for entry in matrix for name in entry.models},
        "task": {name for entry in matrix for name in entry.tasks},
        "recipe": {entry.recipe for entry in matrix},
        "framework": {name for entry in matrix for name in frameworks_of(entry)},
    }


#: more than any cluster works off; each costs memory and a folder
MAX_FITS = 1_000_000


def _refuse_endless(loaded: LoadedSuite, options: Options) -> None:
    """`RequestError` for a matrix whose product no machine could expand."""
    suite = loaded.suite
    for i, entry in enumerate(suite.matrix):
        size = 1
        for part in (
            entry.models, entry.tasks, entry.frameworks, entry.devices or suite.devices,
            options.seeds or entry.seeds or suite.seeds,
        ):  # fmt: skip
            size *= max(1, len(part))
        if size > MAX_FITS:
            raise RequestError(
                f"{loaded.where('matrix', i)}: {size} fits, over the limit of {MAX_FITS}; "
                "split the suite"
            )


def training_sizes(task: TaskEntry, entry: Entry, full: bool) -> tuple[int | None, ...]:
    """How many training examples an entry asks for on a task; None: all of them."""
    if full:
        return (None,)
    train = entry.budget.get("train", task.budget.train)
    return tuple(sorted(train)) if isinstance(train, tuple) else (train,)


def _sized(task_part: dict[str, Any], train: int | None) -> dict[str, Any]:
    """A resolved task with one training size."""
    return task_part | {"budget": task_part["budget"] | {"train": train}}


def _with_curves(loaded: LoadedSuite, options: Options) -> set[str]:
    """Tasks that are learned from several sizes: there the size is part of what a row is.

    Rows of other tasks do not name theirs, so that their ids outlive a change of the budget.
    """
    tasks = {task.id: task for task in loaded.suite.tasks}
    return {
        task_id
        for entry in loaded.suite.matrix
        for task_id in entry.tasks
        if len(training_sizes(tasks[task_id], entry, options.full)) > 1
    }


def _refuse_two_of_a_row(
    rows: dict[tuple[Any, ...], tuple[Fit, str]],
    fit: Fit,
    asked: dict[str, Any],
    size: dict[str, int | None],
    where: str,
) -> None:
    """Boards tell fits apart by these names: two under the same would pass for seeds of one."""
    spec = fit.spec
    names = (spec[k] for k in ("recipe", "framework", "device", "seed"))
    key = (fit.model.id, fit.task.id, *names, *size.values())
    known, first = rows.setdefault(key, (fit, where))
    if known is not fit or known.spec["task"]["budget"] != asked["task"]["budget"]:
        raise RequestError(
            f"{where}: {fit.model.id} {spec['recipe']} on {fit.task.id} stands at {first} already, "
            "with other settings; give one of them a model or task id of its own"
        )


def _rows(
    place: Mapping[str, str],
    runtimes: tuple[str, ...],
    size: Mapping[str, int | None],
    where: str,
) -> list[Row]:
    """A fit's rows, one a runtime. ``place``: suite, model, task, recipe, framework and device.

    The fit's own runtime comes first in ``runtimes``: it is what the others are compared with.
    """
    return [
        Row(
            {
                **place,
                "runtime": runtime,
                "dtype": registry.runtimes.get(runtime, where).dtype,
                **size,
            }
        )
        for runtime in dict.fromkeys(runtimes)
    ]


def _device(asked: str, gpu: bool) -> str:
    return ("cuda" if gpu else "cpu") if asked == "auto" else asked


@dataclass(frozen=True)
class _Family:
    """Fits that differ in nothing but their seed: what they share is worked out once."""

    spec: dict[str, Any]  # without the seed
    model: Model
    task: TaskEntry
    auto_key: str
    open: bool  # `auto` is still to be measured
    fit_id: OpenDigest

    def fit(self, seed: int) -> Fit:
        fit_id = "" if self.open else self.fit_id(seed=seed)
        return Fit(fit_id, self.spec | {"seed": seed}, self.model, self.task, self.auto_key)


@dataclass(frozen=True)
class _RunTemplate:
    """One runtime's runs of a family."""

    row: Row
    spec: dict[str, Any]  # without the fit's id and the seed
    run_id: OpenDigest
    launches: int

    def add_to(self, fit: Fit, timed: bool) -> None:
        seed = fit.spec["seed"]
        run_id = self.run_id(fit_id=fit.fit_id, seed=seed)
        if all(run.run_id != run_id for run in fit.runs):
            row = self.row
            spec = self.spec | {"fit_id": fit.fit_id, "seed": seed, "row": row.names}
            timed = timed and row.timed
            fit.runs.append(Run(run_id, row.row_id, row.names, spec, timed, self.launches))


def _family(
    loaded: LoadedSuite,
    entry: Entry,
    model: Model,
    task: TaskEntry,
    model_part: dict[str, Any],
    task_part: dict[str, Any],
    framework: str,
    device: str,
    resolved: dict[str, str],
    machine: Machine,
) -> _Family:
    suite = loaded.suite
    settings = Settings.model_validate(
        suite.settings.get(entry.recipe, {})
        | entry.settings
        | entry.settings_by_task.get(task.id, {})
    ).model_dump(mode="json")
    threads = suite.threads or machine.cores
    auto_key, dtype = "", settings["fit_dtype"]
    if dtype == "auto":
        if framework == "sklearn" or entry.recipe in ("linear-probe", "baseline"):
            dtype = "float32"  # frozen features and baselines: nothing to win, parity to lose
        else:
            auto_key = digest(
                [
                    model_part["files"],
                    model_part["kind"],
                    framework,
                    device,
                    threads,
                    machine.host_id,
                ]
            )
            dtype = resolved.get(auto_key, "auto")
    settings["fit_dtype"] = dtype
    spec = {
        "model": model_part,
        "task": task_part,
        "recipe": entry.recipe,
        "settings": settings,
        "framework": framework,
        "device": device,
        "fit_dtype": dtype,
        "threads": threads,
        "versions": fit_versions(framework, model.kind, task.type),
    }
    fit_id = OpenDigest(identity(without_test(spec)), ("seed",))
    return _Family(spec, model, task, auto_key, dtype == "auto", fit_id)


def fit_versions(framework: str, kind: str, task_type: str) -> dict[str, Any]:
    """What a fit depends on of this installation: versions of our stages, releases of libraries."""
    backend, task = registry.backends.get(framework), registry.tasks.get(task_type)
    return {
        "prepare": STAGE_VERSIONS["prepare"],
        "fit": STAGE_VERSIONS["fit"],
        "backend": backend.version,
        "task": task.version,
        **installed((*libraries_of(backend, kind), *task.libraries)),
    }


def run_versions(runtime: str, kind: str, task_type: str) -> dict[str, Any]:
    """As `fit_versions`, of scoring and timing in a runtime."""
    loaded = registry.runtimes.get(runtime)
    return {
        "score": STAGE_VERSIONS["score"],
        "export": STAGE_VERSIONS["export"] if loaded.needs == "onnx" else 0,
        "runtime": loaded.version,
        "task": registry.tasks.get(task_type).version,
        **installed(libraries_of(loaded, kind)),
    }


#: what an entry's runs of many models share, by task, device, kind of model and runtime
_RunParts = dict[tuple[str, ...], tuple[dict[str, Any], OpenDigest]]


def _run_templates(
    family: _Family,
    loaded: LoadedSuite,
    entry: Entry,
    rows: list[Row],
    known: _RunParts,
) -> list[_RunTemplate]:
    spec, model, task = family.spec, family.model, family.task
    templates = []
    launches = loaded.suite.timing.launches if entry.launches is None else entry.launches
    for row in rows:
        name = row.names["runtime"]
        runtime = registry.runtimes.get(name)
        key = (task.id, spec["device"], model.kind, name)
        if key not in known:
            run_spec = {
                "runtime": name,
                "device": spec["device"],
                "dtype": runtime.dtype,
                "threads": spec["threads"],
                "test": {
                    "file": spec["task"]["data"]["test"],
                    "size": spec["task"]["budget"]["test"],
                    "metrics": list(task.metrics),
                    # only where asked for: runs without keep their ids
                    **metric_scripts(task, loaded),
                    **({"slices": list(task.slices)} if task.slices else {}),
                },
                "versions": run_versions(name, model.kind, task.type),
            }
            known[key] = run_spec, OpenDigest(run_spec, ("fit_id", "seed"))
        run_spec, run_id = known[key]
        templates.append(_RunTemplate(row, run_spec, run_id, launches))
    return templates
