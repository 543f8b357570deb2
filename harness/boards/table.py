"""A table and a labelled line as plain data, which Markdown, HTML and the console print."""

from __future__ import annotations

from dataclasses import dataclass

from harness.boards.columns import Cell, Header


@dataclass(frozen=True)
class Fact:
    """A labelled line of text, perhaps with a link (http or https only)."""

    label: str
    text: str
    url: str = ""


@dataclass(frozen=True)
class Table:
    """Headers and rows of cells; a caption for those who hear the page instead of seeing it."""

    caption: str
    headers: tuple[Header, ...]
    rows: list[list[Cell]]
