"""A report on a terminal: what matters first, the rest counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.boards import wording
from harness.compare import words
from harness.compare.finding import Finding, Report

if TYPE_CHECKING:
    from rich.console import Console

STYLES = {"regression": "bold red", "inconclusive": "yellow", "improved": "green"}
#: shown line by line; the others only with ``--all``
SHOWN = ("regression", "inconclusive", "changed", "improved", "not compared")


def print_report(report: Report, console: Console, *, everything: bool = False) -> None:
    """Print with rich. Texts are never read as markup: names are not ours."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console.print(Text(f"{report.base} -> {report.head}", style="bold"))
    style = "bold red" if report.regressed else "bold"
    console.print(Text(words.headline(report), style=style))
    kept = [f for f in report.findings if everything or f.verdict in SHOWN]
    for row, findings in _by_row(kept).items():
        console.print()
        console.print(Text(wording.clean(row), style="bold"))
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        for header, right in (
            ("metric", False), ("base", True), ("head", True), ("change", True),
            ("95% interval", True), ("margin", True), ("verdict", False),
        ):  # fmt: skip
            table.add_column(header, justify="right" if right else "left", overflow="fold")
        for f in findings:
            table.add_row(
                words.metric(f), words.value(f, f.base), words.value(f, f.head), words.change(f),
                words.interval(f), words.margin(f), Text(f.verdict, STYLES.get(f.verdict, "")),
            )  # fmt: skip
        console.print(table)
        for why, metrics in _by_reason(findings).items():
            console.print(Text(f"  {', '.join(metrics)}: {why}", style="dim"))
    console.print()
    counts = ", ".join(f"{count} {verdict}" for verdict, count in report.counts().items())
    console.print(Text(f"{counts}. {words.multiplicity(report)}."))
    for label, rows in (("only in BASE", report.only_base), ("only in HEAD", report.only_head)):
        if rows:
            console.print(Text(f"{label}: {', '.join(rows)}", style="dim"))
    if report.differences:
        console.print(Text(f"what differs: {'; '.join(report.differences)}", style="dim"))
    for note in report.notes:
        console.print(Text(wording.clean(note), style="yellow"))


def _by_row(findings: list[Finding]) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in findings:
        found.setdefault(finding.row, []).append(finding)
    return found


def _by_reason(findings: list[Finding]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for finding in findings:
        if why := words.why(finding):
            found.setdefault(why, []).append(words.metric(finding))
    return found
