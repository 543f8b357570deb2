"""The one shape in which every data format hands its content to the tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.errors import RequestError


@dataclass(frozen=True)
class Table:
    """Columns of equal length, with the place each row came from.

    ``columns`` maps a name to a list of Python values (str, int, list, dict). ``lines`` holds
    each row's 1-based line number in ``origin`` where the format has lines, else it is empty.
    """

    columns: dict[str, list[Any]]
    origin: str
    lines: Sequence[int] = field(default=())

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))

    def column(self, name: str) -> list[Any]:
        """The named column; a `RequestError` that lists the existing ones if it is missing."""
        if not isinstance(name, str) or name not in self.columns:
            raise RequestError(
                f"{self.origin}: no column {name!r}; it has {', '.join(map(repr, self.columns))}"
            )
        return self.columns[name]

    def where(self, row: int) -> str:
        """``file:line`` of a row, for messages."""
        return (
            f"{self.origin}:{self.lines[row]}" if self.lines else f"{self.origin} (row {row + 1})"
        )
