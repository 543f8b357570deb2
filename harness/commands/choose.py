"""``harness choose``: which pretrained model, and why, from records."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.choose.answer import decide
from harness.choose.evidence import select
from harness.choose.gather import Gathered, gather, reference_folder
from harness.choose.question import (
    BOUNDS,
    OWN_DATA_TYPE,
    PERCENTILES,
    Question,
    task_named,
    weights_from,
)
from harness.choose.reasons import reasons
from harness.choose.wording import as_json, sentences
from harness.commands.arguments import add_results, add_trust, positive, positive_number
from harness.errors import RequestError

EXAMPLE = (
    "harness choose --task ner --examples 1000 --device cpu --max-latency-ms 10 "
    "--max-size-mb 100 --min-score 0.7"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_results(parser)
    add = parser.add_argument
    add("--task", metavar="TASK", help="a task type, a short name (ner, qa, ...) or a data set")
    add("--examples", type=positive, metavar="N", help="labelled training examples that you have")
    add("--device", metavar="NAME", help="cpu or cuda; default: any that was measured")
    for bound in BOUNDS.values():
        add(bound.flag, type=positive_number, metavar="X", help=bound.help)
    add("--price-per-hour", type=positive_number, metavar="X",
        help="of the machine: what fitting and serving cost")  # fmt: skip
    add("--percentile", choices=PERCENTILES,
        help="of latency; default: p99 where all candidates carry it, else p90")  # fmt: skip
    add("--weights", metavar="score=3,latency=1", help="what counts, and how much")
    add("--suite", action="append", default=[], metavar="NAME", help="only this suite's records")
    add("--timings", choices=("here", "board"), default="here",
        help="of rows timed on several hosts: this machine's where there are any (default), or "
        "those that the board shows")  # fmt: skip
    add("--data", type=Path, metavar="FILE", help="your own data: shortlist and fit on it")
    add("--type", metavar="TYPE", help="task type of --data")
    add("--candidates", default="nlp", metavar="SUITE", help="whose models to try on --data")
    add("--time", default="10m", metavar="10m", help="time for fitting on --data")
    add("--text", metavar="COLUMN", help="text column of --data")
    add("--label", metavar="COLUMN", help="label column of --data")
    add_trust(parser)
    add("--prompt", action="store_true", help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    if args.data:
        from harness.commands.choose_data import choose_on_data

        _refuse_beside_data(args)
        return choose_on_data(args)
    gathered, sources = _gather(args)
    question = _question(args, gathered)
    evidence = select(gathered.rows, question, gathered.p_value)
    if not evidence.candidates:
        gathered, sources = _with_reference(args, gathered, question.task)
        evidence = select(gathered.rows, question, gathered.p_value)
    if not evidence.candidates:
        raise RequestError(_no_evidence(question, gathered, args.results))
    answer = decide(evidence, question)
    said = reasons(evidence, answer, question, gathered.task_names, _here())
    if args.json:
        print(json.dumps(as_json(question, evidence, answer, said, gathered), indent=2))
    else:
        print_parts(sentences(question, evidence, answer, said, gathered, sources))
    if answer.recommended is None:
        asked = ", ".join(b.flag for name, b in BOUNDS.items() if question.bound(name))
        print(
            f"harness: nothing satisfies all bounds; relax {asked or '--device'}", file=sys.stderr
        )
        return 2
    return 0


def _refuse_beside_data(args: argparse.Namespace) -> None:
    """Flags that an answer on the user's own data cannot heed."""
    given = [f"--{name}" for name in ("task", "examples", "suite") if getattr(args, name)]
    if given:
        raise RequestError(
            f"{', '.join(given)}: of no meaning beside --data, whose table is the data set and "
            "whose rows are the examples (--type, --candidates and --time go with it)"
        )


def _gather(args: argparse.Namespace) -> tuple[Gathered, list[str]]:
    """The asked results folder; the reference results where it holds no suite."""
    if args.suite or args.results != Path("results") or args.results.is_dir():
        gathered = Gathered()
        if args.results.is_dir():
            gathered = gather(args.results, tuple(args.suite), _near(args))
        if args.suite and not args.results.is_dir():
            raise RequestError(f"no results folder {args.results}")
        if gathered.read:
            return gathered, [f"read: {', '.join(str(path) for path in gathered.read)}"]
    else:
        gathered = Gathered()
    return _add_reference(args, gathered, "no results of your own yet")


def _with_reference(
    args: argparse.Namespace, gathered: Gathered, task: str
) -> tuple[Gathered, list[str]]:
    """Reference results as well, unless suites were named or they are what was read."""
    if args.suite:
        return gathered, []
    return _add_reference(args, gathered, f"no results of your own on {task}")


def _add_reference(
    args: argparse.Namespace, gathered: Gathered, why: str
) -> tuple[Gathered, list[str]]:
    folder = reference_folder(args.results)
    if folder is None or any(path.parent == folder for path in gathered.read):
        return gathered, []
    found = gather(folder, near=_near(args))
    found.skipped = gathered.skipped + found.skipped
    return found, [f"{why}: answered from the reference results in {_shown(folder)}"]


def _shown(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _question(args: argparse.Namespace, gathered: Gathered) -> Question:
    """From flags; without ``--task``, what they leave open is asked."""
    from harness import registry

    types = {*gathered.types, *registry.tasks.names()}
    given = {name: getattr(args, name) for name in (*BOUNDS, "examples", "device")}
    if args.weights:
        given["weights"] = weights_from(args.weights)
    if args.task:
        given["task"] = task_named(args.task, types, gathered.data_sets)
    elif sys.stdin.isatty() or args.prompt:
        given |= _asked(gathered, given, args.json)
    else:
        raise RequestError(
            "harness choose needs --task (such as --task ner), or a terminal to ask on; "
            f"there is evidence on: {', '.join(gathered.types) or 'nothing yet'}"
        )
    return Question(
        percentile=args.percentile or "", price_per_hour=args.price_per_hour, **given
    )  # fmt: skip


def _asked(gathered: Gathered, given: Mapping[str, Any], as_json: bool) -> dict[str, Any]:
    from rich.console import Console

    from harness.choose.ask import ask

    devices = sorted({row["device"] for row in gathered.rows})
    console = Console(stderr=as_json)  # what programs read stays clean
    return ask(console, gathered.types, gathered.data_sets, devices, given)


def _no_evidence(question: Question, gathered: Gathered, results: Path) -> str:
    known = ", ".join(gathered.types) or "nothing yet"
    text = (
        f"no evidence for {question.task!r} in {results}: no scored run of it; there is evidence "
        f"on {known}. Run a suite of that task first (harness run SUITE)"
    )
    failed = [row for row in gathered.rows if question.task in (row["task_type"], row["task"])]
    if OWN_DATA_TYPE in {question.task, *(row["task_type"] for row in failed)}:
        text += (
            ", or measure on your own data: harness choose --data mine.csv --type " + OWN_DATA_TYPE
        )
    if failed:
        text += f". {len(failed)} rows of it have no score, for example: {failed[0]['reason']}"
    for path, why in gathered.skipped:
        text += f"\n  skipped {path}: {why}"
    return text


def _near(args: argparse.Namespace) -> str | None:
    return _here() if args.timings == "here" else None


def _here() -> str:
    from harness.measure.host import host_id

    return host_id()


def print_parts(parts: list[tuple[str, list[str]]]) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    from harness.commands.board import PIPE_WIDTH

    console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
    for heading, lines in parts:
        console.print(Text(heading, style="bold"))
        for number, line in enumerate(lines):
            main = number == 0 and heading in ("Recommended", "Runner-up")
            text = Text(line, style="bold green" if main else "")
            console.print(Padding(text, (0, 0, 0, 2), expand=False))
