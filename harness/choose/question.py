"""What is asked: a task, bounds that a model must keep, and what counts how much."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.boards import wording
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
#: the one task type of which a single table of one's own (``--data``) can be read today
OWN_DATA_TYPE = "text-classification"


@dataclass(frozen=True)
class Criterion:
    """Something that a candidate has more or less of, from a column of its rows; ``unit`` follows
    its numbers."""

    name: str
    label: str
    unit: str
    #: latency's is that of the percentile that a question asks for
    column: str
    #: False: less is better, and differences count by ratio
    more: bool = False

    def amount(self, value: float) -> str:
        """``12.3 ms``; counts are shortened (22.7M), scores have three decimals."""
        if self.name == "score":
            return wording.score(value)
        shown = wording.count(value) if self.name == "params" else wording.significant(value)
        return f"{shown} {self.unit}".rstrip()


CRITERIA = {
    c.name: c
    for c in (
        Criterion("score", "score", "", "score", more=True),
        Criterion("latency", "latency", "ms", "latency_{percentile}_ms"),
        Criterion("size", "size", "MB", "size_mb"),
        Criterion("params", "parameters", "", "params"),
        Criterion("memory", "memory", "MB", "peak_memory_mb"),
        Criterion("fit_time", "fit time", "s", "fit_seconds"),
        Criterion("energy", "energy", "J per 1,000", "energy_j_per_1000"),
        Criterion("throughput", "throughput", "examples/s", "throughput_per_s", more=True),
        Criterion("cold_start", "cold start", "s", "first_answer_seconds"),
        Criterion("server_rate", "server rate", "queries/s", "server_rate_per_s", more=True),
    )
}


@dataclass(frozen=True)
class Bound:
    """A limit on a criterion: from below where more is better, else from above."""

    name: str
    criterion: Criterion
    help: str

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def text(self) -> str:
        """``largest latency, ms``."""
        side = "least" if self.criterion.more else "largest"
        unit = f", {self.criterion.unit}" if self.criterion.unit else ""
        return f"{side} {self.criterion.label}{unit}"


#: every bound is a field of `Question`, a flag, a prompt and a field of the page's form
BOUNDS = {
    name: Bound(name, CRITERIA[criterion], text)
    for name, criterion, text in (
        ("max_latency_ms", "latency", "of one example; see --percentile"),
        ("max_size_mb", "size", "weights on disk"),
        ("max_params", "params", "parameters of the model as it predicts, such as 30e6"),
        ("max_memory_mb", "memory", "peak memory of serving"),
        ("max_fit_seconds", "fit_time", "training time"),
        ("max_energy_j", "energy", "of 1,000 predictions"),
        ("min_throughput", "throughput", "examples a second, in batches"),
        ("max_cold_start_s", "cold_start", "from the start of the process to the first answer"),
        ("min_server_rate", "server_rate", "queries a second that `harness time` saw kept up"),
        ("min_score", "score", "of the task's primary metric, 0 to 1"),
    )
}


#: what counts where no weights are given
SCORE_ALONE = {"score": 1.0}


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
    max_params: float | None = None
    max_memory_mb: float | None = None
    max_fit_seconds: float | None = None
    max_energy_j: float | None = None
    min_throughput: float | None = None
    max_cold_start_s: float | None = None
    min_server_rate: float | None = None
    min_score: float | None = None
    percentile: str = ""
    price_per_hour: float | None = None
    weights: Mapping[str, float] = field(default_factory=lambda: dict(SCORE_ALONE))

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
