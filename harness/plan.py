"""From a suite to the fits and runs it asks for, each with its identity.

Planning imports no framework and opens no network (unless a hub revision is not a commit):
identities come from the digests that the suite pins, from local files, and from the installed
versions of the libraries a stage loads.
"""

from __future__ import annotations

import gc
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import Any

from harness import registry
from harness.data.formats.image_folder import hidden
from harness.errors import RequestError
from harness.records.identity import OpenDigest, digest
from harness.sources import default_cache, member, resolve
from harness.sources.path import local_path
from harness.suite import Entry, FileRef, LoadedSuite, Model, Settings, TaskEntry

#: Raised when the meaning of a stage's output changes; part of every identity below it, or of what
#: the cache reuses it by (`convert`, `reference`: no record holds their outputs).
STAGE_VERSIONS = {"prepare": 1, "fit": 1, "export": 1, "score": 1, "convert": 1, "reference": 1}

#: Keys that name things for people and do not change what is computed.
_NAMES = frozenset({"id", "name", "licence", "url"})


@dataclass(frozen=True)
class Options:
    """What the command line changes of a suite."""

    full: bool = False
    seeds: tuple[int, ...] = ()
    only: tuple[str, ...] = ()  # model, task or recipe names; empty: everything
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
    model: Model
    task: TaskEntry
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
    curves = _with_curves(loaded, options)
    fits: dict[tuple[str, str, str], Fit] = {}
    rows: dict[tuple[Any, ...], tuple[Fit, str]] = {}
    model_parts: dict[str, dict[str, Any]] = {}  # worked out once: they may read files
    task_parts: dict[tuple[int, str], dict[str, Any]] = {}
    for i, entry in enumerate(suite.matrix):
        where = loaded.where("matrix", i)
        run_parts: _RunParts = {}
        baseline = entry.recipe == "baseline"
        for framework in entry.frameworks or (("sklearn",) if baseline else ("torch",)):
            backend = registry.backends.get(framework, where)
            for model_id in entry.models:
                model = models[model_id]
                if model.kind not in backend.kinds:
                    raise RequestError(
                        f"{where}: {framework} cannot fit models of kind {model.kind!r} "
                        f"({model_id}); it knows {', '.join(backend.kinds)}"
                    )
                for task_id in entry.tasks:
                    if not _wanted(options, model_id, task_id, entry.recipe):
                        continue
                    sizes = training_sizes(tasks[task_id], entry, options.full)
                    if task_id in curves and None in sizes:
                        raise RequestError(
                            f"{where}: {task_id} is learned from training sets of several sizes; "
                            "give budget.train of this entry a size, or several, too"
                        )
                    for size, device in product(sizes, entry.devices or suite.devices):
                        if model_id not in model_parts:
                            model_parts[model_id] = model_spec(model, loaded.path.parent)
                        if (i, task_id) not in task_parts:
                            task_parts[i, task_id] = task_spec(
                                tasks[task_id], loaded.path.parent, entry, options.full
                            )
                        family = _family(
                            loaded,
                            entry,
                            model,
                            tasks[task_id],
                            model_parts[model_id],
                            _sized(task_parts[i, task_id], size),
                            framework,
                            _device(device, machine.gpu),
                            resolved,
                            machine,
                        )
                        row = {"train_budget": size} if task_id in curves else {}
                        templates = (
                            _run_templates(family, loaded, entry, where, backend, row, run_parts)
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
    if not fits:
        raise RequestError(f"{loaded.path}: nothing to run with --only {' '.join(options.only)}")
    return Plan(loaded, options, list(fits.values()))


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


def _wanted(options: Options, *names: str) -> bool:
    return not options.only or any(name in options.only for name in names)


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

    row: dict[str, Any]
    row_id: str
    spec: dict[str, Any]  # without the fit's id and the seed
    run_id: OpenDigest
    launches: int

    def add_to(self, fit: Fit, timed: bool) -> None:
        seed = fit.spec["seed"]
        run_id = self.run_id(fit_id=fit.fit_id, seed=seed)
        if all(run.run_id != run_id for run in fit.runs):
            spec = self.spec | {"fit_id": fit.fit_id, "seed": seed, "row": self.row}
            fit.runs.append(Run(run_id, self.row_id, self.row, spec, timed, self.launches))


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
    backend = registry.backends.get(framework)
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
        "versions": {
            "prepare": STAGE_VERSIONS["prepare"],
            "fit": STAGE_VERSIONS["fit"],
            "backend": backend.version,
            "task": registry.tasks.get(task.type).version,
            **installed(
                (
                    *libraries_of(backend, model.kind),
                    *registry.tasks.get(task.type).libraries,
                )
            ),
        },
    }
    fit_id = OpenDigest(_identity(_without_test(spec)), ("seed",))
    return _Family(spec, model, task, auto_key, dtype == "auto", fit_id)


#: what an entry's runs of many models share, by task, device, kind of model and runtime
_RunParts = dict[tuple[str, ...], tuple[dict[str, Any], OpenDigest]]


def _run_templates(
    family: _Family,
    loaded: LoadedSuite,
    entry: Entry,
    where: str,
    backend: Any,
    size: dict[str, int | None],
    known: _RunParts,
) -> list[_RunTemplate]:
    spec, model, task = family.spec, family.model, family.task
    templates = []
    launches = loaded.suite.timing.launches if entry.launches is None else entry.launches
    # The fit's own runtime always comes first: it is what the others are compared with.
    for name in dict.fromkeys((backend.runtime, *entry.runtimes)):
        runtime = registry.runtimes.get(name, where)
        row = {
            "suite": loaded.suite.suite,
            "model": model.id,
            "task": task.id,
            "recipe": spec["recipe"],
            "framework": spec["framework"],
            "runtime": name,
            "device": spec["device"],
            "dtype": runtime.dtype,
            **size,
        }
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
                    # only where asked for: runs without slices keep their ids
                    **({"slices": list(task.slices)} if task.slices else {}),
                },
                "versions": {
                    "score": STAGE_VERSIONS["score"],
                    "export": STAGE_VERSIONS["export"] if runtime.needs == "onnx" else 0,
                    "runtime": runtime.version,
                    "task": registry.tasks.get(task.type).version,
                    **installed(libraries_of(runtime, model.kind)),
                },
            }
            known[key] = run_spec, OpenDigest(run_spec, ("fit_id", "seed"))
        run_spec, run_id = known[key]
        templates.append(_RunTemplate(row, digest(row), run_spec, run_id, launches))
    return templates


def model_spec(model: Model, base: Path) -> dict[str, Any]:
    """The resolved model: which bytes, and how they are used."""
    return {
        "id": model.id,
        "name": model.name or model.id,
        "kind": model.kind,
        "files": {name: pinned for name, (_, pinned) in sorted(model_files(model, base).items())},
        "pooling": model.pooling,
        "architecture": model.architecture,
        "image": model.image.model_dump(mode="json") if model.image else None,
        "licence": model.licence,
        "url": model.url,
    }


def model_files(model: Model, base: Path) -> dict[str, tuple[FileRef, str]]:
    """File name in the model folder to its source and what pins it (a digest or a revision).

    A `hf:` folder has the single name ``*``: what it holds is known after the download.
    """
    if model.files:
        return {name: (ref, _pin(ref, base)) for name, ref in model.files.items()}
    if not model.source:
        return {}
    if isinstance(model.sha256, dict):
        return {
            name: (
                FileRef(
                    source=member(model.source, name),
                    sha256=sha,
                    mirrors=tuple(member(mirror, name) for mirror in model.mirrors),
                ),
                sha,
            )
            for name, sha in model.sha256.items()
        }
    if isinstance(model.sha256, str):
        name = model.source.rsplit("!", 1)[-1].rsplit("/", 1)[-1]
        ref = FileRef(source=model.source, sha256=model.sha256, mirrors=model.mirrors)
        return {name: (ref, model.sha256)}
    if model.source.startswith("path:"):
        folder = local_path(model.source.removeprefix("path:"), base)
        if folder.is_file():
            return {folder.name: (FileRef(source=f"path:{folder}"), _file_digest(folder))}
        if not folder.is_dir():
            raise RequestError(f"model {model.id!r}: no such file or folder {folder}")
        wanted = [
            p
            for p in sorted(folder.iterdir())
            if p.suffix in (".json", ".safetensors", ".gguf", ".txt", ".model") and p.is_file()
        ]
        return {p.name: (FileRef(source=f"path:{p}"), _file_digest(p)) for p in wanted}
    source = _commit(model.source)
    return {"*": (FileRef(source=source), source)}


def pins(spec: dict[str, Any]) -> list[str]:
    """What a fit's specification takes from the cache: the SHA-256 of each file, or its source
    where no digest is known."""
    data = spec["task"]["data"]
    splits = [pin for name in ("train", "validation", "test") if (pin := data.get(name))]
    return [*spec["model"]["files"].values(), *splits]


def task_spec(task: TaskEntry, base: Path, entry: Entry, full: bool) -> dict[str, Any]:
    """The resolved task: which data, how much of it, and how it is read."""
    budget = task.budget.model_dump() | entry.budget
    if full:
        budget |= {"train": None, "validation": None, "test": None}
    data = task.data
    return {
        "id": task.id,
        "name": task.name or task.id,
        "type": task.type,
        "data": {
            "train": _pin(data.train, base),
            "validation": _pin(data.validation, base) if data.validation else None,
            "test": _pin(data.test, base) if data.test else None,
            "format": data.format,
            "derive": data.derive,
            "derive_options": data.derive_options,
            "options": data.options,
        },
        "options": task.options,
        "max_length": entry.max_length or task.max_length,
        "stride": task.stride,
        "budget": budget,
        "licence": task.licence,
        "url": task.url,
    }


def _pin(ref: FileRef, base: Path) -> str:
    """What identifies a file's bytes: its digest, or its source with the revision."""
    if ref.sha256:
        return ref.sha256
    if ref.source.startswith("path:"):
        path = local_path(ref.source.removeprefix("path:"), base)
        if path.is_dir():
            return _folder_digest(path)
        if not path.is_file():
            raise RequestError(f"no such file: {path} (from {ref.source!r})")
        return _file_digest(path)
    return _commit(ref.source)


#: a hub source whose revision is a commit already, which nothing can move
_AT_COMMIT = re.compile(r"^(hf|timm):[^@]+@[0-9a-f]{40}(!|$)")


def _commit(source: str) -> str:
    """A source with its revision as a commit. A branch or tag asks the hub what it means now; a
    name of Keras' zoo means what the installed release says."""
    if source.startswith(("path:", "pypi:")) or _AT_COMMIT.match(source):
        return source
    return resolve(source, default_cache())


def _folder_digest(folder: Path) -> str:
    """Of the relative names and contents of all files that are not hidden."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not hidden(p, folder))
    return digest([[p.relative_to(folder).as_posix(), _file_digest(p)] for p in files])


def _file_digest(path: Path) -> str:
    stat = path.stat()
    return _digest_of(str(path), stat.st_size, stat.st_mtime_ns)


@cache
def _digest_of(path: str, size: int, mtime_ns: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _identity(spec: dict[str, Any]) -> dict[str, Any]:
    """A spec without the names that are only for people."""
    return spec | {
        part: {k: v for k, v in spec[part].items() if k not in _NAMES}
        for part in ("model", "task")
        if part in spec
    }


def _without_test(spec: dict[str, Any]) -> dict[str, Any]:
    """A fit does not depend on the test split, unless that is held out of training."""
    task = spec["task"]
    if task["data"]["test"] is None:
        return spec
    data = {k: v for k, v in task["data"].items() if k != "test"}
    budget = {k: v for k, v in task["budget"].items() if k != "test"}
    return spec | {"task": task | {"data": data, "budget": budget}}


def libraries_of(component: Any, kind: str) -> tuple[str, ...]:
    """Distributions that a backend or a runtime loads for models of a kind."""
    return (*component.libraries, *component.kind_libraries.get(kind, ()))


def installed(libraries: tuple[str, ...]) -> dict[str, str]:
    """Releases of distributions, by name."""
    return {name: _version(name) for name in libraries}


@cache
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
