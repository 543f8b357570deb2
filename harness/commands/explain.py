"""``harness explain``: how faithful the attributions of one fitted text classifier are."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.commands.arguments import add_results, add_trust, positive
from harness.commands.fitted import fitted, lost
from harness.commands.show import find_run
from harness.errors import RequestError
from harness.execute.devices import Devices, device_name
from harness.execute.memory import limit_bytes
from harness.execute.process import Bounds, StageFailed, WorkerProcess
from harness.execute.report import make_reporter
from harness.printable import printable
from harness.records.files import read_json
from harness.records.locks import acquire
from harness.records.store import EXPLAIN_FILE
from harness.sources import default_cache
from harness.sources.cache import in_use
from harness.stages.explain import check_explainable
from harness.stages.job import Job
from harness.suite import Limits

EXAMPLE = "harness explain 3f2a --examples 50"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_results(parser)
    parser.add_argument("run", metavar="RUN", help="a run_id or row_id, or its beginning")
    parser.add_argument(
        "--examples", type=positive, default=50, metavar="N",
        help="test examples to look at, at most (default: 50)",
    )  # fmt: skip
    add_trust(parser)


def run(args: argparse.Namespace) -> int:
    record, spec = find_run(args.results, args.run)
    job = _job(record, spec, args)
    if importlib.util.find_spec("captum") is None:
        raise RequestError(
            "attributions need captum: pip install 'pretrained-harness[explain]', or "
            "pip install captum"
        )
    lock = acquire(job.cache / "locks" / f"{job.fit_id}.lock", wait=False)
    if lock is None:
        raise RequestError(f"another process works on fit {job.fit_id}; wait until it is done")
    try:
        with in_use(job.cache):
            facts = _call(job)
    finally:
        os.close(lock)
    if args.json:
        print(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        _print(record, job, facts)
    return 0


def _job(record: Path, spec: dict[str, Any], args: argparse.Namespace) -> Job:
    """The run as the stage is told it; `RequestError` where it cannot be explained."""
    fit_record = record.parent.parent / "fits" / spec["fit_id"]
    fit_spec = read_json(fit_record / "spec.json")
    if fit_spec is None:
        raise RequestError(f"{fit_record / 'spec.json'}: the record of the run's fit is missing")
    check_explainable(fit_spec, spec)
    job = Job(
        fit_id=spec["fit_id"],
        spec=fit_spec,
        model={},
        task={},
        cache=default_cache(),
        base=Path(),
        record=record.resolve(),
        trust_remote_code=args.trust_remote_code,
        run_id=record.name,
        run=spec | {"explain": {"examples": args.examples}},
    )
    fitted(record, spec)
    if not job.timing_inputs.is_file():
        raise lost(record, f"the test inputs of fit {spec['fit_id']}")
    return job


def _call(job: Job) -> dict[str, Any]:
    limits = Limits()
    bounds = Bounds(limits.other_seconds, limit_bytes(limits.memory_gb))
    log = job.cache / "logs" / job.record.parent.parent.name / f"{job.run_id}-explain.log"
    worker = WorkerProcess(job.spec["framework"], job.run["threads"])
    reporter = make_reporter()
    device = device_name(job.run["device"])
    try:
        with Devices.of(job.cache).working("cpu", device):
            return worker.call("explain", job, reporter.progress, log, bounds)
    except StageFailed as failure:
        where = "" if failure.is_request else f" (its log: {log})"
        raise RequestError(f"run {job.run_id}: {failure.reason}{where}") from None
    finally:
        worker.close()
        reporter.close()


def _print(record: Path, job: Job, facts: Mapping[str, Any]) -> None:
    row = job.run["row"]
    print(printable(f"{row['model']}, {row['recipe']} on {row['task']} (run {job.run_id})"))
    print(
        f"{facts['method']}; {facts['examples']} test examples drawn by seed {facts['seed']}, "
        f"captum {facts['versions']['captum']}"
    )
    head = ["share of tokens", *(f"{share:.0%}" for share in facts["shares"]), "AOPC"]
    rows = [head]
    for name in ("comprehensiveness", "sufficiency"):
        for suffix, text in (("", name), ("_random", "  random order")):
            part = facts[name]
            values = [*part[f"by_share{suffix}"], part[f"aopc{suffix}"]]
            rows.append([text, *(f"{value:.3f}" for value in values)])
    for cells in rows:
        print(f"  {cells[0]:<18}" + "".join(f"{cell:>8}" for cell in cells[1:]))
    for name, direction in (("comprehensiveness", "higher"), ("sufficiency", "lower")):
        print(verdict(name, direction, facts[name]))
    print(f"written to {record / EXPLAIN_FILE}")


def verdict(name: str, direction: str, part: Mapping[str, Any]) -> str:
    """One sentence on the paired difference with random orders."""
    by, low, high = (part[f"better_by{suffix}"] for suffix in ("", "_low", "_high"))
    if low is None:
        return f"{name} ({direction} is better): better than random by {by:+.3f}, one example only"
    if low > 0:
        what = "better than random"
    else:
        what = "worse than random" if high < 0 else "not shown to differ from random"
    return f"{name} ({direction} is better): {what}, by {by:+.3f} ({low:+.3f} to {high:+.3f})"
