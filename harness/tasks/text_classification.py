"""One label per text, or per pair of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from harness.tasks import columns, tokenization
from harness.tasks.base import Column, Encoded, Examples, TextEncoder
from harness.tasks.classification import Classification
from harness.tasks.overlap import normalise_key

if TYPE_CHECKING:
    from harness.data.table import Table

OPTIONS = ("text", "pair", "label", "id")
#: between the two texts of a pair where a baseline takes one string
PAIR_SEPARATOR = "\n"


class TextClassification(Classification):
    """Options: the columns ``text`` (default "text"), ``pair`` (none), ``label`` ("label") and
    ``id`` (none: split and row number).
    """

    type: ClassVar[str] = "text-classification"
    version: ClassVar[int] = 1
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

    def overlap_keys(self, examples: Examples) -> list[str]:
        return [normalise_key(*texts) for texts in _texts(examples)]

    def encode(self, examples: Examples, encoder: TextEncoder) -> Encoded:
        inputs: dict[str, Column] = {}
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
        targets = {"labels": self.targets(examples)}
        return Encoded(inputs, targets, np.arange(len(examples)), truncated)


def _texts(examples: Examples) -> list[tuple[str, ...]]:
    """One tuple of one or two texts per example."""
    names = [name for name in ("text", "pair") if name in examples.fields]
    return list(zip(*(examples.fields[name] for name in names), strict=True))
