"""``harness compare``: did anything get worse?"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.arguments import add_only, add_results, add_trust, positive
from harness.compare.finding import Report
from harness.compare.interchange import compare_benchmarks
from harness.compare.judge import Options, compare, join_rows
from harness.compare.margins import margin_of, parse_margins
from harness.compare.places import load_side, open_place
from harness.compare.sides import Side, read_side, suites_in
from harness.errors import RequestError

if TYPE_CHECKING:
    from harness.execute.launches import Interpreter

EXAMPLE = "harness compare main results"

REGRESSION = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_results(parser)
    kinds = "a results folder, a baseline's name, or a git revision (REVISION or REVISION:FOLDER)"
    parser.add_argument("base", metavar="BASE", help=kinds)
    parser.add_argument("head", metavar="HEAD", nargs="?", help="the same; what is judged")
    parser.add_argument("--suite", metavar="SUITE", help="only this suite's records")
    add_only(
        parser,
        "only rows of these models, tasks, recipes or runtimes, or row_ids by their beginning",
    )
    parser.add_argument(
        "--margin", action="append", default=[], metavar="METRIC=X",
        help="the change that matters: speed=5%%, quality=0.5pt, latency_p50_ms=10%%; repeat",
    )  # fmt: skip
    parser.add_argument(
        "--replace", action="append", default=[], metavar="OLD=NEW",
        help="compare BASE's runtime OLD with HEAD's NEW (onnxruntime=onnxruntime-int8)",
    )  # fmt: skip
    parser.add_argument(
        "--session-noise", type=float, default=0.08, metavar="SD",
        help="how far one hour of this host differs from another, where launches did not take "
        "turns (default 0.08; an idle machine of one's own: 0.01)",
    )  # fmt: skip
    parser.add_argument("--all", action="store_true", help="print what stayed the same, too")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="for a pull-request comment")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="JUnit XML")
    parser.add_argument("--output", type=Path, metavar="FILE", help="the JSON report, to a file")
    parser.add_argument(
        "--annotations", action="store_true", help="GitHub annotations and step summary"
    )
    parser.add_argument(
        "--rerun", action="store_true",
        help="time both sides again on this host, launches taking turns (their artifacts must be "
        "in the cache)",
    )  # fmt: skip
    parser.add_argument(
        "--launches", type=positive, default=10, metavar="N",
        help="--rerun, --power: launches a side; as many again confirm a suspicion (default 10)",
    )  # fmt: skip
    add_trust(parser)
    for side in ("base", "head"):
        what = f"--rerun: {side.upper()}'s"
        parser.add_argument(f"--{side}-python", metavar="EXE", help=f"{what} interpreter")
        parser.add_argument(
            f"--{side}-tree", type=Path, metavar="DIR", help=f"{what} source tree, run from there"
        )
        parser.add_argument(
            f"--{side}-env", action="append", default=[], metavar="NAME=VALUE",
            help=f"{what} environment (OMP_NUM_THREADS=1); repeat",
        )  # fmt: skip
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="--rerun: keep its records (DIR/base, DIR/head)"
    )
    parser.add_argument(
        "--export-benchmark", type=Path, metavar="FILE",
        help="instead of a comparison: the last side's samples as pytest-benchmark's JSON",
    )  # fmt: skip
    parser.add_argument(
        "--export-smaller", type=Path, metavar="FILE",
        help="the same for github-action-benchmark (customSmallerIsBetter)",
    )  # fmt: skip
    parser.add_argument(
        "--power", action="store_true",
        help="instead of a comparison: how often would BASE's rows raise false alarms, and see a "
        "planted loss? Simulated from their own noise, or from an assumed one where it says so",
    )  # fmt: skip
    parser.add_argument(
        "--repeats", type=positive, default=200, metavar="N", help="--power: simulations each"
    )


def run(args: argparse.Namespace) -> int:
    options = Options(
        margins=parse_margins(args.margin),
        session_sd=args.session_noise,
        replace=_replacements(args.replace),
        only=tuple(args.only),
    )
    if args.power:
        return show_power(args, options)
    if args.export_benchmark or args.export_smaller:
        return _export(args)
    if args.head is None:
        raise RequestError("harness compare BASE HEAD: HEAD is missing")
    if is_benchmark(args.base) and is_benchmark(args.head):
        margin = margin_of("latency_p50_ms", "speed", options.margins)
        report = compare_benchmarks(Path(args.base), Path(args.head), margin, options.session_sd)
        write_reports(args, report)
        return REGRESSION if report.regressed else 0
    if args.rerun:
        base, head = _interleaved(args, options)
    else:
        base = load_side(args.base, args.results, args.suite)
        head = load_side(args.head, args.results, args.suite)
    report = compare(base, head, options)
    write_reports(args, report)
    return REGRESSION if report.regressed else 0


def _export(args: argparse.Namespace) -> int:
    """One side's records for other tools; the last side that is named."""
    from harness.compare.interchange import to_pytest_benchmark, to_smaller_is_better

    side = load_side(args.head or args.base, args.results, args.suite)
    for path, make in (
        (args.export_benchmark, to_pytest_benchmark),
        (args.export_smaller, to_smaller_is_better),
    ):
        if path is not None:
            _write(path, json.dumps(make(side), indent=1) + "\n")
            print(path)
    return 0


def is_benchmark(text: str) -> bool:
    """A file of pytest-benchmark, or a folder of them (and of no records)."""
    path = Path(text)
    if path.is_dir():
        return not suites_in(path) and any(path.glob("**/*.json"))
    return path.is_file() and path.suffix == ".json"


def _interleaved(args: argparse.Namespace, options: Options) -> tuple[Side, Side]:
    """Both sides with launches that took turns on this host; kept below the results folder."""
    from harness.execute.rerun import Arm, rerun
    from harness.sources import default_cache
    from harness.sources.cache import in_use

    cache = default_cache().resolve()  # a side may run in a folder of its own
    base_python = _interpreter(args.base_python, args.base_tree, args.base_env)
    head_python = _interpreter(args.head_python, args.head_tree, args.head_env)
    arms = [
        Arm("BASE", cache, base_python, args.trust_remote_code),
        Arm("HEAD", cache, head_python, args.trust_remote_code),
    ]

    def say(text: str) -> None:
        print(text, file=sys.stderr)

    with (
        open_place(args.base, args.results) as (base_name, base_folder),
        open_place(args.head, args.results) as (head_name, head_folder),
        tempfile.TemporaryDirectory(prefix="harness-rerun-") as scratch,
        in_use(cache),  # `harness gc` keeps away from the artifacts that take turns
    ):
        base = read_side(base_name, base_folder, args.suite)
        head = read_side(head_name, head_folder, args.suite)
        pairs, _, _ = join_rows(base, head, options)
        timed = [(a, b) for a, b in pairs if a.row.ok and b.row.ok]
        given = {**head.margins, **options.margins}
        margin = math.log1p(margin_of("latency_p50_ms", "speed", given))
        found = rerun(
            (base, base_folder, arms[0]), (head, head_folder, arms[1]), timed, args.launches,
            margin, Path(scratch), say,
        )  # fmt: skip
        if args.keep is not None:
            shutil.copytree(scratch, args.keep, dirs_exist_ok=True)
    return found


def _interpreter(python: str | None, tree: Path | None, variables: list[str]) -> Interpreter:
    """What ``--base-python``, ``--base-tree`` and ``--base-env`` say (or HEAD's)."""
    from harness.execute.launches import Interpreter

    found = shutil.which(python or sys.executable)
    if found is None:
        raise RequestError(f"{python}: no program of that name that could be run")
    if tree is not None and not tree.is_dir():
        raise RequestError(f"{tree}: no such folder; wanted the checkout of a side")
    # neither resolved: a virtual environment's python is a link
    return Interpreter(os.path.abspath(found), tree, _environment(variables))


def _environment(texts: list[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not key or not sign:
            raise RequestError(f"{text}: wanted NAME=VALUE, such as OMP_NUM_THREADS=1")
        if key == "OMP_NUM_THREADS" and not (value.isdecimal() and int(value) > 0):
            raise RequestError(f"{text}: wanted a number of threads, 1 or more")
        found[key] = value
    return found


def show_power(args: argparse.Namespace, options: Options) -> int:
    """Alarm rate, power and inconclusive share of the rows' own noise, together."""
    from dataclasses import asdict

    from harness.compare.judge import row_name, wanted
    from harness.compare.power import side_rates

    side = load_side(args.base, args.results, args.suite)
    rows = {key: row for key, row in side.rows.items() if wanted(row, options)}
    given = {**side.margins, **options.margins}
    rates = side_rates(
        Side(side.name, rows),
        margin_of("latency_p50_ms", "speed", given),
        margin_of("quality", "quality", given),
        args.repeats,
        row_name,
        args.launches,
    )
    if args.json:
        print(json.dumps([asdict(rate) for rate in rates], indent=2))
        return 0
    together = rates[0].comparisons if rates else 0
    print(
        f"of {args.repeats} simulations each; q-values among {together} comparisons made at once, "
        "of which the others changed nothing"
    )
    last = ""
    for rate in rates:
        if rate.what != last:
            print(f"\n{rate.what}")
            print("  planted             with  regression  inconclusive  equivalent  improved")
            last = rate.what
        loss = "points lost" if "examples" in rate.units else "% slower"
        planted = f"{100 * rate.effect:g} {loss}" if rate.effect else "nothing"
        print(
            f"  {planted:14}{rate.units:>10}{rate.regression:12.1%}{rate.inconclusive:14.1%}"
            f"{rate.equivalent:12.1%}{rate.improved:10.1%}"
        )
    return 0


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
