"""A report as Markdown, for a pull request's comment: what got worse, how sure, why."""

from __future__ import annotations

from harness.boards import wording
from harness.compare import words
from harness.compare.finding import Finding, Report

#: GitHub refuses comments beyond 65,536 characters; tables are cut well before
LONGEST_TABLE = 60
#: lets a workflow find its own comment again, to replace instead of adding one
MARKER = "<!-- harness-compare -->"


def markdown(report: Report) -> str:
    """The whole comment."""
    lines = [MARKER, f"## {_escape(words.headline(report))}", ""]
    lines.append(f"`{report.base}` → `{report.head}`. {words.multiplicity(report)}.")
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
            lines += ["", *_section(title, found, opened)]
    for label, rows in (("Only in BASE", report.only_base), ("Only in HEAD", report.only_head)):
        if rows:
            lines += ["", f"{label}: {_escape(', '.join(rows))}."]
    if report.differences:
        lines += ["", f"What differs between the two: {_escape('; '.join(report.differences))}."]
    lines += [f"\n> {_escape(note)}" for note in report.notes]
    return "\n".join(lines) + "\n"


def _section(title: str, findings: list[Finding], opened: bool) -> list[str]:
    table = _table(findings)
    if opened:
        return [f"### {title}", "", *table]
    return [f"<details><summary>{title}: {len(findings)}</summary>", "", *table, "", "</details>"]


def _table(findings: list[Finding]) -> list[str]:
    lines = [
        "| row | metric | base | head | change | 95% interval | margin | why |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for f in findings[:LONGEST_TABLE]:
        cells = (
            f.row, words.metric(f), words.value(f, f.base), words.value(f, f.head),
            words.change(f), words.interval(f), words.margin(f), words.why(f),
        )  # fmt: skip
        lines.append("| " + " | ".join(_escape(cell) for cell in cells) + " |")
    if len(findings) > LONGEST_TABLE:
        lines.append(f"\n{len(findings) - LONGEST_TABLE} more: see the JSON report.")
    return lines


def _escape(text: str) -> str:
    """Names are not ours: no markup, no mention of users, no HTML."""
    text = wording.clean(text)
    for char in "\\`*_{}<>|~":
        text = text.replace(
            char, f"\\{char}" if char not in "<>" else ("&lt;" if char == "<" else "&gt;")
        )
    return text.replace("@", "@\u200b")
