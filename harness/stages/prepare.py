"""Raw files to drawn, encoded splits, the same for every framework.

Worker processes keep what they have prepared, so that a suite reads and tokenises each split
once per process.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from harness import registry
from harness.data.split import draw, hold_out
from harness.errors import RequestError
from harness.sources import fetch_data
from harness.sources.path import local_path
from harness.specifications import changed, local_pins
from harness.stages.job import Job
from harness.stages.positions import check_length
from harness.suite import FileRef, TaskEntry
from harness.tasks.base import Encoded, Examples, Pixels, Task, take_rows
from harness.tasks.overlap import overlap

SplitName = Literal["train", "validation", "test"]
SPLITS = get_args(SplitName)

#: shares of train that are held out where a task has no such file and no budget for one
HELD_OUT = {"test": 0.2, "validation": 0.1}
#: bytes of images that a timed process is given
_TIMED_PIXELS = 10_000_000


@dataclass(frozen=True)
class TaskData:
    """One task, read whole: what every draw is made from."""

    task: Task
    splits: dict[str, Examples]
    held_out: tuple[str, ...]  # splits that were taken from train
    #: what local files were when they were read, by split, where the suite pins no digest
    pins: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Split:
    """A drawn split, raw and encoded."""

    examples: Examples
    encoded: Encoded
    encoder: Any  # how the model takes examples, see `Task.encoder`

    @property
    def truncated_share(self) -> float:
        return float(self.encoded.truncated.mean()) if len(self.encoded.truncated) else 0.0


def task_data(job: Job) -> TaskData:
    """The job's task, read from (cached) files; `RequestError` where one that training reads is
    not what the plan found."""
    return _as_planned(job, "train", "validation")


def _as_planned(job: Job, *names: SplitName) -> TaskData:
    """Only these splits are held to the plan: a fit's identity does not name its test split."""
    data = _task_data(_data_key(job), job.cache, job.base)
    planned = job.spec["task"]["data"]
    for name in names:
        if data.pins.get(name, planned[name]) != planned[name]:
            source = getattr(job.task_entry.data, name).source
            raise changed(f"task {job.task['id']!r}", source)
    return data


def _data_key(job: Job) -> str:
    """A task, and what its files were when the run was planned."""
    return json.dumps([job.task, job.spec["task"]["data"]], sort_keys=True)


@lru_cache(maxsize=4)
def _task_data(key: str, cache: Path, base: Path) -> TaskData:
    entry = TaskEntry.model_validate(json.loads(key)[0])
    # a file that changes while it is read is not the one that is looked at after that
    data = read_task(entry, cache, base)
    return replace(data, pins=local_pins({s: getattr(entry.data, s) for s in SPLITS}, base))


def fetch_task(
    entry: TaskEntry, cache: Path, base: Path, progress: Callable[..., None] | None = None
) -> None:
    """Fetch the files of a task, so that `read_task` finds them in the cache."""
    for name in data_splits(entry):
        fetch_data(getattr(entry.data, name), cache, base=base, progress=progress)


def read_task(
    entry: TaskEntry, cache: Path, base: Path, reading: Callable[[str], None] | None = None
) -> TaskData:
    """Fetch, parse and check all splits of a task; `RequestError` on anything wrong in them.

    ``reading`` is called with each source before it is parsed.
    """
    from harness.data.read import read_table

    kind = registry.tasks.get(entry.type)
    reader = kind(entry.options)
    splits: dict[str, Examples] = {}
    origins: dict[str, str] = {}
    for split in SPLITS:
        ref = getattr(entry.data, split)
        if ref is None:
            continue
        path = fetch_data(ref, cache, base=base)
        if reading:
            reading(ref.source)
        origin = ref.source.removeprefix("path:")
        options = {k: _of_split(v, split) for k, v in entry.data.options.items()}
        table = read_table(path, entry.data.format, options, origin)
        if entry.data.derive:
            derivation = registry.derivations.get(entry.data.derive, f"task {entry.id!r}")
            table = derivation(table, entry.data.derive_options)
        origins[split] = origin
        splits[split] = reader.examples(table, split)
        if split == "test" or "test" not in data_splits(entry):
            splits[split].fields.update(_slices(entry, table, len(splits[split]), origin))
        if not len(splits[split]):
            raise RequestError(f"task {entry.id!r}: {origin} holds no examples")
    task = kind(entry.options, reader.find_labels(splits["train"]))
    for split in splits:
        task.check_labels(splits[split], origins[split])
    # the test split first, so that it does not depend on whether validation is held out
    held_out = tuple(name for name in ("test", "validation") if name not in splits)
    for name in held_out:
        splits |= _hold_out(task, splits["train"], name, entry)
    return TaskData(task, splits, held_out)


def seen_from(entry: TaskEntry, base: Path, folder: Path) -> TaskEntry:
    """A task of a suite in folder ``base`` as one in ``folder`` reads it: `read_task` of both is
    the same. Its local files are named relative to ``folder``, so that both can be moved."""

    def moved(source: str) -> str:
        if not source.startswith("path:"):
            return source
        path = local_path(source.removeprefix("path:"), base)
        try:
            return f"path:{Path(os.path.relpath(path, folder.resolve())).as_posix()}"
        except ValueError:  # on another drive of Windows
            return f"path:{path}"

    def file(ref: FileRef) -> FileRef:
        mirrors = tuple(map(moved, ref.mirrors))
        return ref.model_copy(update={"source": moved(ref.source), "mirrors": mirrors})

    files = {split: file(getattr(entry.data, split)) for split in data_splits(entry)}
    return entry.model_copy(update={"data": entry.data.model_copy(update=files)})


def data_splits(entry: TaskEntry) -> list[str]:
    """Splits that have a source of their own; a missing one is held out of train."""
    return [name for name in SPLITS if getattr(entry.data, name) is not None]


def _slices(entry: TaskEntry, table: Any, examples: int, origin: str) -> dict[str, list[str]]:
    """``slice_<name>`` fields of the columns that a task's ``slices`` names, as text."""
    found = {}
    for name in entry.slices:
        values = table.column(name)
        if len(values) != examples:
            raise RequestError(
                f"task {entry.id!r}: slices need one example a line, and {origin} has "
                f"{len(values)} lines for {examples} examples"
            )
        found[f"slice_{name}"] = [str(value) for value in values]
    return found


def _of_split(option: Any, split: str) -> Any:
    """An option of the reader, ``{split}`` in it filled in."""
    return option.replace("{split}", split) if isinstance(option, str) else option


def _hold_out(task: Task, pool: Examples, name: str, entry: TaskEntry) -> dict[str, Examples]:
    """``train`` without, and ``name`` with, as many examples as the *task's* budget says: what an
    entry of the matrix draws of them is a part of these (`specifications.task_spec` names both)."""
    size = getattr(entry.budget, name) or max(1, round(HELD_OUT[name] * len(pool)))
    if size >= len(pool):
        raise RequestError(
            f"task {entry.id!r}: {len(pool)} training examples are too few to hold out "
            f"{size} for {name}; name a `{name}` file or lower budget.{name}"
        )
    rest, kept = hold_out(task.strata(pool), size, entry.budget.seed)
    return {"train": pool.take(rest), name: pool.take(kept)}


def split(job: Job, name: SplitName, model_folder: Path | None) -> Split:
    """A split as the job's budget draws it, encoded for the model in a folder (None: raw text)."""
    return _split(*_draw_key(job, name), json.dumps(_encoding(job), sort_keys=True), model_folder)


def _encoding(job: Job) -> dict[str, Any]:
    """What the suite says of how inputs are encoded."""
    task = job.spec["task"]
    return {
        "max_length": task["max_length"],
        "stride": task["stride"],
        "image": job.spec["model"].get("image"),
    }


def drawn(job: Job, name: SplitName) -> Examples:
    """The raw examples of a split as the job's budget draws it."""
    return _drawn(*_draw_key(job, name))


def _draw_key(job: Job, name: SplitName) -> tuple[str, Path, Path, SplitName, int | None, int]:
    _as_planned(job, "train", "validation", name)
    budget = job.spec["task"]["budget"]
    return _data_key(job), job.cache, job.base, name, budget[name], budget["seed"]


@lru_cache(maxsize=12)
def _drawn(
    key: str, cache: Path, base: Path, name: SplitName, size: int | None, seed: int
) -> Examples:
    data = _task_data(key, cache, base)
    pool = data.splits[name]
    return pool.take(draw(data.task.strata(pool), size, seed))


@lru_cache(maxsize=12)
def _split(
    key: str,
    cache: Path,
    base: Path,
    name: SplitName,
    size: int | None,
    seed: int,
    encoding: str,
    model_folder: Path | None,
) -> Split:
    examples = _drawn(key, cache, base, name, size, seed)
    task = _task_data(key, cache, base).task
    if task.reads_tokens and model_folder is not None:
        check_length(model_folder, json.loads(encoding)["max_length"])
    encoder = task.encoder(model_folder, json.loads(encoding), cache)
    return Split(examples, task.encode(examples, encoder), encoder)


def inputs_key(job: Job) -> list[Any]:
    """What the encoded training and validation inputs of a job depend on, besides the model."""
    task = job.spec["task"]
    data, budget = task["data"], task["budget"]
    if data["test"] is not None:  # else it is held out of training, and decides what is left
        data, budget = ({k: v for k, v in x.items() if k != "test"} for x in (data, budget))
    held_out = [task["held_out"]] if "held_out" in task else []
    return [data, budget, task["type"], task["options"], *_encoding(job).values(), *held_out]


def overlap_facts(job: Job) -> dict[str, Any]:
    """How many drawn test examples stand among the drawn and among all training examples."""
    data = task_data(job)
    keys = data.task.overlap_keys(drawn(job, "test"))
    everything = data.task.overlap_keys(data.splits["train"])
    return overlap(data.task.overlap_keys(drawn(job, "train")), keys) | {
        "share_in_whole_train": overlap(everything, keys)["share"]
    }


def sample(encoded: Encoded, size: int, seed: int) -> Encoded:
    """A seeded sample of ``size`` features or a few less, for timings on real inputs in their real
    lengths: whole examples, so that they have as many features each as in the split.

    Smaller than asked where images are large: a timed process holds them all.
    """
    for column in encoded.inputs.values():
        if isinstance(column, Pixels):
            size = min(size, max(1, _TIMED_PIXELS // column.values[0].size))
    features = np.bincount(encoded.example_index)
    order = np.random.default_rng(seed).permutation(len(features))
    fit_in = int(np.searchsorted(np.cumsum(features[order]), size, side="right"))
    chosen = np.flatnonzero(np.isin(encoded.example_index, order[: max(1, fit_in)]))
    inputs = take_rows(encoded.inputs, chosen)
    examples = np.unique(encoded.example_index[chosen], return_inverse=True)[1]
    return Encoded(inputs, {}, examples, np.zeros(len(np.unique(examples)), bool))


def describe(entry: TaskEntry) -> dict[str, Any]:
    """The task as boards show it."""
    kind = registry.tasks.get(entry.type)
    return {
        "name": entry.name or entry.id,
        "type": entry.type,
        "max_length": entry.max_length if kind.reads_tokens else None,
        "budget": entry.budget.model_dump(),
        "licence": entry.licence,
        "url": entry.url,
        # said only where the suite sets it: most tasks have no windows
        "stride": entry.stride if "stride" in entry.model_fields_set else None,
        "primary": kind.primary,
        "derive": entry.data.derive,
    }
