"""What of a suite ``--only`` asks for: by names, or row by row by the beginnings of row_ids."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
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

    ``known``: names that the suite gives, none of which is read as the beginning of an id.
    """

    def __init__(self, only: Sequence[str], known: Collection[str]) -> None:
        self._names = frozenset(only)
        self._found: dict[str, set[str]] = {
            text: set() for text in only if text not in known and _BEGINNING.fullmatch(text)
        }

    def leaves_out(self, *names: str) -> bool:
        """Whether no row under these names can be asked for."""
        return not self._found and not self._is_whole(names)

    def of(self, rows: list[Row], *names: str) -> list[Row]:
        """What is asked for of a fit's rows, the first of which is that of its own runtime.

        That one comes first even where it is not asked for, then untimed: it is what the others'
        parity is measured against.
        """
        if self._is_whole(names):
            return rows
        found = [row for row in rows if self._asks_for(row)]
        if found and found[0] is not rows[0]:
            found.insert(0, replace(rows[0], timed=False))
        return found

    def refuse_ambiguous(self) -> None:
        """`RequestError` where a text is the beginning of several of the rows seen."""
        for text, row_ids in self._found.items():
            if len(row_ids) > 1:
                several = ", ".join(sorted(row_ids)[:6])
                raise RequestError(f"--only {text} is ambiguous: {several}; give more digits")

    def _is_whole(self, names: tuple[str, ...]) -> bool:
        return not self._names or any(name in self._names for name in names)

    def _asks_for(self, row: Row) -> bool:
        matching = [text for text in self._found if begins(row.row_id, text)]
        for text in matching:
            self._found[text].add(row.row_id)
        return bool(matching)
