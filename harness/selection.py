"""``--only``: which part of a matrix its names, or beginnings of row_ids, ask for."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from harness.errors import RequestError
from harness.records.identity import ID_DIGITS, digest

#: fewer digits are more likely a name that happens to look like an id
_BEGINNING = re.compile(rf"[0-9a-f]{{4,{ID_DIGITS}}}")


def begins(row_id: str, text: str) -> bool:
    """Whether a text that was given for a row is the beginning of its id: 4 digits or more."""
    return bool(_BEGINNING.fullmatch(text)) and row_id.startswith(text)


@dataclass(frozen=True)
class Row:
    """A row of a suite's board: one fit, over its seeds, in one runtime."""

    names: dict[str, Any]
    timed: bool = True

    @cached_property
    def row_id(self) -> str:
        return digest(self.names)


class Selection:
    """What ``--only`` asks for; everything where it is empty.

    Names of one kind of thing (model, task, ...) add up, kinds narrow each other: two models and a
    task are both models on that task. A name that things of two kinds bear asks for either.
    Beginnings of row_ids add single rows; a name is never read as one.
    """

    def __init__(
        self, only: Sequence[str], known: Mapping[str, Collection[str]], where: str
    ) -> None:
        """``known``: all names by kind. `RequestError`, prefixed with ``where``, for a text that is
        neither a name nor can be the beginning of a row_id."""
        self._only, self._known, self._where = only, known, where
        self._names: dict[tuple[str, ...], set[str]] = {}
        self._found: dict[str, set[str]] = {}
        for text in only:
            kinds = tuple(kind for kind, names in known.items() if text in names)
            if kinds:
                self._names.setdefault(kinds, set()).add(text)
            elif _BEGINNING.fullmatch(text):
                self._found[text] = set()
            else:
                raise self._unknown(text)

    def leaves_out(self, called: Mapping[str, str]) -> bool:
        """Whether no row can be asked for of what is ``called`` so, by kind."""
        return not self._found and not self._is_whole(called)

    def of(self, rows: list[Row], called: Mapping[str, str]) -> list[Row]:
        """What is asked for of a fit's rows, the first of which is that of its own runtime.

        That one comes first even where it is not asked for, then untimed: it is what the others'
        parity is measured against.
        """
        if self._is_whole(called):
            return rows
        found = [row for row in rows if self._asks_for(row)]
        if found and found[0] is not rows[0]:
            found.insert(0, replace(rows[0], timed=False))
        return found

    def check(self) -> None:
        """`RequestError` where a text begins no row_id of those seen, or several."""
        for text, row_ids in self._found.items():
            if not row_ids:
                raise self._unknown(text)
            if len(row_ids) > 1:
                several = ", ".join(sorted(row_ids)[:6])
                raise RequestError(f"--only {text} is ambiguous: {several}; give more digits")

    def _is_whole(self, called: Mapping[str, str]) -> bool:
        if not self._names:
            return not self._found
        return all(
            any(called[kind] in names for kind in kinds) for kinds, names in self._names.items()
        )

    def _asks_for(self, row: Row) -> bool:
        matching = [text for text in self._found if begins(row.row_id, text)]
        for text in matching:
            self._found[text].add(row.row_id)
        return bool(matching)

    def _unknown(self, text: str) -> RequestError:
        everything = sorted({name for names in self._known.values() for name in names})
        close = difflib.get_close_matches(text, everything)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(everything)}"
        kinds = " or ".join(self._known)
        row = " and no row_id begins so" if _BEGINNING.fullmatch(text) else ""
        return RequestError(
            f"{self._where}: --only {text}: no {kinds} here is called so{row}; {hint}"
        )
