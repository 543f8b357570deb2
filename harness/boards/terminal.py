"""The board on a console: headlines and tables, narrowed to what fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.boards.page import Page, Table

if TYPE_CHECKING:
    from rich.console import Console


def print_board(page: Page, console: Console) -> None:
    """Print a page with rich. Texts are never read as markup: names are not ours."""
    from rich.text import Text

    console.print(Text(page.title, style="bold"))
    for section in page.sections:
        console.print()
        console.print(Text(section.headline))
        if section.fits.rows:
            _print_table(section.fits, console)
            _print_table(section.runtimes, console)
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
        pad_edge=False,
    )
    for head in table.headers:
        shown.add_column(Text(head.text), justify="right" if head.numeric else "left")
    for row in table.rows:
        shown.add_row(*(Text(cell.text) for cell in row))
    console.print(shown)
