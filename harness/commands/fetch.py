"""``harness fetch``: download and verify all that a suite needs."""

from __future__ import annotations

import argparse
import json
from contextlib import closing

from harness.commands.arguments import add_suite, add_trust
from harness.execute.metrics import check_metrics
from harness.execute.preflight import DataReader
from harness.execute.report import make_reporter
from harness.printable import printable
from harness.sources import default_cache
from harness.sources.cache import in_use
from harness.stages.fetch import fetch_facts, fetch_model
from harness.stages.prepare import fetch_task
from harness.suite import load_suite

EXAMPLE = "harness fetch nlp"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_suite(parser)
    add_trust(parser)


def run(args: argparse.Namespace) -> int:
    loaded = load_suite(args.suite)
    cache = default_cache()
    base = loaded.path.resolve().parent
    check_metrics(loaded, {task.id for task in loaded.suite.tasks}, trusted=args.trust_remote_code)
    lines: list[dict[str, object]] = []
    with in_use(cache), closing(make_reporter()) as reporter:
        for model in loaded.suite.models:
            folder = fetch_model(
                model, cache, base, trust_remote_code=args.trust_remote_code,
                progress=reporter.download,
            )  # fmt: skip
            if folder is not None:
                lines.append({"model": model.id, "folder": str(folder)} | fetch_facts(folder))
        with closing(DataReader(loaded, cache)) as reader:
            for task in loaded.suite.tasks:
                fetch_task(task, cache, base, reporter.download)
                lines.append({"task": task.id, **reader.read(task, draws={})})
    if args.json:
        print(json.dumps(lines, indent=2))
        return 0
    for line in lines:
        print(printable(", ".join(f"{key} {value}" for key, value in line.items())))
    print(f"{loaded.suite.suite} needs no network now; everything lies in {cache}")
    return 0
