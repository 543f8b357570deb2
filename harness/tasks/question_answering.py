"""Extractive question answering: the answer is a span of the context, or there is none."""

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
    from tokenizers import Encoding, Tokenizer

    from harness.data.table import Table

OPTIONS = (
    "id", "question", "context", "answers", "is_impossible", "paragraph",
    "max_answer_tokens", "max_question_tokens", "unanswerable", "null_threshold",
)  # fmt: skip
MAX_ANSWER_TOKENS = 30  # BERT's run_squad.py, --max_answer_length
MAX_QUESTION_TOKENS = 64  # BERT's run_squad.py, --max_query_length
#: texts of the tokens that stand for a whole sequence, where it does not begin with a special one
CLS_TOKENS = ("[CLS]", "<cls>")


class QuestionAnswering(Task):
    """Options name the columns ``id``, ``question``, ``context``, ``answers`` (lists of
    {text, start}, or the hub's {text: [...], answer_start: [...]}), ``is_impossible`` (default:
    where there are no answers) and ``paragraph`` (cluster; default: equal contexts), all called
    so by default; and set

    ``max_answer_tokens`` (30); ``max_question_tokens`` (64): longer questions are cut, and counted
    as truncated, contexts never are: they go into several windows;
    ``unanswerable`` (auto): whether "none" may be predicted, by default if the split at hand has
    unanswerable questions; ``null_threshold`` (0): "none" is predicted where its score exceeds the
    best span's by more.
    """

    type: ClassVar[str] = "question-answering"
    version: ClassVar[int] = 1
    primary: ClassVar[str] = "f1"
    loss: ClassVar[Literal["cross_entropy", "token_cross_entropy", "span"]] = "span"

    def __init__(self, options: Mapping[str, Any], labels: Sequence[str] = ()) -> None:
        super().__init__(options, labels)
        columns.check_options(options, OPTIONS, self.type)
        if options.get("unanswerable", "auto") not in ("auto", True, False):
            raise RequestError("question-answering: option `unanswerable` is auto, true or false")

    def examples(self, table: Table, split: str) -> Examples:
        """``answers`` becomes a list of (start, end) character offsets per question."""
        option = self.options.get
        id_column = option("id", "id" if "id" in table.columns else None)
        ids = columns.row_ids(table, split, id_column)
        contexts = columns.texts(table, option("context", "context"))
        questions = columns.texts(table, option("question", "question"))
        raw = table.column(option("answers", "answers"))
        flags: Sequence[Any] = [None] * len(raw)
        if "is_impossible" in self.options or "is_impossible" in table.columns:
            flags = table.column(option("is_impossible", "is_impossible"))
        answers = []
        for row, value in enumerate(raw):
            if not questions[row].strip():
                raise RequestError(f"{table.where(row)}: the question is empty")
            spans = _answer_spans(value, contexts[row], table.where(row))
            if flags[row] is not None and bool(flags[row]) == bool(spans):
                raise RequestError(
                    f"{table.where(row)}: question {ids[row]!r} has {len(spans)} answer(s) "
                    f"but is_impossible is {str(bool(flags[row])).lower()}"
                )
            answers.append(spans)
        paragraph = option("paragraph", "paragraph")
        if paragraph in table.columns or "paragraph" in self.options:
            clusters = [str(value) for value in table.column(paragraph)]
        else:
            first: dict[str, str] = {}
            clusters = [
                first.setdefault(context, f"context-{row:06d}")
                for row, context in enumerate(contexts)
            ]
        fields: dict[str, list[Any]] = {
            "question": questions,
            "context": contexts,
            "answers": answers,
        }
        return Examples(ids, clusters, fields)

    def find_labels(self, train: Examples) -> list[str]:
        return []

    def check_labels(self, examples: Examples, origin: str) -> None:
        """Spans have no labels."""

    def strata(self, examples: Examples) -> list[str]:
        return ["answerable" if a else "unanswerable" for a in examples.fields["answers"]]

    def overlap_keys(self, examples: Examples) -> list[str]:
        pairs = zip(examples.fields["question"], examples.fields["context"], strict=True)
        return [normalise_key(question, context) for question, context in pairs]

    @property
    def head(self) -> Head:
        return Head("span", 2)

    def encode(self, examples: Examples, encoder: TextEncoder) -> Encoded:
        """Question and context, in windows that share ``encoder.stride`` tokens of the context.

        ``targets``: the first answer's first and last token where the window holds all of it,
        else the null position. ``extras``: ``char_start`` and ``char_end`` of each token in the
        context (-1 elsewhere) and ``null_position`` per window, the token that stands for "no
        answer": the first one (BERT's [CLS], or whatever begins the window), or a CLS further on.
        """
        if encoder.tokenizer is None:
            return _only_null(examples)
        questions, cut = self._cut_questions(examples.fields["question"], encoder)
        contexts = examples.fields["context"]
        tokenizer = tokenization.configured(
            encoder.tokenizer, encoder.max_length, strategy="only_second", stride=encoder.stride
        )
        windows: list[Encoding] = []
        owners: list[int] = []
        starts, ends, nulls = [], [], []
        char_starts, char_ends = [], []
        encodings = tokenizer.encode_batch(list(zip(questions, contexts, strict=True)))
        for example, encoding in enumerate(encodings):
            answers = examples.fields["answers"][example]
            parts = [encoding, *encoding.overflowing]
            for number, window in enumerate(parts):
                char_start, char_end = _context_offsets(window)
                null = _null_position(window)
                span = None
                if answers:
                    left = 0 if number == 0 else None
                    right = len(contexts[example]) if number == len(parts) - 1 else None
                    span = _token_span(char_start, char_end, answers[0], left, right)
                first, last = span or (null, null)
                starts.append(first)
                ends.append(last)
                nulls.append(null)
                char_starts.append(char_start)
                char_ends.append(char_end)
                owners.append(example)
                windows.append(window)
        inputs: dict[str, Ragged | np.ndarray] = {"input_ids": tokenization.ragged_ids(windows)}
        if tokenization.uses_segments(tokenizer):
            inputs["token_type_ids"] = tokenization.ragged_segments(windows)
        return Encoded(
            inputs,
            {"start": np.array(starts, np.int64), "end": np.array(ends, np.int64)},
            np.array(owners, np.int64),
            cut,
            {
                "char_start": Ragged.of(char_starts, np.int32),
                "char_end": Ragged.of(char_ends, np.int32),
                "null_position": np.array(nulls, np.int64),
            },
        )

    def _cut_questions(
        self, questions: list[str], encoder: TextEncoder
    ) -> tuple[list[str], np.ndarray]:
        """Questions that leave the context at least half a window; (questions,) bool: was cut."""
        assert encoder.tokenizer is not None
        plain: Tokenizer = tokenization.configured(encoder.tokenizer, None)
        room = encoder.max_length - plain.num_special_tokens_to_add(True)
        limit = min(int(self.options.get("max_question_tokens", MAX_QUESTION_TOKENS)), room // 2)
        kept, cut, longest = [], np.zeros(len(questions), bool), 0
        encodings = plain.encode_batch(questions, add_special_tokens=False)
        for i, (text, encoding) in enumerate(zip(questions, encodings, strict=True)):
            cut[i] = len(encoding) > limit
            kept.append(text[: encoding.offsets[limit - 1][1]] if cut[i] else text)
            longest = max(longest, min(len(encoding), limit))
        if encoder.stride >= room - longest:
            raise RequestError(
                f"stride {encoder.stride} leaves windows no room to move on: max_length "
                f"{encoder.max_length} less a question of {longest} tokens is {room - longest} "
                "tokens of context; lower the task's `stride` or raise its `max_length`"
            )
        return kept, cut

    def decode(
        self, examples: Examples, encoded: Encoded, logits: Sequence[np.ndarray]
    ) -> pd.DataFrame:
        """``prediction`` is "start:end" in characters of the context, "" for no answer;
        ``target`` all gold answers so, parted by spaces. ``exact`` and ``f1`` are the best over
        the gold answers; ``null_margin`` is the null score less the best span's score."""
        import pandas as pd

        from harness.tasks.metrics.squad import answer_scores
        from harness.tasks.spans import best_spans

        char_start, char_end = encoded.extras["char_start"], encoded.extras["char_end"]
        assert isinstance(char_start, Ragged) and isinstance(char_end, Ragged)
        found = best_spans(
            np.concatenate([np.asarray(row).reshape(-1, 2) for row in logits]),
            char_start.values >= 0,
            char_start.offsets,
            np.asarray(encoded.extras["null_position"]),
            encoded.example_index,
            int(self.options.get("max_answer_tokens", MAX_ANSWER_TOKENS)),
        )
        margin = found.null_score - found.score
        allowed = self._may_be_unanswerable(examples)
        none = (found.first < 0) | (allowed & (margin > self.options.get("null_threshold", 0.0)))
        begins, ends = char_start.values[found.first], char_end.values[found.last]
        rows = []
        for i, golds in enumerate(examples.fields["answers"]):
            context = examples.fields["context"][i]
            span = None if none[i] else _trimmed(context, int(begins[i]), int(ends[i]))
            text = context[slice(*span)] if span else ""
            exact, f1 = answer_scores(text, [context[a:b] for a, b in golds])
            rows.append(
                {
                    "id": examples.ids[i],
                    "cluster": examples.clusters[i],
                    "target": " ".join(f"{a}:{b}" for a, b in dict.fromkeys(golds)),
                    "prediction": "{}:{}".format(*span) if span else "",
                    "exact": exact,
                    "f1": f1,
                    "has_answer": bool(golds),
                    "null_margin": float(margin[i]),
                    "score_num": f1,
                    "score_den": 1.0,
                }
            )
        return pd.DataFrame(rows)

    def _may_be_unanswerable(self, examples: Examples) -> bool:
        option = self.options.get("unanswerable", "auto")
        return not all(examples.fields["answers"]) if option == "auto" else bool(option)

    def metrics(self, predictions: pd.DataFrame) -> dict[str, Any]:
        from harness.tasks.metrics.squad import squad_metrics

        return dict(
            squad_metrics(
                predictions["exact"].to_numpy(),
                predictions["f1"].to_numpy(),
                predictions["has_answer"].to_numpy(),
            )
        )


def _only_null(examples: Examples) -> Encoded:
    """What a baseline may say: one position per question, which stands for "no answer"."""
    count = len(examples)
    text = np.empty(count, object)
    for i, pair in enumerate(
        zip(examples.fields["question"], examples.fields["context"], strict=True)
    ):
        text[i] = list(pair)
    outside = Ragged(np.full(count, -1, np.int32), np.arange(count + 1, dtype=np.int64))
    null = np.zeros(count, np.int64)
    return Encoded(
        {"text": text},
        {"start": null, "end": null},
        np.arange(count),
        np.zeros(count, bool),
        {"char_start": outside, "char_end": outside, "null_position": null},
    )


def _answer_spans(value: Any, context: str, where: str) -> list[tuple[int, int]]:
    """(start, end) character offsets of one question's gold answers, checked against the text."""
    if isinstance(value, Mapping):
        pairs = list(zip(value["text"], value["answer_start"], strict=True))
    else:
        pairs = [(answer["text"], answer["start"]) for answer in value or ()]
    spans = []
    for text, start in pairs:
        end = int(start) + len(text)
        if not text or start < 0 or context[int(start) : end] != text:
            raise RequestError(
                f"{where}: an answer of {len(text)} characters does not stand in the context "
                f"at offset {start}; correct the offset or leave the question out"
            )
        spans.append((int(start), end))
    return spans


def _context_offsets(window: Encoding) -> tuple[np.ndarray, np.ndarray]:
    """(tokens,) character range of each context token; -1 for question and special tokens."""
    if not window.ids:
        return np.full(1, -1), np.full(1, -1)
    inside = np.fromiter((s == 1 for s in window.sequence_ids), bool, len(window))
    offsets = np.array(window.offsets, np.int64).reshape(-1, 2)
    return np.where(inside, offsets[:, 0], -1), np.where(inside, offsets[:, 1], -1)


def _null_position(window: Encoding) -> int:
    mask = window.special_tokens_mask
    if mask and not mask[0]:
        for position in np.flatnonzero(mask):
            if window.tokens[position] in CLS_TOKENS:
                return int(position)
    return 0


def _token_span(
    char_start: np.ndarray,
    char_end: np.ndarray,
    answer: tuple[int, int],
    left: int | None,
    right: int | None,
) -> tuple[int, int] | None:
    """First and last token that share a character with the answer; None unless all of it lies
    in the window. ``left`` and ``right``: where the window's text begins and ends, if not at its
    first and last token (a tokenizer may drop characters at the edges of a context)."""
    inside = np.flatnonzero(char_start >= 0)
    if not len(inside):
        return None
    left = int(char_start[inside[0]]) if left is None else left
    right = int(char_end[inside[-1]]) if right is None else right
    if answer[0] < left or answer[1] > right:
        return None
    touched = inside[(char_end[inside] > answer[0]) & (char_start[inside] < answer[1])]
    return (int(touched[0]), int(touched[-1])) if len(touched) else None


def _trimmed(context: str, start: int, end: int) -> tuple[int, int]:
    """Without the outer whitespace that byte-level tokens carry."""
    text = context[start:end]
    if not text.strip():
        return start, end
    return end - len(text.lstrip()), start + len(text.rstrip())
