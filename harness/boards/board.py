"""Records into ``leaderboard.md``, ``.csv``, ``.json`` and ``.html``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.boards.collect import collect
from harness.boards.definition import Definition, load_definition
from harness.boards.page import Page, build_page
from harness.boards.rank import ranked
from harness.boards.render_csv import render_csv
from harness.boards.render_html import render_html
from harness.boards.render_json import render_json
from harness.boards.render_markdown import render_markdown
from harness.records.files import write_bytes


@dataclass(frozen=True)
class Board:
    """What `build` makes of a results folder: the flat rows, and the page that shows them."""

    rows: list[dict[str, Any]]
    page: Page


def build(results_folder: Path, definition: Definition | None = None) -> Board:
    """``results/<suite>`` as a board, nothing written. `RequestError` where there is no plan."""
    definition = definition or load_definition()
    records = collect(results_folder)
    rows = ranked(records, definition.rank_by)
    return Board(rows, build_page(records, rows, definition))


def write(board: Board, results_folder: Path, definition: Definition | None = None) -> list[Path]:
    """Write the four files, each whole or not at all; returns their paths, Markdown first."""
    definition = definition or load_definition()
    texts = {
        "md": render_markdown(board.page),
        "csv": render_csv(board.rows),
        "json": render_json(board.rows),
        "html": render_html(board.page, definition),
    }
    paths = []
    for suffix, text in texts.items():
        path = results_folder / f"leaderboard.{suffix}"
        write_bytes(path, text.encode())
        paths.append(path)
    return paths


def render(results_folder: Path, definition: Definition | None = None) -> list[Path]:
    """`build` and `write`. A pure function of the records: the same records, the same bytes."""
    return write(build(results_folder, definition), results_folder, definition)
