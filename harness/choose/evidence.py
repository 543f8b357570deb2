"""Flat rows to candidates that may be compared: the same data sets, boards nearest in size.

Everything here and in `answer` stands once more in ``choose.js``; change both together.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.choose.question import CRITERIA, Question

Flat = Mapping[str, Any]
#: p of "these two rows score the same", by their ids; None where no test was made
PValue = Callable[[str, str], float | None]

#: what tells candidates apart, in this order
KEY = ("model", "recipe", "framework", "runtime", "device", "dtype")
#: models that only guess: a floor under the others, never a recommendation
GUESSING = ("majority",)


@dataclass(frozen=True)
class Candidate:
    """A fit in a runtime on a device: its rows, one a data set, and what they come to.

    ``values``: criterion to its value over the data sets: mean score, largest cost, smallest
    throughput; None where one of them was not measured.
    """

    key: str
    rows: tuple[Flat, ...]
    values: Mapping[str, float | None]

    def __getitem__(self, name: str) -> Any:
        """What the rows agree on: model, recipe, runtime, ..."""
        return self.rows[0][name]

    @property
    def baseline(self) -> bool:
        return bool(self["recipe"] == "baseline")

    @property
    def fit(self) -> tuple[Any, ...]:
        """What was trained; its candidates differ in how they are run."""
        return self["model"], self["recipe"], self["framework"]

    @property
    def runs(self) -> list[str]:
        return [run for row in self.rows for run in row["runs"]]


@dataclass(frozen=True)
class Evidence:
    """What a question can be answered from."""

    #: data set to the suite whose board is used for it
    boards: Mapping[str, str]
    percentile: str
    candidates: tuple[Candidate, ...]
    #: candidates that some of the data sets lack, with those data sets
    partial: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: rows without a score: not evidence of anything
    unscored: tuple[Flat, ...] = ()
    #: (suite, data set) of boards that another one, nearer in size, stands for
    unused: tuple[tuple[str, str], ...] = ()
    #: data sets that too few candidates were measured on, and how many were
    thin: Mapping[str, int] = field(default_factory=dict)
    #: scored rows of models that only guess
    floors: tuple[Flat, ...] = ()
    p_value: PValue = lambda a, b: None


def candidate_key(row: Flat) -> str:
    return "/".join(str(row[name]) for name in KEY)


def select(
    rows: Iterable[Flat], question: Question, p_value: PValue = lambda a, b: None
) -> Evidence:
    """The candidates for a question; without candidates where nothing was measured for it."""
    asked = [r for r in rows if question.task in (r.get("task_type"), r["task"])]
    scored = [r for r in asked if r["status"] == "ok" and r["score"] is not None]
    unscored = tuple(r for r in asked if not (r["status"] == "ok" and r["score"] is not None))
    tasks = sorted({r["task"] for r in scored})
    boards: dict[str, str] = {}
    unused: list[tuple[str, str]] = []
    covered: dict[str, dict[str, Flat]] = {}
    floors: list[Flat] = []
    for task in tasks:
        of_task = [r for r in scored if r["task"] == task]
        suites = sorted({r["suite"] for r in of_task})
        boards[task] = min(suites, key=lambda s: _nearness(of_task, s, question.examples))
        unused += [(suite, task) for suite in suites if suite != boards[task]]
        for row in of_task:
            if row["suite"] != boards[task]:
                continue
            if row.get("model_kind") in GUESSING:
                floors.append(row)
                continue
            known = covered.setdefault(candidate_key(row), {})
            if task not in known or _order(row, question) < _order(known[task], question):
                known[task] = row
    measured = Counter(task for mine in covered.values() for task in mine)
    compared = _data_sets(covered)
    whole = {
        k: [rows[t] for t in compared] for k, rows in covered.items() if _covers(rows, compared)
    }
    percentile = question.percentile or _percentile([r for rs in whole.values() for r in rs])
    return Evidence(
        boards={task: boards[task] for task in compared},
        percentile=percentile,
        candidates=tuple(_candidate(key, whole[key], percentile) for key in sorted(whole)),
        partial={
            key: tuple(t for t in compared if t not in covered[key])
            for key in sorted(covered)
            if key not in whole
        },
        unscored=unscored,
        unused=tuple((suite, task) for suite, task in unused if task in compared),
        thin={task: n for task, n in sorted(measured.items()) if task not in compared},
        floors=tuple(row for row in floors if row["task"] in compared),
        p_value=p_value,
    )


def distance(row: Flat, examples: int | None) -> float:
    """How far a row's training size is from the asked one, as a ratio's logarithm; without a
    question about size, the larger the nearer."""
    size = row.get("train_examples")
    if not size:
        return math.inf
    if not examples:
        return -float(size)
    return rounded(abs(math.log(size / examples)))


def rounded(value: float) -> float:
    """To six decimals, halves up, as JavaScript does it: neither language's last digit decides."""
    return math.floor(value * 1e6 + 0.5) / 1e6


def _nearness(rows: Sequence[Flat], suite: str, examples: int | None) -> tuple[float, int, str]:
    """Boards nearest in training size first, then those with more rows, then by name."""
    own = [row for row in rows if row["suite"] == suite]
    return min(distance(row, examples) for row in own), -len(own), suite


def _order(row: Flat, question: Question) -> tuple[float, str]:
    return distance(row, question.examples), str(row["row_id"])


def _covers(rows: Mapping[str, Flat], tasks: Sequence[str]) -> bool:
    return all(task in rows for task in tasks)


def _data_sets(covered: Mapping[str, Mapping[str, Flat]]) -> list[str]:
    """The data sets to compare on, of those that some candidate covers and of single ones: where
    candidates times data sets are most, so that one more set measured for a few shuts out none of
    the others; of equals the more sets, then the first by name."""
    sets: set[tuple[str, ...]] = {tuple(sorted(rows)) for rows in covered.values()}
    sets |= {(task,) for rows in covered.values() for task in rows}

    def preference(tasks: tuple[str, ...]) -> tuple[int, int, tuple[str, ...]]:
        covering = sum(_covers(rows, tasks) for rows in covered.values())
        return -covering * len(tasks), -len(tasks), tasks

    best: tuple[str, ...] = min(sets, key=preference) if sets else ()
    return list(best)


def _percentile(rows: Sequence[Flat]) -> str:
    """p99 where every timed row carries one, else p90."""
    timed = [row for row in rows if row["latency_p50_ms"] is not None]
    return "p99" if timed and all(r["latency_p99_ms"] is not None for r in timed) else "p90"


def _candidate(key: str, rows: Sequence[Flat], percentile: str) -> Candidate:
    values: dict[str, float | None] = {}
    for name, criterion in CRITERIA.items():
        column = criterion.column.format(percentile=percentile)
        known = [row.get(column) for row in rows]
        found = [float(value) for value in known if value is not None]
        if len(found) < len(known):
            values[name] = None
        elif name == "score":
            values[name] = sum(found) / len(found)
        else:
            values[name] = min(found) if criterion.more else max(found)
    return Candidate(key, tuple(rows), values)
