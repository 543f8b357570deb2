"""What a task type must provide, and the arrays that travel between tasks and backends.

A task knows nothing of a framework: it hands out numpy, names a head and a loss, and turns
logits back into predictions and metrics.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

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


@dataclass(frozen=True)
class Pixels:
    """Images of one size, kept as bytes and normalised when a batch is made of them.

    ``values``: (images, height, width, 3) uint8, possibly a view of a file; ``mean`` and ``std``
    per channel, of pixels scaled to 0..1.
    """

    values: np.ndarray
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Sequence[int] | np.ndarray) -> Pixels:
        return Pixels(self.values[np.asarray(rows, np.int64)], self.mean, self.std)

    def normalised(self, pixels: np.ndarray) -> np.ndarray:
        """(batch, height, width, 3) uint8 to (batch, 3, height, width) float32.

        A view: channels lie last in memory, which is how frameworks compute fastest on a CPU.
        """
        scale = np.float32(1.0) / (np.float32(255.0) * np.asarray(self.std, np.float32))
        shift = np.asarray(self.mean, np.float32) / np.asarray(self.std, np.float32)
        return (pixels * scale - shift).transpose(0, 3, 1, 2)


#: one column of a model's inputs
Column = Ragged | Pixels | np.ndarray
C = TypeVar("C", bound=Column)


def take_rows(columns: Mapping[str, C], rows: np.ndarray) -> dict[str, C]:
    """The given rows of every column."""
    taken: dict[str, Any] = {
        name: values[rows] if isinstance(values, np.ndarray) else values.take(rows)
        for name, values in columns.items()
    }
    return taken


@dataclass(frozen=True)
class Encoded:
    """Model-ready features of one split; one example may yield several (windows in QA).

    ``inputs``: for token models ``input_ids`` and, where the tokenizer makes them,
    ``token_type_ids`` as `Ragged` int32 (the attention mask is implied by the lengths); for
    images ``pixel_values`` as `Pixels`; for baselines on text ``text``: object array of strings,
    or of lists of strings (words).
    ``targets``: ``labels`` as (features,) int64, or `Ragged` int64 with `IGNORED_LABEL`;
    for spans ``start`` and ``end`` as (features,) int64 token positions.
    ``example_index``: (features,) int64, the example that each feature belongs to.
    ``truncated``: (examples,) bool, true where input was cut off.
    ``extras``: what `Task.decode` needs besides (word positions, character offsets).
    """

    inputs: Mapping[str, Column]
    targets: Mapping[str, Ragged | np.ndarray]
    example_index: np.ndarray
    truncated: np.ndarray
    extras: Mapping[str, Ragged | np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.example_index)

    @property
    def features_per_example(self) -> float:
        """On average; more than 1 where long texts are cut into several features."""
        return len(self) / max(1, len(self.truncated))


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
    #: training batches of mixed instead of similar lengths, where labels go with length: on Reuters
    #: R8 (480 documents, 30 steps) similar lengths cost 3 to 4 points of accuracy, ours as well as
    #: Hugging Face's `group_by_length`; on CoNLL-2003 (1,000 sentences, 64 steps, seeds 1
    #: to 3) 1.8 points of entity F1, 0.624 and 0.642 (after 500 steps 0.1)
    mixed_batches: ClassVar[bool] = False
    #: whether inputs are cut at a number of tokens
    reads_tokens: ClassVar[bool] = True
    #: distributions that `encode` uses; their versions are part of a fit's identity
    libraries: ClassVar[tuple[str, ...]] = ("tokenizers",)
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

    def inspect(self, examples: Examples) -> None:  # noqa: B027
        """Look into content that `examples` leaves unread; `RequestError` on what is damaged."""

    def encoder(self, model_folder: Path | None, how: Mapping[str, Any], cache: Path) -> Any:
        """How a model in a folder (None for baselines) takes examples: what `encode` is given.

        ``how``: ``max_length``, ``stride`` and ``image`` as the suite has them; large encoded
        inputs may be kept under ``cache``. Here for text; types of other media have their own.
        """
        tokenizer = None
        if model_folder is not None:
            from tokenizers import Tokenizer

            tokenizer = Tokenizer.from_file(str(model_folder / "tokenizer.json"))
        return TextEncoder(tokenizer, how["max_length"], how["stride"])

    def encoder_facts(self, encoder: Any) -> dict[str, Any]:
        """What an artifact says of its inputs besides ``max_length`` and ``stride``."""
        return {}

    @abstractmethod
    def encode(self, examples: Examples, encoder: Any) -> Encoded: ...

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
