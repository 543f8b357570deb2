"""Question answering derived from named entity recognition, where no QA data can be had.

Li et al. 2020, *A Unified MRC Framework for Named Entity Recognition* (ACL): the sentence is the
context, each entity type asks one question, the entities of that type are its answers. This is
machine reading in SQuAD's form, and not SQuAD.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from harness.data.table import Table
from harness.errors import RequestError
from harness.tasks.tagging import entities
from harness.tasks.token_classification import tagged_sentences

#: Li et al. ask by the annotation guideline's definition of a type. These are cut to a few words:
#: a question is read with every sentence, and the paper's own would outweigh the sentences.
QUESTIONS = {
    "PER": "Which person is named?",
    "ORG": "Which organization is named?",
    "LOC": "Which location is named?",
    "MISC": "Which nationality, event or work is named?",
}
#: SQuAD 2.0 has a third of unanswerable questions in training (43,498 of 130,319).
UNANSWERABLE_SHARE = 1 / 3
OPTIONS = ("tokens", "tags", "scheme", "questions", "types", "unanswerable_share", "seed")


def mrc_from_ner(table: Table, options: Mapping[str, Any]) -> Table:
    """Sentences with tags to questions: ``id``, ``question``, ``context``, ``answers``,
    ``is_impossible`` and ``paragraph`` (the sentence), as the SQuAD reader's table.

    Words are joined by single spaces. Where a sentence has several entities of a type, each is a
    gold answer, and by SQuAD's convention finding one of them scores in full.

    Options: ``tokens``, ``tags``, ``scheme`` as in token classification; ``types`` (those of the
    file) and ``questions`` ({type: question}); ``unanswerable_share`` (1/3; null keeps all):
    unanswerable questions are drawn down to this share by ``seed`` (13), answerable ones all stay.
    The draw depends on nothing but the seed and the questions' ids.
    """
    unknown = [name for name in options if name not in OPTIONS]
    if unknown:
        raise RequestError(
            f"mrc-from-ner: unknown option {unknown[0]!r}; known: {', '.join(OPTIONS)}"
        )
    share = options.get("unanswerable_share", UNANSWERABLE_SHARE)
    _check_types(options)
    if share is not None and not 0 <= share < 1:
        raise RequestError(f"mrc-from-ner: unanswerable_share is in [0, 1), not {share!r}")
    sentences, tags = tagged_sentences(table, options)
    spans = [sorted(entities(row)) for row in tags]
    types = options.get("types") or sorted({kind for row in spans for *_, kind in row})
    asked = {kind: _question(kind, options.get("questions") or {}) for kind in types}

    rows: list[tuple[int, dict[str, Any]]] = []
    for number, (words, found) in enumerate(zip(sentences, spans, strict=True)):
        context, starts = _joined(words)
        for kind in types:
            answers = [
                {"text": context[starts[a] : starts[b - 1] + len(words[b - 1])], "start": starts[a]}
                for a, b, of_kind in found
                if of_kind == kind
            ]
            question = {
                "id": f"{number:06d}-{kind}",
                "question": asked[kind],
                "context": context,
                "answers": answers,
                "is_impossible": not answers,
                "paragraph": f"{number:06d}",
            }
            rows.append((number, question))
    kept = _balanced(rows, share, int(options.get("seed", 13)))
    names = ("id", "question", "context", "answers", "is_impossible", "paragraph")
    return Table(
        {name: [question[name] for _, question in kept] for name in names},
        table.origin,
        [table.lines[number] for number, _ in kept] if table.lines else (),
    )


def _check_types(options: Mapping[str, Any]) -> None:
    """`RequestError` for values that are no answer to what is asked."""
    for name, kinds, words in (
        ("unanswerable_share", int | float | None, "a number or null"),
        ("seed", int, "a whole number"),
        ("questions", Mapping | None, "a mapping of types to questions"),
        ("types", list | tuple | None, "a list of types"),
    ):
        if name in options and not isinstance(options[name], kinds):
            raise RequestError(f"mrc-from-ner: {name} is {words}, not {options[name]!r}")
    texts = [*(options.get("types") or ()), *(options.get("questions") or {}).values()]
    if not all(isinstance(text, str) for text in texts):
        raise RequestError("mrc-from-ner: types and questions are texts")


def _balanced(
    rows: list[tuple[int, dict[str, Any]]], share: float | None, seed: int
) -> list[tuple[int, dict[str, Any]]]:
    """All answerable questions, and as many unanswerable ones as make up ``share`` of the whole."""
    none = [question["id"] for _, question in rows if question["is_impossible"]]
    if share is None:
        return rows
    wanted = round((len(rows) - len(none)) * share / (1 - share))
    # Ranked by a digest: the same draw in every version of every library.
    ranked = sorted(none, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    drawn = set(ranked[:wanted])
    return [row for row in rows if not row[1]["is_impossible"] or row[1]["id"] in drawn]


def _joined(words: list[str]) -> tuple[str, list[int]]:
    """Words as one text, and the offset at which each begins."""
    starts, position = [], 0
    for word in words:
        starts.append(position)
        position += len(word) + 1
    return " ".join(words), starts


def _question(kind: str, given: Mapping[str, str]) -> str:
    plain = kind.replace("_", " ").replace("-", " ").lower()
    return given.get(kind) or QUESTIONS.get(kind) or f"Which {plain} is named?"
