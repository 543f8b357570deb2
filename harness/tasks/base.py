"""What a task type must provide, and the arrays that travel between tasks and backends.

A task knows nothing of a framework: it hands out numpy, names a head and a loss, and turns
logits back into predictions and metrics.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from tokenizers import Tokenizer

    from harness.data.table import Table

IGNORED_LABEL = -100  # the label that every framework's cross entropy here leaves out


@dataclass(frozen=True)
class Examples:
    """Raw examples of one split.

    ``ids`` are unique and stable (they do not change with the drawn subset); ``clusters`` name
    the document or paragraph that examples share (bootstrap resamples clusters); ``fields`` holds
    one list per field, as the task type defines them.
    """

    ids: list[str]
    clusters: list[str]
    fields: dict[str, list[Any]]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, indices: Sequence[int]) -> Examples:
        """The examples at ``indices``, in that order."""
        return Examples(
            [self.ids[i] for i in indices],
            [self.clusters[i] for i in indices],
            {name: [values[i] for i in indices] for name, values in self.fields.items()},
        )


@dataclass(frozen=True)
class Ragged:
    """Rows of different length in one array: row i is ``values[offsets[i]:offsets[i + 1]]``.

    ``values``: (total, ...) array; ``offsets``: (rows + 1,) int64.
    """

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Sequence[Any] | np.ndarray], dtype: Any = np.int32) -> Ragged:
        lengths = np.fromiter((len(r) for r in rows), np.int64, len(rows))
        arrays = [np.asarray(r, dtype) for r in rows if len(r)]
        values = np.concatenate(arrays) if arrays else np.empty(0, dtype)
        return cls(values, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)

    def take(self, rows: Sequence[int] | np.ndarray) -> Ragged:
        return Ragged.of([self[int(i)] for i in rows], self.values.dtype)


def take_rows(
    columns: Mapping[str, Ragged | np.ndarray], rows: np.ndarray
) -> dict[str, Ragged | np.ndarray]:
    """The given rows of every column."""
    return {
        name: values.take(rows) if isinstance(values, Ragged) else values[rows]
        for name, values in columns.items()
    }


@dataclass(frozen=True)
class Encoded:
    """Model-ready features of one split; one example may yield several (windows in QA).

    ``inputs``: for token models ``input_ids`` and, where the tokenizer makes them,
    ``token_type_ids`` as `Ragged` int32 (the attention mask is implied by the lengths); for
    baselines ``text``: object array of strings, or of lists of strings (words).
    ``targets``: ``labels`` as (features,) int64, or `Ragged` int64 with `IGNORED_LABEL`;
    for spans ``start`` and ``end`` as (features,) int64 token positions.
    ``example_index``: (features,) int64, the example that each feature belongs to.
    ``truncated``: (examples,) bool, true where input was cut off.
    ``extras``: what `Task.decode` needs besides (word positions, character offsets).
    """

    inputs: dict[str, Ragged | np.ndarray]
    targets: dict[str, Ragged | np.ndarray]
    example_index: np.ndarray
    truncated: np.ndarray
    extras: dict[str, Ragged | np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.example_index)


@dataclass(frozen=True)
class Head:
    """The layer on top of a backbone.

    ``pooled``: (batch, outputs) from one pooled vector; ``token``: (batch, length, outputs);
    ``span``: (batch, length, 2) start and end logits.
    """

    kind: Literal["pooled", "token", "span"]
    outputs: int


@dataclass(frozen=True)
class TextEncoder:
    """How a model takes text: its tokenizer (None for baselines, which take raw text)."""

    tokenizer: Tokenizer | None
    max_length: int
    #: the width of one window's overlap with the next, in tokens (question answering)
    stride: int = 0


class Task(ABC):
    """One task type on one data set. Built from the suite's task entry, holds its label list."""

    type: ClassVar[str]
    #: raised by its author when encode, decode or metrics change their meaning; part of cache keys
    version: ClassVar[int]
    #: name of the metric that ranks
    primary: ClassVar[str]
    loss: ClassVar[Literal["cross_entropy", "token_cross_entropy", "span"]]
    #: training batches of mixed instead of similar lengths, where one label stands for a sequence:
    #: on Reuters R8 (480 documents, 30 steps) similar lengths cost 3 to 4 points of accuracy, ours
    #: as well as Hugging Face's `group_by_length`
    mixed_batches: ClassVar[bool] = False
    #: formats that this type reads unless the suite names another
    options: Mapping[str, Any]

    def __init__(self, options: Mapping[str, Any], labels: Sequence[str] = ()) -> None:
        self.options = options
        self.labels = list(labels)

    @abstractmethod
    def examples(self, table: Table, split: str) -> Examples:
        """Check and convert a data file's rows; `RequestError` with file:line on bad ones."""

    @abstractmethod
    def find_labels(self, train: Examples) -> list[str]:
        """The sorted label list of the full training split ([] for spans)."""

    @abstractmethod
    def check_labels(self, examples: Examples, origin: str) -> None:
        """`RequestError` when a split holds a label that training does not."""

    @abstractmethod
    def strata(self, examples: Examples) -> list[str]:
        """What a stratified draw keeps in proportion, one value an example."""

    @abstractmethod
    def overlap_keys(self, examples: Examples) -> list[str]:
        """Normalised input text per example; equal keys in train and test count as overlap."""

    @property
    @abstractmethod
    def head(self) -> Head: ...

    @abstractmethod
    def encode(self, examples: Examples, encoder: TextEncoder) -> Encoded: ...

    @abstractmethod
    def decode(
        self, examples: Examples, encoded: Encoded, logits: Sequence[np.ndarray]
    ) -> pd.DataFrame:
        """Logits per feature, (outputs,) or (length, outputs), to one row per example.

        Always has ``id``, ``cluster``, ``target``, ``prediction``, and ``score_num`` and
        ``score_den``: the primary metric is sum(score_num) / sum(score_den), which is what
        paired tests and bootstraps resample. No text of the example.
        """

    @abstractmethod
    def metrics(self, predictions: pd.DataFrame) -> dict[str, Any]:
        """All metrics of a decoded frame; nested dicts for per-class figures."""

    def agreement(self, a: pd.DataFrame, b: pd.DataFrame) -> float:
        """Share of examples with the same prediction."""
        return float((a["prediction"].to_numpy() == b["prediction"].to_numpy()).mean())
