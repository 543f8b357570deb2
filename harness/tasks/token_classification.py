"""One tag per word, scored by entity (named entity recognition, chunking)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from harness.errors import RequestError
from harness.tasks import columns, tagging, tokenization
from harness.tasks.base import (
    IGNORED_LABEL,
    Encoded,
    Examples,
    Head,
    Ragged,
    Task,
    TextEncoder,
)
from harness.tasks.overlap import normalise_key

if TYPE_CHECKING:
    import pandas as pd

    from harness.data.table import Table

OPTIONS = ("tokens", "tags", "document", "id", "scheme")


class TokenClassification(Task):
    """Options: the columns ``tokens`` (default "tokens"), ``tags`` ("tags", else the hub's
    "ner_tags"), ``document`` ("document" where there is one), ``id`` (none); ``scheme``, see
    `harness.tasks.tagging` (default: detected per file). Tags become IOB2 on reading.

    A word's tag is learnt and read at its first sub-token. Words beyond ``max_length``, and words
    of which the tokenizer leaves nothing, are predicted O: they stay in the score.
    """

    type: ClassVar[str] = "token-classification"
    version: ClassVar[int] = 2
    mixed_batches: ClassVar[bool] = True
    primary: ClassVar[str] = "f1_entity"
    loss: ClassVar[Literal["cross_entropy", "token_cross_entropy", "span"]] = "token_cross_entropy"

    def __init__(self, options: Mapping[str, Any], labels: Sequence[str] = ()) -> None:
        super().__init__(options, labels)
        columns.check_options(options, OPTIONS, self.type)

    def examples(self, table: Table, split: str) -> Examples:
        words, tags = tagged_sentences(table, self.options)
        ids = columns.row_ids(table, split, self.options.get("id"))
        return Examples(ids, self._clusters(table, ids), {"tokens": words, "tags": tags})

    def _clusters(self, table: Table, ids: list[str]) -> list[str]:
        name = self.options.get("document", "document")
        if name not in table.columns and "document" not in self.options:
            return list(ids)
        documents = [str(value) for value in table.column(name)]
        # A file without document marks is no single document: nothing could be resampled.
        return documents if len(set(documents)) > 1 else list(ids)

    def find_labels(self, train: Examples) -> list[str]:
        """O, and B- and I- of every type: a type with only one-word entities in training may
        well have longer ones elsewhere."""
        return sorted({"O"} | {f"{p}-{kind}" for kind in _types(train) for p in "BI"})

    def check_labels(self, examples: Examples, origin: str) -> None:
        unknown = sorted(_types(examples) - {label[2:] for label in self.labels})
        if unknown:
            raise RequestError(
                f"{origin}: entity type(s) that training does not have: {', '.join(unknown)}"
            )

    def strata(self, examples: Examples) -> list[str]:
        """Which entity types a sentence holds."""
        return [
            "+".join(sorted({tag[2:] for tag in tags if tag != "O"})) or "none"
            for tags in examples.fields["tags"]
        ]

    def overlap_keys(self, examples: Examples) -> list[str]:
        return [normalise_key(" ".join(words)) for words in examples.fields["tokens"]]

    @property
    def head(self) -> Head:
        return Head("token", len(self.labels))

    def encode(self, examples: Examples, encoder: TextEncoder) -> Encoded:
        """``extras["word_position"]``: per word, where its logits stand; -1 if nowhere."""
        index = {label: i for i, label in enumerate(self.labels)}
        sentences = examples.fields["tokens"]
        labels = [
            np.array([index[tag] for tag in tags], np.int64) for tags in examples.fields["tags"]
        ]
        inputs: dict[str, Ragged | np.ndarray] = {}
        if encoder.tokenizer is None:
            words = np.empty(len(sentences), object)
            for row, sentence in enumerate(sentences):  # words[:] would take equal lengths apart
                words[row] = sentence
            inputs["text"] = words
            targets = labels
            positions = [np.arange(len(sentence)) for sentence in sentences]
            truncated = np.zeros(len(sentences), bool)
        else:
            tokenizer = tokenization.configured(encoder.tokenizer, encoder.max_length)
            gap = tokenization.word_separator(tokenizer)
            encodings = tokenizer.encode_batch(
                [[gap + word if i else word for i, word in enumerate(s)] for s in sentences],
                is_pretokenized=True,
            )
            ids = tokenization.ragged_ids(encodings)
            inputs["input_ids"] = ids
            positions = [
                first_positions(encoding.word_ids, len(sentence))
                for encoding, sentence in zip(encodings, sentences, strict=True)
            ]
            targets = []
            for row, (tags, position) in enumerate(zip(labels, positions, strict=True)):
                target = np.full(len(ids[row]), IGNORED_LABEL, np.int64)
                target[position[position >= 0]] = tags[position >= 0]
                targets.append(target)
            truncated = np.fromiter((bool(e.overflowing) for e in encodings), bool, len(sentences))
        return Encoded(
            inputs,
            {"labels": Ragged.of(targets, np.int64)},
            np.arange(len(sentences)),
            truncated,
            {"word_position": Ragged.of(positions, np.int32)},
        )

    def decode(
        self, examples: Examples, encoded: Encoded, logits: Sequence[np.ndarray]
    ) -> pd.DataFrame:
        """``target`` and ``prediction`` are tags parted by spaces; ``tp``, ``n_pred`` and
        ``n_gold`` count entities. F1 = 2 tp / (n_pred + n_gold), which sums over examples."""
        import pandas as pd

        names = np.array(self.labels, object)
        outside = self.labels.index("O")
        rows = []
        for i, (gold, output) in enumerate(zip(examples.fields["tags"], logits, strict=True)):
            position = np.asarray(encoded.extras["word_position"][i])
            chosen = np.full(len(gold), outside)
            seen = position >= 0
            chosen[seen] = np.asarray(output)[position[seen]].argmax(axis=-1)
            predicted = names[chosen].tolist()
            in_gold, in_prediction = tagging.entities(gold), tagging.entities(predicted)
            rows.append(
                {
                    "id": examples.ids[i],
                    "cluster": examples.clusters[i],
                    "target": " ".join(gold),
                    "prediction": " ".join(predicted),
                    "tp": len(in_gold & in_prediction),
                    "n_pred": len(in_prediction),
                    "n_gold": len(in_gold),
                }
            )
        frame = pd.DataFrame(rows)
        frame["score_num"] = 2.0 * frame["tp"]
        frame["score_den"] = (frame["n_pred"] + frame["n_gold"]).astype(float)
        return frame

    def metrics(self, predictions: pd.DataFrame) -> dict[str, Any]:
        from harness.tasks.metrics.entities import entity_metrics

        return entity_metrics(
            [tags.split() for tags in predictions["target"]],
            [tags.split() for tags in predictions["prediction"]],
        )

    def agreement(self, a: pd.DataFrame, b: pd.DataFrame) -> float:
        """Shared predicted entities, 2 \\|A and B\\| / (\\|A\\| + \\|B\\|); 1 if there are none.

        By word, two models that both say mostly O would agree on almost everything.
        """
        shared = total = 0
        for x, y in zip(a["prediction"], b["prediction"], strict=True):
            in_a, in_b = tagging.entities(x.split()), tagging.entities(y.split())
            shared += len(in_a & in_b)
            total += len(in_a) + len(in_b)
        return 2 * shared / total if total else 1.0


def tagged_sentences(
    table: Table, options: Mapping[str, Any]
) -> tuple[list[list[str]], list[list[str]]]:
    """Words and IOB2 tags of every row; `RequestError` with file:line on unfit rows."""
    default = "ner_tags" if "tags" not in table.columns and "ner_tags" in table.columns else "tags"
    words_name, tags_name = options.get("tokens", "tokens"), options.get("tags", default)
    sentences, tags = table.column(words_name), table.column(tags_name)
    for row, (words, row_tags) in enumerate(zip(sentences, tags, strict=True)):
        for name, values in ((words_name, words), (tags_name, row_tags)):
            if isinstance(values, str) or not all(isinstance(value, str) for value in values):
                raise RequestError(
                    f"{table.where(row)}: column {name!r} must hold a list of strings "
                    "(numbers need the class names that a hub-layout file carries)"
                )
        if len(words) != len(row_tags):
            raise RequestError(f"{table.where(row)}: {len(words)} words but {len(row_tags)} tags")
    words_lists = [list(words) for words in sentences]
    return words_lists, tagging.rows_to_iob2(
        tags, table.where, str(options["scheme"]) if options.get("scheme") else None
    )


def first_positions(word_ids: Sequence[int | None], words: int) -> np.ndarray:
    """(words,) position of every word's first sub-token, -1 for words without one."""
    positions = np.full(words, -1, np.int64)
    for position in range(len(word_ids) - 1, -1, -1):
        word = word_ids[position]
        if word is not None:
            positions[word] = position
    return positions


def _types(examples: Examples) -> set[str]:
    return {tag[2:] for tags in examples.fields["tags"] for tag in tags if tag != "O"}
