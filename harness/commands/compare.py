"""``harness compare``: did anything get worse?"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from harness.compare.finding import Report
from harness.compare.judge import Options, compare
from harness.compare.margins import parse_margins
from harness.compare.places import load_side
from harness.errors import RequestError

REGRESSION = 3


def compare_sides(args: argparse.Namespace) -> int:
    options = Options(
        margins=parse_margins(args.margin),
        session_sd=args.session_noise,
        replace=_replacements(args.replace),
        only=tuple(args.only),
    )
    base = load_side(args.base, args.results, args.suite)
    head = load_side(args.head, args.results, args.suite)
    report = compare(base, head, options)
    write_reports(args, report)
    return REGRESSION if report.regressed else 0


def write_reports(args: argparse.Namespace, report: Report) -> None:
    """To the files that were asked for, and to the terminal."""
    from harness.compare.render_ci import junit, workflow_commands
    from harness.compare.render_markdown import markdown

    as_json = json.dumps(report.as_dict(), indent=2, ensure_ascii=False) + "\n"
    for path, text in (
        (args.markdown, lambda: markdown(report)),
        (args.junit, lambda: junit(report)),
        (args.output, lambda: as_json),
    ):
        if path is not None:
            _write(path, text())
    if args.json:
        print(as_json, end="")
    else:
        from rich.console import Console

        from harness.commands.board import PIPE_WIDTH
        from harness.compare.render_terminal import print_report

        width = None if sys.stdout.isatty() else PIPE_WIDTH
        print_report(report, Console(width=width), everything=args.all)
    if args.annotations:
        # on stderr, so that --json stays clean; the runner reads both
        print("\n".join(workflow_commands(report)), file=sys.stderr)
        summary = os.environ.get("GITHUB_STEP_SUMMARY")
        if summary:
            with open(summary, "a", encoding="utf-8") as file:
                file.write(markdown(report))


def _write(path: Path, text: str) -> None:
    from harness.records.files import write_bytes

    try:
        write_bytes(path, text.encode())
    except OSError as error:
        raise RequestError(f"{path} cannot be written ({error.strerror})") from None


def _replacements(texts: list[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        old, _, new = text.partition("=")
        if not old or not new:
            raise RequestError(
                f"--replace {text}: wanted OLD=NEW, two runtimes (onnxruntime=onnxruntime-int8)"
            )
        found[old] = new
    return found
