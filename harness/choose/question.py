"""What is asked: a task, bounds that a model must keep, and what counts how much."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.errors import RequestError

#: what people call a task type
ALIASES = {
    "ner": "token-classification", "tagging": "token-classification",
    "entities": "token-classification",
    "qa": "question-answering", "squad": "question-answering",
    "reading-comprehension": "question-answering",
    "text": "text-classification", "sentiment": "text-classification",
    "topics": "text-classification", "classification": "text-classification",
    "image": "image-classification", "images": "image-classification",
    "vision": "image-classification",
}  # fmt: skip

PERCENTILES = ("p50", "p90", "p99")


@dataclass(frozen=True)
class Criterion:
    """Something that a candidate has more or less of; ``unit`` follows its numbers."""

    name: str
    label: str
    unit: str
    #: False: less is better, and differences count by ratio
    more: bool = False


CRITERIA = {
    c.name: c
    for c in (
        Criterion("score", "score", "", more=True),
        Criterion("latency", "latency", "ms"),
        Criterion("size", "size", "MB"),
        Criterion("memory", "memory", "MB"),
        Criterion("fit_time", "fit time", "s"),
        Criterion("energy", "energy", "J per 1,000"),
        Criterion("throughput", "throughput", "examples/s", more=True),
    )
}

#: each bound, the criterion that it limits, and its flag
BOUNDS = {
    "max_latency_ms": ("latency", "--max-latency-ms"),
    "max_size_mb": ("size", "--max-size-mb"),
    "max_memory_mb": ("memory", "--max-memory-mb"),
    "max_fit_seconds": ("fit_time", "--max-fit-seconds"),
    "min_score": ("score", "--min-score"),
}


@dataclass(frozen=True)
class Question:
    """One question. Bounds are None where nothing is asked of them.

    ``task``: a task type, or the id of one data set; ``examples``: labelled training examples at
    hand; ``percentile``: of latency, "" for p99 where every candidate carries one, else p90.
    """

    task: str
    examples: int | None = None
    device: str | None = None
    max_latency_ms: float | None = None
    max_size_mb: float | None = None
    max_memory_mb: float | None = None
    max_fit_seconds: float | None = None
    min_score: float | None = None
    percentile: str = ""
    price_per_hour: float | None = None
    weights: Mapping[str, float] = field(default_factory=lambda: {"score": 1.0})

    def as_json(self) -> dict[str, Any]:
        return dict(self.__dict__) | {"weights": dict(self.weights)}

    def bound(self, name: str) -> float | None:
        value: float | None = getattr(self, name)
        return value


def task_named(text: str, types: Iterable[str], data_sets: Iterable[str]) -> str:
    """A task type by its name or alias, or a data set's id; `RequestError` for anything else."""
    name = text.strip().lower()
    if text in (known_sets := set(data_sets)):
        return text
    name = ALIASES.get(name, name)
    known = set(types) | set(ALIASES.values())
    if name in known:
        return name
    spellings = sorted({*known, *ALIASES, *known_sets})
    raise RequestError(
        f"--task: unknown task {text!r}; {_hint(name, spellings)}"
        f"types: {', '.join(sorted(known))}; short names: {', '.join(sorted(ALIASES))}"
        + (f"; data sets on record: {', '.join(sorted(known_sets))}" if known_sets else "")
    )


def weights_from(text: str) -> dict[str, float]:
    """``score=3,latency=1``; `RequestError` for an unknown key or a weight that is none."""
    found: dict[str, float] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, equals, number = (piece.strip() for piece in part.partition("="))
        if name not in CRITERIA:
            raise RequestError(
                f"--weights: unknown key {name!r}; {_hint(name, list(CRITERIA))}"
                f"known: {', '.join(CRITERIA)}"
            )
        try:
            weight = float(number) if equals else math.nan
        except ValueError:
            weight = math.nan
        if not (math.isfinite(weight) and weight >= 0):
            raise RequestError(
                f"--weights {part}: not of the form NAME=NUMBER, with a number from 0"
            )
        if name in found:
            raise RequestError(f"--weights: {name!r} is given twice")
        found[name] = weight
    if not sum(found.values()):
        raise RequestError(
            "--weights: at least one weight must be above 0, as in score=3,latency=1"
        )
    return found


def _hint(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}? " if close else ""
