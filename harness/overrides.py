"""What a command line changes of a suite: data of a task, budgets, launches."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from harness.errors import RequestError
from harness.suite import Budget, Data, FileRef, LoadedSuite, TaskEntry

_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}


def overridden(loaded: LoadedSuite, data: dict[str, str], budget: dict[str, int]) -> LoadedSuite:
    """The suite with tasks' data from other sources and with these budgets everywhere.

    ``data`` maps task ids to sources, and with a task all others that train on its files: a file
    (the test split is then held out of it), a folder with
    files or folders named after splits, a folder of images by class, or a data set of a hub. The
    reader is chosen by extension, the task's own options (columns) stay.
    """
    suite = loaded.suite
    known = [task.id for task in suite.tasks]
    for task_id in data:
        if task_id not in known:
            raise RequestError(f"--data: no task {task_id!r} in this suite; it has {known}")
    # tasks on the same files (another validation split, say) follow
    files = {task.data.train: data[task.id] for task in suite.tasks if task.id in data}
    tasks = tuple(
        _task(task, data.get(task.id) or files.get(task.data.train), budget) for task in suite.tasks
    )
    matrix = tuple(
        entry.model_copy(
            update={"budget": {k: v for k, v in entry.budget.items() if k not in budget}}
        )
        for entry in suite.matrix
    )
    changed = suite.model_copy(update={"tasks": tasks, "matrix": matrix})
    return loaded.model_copy(update={"suite": changed})


def timed(loaded: LoadedSuite, launches: int) -> LoadedSuite:
    """The suite with ``launches`` processes for every timed run; 0: nothing is timed."""
    suite = loaded.suite
    timing = suite.timing.model_copy(update={"launches": launches})
    matrix = tuple(entry.model_copy(update={"launches": None}) for entry in suite.matrix)
    changed = suite.model_copy(update={"timing": timing, "matrix": matrix})
    return loaded.model_copy(update={"suite": changed})


def _task(task: TaskEntry, source: str | None, budget: dict[str, int]) -> TaskEntry:
    update: dict[str, Any] = {"budget": task.budget.model_copy(update=budget)}
    if source is not None:
        update |= {
            "data": _data(source, task.data),
            "licence": f"of {source}, given on the command line",
            "url": "",
        }
    return task.model_copy(update=update)


def parse_data(pairs: list[str]) -> dict[str, str]:
    """``TASK=SOURCE`` arguments; a source without a scheme is a path."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, source = pair.partition("=")
        if not equals or not name or not source:
            raise RequestError(f"--data {pair}: not of the form TASK=SOURCE")
        if name in found:
            raise RequestError(f"--data {pair}: task {name!r} is given twice")
        found[name] = source if re.match(r"[a-z]+:", source) else f"path:{source}"
    return found


def parse_budget(text: str) -> dict[str, int]:
    """``train=5000,test=2000``."""
    found: dict[str, int] = {}
    for part in filter(None, text.split(",")):
        name, _, number = part.partition("=")
        least = 0 if name == "seed" else 1
        if name not in Budget.model_fields or not number.isdecimal() or int(number) < least:
            raise RequestError(
                f"--budget {part}: not of the form SPLIT=NUMBER, with "
                f"{', '.join(Budget.model_fields)} and a number from 1"
            )
        found[name] = int(number)
    return found


def _data(source: str, before: Data) -> Data:
    """The splits that a source holds."""
    kept = {"derive": before.derive, "derive_options": before.derive_options}
    scheme, _, rest = source.partition(":")
    if scheme != "path":
        if rest.startswith("datasets/") and "!" not in rest:
            refs = {name: FileRef(source=f"{source}!{name}") for name in ("train", "test")}
            return Data(**refs, **kept)
        return Data(train=FileRef(source=source), **kept)
    path = Path(rest).expanduser().resolve()  # as the user sees it, not from the suite's folder
    if not path.exists():
        raise RequestError(f"--data: no such file or folder: {path}")
    found = {name: p for name in _SPLITS if (p := _split_in(path, name))} if path.is_dir() else {}
    others = [p for p in path.iterdir() if p.is_dir() and p not in found.values()] if found else []
    if not found or others:  # a class may be called "train", too
        found = {"train": path}
    if "train" not in found:
        raise RequestError(f"--data: {path} holds {', '.join(found)} but no train split")
    refs = {name: FileRef(source=f"path:{p}") for name, p in found.items()}
    if before.validation is not None and before.validation == before.test and "test" in refs:
        refs["validation"] = refs["test"]
    return Data(**refs, **kept)


def _split_in(folder: Path, name: str) -> Path | None:
    """The file or folder that is named after a split."""
    pattern = rf"(^|[-_.])({'|'.join(_SPLITS[name])})([-_.]|$)"
    matching = [
        p
        for p in sorted(folder.iterdir())
        if not p.name.startswith(".") and re.search(pattern, p.name, re.IGNORECASE)
    ]
    if len(matching) > 1:
        names = ", ".join(p.name for p in matching)
        raise RequestError(f"--data: several {name} splits in {folder}: {names}; leave one")
    return matching[0] if matching else None
