"""A board in a few lines of Markdown, for the description of a pull request."""

from __future__ import annotations

from harness.boards.page import Page
from harness.boards.render_markdown import escape, table_lines
from harness.boards.table import Table

#: columns of a short table, as far as the board has them
_COLUMNS = ("rank", "model", "recipe", "framework", "score", "tied with best?", "fit time, s")
#: fits a task; the board itself has the others
MOST = 10


def render_pull_request(page: Page) -> str:
    """Headlines, and of each task the first `MOST` fits; ends in a newline."""
    lines = [f"### {escape(page.title)}", ""]
    lines += [f"- {escape(section.headline)}" for section in page.sections]
    lines.append("")
    for section in page.sections:
        if not section.fits.rows:
            continue
        lines += [f"**{escape(section.title)}**", ""]
        lines += table_lines(_short(section.fits))
        left = len(section.fits.rows) - MOST
        if left > 0:
            lines += [f"and {left} more on the board.", ""]
    if page.problems:
        count = len(page.problems.rows)
        lines += [f"{count} row{'' if count == 1 else 's'} without a complete result.", ""]
    lines.append(f"Made by `{page.command.replace('`', '')}`.")
    return "\n".join(lines) + "\n"


def _short(table: Table) -> Table:
    kept = [i for i, head in enumerate(table.headers) if head.text.partition(" [")[0] in _COLUMNS]
    return Table(
        table.caption,
        tuple(table.headers[i] for i in kept),
        [[row[i] for i in kept] for row in table.rows[:MOST]],
    )
