"""A suite of baselines that takes seconds, and what must be the same however it was executed."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from harness.records.digests import damage
from harness.records.files import read_json

SUITE = """\
suite: small
threads: 1
timing: {launches: LAUNCHES, min_samples: 8, max_samples: 8, max_seconds: 1, batch_sizes: [4],
         sweep_seconds: 0.05}
models:
  - {id: majority, kind: majority}
  - {id: tfidf, kind: tfidf-logreg}
tasks:
  - id: toy
    type: text-classification
    data:
      train: {source: "path:train.csv"}
      test: {source: "path:test.csv"}
matrix:
  - {models: [majority, tfidf], tasks: [toy], recipe: baseline, seeds: [1, 2]}
"""
#: keys that tell how long something took, where, and how busy it was there
_OF_THE_MOMENT = (
    "seconds", "examples_per_second", "host", "host_id", "memory_mb", "tries", "tried",
    "score_seconds", "digest", "files", "energy", "energy_j", "energy_basis", "matmul_flops_per_s",
)  # fmt: skip
#: columns of a board that follow from those
_TIMED = (
    "latency", "throughput", "peak_memory", "fit_seconds", "fit_examples", "energy", "load",
    "host_id", "first_answer", "disturbed", "steady", "timing_verdict", "pareto",
)  # fmt: skip


def write_small(folder: Path, launches: int = 0) -> None:
    draw = random.Random(0)
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", 60), ("test", 40)):
        lines = ["text,label"]
        for i in range(count):
            label = draw.choice(["good", "bad"])
            word = label if draw.random() < 0.8 else "plain"
            lines.append(f"{draw.choice('abcdef')} {word} x{i},{label}")
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")
    (folder / "small.yaml").write_text(SUITE.replace("LAUNCHES", str(launches)))


def start(folder: Path, environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    """``harness run small.yaml`` in a folder, not waited for."""
    return subprocess.Popen(
        # -P: as the installed command, which does not look into its working folder either
        [sys.executable, "-P", "-m", "harness.cli", "run", "small.yaml", *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # tests that run in the background of a shell are started without
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def processes_of(cache: Path) -> list[psutil.Process]:
    """Processes that were started with this cache in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("HARNESS_CACHE") == str(cache):
                found.append(process)
        except (psutil.Error, OSError):  # gone, or another user's
            continue
    return found


def left_over(cache: Path, seconds: float = 10.0) -> list[psutil.Process]:
    """Those that are still there after so long."""
    deadline = time.monotonic() + seconds
    while (there := processes_of(cache)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return there


def kill_after(process: subprocess.Popen[str], seconds: float) -> bool:
    """SIGKILL, unless it has ended by then; True if it was killed."""
    try:
        process.communicate(timeout=seconds)
        return False
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return True


def truth(results: Path) -> dict[str, Any]:
    """Everything in the records of the small suite that does not tell of the moment."""
    found: dict[str, Any] = {}
    for path in sorted((results / "small").glob("*/*/*")):
        kind, record, name = path.parts[-3:]
        if kind not in ("fits", "runs") or name.startswith("."):
            continue
        key = f"{kind}/{record}/{name}"
        if path.suffix == ".json":
            found[key] = _lasting(json.loads(path.read_text()))
        elif path.is_dir():
            found[key] = sorted(m.name for m in path.iterdir() if not m.name.startswith("."))
        else:
            found[key] = path.read_bytes()
    rows = json.loads((results / "small" / "leaderboard.json").read_text())
    found["board"] = [
        {k: v for k, v in row.items() if not k.startswith(_TIMED)} for row in _sorted(rows)
    ]
    return found


def _sorted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: str(row["row_id"]))


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _lasting(v) for k, v in value.items() if k not in _OF_THE_MOMENT}
    if isinstance(value, list):
        return [_lasting(item) for item in value]
    return value


def damaged(results: Path) -> list[str]:
    """Complete records that are not what was written, or carry no digest."""
    found = []
    for last in ("status.json", "digests.json"):
        for path in (results / "small").rglob(last):
            if why := damage(path.parent, last):
                found.append(f"{path.parent}: {why}")
    return found


def statuses(results: Path, suite: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Model to the worst status of its fits and runs, with that record's status file."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    specs = {f.name: read_json(f / "spec.json") or {} for f in (results / suite / "fits").iterdir()}
    for record in (*(results / suite / "fits").iterdir(), *(results / suite / "runs").iterdir()):
        spec = read_json(record / "spec.json") or {}
        model = (specs[spec["fit_id"]] if "fit_id" in spec else spec)["model"]["id"]
        facts = read_json(record / "status.json") or {"status": "missing"}
        if model not in found or found[model][0] == "ok":
            found[model] = facts["status"], facts
    return found
