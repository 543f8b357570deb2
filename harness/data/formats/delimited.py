"""CSV, TSV and Orange's tab-separated files, quoted as in RFC 4180. All values are strings."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.data.formats.text import read_text
from harness.data.table import Table
from harness.errors import RequestError

Rows = list[tuple[int, list[str]]]


def read_csv(
    path: Path,
    origin: str,
    *,
    encoding: str = "utf-8",
    separator: str = ",",
    quote: str = '"',
    columns: list[str] | None = None,
) -> Table:
    """Comma-separated values with a header line.

    ``columns`` names the columns of a file without a header; ``quote: ""`` takes quotes as
    plain characters.
    """
    rows = _records(path, origin, encoding, separator, quote, strict=True)
    if columns is None:
        if not rows:
            return Table({}, origin)
        (_, columns), *rows = rows
    return _table(columns, rows, origin)


def read_tsv(
    path: Path,
    origin: str,
    *,
    encoding: str = "utf-8",
    quote: str = '"',
    columns: list[str] | None = None,
) -> Table:
    """As `read_csv`, separated by tabs."""
    return read_csv(path, origin, encoding=encoding, separator="\t", quote=quote, columns=columns)


def read_orange_tab(path: Path, origin: str, *, encoding: str = "utf-8", quote: str = '"') -> Table:
    """Orange's ``.tab``: three header lines (names, types, roles), the third often blank.

    Orange writes and reads these with Python's `csv` in its lenient mode, where a quote inside
    a field is a plain character; texts are full of them, so the same mode is used here.
    """
    rows = _records(path, origin, encoding, "\t", quote, strict=False, keep_blank=True)
    if len(rows) < 3:
        raise RequestError(
            f"{origin}: an Orange file begins with three lines (names, types, roles); "
            f"it has {len(rows)}"
        )
    (_, names), (line, types), _ = rows[:3]
    # Orange's words for continuous, discrete, string and time; or a list of values: "a b c"
    plain = {"c", "d", "s", "t", "continuous", "discrete", "string", "time", "class", "meta"}
    if len(types) > len(names) or not any(kind in plain or " " in kind for kind in types):
        raise RequestError(
            f"{origin}:{line}: the second line of an Orange file gives each column's type "
            f"(d, c, string, time); is this `format: tsv`?"
        )
    # a blank record follows the header in many of these files, with or without its tabs
    return _table(names, [row for row in rows[3:] if any(row[1])], origin)


def _records(
    path: Path,
    origin: str,
    encoding: str,
    separator: str,
    quote: str,
    *,
    strict: bool,
    keep_blank: bool = False,
) -> Rows:
    """Records with the line that each begins on; blank lines left out unless kept."""
    if len(separator) != 1 or len(quote) > 1:
        raise RequestError(f"{origin}: `separator` is one character, `quote` one or none")
    text = read_text(path, origin, encoding)
    try:
        reader = csv.reader(
            io.StringIO(text, newline=""),
            delimiter=separator,
            quotechar=quote or None,
            quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
            strict=strict,
        )
    except (TypeError, ValueError) as error:  # line ends, the same one twice
        raise RequestError(f"{origin}: `separator` and `quote`: {error}") from None
    rows: Rows = []
    line = 1
    with _fields_of_any_length():
        try:
            for row in reader:
                if row or keep_blank:
                    rows.append((line, row))
                line = reader.line_num + 1
        except csv.Error as error:
            reason = (
                "a quoted field that begins here is never closed"
                if "end of data" in str(error)
                else str(error)
            )
            raise RequestError(
                f"{origin}:{line}: {reason}; if quotes are plain characters in this file, "
                'say `quote: ""` under `options:`'
            ) from None
    return rows


@contextmanager
def _fields_of_any_length() -> Iterator[None]:
    """`csv` refuses fields over 131,072 characters; documents are longer. Its limit is global."""
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _table(names: list[str], rows: Rows, origin: str) -> Table:
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise RequestError(f"{origin}:1: the header names {repeated[0]!r} twice")
    for line, row in rows:
        if len(row) != len(names):
            raise RequestError(
                f"{origin}:{line}: {len(row)} fields, where there are {len(names)} columns "
                f"({', '.join(map(repr, names[:8]))})"
            )
    values = zip(*(row for _, row in rows), strict=True) if rows else ([] for _ in names)
    return Table(
        {name: list(column) for name, column in zip(names, values, strict=True)},
        origin,
        [line for line, _ in rows],
    )
