"""One label per text, or per pair of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from harness.errors import RequestError
from harness.tasks import columns, tokenization
from harness.tasks.base import Encoded, Examples, Head, Ragged, Task, TextEncoder
from harness.tasks.overlap import normalise_key

if TYPE_CHECKING:
    import pandas as pd

    from harness.data.table import Table

OPTIONS = ("text", "pair", "label", "id")
#: between the two texts of a pair where a baseline takes one string
PAIR_SEPARATOR = "\n"


class TextClassification(Task):
    """Options: the columns ``text`` (default "text"), ``pair`` (none), ``label`` ("label") and
    ``id`` (none: split and row number). Every example is a cluster of its own.

    Predictions carry one float32 column ``prob_<label>`` per label, in the labels' order.
    """

    type: ClassVar[str] = "text-classification"
    version: ClassVar[int] = 1
    primary: ClassVar[str] = "accuracy"
    loss: ClassVar[Literal["cross_entropy", "token_cross_entropy", "span"]] = "cross_entropy"
    mixed_batches: ClassVar[bool] = True

    def __init__(self, options: Mapping[str, Any], labels: Sequence[str] = ()) -> None:
        super().__init__(options, labels)
        columns.check_options(options, OPTIONS, self.type)

    def examples(self, table: Table, split: str) -> Examples:
        ids = columns.row_ids(table, split, self.options.get("id"))
        fields: dict[str, list[Any]] = {
            "text": columns.texts(table, self.options.get("text", "text")),
            "label": columns.labels(table, self.options.get("label", "label")),
        }
        if self.options.get("pair"):
            fields["pair"] = columns.texts(table, self.options["pair"])
        return Examples(ids, list(ids), fields)

    def find_labels(self, train: Examples) -> list[str]:
        return sorted(set(train.fields["label"]))

    def check_labels(self, examples: Examples, origin: str) -> None:
        unknown = sorted(set(examples.fields["label"]) - set(self.labels))
        if unknown:
            shown = ", ".join(map(repr, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
            raise RequestError(
                f"{origin}: {len(unknown)} label(s) that training does not have: {shown}; "
                f"check that both files use the same names, and the option `label`"
            )

    def strata(self, examples: Examples) -> list[str]:
        return examples.fields["label"]

    def overlap_keys(self, examples: Examples) -> list[str]:
        return [normalise_key(*texts) for texts in _texts(examples)]

    @property
    def head(self) -> Head:
        return Head("pooled", len(self.labels))

    def encode(self, examples: Examples, encoder: TextEncoder) -> Encoded:
        index = {label: i for i, label in enumerate(self.labels)}
        targets = np.fromiter((index[x] for x in examples.fields["label"]), np.int64, len(examples))
        inputs: dict[str, Ragged | np.ndarray] = {}
        if encoder.tokenizer is None:
            joined = np.empty(len(examples), object)
            joined[:] = [PAIR_SEPARATOR.join(texts) for texts in _texts(examples)]
            inputs["text"] = joined
            truncated = np.zeros(len(examples), bool)
        else:
            pair = "pair" in examples.fields
            tokenizer = tokenization.configured(encoder.tokenizer, encoder.max_length)
            encodings = tokenizer.encode_batch(
                _texts(examples) if pair else examples.fields["text"]
            )
            inputs["input_ids"] = tokenization.ragged_ids(encodings)
            if pair and tokenization.uses_segments(tokenizer):
                inputs["token_type_ids"] = tokenization.ragged_segments(encodings)
            truncated = np.fromiter((bool(e.overflowing) for e in encodings), bool, len(examples))
        return Encoded(inputs, {"labels": targets}, np.arange(len(examples)), truncated)

    def decode(
        self, examples: Examples, encoded: Encoded, logits: Sequence[np.ndarray]
    ) -> pd.DataFrame:
        import pandas as pd

        probabilities = softmax(np.asarray(logits, np.float64).reshape(-1, len(self.labels)))
        target = examples.fields["label"]
        prediction = [self.labels[i] for i in probabilities.argmax(axis=1)]
        correct = [t == p for t, p in zip(target, prediction, strict=True)]
        frame = pd.DataFrame(
            {
                "id": examples.ids,
                "cluster": examples.clusters,
                "target": target,
                "prediction": prediction,
                "score_num": np.array(correct, float),
                "score_den": np.ones(len(examples)),
            }
        )
        stored = pd.DataFrame(
            probabilities.astype(np.float32), columns=[f"prob_{label}" for label in self.labels]
        )
        return pd.concat([frame, stored], axis=1)

    def metrics(self, predictions: pd.DataFrame) -> dict[str, Any]:
        from harness.tasks.metrics.classification import classification_metrics

        return classification_metrics(
            predictions["target"].tolist(),
            predictions["prediction"].tolist(),
            predictions[[f"prob_{label}" for label in self.labels]].to_numpy(),
            self.labels,
        )


def _texts(examples: Examples) -> list[tuple[str, ...]]:
    """One tuple of one or two texts per example."""
    names = [name for name in ("text", "pair") if name in examples.fields]
    return list(zip(*(examples.fields[name] for name in names), strict=True))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows of logits to rows that sum to 1, shifted by the maximum so that nothing overflows."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
