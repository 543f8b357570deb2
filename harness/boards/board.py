"""Records into ``leaderboard.md``, ``.csv``, ``.json``, ``.parquet`` and ``.html``."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.boards.collect import collect
from harness.boards.definition import Definition, load_definition
from harness.boards.evidence import Evidence, Texts, gather
from harness.boards.page import Page, build_page
from harness.boards.pairs import Pairs
from harness.boards.rank import ranked
from harness.boards.render_csv import render_csv
from harness.boards.render_html import render_html
from harness.boards.render_json import render_json
from harness.boards.render_markdown import render_markdown
from harness.boards.render_parquet import render_parquet
from harness.boards.statistics import render_statistics
from harness.choose.form import make_form
from harness.records.files import write_bytes


@dataclass(frozen=True)
class Console:
    """``suite``: the folder of the records; ``several_hosts``: some row was timed on more than
    one, of which a console prefers its own."""

    suite: Path
    several_hosts: bool

    @property
    def command(self) -> str:
        timings = " --timings board" if self.several_hosts else ""
        return f"harness choose --suite {shlex.quote(self.suite.resolve().name)}{timings}"

    def results_from(self, folder: Path) -> str:
        """The results folder, relative to the page's."""
        results = self.suite.resolve().parent
        return Path(os.path.relpath(results, folder.resolve())).as_posix()


@dataclass(frozen=True)
class Board:
    """What `build` makes of a results folder: the flat rows, and the page that shows them."""

    rows: list[dict[str, Any]]
    page: Page
    evidence: Evidence
    pairs: Pairs
    #: how a console chooses from the same records, timings included
    console: Console


def build(
    results_folder: Path,
    definition: Definition | None = None,
    texts: Texts | None = None,
    *,
    beside: bool = True,
) -> Board:
    """``results/<suite>`` as a board, nothing written. `RequestError` where there is no plan.

    ``texts``: of examples, to show beside errors; the records hold none. ``beside``: False for a
    page that is written elsewhere, from where no link would lead to the records.
    """
    definition = definition or load_definition()
    records = collect(results_folder)
    rows = ranked(records, definition.rank_by)
    page = build_page(records, rows, definition)
    row_ids = [facts["row_id"] for facts in page.explorer.facts]
    return Board(
        rows=rows,
        page=page,
        evidence=gather(results_folder, records, row_ids, texts, beside=beside),
        pairs=Pairs(records.rows),
        console=Console(results_folder, any(len(row.hosts) > 1 for row in records.rows)),
    )


def write(board: Board, folder: Path, definition: Definition | None = None) -> list[Path]:
    """Write the six files, each whole or not at all; returns their paths, Markdown first."""
    definition = definition or load_definition()
    pairs = board.pairs.as_json()
    console = board.console
    form = make_form(board.rows, pairs, console.command, console.results_from(folder))
    contents = {
        "md": render_markdown(board.page).encode(),
        "csv": render_csv(board.rows).encode(),
        "json": render_json(board.rows).encode(),
        "parquet": render_parquet(board.rows),
        "html": render_html(board.page, definition, board.evidence, form).encode(),
    }
    paths = []
    for suffix, content in contents.items():
        path = folder / f"leaderboard.{suffix}"
        write_bytes(path, content)
        paths.append(path)
    curves = [curve for section in board.page.sections for curve in section.curves]
    paths.append(folder / "statistics.json")
    found = render_statistics(board.rows, board.page.across, curves, pairs)
    write_bytes(paths[-1], found.encode())
    return paths


def render(results_folder: Path, definition: Definition | None = None) -> list[Path]:
    """`build` and `write`. A pure function of the records: the same records, the same bytes."""
    return write(build(results_folder, definition), results_folder, definition)
