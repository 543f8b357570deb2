"""A suite made from a user's own file and another suite's candidates."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from harness.data.read import read_table
from harness.errors import RequestError
from harness.suite import Budget, Data, Entry, FileRef, LoadedSuite, Suite, TaskEntry, Timing

#: what is held out of the file for the answer's board and for the search; beyond these sizes more
#: examples tell little: at 1,000, a score of 0.9 is known to 2 points
TEST, VALIDATION = (0.2, 1000), (0.15, 500)
#: fewer rows cannot be split into three parts that mean anything
FEWEST = 60
#: columns that people call their texts and labels
_TEXTS = ("text", "sentence", "body", "content", "message", "query", "question", "review")
_LABELS = ("label", "category", "class", "intent", "target", "topic", "sentiment")


@dataclass(frozen=True)
class Arm:
    """One way to build a model: a candidate under a recipe, with its settings."""

    model: str
    recipe: str
    entry: Entry

    @property
    def name(self) -> str:
        return f"{self.model} {self.recipe}"

    @property
    def baseline(self) -> bool:
        return self.recipe == "baseline"


@dataclass(frozen=True)
class OwnData:
    """The generated suite (its matrix holds all arms), and how many examples it divides."""

    loaded: LoadedSuite
    arms: tuple[Arm, ...]
    train_examples: int
    validation_examples: int
    classes: int

    @property
    def task(self) -> str:
        return self.loaded.suite.tasks[0].id

    def at(self, arms: list[Arm], train: int, *, launches: int = 0) -> LoadedSuite:
        """The suite with these arms, at most ``train`` training examples each."""
        suite = self.loaded.suite
        task = suite.tasks[0]
        task = task.model_copy(update={"budget": task.budget.model_copy(update={"train": train})})
        entries = tuple(arm.entry for arm in arms)
        timing = suite.timing.model_copy(update={"launches": launches})
        changed = suite.model_copy(update={"tasks": (task,), "matrix": entries, "timing": timing})
        return self.loaded.model_copy(update={"suite": changed})


def own_data(
    candidates: LoadedSuite, file: Path, task_type: str, text: str | None, label: str | None
) -> OwnData:
    """``file`` as the only task of ``candidates``' models. `RequestError` names what is wrong with
    the file, its columns or the candidates."""
    if not file.is_file():
        raise RequestError(f"--data: no such file: {file}")
    table = read_table(file, None, {}, str(file))
    columns = list(table.columns)
    options = {
        "text": _column("--text", text, columns, _TEXTS, file),
        "label": _column("--label", label, columns, _LABELS, file),
    }
    count = len(table.columns[options["label"]]) if columns else 0
    if count < FEWEST:
        raise RequestError(f"--data: {file} holds {count} rows; at least {FEWEST} are needed")
    suite = candidates.suite
    same_type = [task for task in suite.tasks if task.type == task_type]
    if not same_type:
        known = ", ".join(sorted({task.type for task in suite.tasks}))
        raise RequestError(
            f"--candidates: {candidates.path} has no task of type {task_type!r} whose models and "
            f"settings could be taken; it has {known}"
        )
    test, validation = (min(round(share * count), most) for share, most in (TEST, VALIDATION))
    task = TaskEntry(
        id=_identifier(file.stem),
        name=file.name,
        type=task_type,
        data=Data(train=FileRef(source=f"path:{file.resolve()}")),
        options=options,
        max_length=same_type[0].max_length,
        budget=Budget(train=None, validation=validation, test=test, seed=13),
        licence=f"of {file.name}, given on the command line",
    )
    arms = _arms(suite, [t.id for t in same_type], task.id)
    if not arms:
        raise RequestError(f"--candidates: {candidates.path} fits nothing on {task_type} tasks")
    made = suite.model_copy(
        update={
            "suite": f"choose-{task.id}",
            "title": f"Which model for {file.name}",
            "description": f"Candidates of suite {suite.suite}, fitted on your data.",
            "tasks": (task,),
            "matrix": tuple(arm.entry for arm in arms),
            "seeds": suite.seeds[:1],
            "timing": Timing(launches=1, max_seconds=1.0, batch_sizes=(8,), sweep_seconds=0.3),
            "tune": None,
        }
    )
    loaded = candidates.model_copy(update={"suite": Suite.model_validate(made.model_dump())})
    classes = len(set(table.columns[options["label"]]))
    return OwnData(loaded, tuple(arms), count - test - validation, validation, classes)


def _column(
    flag: str, asked: str | None, columns: list[str], usual: tuple[str, ...], file: Path
) -> str:
    if asked is not None:
        if asked not in columns:
            raise RequestError(f"{flag}: {file} has no column {asked!r}; it has {columns}")
        return asked
    found = [name for name in columns if name.lower() in usual]
    if len(found) != 1:
        raise RequestError(f"{file} has the columns {columns}; say which one with {flag} COLUMN")
    return found[0]


def _arms(suite: Suite, tasks: list[str], own: str) -> list[Arm]:
    """Each model and recipe once, not in TensorFlow, as the suite's first such entry says."""
    arms: dict[tuple[str, str], Arm] = {}
    for entry in suite.matrix:
        shared = [task for task in entry.tasks if task in tasks]
        if not shared or entry.frameworks not in ((), ("torch",), ("sklearn",)):
            continue
        settings = entry.settings | entry.settings_by_task.get(shared[0], {})
        for model in entry.models:
            changed = {
                "models": (model,), "tasks": (own,), "runtimes": (), "seeds": (),
                "settings": settings, "settings_by_task": {},
                # those of the suite are for its own clock
                "budget": {}, "launches": None,
            }  # fmt: skip
            arm = Arm(model, entry.recipe, entry.model_copy(update=changed))
            arms.setdefault((model, entry.recipe), arm)
    return list(arms.values())


def _identifier(stem: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._") or "data"
