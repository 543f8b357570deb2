"""SQuAD 1.1 and 2.0 JSON (Rajpurkar et al. 2016, 2018): extractive question answering."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.data.formats.text import parse_json, read_text
from harness.data.table import Table
from harness.errors import RequestError

_COLUMNS = (
    "id", "title", "document", "paragraph", "question", "context", "answers", "is_impossible",
)  # fmt: skip


def read_squad(path: Path, origin: str, *, encoding: str = "utf-8") -> Table:
    """One row a question.

    ``answers`` is a list of ``{"text": str, "start": int}``, start in characters of
    ``context``; empty where ``is_impossible``. ``document`` and ``paragraph`` number the
    article and the paragraph (``3`` and ``3-12``).

    `RequestError` naming the question where an answer does not stand at its offset.
    """
    text = read_text(path, origin, encoding)
    try:
        content = parse_json(text)
    except json.JSONDecodeError as error:
        raise RequestError(f"{origin}:{error.lineno}: not valid JSON: {error.msg}") from None
    except ValueError as error:
        raise RequestError(f"{origin}: not valid JSON: {error}") from None
    rows: list[tuple[Any, ...]] = []
    seen: set[str] = set()
    try:
        for row in _questions(content, origin):
            if row[0] in seen:
                raise RequestError(f"{origin}: question id {row[0]!r} stands there twice")
            seen.add(row[0])
            rows.append(row)
    except (KeyError, TypeError, AttributeError) as error:
        place = f"after question {rows[-1][0]!r}" if rows else "at its beginning"
        raise RequestError(
            f"{origin}: not SQuAD's layout ({place}: {type(error).__name__} {error}); wanted: "
            "data[] > paragraphs[] > context, qas[] > id, question, answers[] > text, answer_start"
        ) from None
    columns = zip(*rows, strict=True) if rows else ([] for _ in _COLUMNS)
    return Table(
        {name: list(column) for name, column in zip(_COLUMNS, columns, strict=True)}, origin
    )


def _questions(content: dict[str, Any], origin: str) -> Iterator[tuple[Any, ...]]:
    for i, article in enumerate(content["data"]):
        for j, paragraph in enumerate(article["paragraphs"]):
            context = paragraph["context"]
            for entry in paragraph["qas"]:
                key = str(entry["id"])
                answers = [
                    _answer(found["text"], found["answer_start"], context, f"{origin}: {key}")
                    for found in entry.get("answers", [])
                ]
                impossible = bool(entry.get("is_impossible", not answers))
                if impossible == bool(answers):
                    raise RequestError(
                        f"{origin}: {key}: is_impossible is {impossible}, but there are "
                        f"{len(answers)} answers"
                    )
                yield (
                    key, str(article.get("title", "")), str(i), f"{i}-{j}", entry["question"],
                    context, answers, impossible,
                )  # fmt: skip


def _answer(text: str, start: int, context: str, where: str) -> dict[str, Any]:
    if not text:
        raise RequestError(f"{where}: an answer without text")
    if start >= 0 and context.startswith(text, start):
        return {"text": text, "start": start}
    places = [i for i in range(len(context)) if context.startswith(text, i)]
    found = f"it is at {', '.join(map(str, places[:5]))}" if places else "it is nowhere in it"
    raise RequestError(
        f"{where}: the answer {text[:80]!r} is not at offset {start} of its context; {found}"
    )
