"""The board on a console: headlines and tables, narrowed to what fits."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from harness.boards.page import Page
from harness.boards.table import Table

if TYPE_CHECKING:
    from rich.console import Console


def print_board(page: Page, console: Console) -> None:
    """Print a page with rich. Texts are never read as markup: names are not ours."""
    from rich.text import Text

    console.print(Text(page.title, style="bold"))
    for section in page.sections:
        console.print()
        console.print(Text(section.headline))
        for fact in section.limits:
            if fact.label in _SAID:
                console.print(Text(f"{fact.label}: {fact.text}", style="dim"))
        if section.fits.rows:
            _print_table(section.fits, console)
            _print_table(section.runtimes, console)
        if section.curve_table:
            _print_table(section.curve_table, console)
    if page.summary_notes:
        console.print()
        if page.summary:
            _print_table(page.summary, console)
        for note in page.summary_notes:
            console.print(Text(note, style="dim"))
    if page.problems:
        console.print()
        _print_table(page.problems, console)
    if page.hosts:
        console.print()
    for host in page.hosts:
        console.print(Text(f"measured on {host.label}: {host.text}", style="dim"))


def _print_table(table: Table, console: Console) -> None:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(
        title=Text(table.caption, style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    widths = [_unbroken(table, i) for i in range(len(table.headers))]
    kept = list(range(len(widths)))
    while spare := [i for i in kept if table.headers[i].spare]:
        if sum(widths[i] for i in kept) + _GAP * (len(kept) + 1) <= console.width:
            break
        kept.remove(spare[-1])
    for i in kept:
        head = table.headers[i]
        broken = textwrap.fill(head.text, widths[i], break_on_hyphens=False)
        shown.add_column(Text(broken), justify="right" if head.numeric else "left", overflow="fold")
    for row in table.rows:
        shown.add_row(*(Text(row[i].text) for i in kept))
    console.print(shown)


#: limits without which a table of scores is read wrongly
_SAID = ("seeds", "resolution")
#: characters between columns
_GAP = 2


def _unbroken(table: Table, i: int) -> int:
    """Width in which no cell of a column has to break, nor any word of its header."""
    cells = [len(row[i].text) for row in table.rows]
    return max(cells + [len(word) for word in table.headers[i].text.split()])
