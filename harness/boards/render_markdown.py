"""``leaderboard.md``: GitHub's Markdown, readable as plain text too."""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.boards.page import Page, Section
from harness.boards.table import Fact, Table

#: What would start markup: emphasis, code, cells, headings, math anywhere; brackets only where
#: a link could follow; underscores at the edge of a word; angle brackets before a tag
_SPECIAL = re.compile(
    r"[\\`*|~#$]|\](?=[(\[:])|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|<(?=[A-Za-z/!?])"
)
_LINK = re.compile(r"https?://[^\s()<>\"'\\|`\[\]]+")


def escape(text: str, line_start: bool = False) -> str:
    """Text that Markdown shows as it stands: no markup, no links, no mentions of users."""
    text = _SPECIAL.sub(r"\\\g<0>", text.replace("&", "&amp;"))
    text = re.sub(r"^(?=[>+-]|\d+[.)])", r"\\", text) if line_start else text
    return text.replace("://", ":&#47;&#47;").replace("@", "&#64;")


def render_markdown(page: Page) -> str:
    """The whole board, ending in a newline."""
    return "\n".join(_lines(page)).rstrip("\n") + "\n"


def _lines(page: Page) -> Iterator[str]:
    yield f"# {escape(page.title)}"
    yield ""
    if page.description:
        yield from (escape(page.description, line_start=True), "")
    for section in page.sections:
        yield f"- {escape(section.headline)}"
    yield ""
    yield from ("## How to read this", "")
    yield from _facts(page.reading, separator=" ")
    yield from ("Measured on:", "")
    yield from _facts(page.hosts) if page.hosts else ("- no host recorded", "")
    if page.summary_notes:
        yield from ("## Over all tasks", "")
        if page.summary:
            yield from table_lines(page.summary)
        yield from (f"- {escape(note)}" for note in page.summary_notes)
        yield ""
    for section in page.sections:
        yield from _section(section)
    if page.problems:
        yield from ("## Without a complete result", "")
        yield "None of these is ranked; what was scored of them stands in the tables above."
        yield ""
        yield from table_lines(page.problems)
    if page.limits:
        yield from ("## Limits of this suite", "")
        yield from _facts(page.limits)
    yield from ("## Licences", "")
    yield from _facts(page.licences)
    yield from ("## Run it again", "")
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", page.command)), default=0))
    yield from (f"{fence}sh", page.command, fence)


def _section(section: Section) -> Iterator[str]:
    yield from (f"## {escape(section.title)}", "")
    if section.fits.rows:
        yield from ("### Fits", "")
        yield from table_lines(section.fits)
        yield from ("### Runtimes", "")
        yield from table_lines(section.runtimes)
        if section.trade_offs:
            yield from (section.trade_offs_are, "")
            yield from _facts(section.trade_offs)
        if section.curve_table:
            yield from ("### Score by training size", "")
            yield from table_lines(section.curve_table)
    else:
        yield from ("No fit has a score yet.", "")
    yield from ("Limits:", "")
    yield from _facts(section.limits)


def _facts(facts: list[Fact], separator: str = ": ") -> Iterator[str]:
    for fact in facts:
        text = f"- **{escape(fact.label)}**{separator}{escape(fact.text)}"
        if _LINK.fullmatch(fact.url):
            text += f" (<{fact.url}>)"
        yield text
    yield ""


def table_lines(table: Table) -> Iterator[str]:
    """Columns padded to one width, so that the source reads as a table too."""
    lines = [[escape(head.text) for head in table.headers]]
    lines += [[escape(cell.text) for cell in row] for row in table.rows]
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(table.headers))]
    for number, line in enumerate(lines):
        padded = [
            text.rjust(width) if head.numeric else text.ljust(width)
            for text, width, head in zip(line, widths, table.headers, strict=True)
        ]
        yield f"| {' | '.join(padded)} |"
        if number == 0:
            rules = [
                "-" * (width - 1) + (":" if head.numeric else "-")
                for width, head in zip(widths, table.headers, strict=True)
            ]
            yield f"| {' | '.join(rules)} |"
    yield ""
