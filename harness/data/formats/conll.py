"""CoNLL columns: one token a line, blank lines between sentences."""

from __future__ import annotations

import re
from pathlib import Path

from harness.data.formats.text import lines_of, read_text
from harness.data.table import Table
from harness.errors import RequestError

#: CoNLL-2003's mark of a new document. It stands where a sentence would, but it is none.
_DOCUMENT = "-DOCSTART-"


def read_conll(
    path: Path,
    origin: str,
    *,
    encoding: str = "utf-8",
    token_column: int = 0,
    tag_column: int = -1,
    comment: str | None = None,
) -> Table:
    """One row a sentence: ``tokens`` and ``tags`` (lists of str), ``document`` (str).

    Columns are separated by tabs where a line has one, else by blanks; indices start at 0, or
    count from the end if negative. Documents are numbered by their ``-DOCSTART-`` lines; in a
    file without any, each sentence is a document of its own. ``comment`` is the prefix of
    lines to leave out. Tags are handed on as they stand (IOB1, BIO, ...).

    `RequestError` with file:line where a line has fewer columns than the first.
    """
    sentences: list[tuple[int, int, list[str], list[str]]] = []  # line, document, tokens, tags
    tokens: list[str] = []
    tags: list[str] = []
    start, documents, width = 0, 0, 0

    def finish() -> None:
        nonlocal tokens, tags
        if tokens:
            sentences.append((start, documents, tokens, tags))
            tokens, tags = [], []

    for number, line in enumerate(lines_of(read_text(path, origin, encoding)), start=1):
        if not line.strip(" \t"):
            finish()
            continue
        if comment and line.startswith(comment):
            continue
        fields = _fields(line)
        if fields[0] == _DOCUMENT:
            finish()
            documents += 1
            continue
        if not width:
            width = len(fields)
            _check_columns(width, token_column, tag_column, f"{origin}:{number}")
        if len(fields) < width:
            raise RequestError(
                f"{origin}:{number}: {len(fields)} columns, where the first token has {width}: "
                f"{line[:60]!r}"
            )
        if not tokens:
            start = number
        tokens.append(fields[token_column])
        tags.append(fields[tag_column])
    finish()
    return Table(
        {
            "tokens": [words for _, _, words, _ in sentences],
            "tags": [labels for _, _, _, labels in sentences],
            "document": [
                str(document if documents else row + 1)
                for row, (_, document, _, _) in enumerate(sentences)
            ],
        },
        origin,
        [line for line, _, _, _ in sentences],
    )


def _fields(line: str) -> list[str]:
    """Only tab and blank separate: tokens may hold other Unicode white space."""
    if "\t" in line:
        return [field.strip(" ") for field in line.strip("\t ").split("\t")]
    return re.split(" +", line.strip(" "))


def _check_columns(width: int, token_column: int, tag_column: int, where: str) -> None:
    for name, column in (("token_column", token_column), ("tag_column", tag_column)):
        if not -width <= column < width:
            raise RequestError(
                f"{where}: {width} columns, but `{name}` is {column} (they count from 0)"
            )
    if token_column % width == tag_column % width:
        raise RequestError(
            f"{where}: {width} column{'s' * (width > 1)}, and the token and its tag are not in "
            "different ones; set `token_column` and `tag_column` under `options:`"
        )
