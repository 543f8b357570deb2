"""A report as Markdown, for a pull request's comment: what got worse, how sure, why."""

from __future__ import annotations

import re

from harness.boards import wording
from harness.compare import words
from harness.compare.finding import Finding, Report

#: GitHub refuses comments beyond 65,536 characters
LONGEST = 65_000
#: lines of one table, characters of one cell or sentence, and notes: what is beyond is cut
LONGEST_TABLE, LONGEST_TEXT = 60, 400
MOST_NOTES = 10
#: lets a workflow find its own comment again, to replace instead of adding one
MARKER = "<!-- harness-compare -->"

_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
#: what Markdown reads as markup, wherever it stands
_SPECIAL = "\\`*_{}[]()#!|~"
#: what GitHub makes links and mentions of: users, addresses, other repositories' issues
_LINKS = re.compile(r"(@|:(?=//)|www(?=\.)|GH(?=-\d))", re.IGNORECASE)


def markdown(report: Report) -> str:
    """The whole comment, of `LONGEST` characters at most; what is worst comes first."""
    sides = f"{_code(report.base)} → {_code(report.head)}"
    top = [
        MARKER, f"## {_escape(words.headline(report))}", "",
        f"{sides}. {words.multiplicity(report)}.",
    ]  # fmt: skip
    end = _end(report)
    room = LONGEST - len("\n".join([*top, *end])) - 2
    sections: list[str] = []
    for title, verdicts, opened in (
        ("Regressions", ("regression",), True),
        ("Improvements", ("improved",), True),
        ("Inconclusive", ("inconclusive",), False),
        ("Changed, and neither better nor worse", ("changed",), False),
        ("Not compared", ("not compared",), False),
        ("Equivalent or the same", ("equivalent", "same"), False),
    ):
        found = report.of(*verdicts)
        if found:
            text = _section(title, found, opened, room - len("".join(sections)))
            sections.append("\n" + text)
    return "\n".join([*top, *sections, *end]) + "\n"


def _end(report: Report) -> list[str]:
    """What is said below the tables."""
    lines = []
    for label, rows in (("Only in BASE", report.only_base), ("Only in HEAD", report.only_head)):
        if rows:
            lines += ["", f"{label}: {_escape(', '.join(rows))}."]
    if report.differences:
        lines += ["", f"What differs between the two: {_escape('; '.join(report.differences))}."]
    lines += [f"\n> {_escape(note)}" for note in report.notes[:MOST_NOTES]]
    return lines


def _section(title: str, findings: list[Finding], opened: bool, room: int) -> str:
    """A heading and as many findings as ``room`` characters hold."""
    if opened:
        head, tail = f"### {title}\n", ""
    else:
        head, tail = f"<details><summary>{title}: {len(findings)}</summary>\n", "\n</details>"
    more = "\n{} more: see the JSON report.".format
    lines = [
        head,
        "| row | metric | base | head | change | 95% interval | margin | why |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    left = room - len("\n".join([*lines, more(len(findings)), tail])) - 2
    shown = 0
    for line in map(_line, findings[:LONGEST_TABLE]):
        left -= len(line) + 1
        if left < 0:
            break
        lines.append(line)
        shown += 1
    if shown < len(findings):
        # of a table without a line, only how many there are
        lines = [*lines, more(len(findings) - shown)] if shown else [head, more(len(findings))]
    return "\n".join([*lines, tail] if tail else lines)


def _line(f: Finding) -> str:
    cells = (
        f.row, words.metric(f), words.value(f, f.base), words.value(f, f.head),
        words.change(f), words.interval(f), words.margin(f), words.why(f),
    )  # fmt: skip
    return "| " + " | ".join(_escape(cell) for cell in cells) + " |"


def _code(text: str) -> str:
    """A side's name as code, in which nothing but a backquote is read as markup."""
    name = _cut(wording.clean(text)).replace("`", "'")
    return f"`{name}`"


def _escape(text: str) -> str:
    """Names and reasons are not ours: no markup, links, mentions or HTML; cut where too long."""
    text = _LINKS.sub("\\1\u200b", _cut(wording.clean(text)))
    return "".join(_HTML.get(char) or (f"\\{char}" if char in _SPECIAL else char) for char in text)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "..."
