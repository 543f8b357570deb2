"""What a fit is made of, resolved: its model's files and its data by digest, releases of libraries.

Specifications are what ids are digests of. They import no framework and open no network, unless a
hub's revision is not a commit.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from harness.data.formats.image_folder import hidden
from harness.errors import RequestError
from harness.records.identity import digest
from harness.sources import default_cache, member, resolve
from harness.sources.model_files import local_names
from harness.sources.path import local_path
from harness.suite import Entry, FileRef, LoadedSuite, Model, TaskEntry
from harness.tasks.evaluate_adapter import metric_script

#: Raised when the meaning of a stage's output changes; part of every identity below it, or of what
#: the cache reuses it by (`convert`, `reference`: no record holds their outputs).
STAGE_VERSIONS = {"prepare": 1, "fit": 2, "export": 1, "score": 1, "convert": 1, "reference": 1}

#: of a folder's pin: its Python files are taken, too
_WITH_CODE = " with code"

#: Keys that name things for people and do not change what is computed.
_NAMES = frozenset({"id", "name", "licence", "url"})


def metric_scripts(task: TaskEntry, loaded: LoadedSuite) -> dict[str, dict[str, str]]:
    """SHA-256 of each local script among a task's metrics; {} where there is none."""
    number = [known.id for known in loaded.suite.tasks].index(task.id)
    where = loaded.where("tasks", number, "metrics")
    scripts = {name: metric_script(name, loaded.path.parent, where) for name in task.metrics}
    found = {name: _file_digest(script) for name, script in scripts.items() if script}
    return {"metric_scripts": found} if found else {}


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
        # only where asked for: models without code of their own keep their ids
        **({"trust_remote_code": True} if model.trust_remote_code else {}),
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
        names = local_names(
            (p.name for p in folder.iterdir() if p.is_file()), code=model.trust_remote_code
        )
        wanted = [folder / name for name in names]
        return {p.name: (FileRef(source=f"path:{p}"), _file_digest(p)) for p in wanted}
    source = _commit(model.source)
    # another folder in the cache: more of the same commit is taken
    pin = f"{source}{_WITH_CODE}" if model.trust_remote_code else source
    return {"*": (FileRef(source=source), pin)}


def resolved_model(model: Model, part: dict[str, Any]) -> Model:
    """The model as `model_spec` resolved it to ``part``: what moves (a branch) is a commit in it,
    so that everything after the plan takes what the plan found."""
    pins = part["files"]
    if "*" in pins:
        return model.model_copy(update={"source": pins["*"].removesuffix(_WITH_CODE)})
    files = {name: _resolved(ref, pins[name]) for name, ref in model.files.items()}
    return model.model_copy(update={"files": files})


def resolved_task(task: TaskEntry, part: dict[str, Any]) -> TaskEntry:
    """The task as `task_spec` resolved it to ``part``, as in `resolved_model`."""
    files = {
        name: _resolved(ref, part["data"][name])
        for name in ("train", "validation", "test")
        if (ref := getattr(task.data, name))
    }
    return task.model_copy(update={"data": task.data.model_copy(update=files)})


def _resolved(ref: FileRef, pin: str) -> FileRef:
    if ref.sha256 or ref.source.startswith("path:"):
        return ref
    return ref.model_copy(update={"source": pin})


def local_pins(files: Mapping[str, FileRef | None], base: Path) -> dict[str, str]:
    """What identifies the bytes of those files now that lie on this machine, by their keys."""
    return {
        key: _pin(ref, base)
        for key, ref in files.items()
        if ref and not ref.sha256 and ref.source.startswith("path:")
    }


def changed(what: str, file: str) -> RequestError:
    """A file is another now than it was when the run was planned: what is made of it must not stand
    under the identity of the other."""
    return RequestError(
        f"{what}: {file} has changed since this run was planned, so it was not used; the same "
        "command plans anew, with what is there then"
    )


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
        **_held_out(task, budget),
        "licence": task.licence,
        "url": task.url,
    }


def _held_out(task: TaskEntry, budget: dict[str, Any]) -> dict[str, Any]:
    """How many examples are held out of train, and by which seed, for splits without a file.

    That is the task's own budget, so that all entries score on the same examples, whatever they
    draw of them. Named only where it is not the ``budget`` at hand, which says it otherwise: fits
    whose entry leaves the task's budget as it is keep their ids.
    """
    own = task.budget.model_dump()
    names = [name for name in ("validation", "test") if getattr(task.data, name) is None]
    held_out = {name: own[name] for name in (*names, "seed")} if names else {}
    return {"held_out": held_out} if held_out != {k: budget[k] for k in held_out} else {}


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


def identity(spec: dict[str, Any]) -> dict[str, Any]:
    """A spec without the names that are only for people."""
    return spec | {
        part: {k: v for k, v in spec[part].items() if k not in _NAMES}
        for part in ("model", "task")
        if part in spec
    }


def without_test(spec: dict[str, Any]) -> dict[str, Any]:
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
