"""Time two sides of a comparison on this host, taking turns: ``harness compare --rerun``.

Each row's artifact (what its fit left in the cache) is launched for BASE and for HEAD alternately,
BHHB BHHB, each in its own interpreter and source tree. What drifts hits both. Where the first
pairs raise a suspicion, as many pairs again are made to confirm it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.compare.judge import row_name
from harness.compare.rule import is_worse
from harness.compare.sides import Side, SideRow, read_side, suites_in
from harness.compare.speed import WORSE, speed_change
from harness.errors import RequestError
from harness.execute.devices import Devices, device_name
from harness.execute.environment import thread_environment
from harness.execute.launches import few_launches
from harness.measure.waiting import wait
from harness.records.files import read_json, write_json
from harness.stages.job import timing_inputs
from harness.suite import Timing

#: A launch that takes longer hangs.
TIMEOUT_SECONDS = 900
#: Short launches, many of them: launches differ more than the samples of one do.
TIMING = Timing(min_samples=64, max_samples=128, max_seconds=2, batch_sizes=(8,), sweep_seconds=0.3)


@dataclass(frozen=True)
class Arm:
    """How one side is launched."""

    label: str  # BASE or HEAD
    cache: Path
    python: str = sys.executable
    tree: Path | None = None  # a checkout whose harness (and plug-ins) run instead of ours
    environment: Mapping[str, str] = field(default_factory=dict)


Say = Callable[[str], None]


def rerun(
    base: tuple[Side, Path, Arm],
    head: tuple[Side, Path, Arm],
    pairs: Sequence[tuple[SideRow, SideRow]],
    launches: int,
    margin: float,
    scratch: Path,
    say: Say,
) -> tuple[Side, Side]:
    """Both sides again, with interleaved launches in place of their own.

    Copies of the records go to ``scratch/base`` and ``scratch/head``; the originals stay as they
    are. Raises `RequestError` where an artifact is not in the cache, or a launch fails.
    """
    if few := few_launches(launches):
        say(f"note: {few}")
    session = secrets.token_hex(6)
    placed = []
    for (side, folder, arm), name in ((base, "base"), (head, "head")):
        placed.append((side, _copy(folder, scratch / name), arm))
    orders = [
        tuple(_order(row, arm) for row, (_, _, arm) in zip(rows, placed, strict=True))
        for rows in pairs
    ]
    suspicious = list(range(len(pairs)))
    for part in ("first", "confirmation"):
        for count in range(launches):
            for i in suspicious:
                turn = (0, 1) if count % 2 == 0 else (1, 0)
                for which in turn:
                    _, folder, arm = placed[which]
                    row = pairs[i][which]
                    number = count + (launches if part == "confirmation" else 0)
                    say(
                        f"{part} {count + 1}/{launches} {arm.label}: {row_name(row)}"
                        if part == "first"
                        else f"confirm {count + 1}/{launches} {arm.label}: {row_name(row)}"
                    )
                    _launch(orders[i][which], arm, folder, row, session, number, part)
        again = [read_side(s.name, f) for s, f, _ in placed]
        if part == "first":
            suspicious = [i for i in suspicious if _suspicious(pairs[i], again, margin)]
    return again[0], again[1]


def _suspicious(rows: tuple[SideRow, SideRow], sides: list[Side], margin: float) -> bool:
    """Whether the first pairs alone meet the rule's first two conditions in any timing."""
    a, b = (side.rows[row.row_id] for row, side in zip(rows, sides, strict=True))
    for metric in WORSE:
        found = speed_change(a, b, metric, margin)
        if found is not None and (
            is_worse(found.change, margin) or is_worse(found.change.flipped(), margin)
        ):
            return True
    return False


def _copy(folder: Path, target: Path) -> Path:
    """A results folder's records, without their measurements."""
    for place in suites_in(folder):
        shutil.copytree(
            place, target / place.name, ignore=shutil.ignore_patterns("measurements", "baselines")
        )
    return target


def _order(row: SideRow, arm: Arm) -> dict[str, Any]:
    """What `harness.measure.launch` is told of a row's first run."""
    spec, run = row.specs[0], row.row.ok[0]
    fit = arm.cache / "fits" / run.fit_id
    inputs = _inputs(fit, spec)
    if not inputs.is_file() or not (fit / "artifact").exists():
        raise RequestError(
            f"--rerun: {arm.label}'s {row_name(row)} cannot be timed here: its artifact "
            f"({run.fit_id}) is not in the cache {arm.cache}. Run its suite there first "
            "(harness run SUITE), or give its cache with HARNESS_CACHE"
        )
    threads = int(arm.environment.get("OMP_NUM_THREADS", spec["threads"]))
    return {
        "runtime": spec["runtime"], "artifact": str(fit / "artifact"),
        "exports": str(fit / "onnx"), "device": spec["device"], "threads": threads,
        "inputs": str(inputs), "timing": TIMING.model_dump(mode="json"), "seed": 1,
    }  # fmt: skip


def _inputs(fit: Path, run_spec: Mapping[str, Any]) -> Path:
    """Test inputs beside a fit; under the name that earlier versions gave them, if they made it."""
    if not run_spec:
        return fit
    earlier = fit / f"timing-inputs-{run_spec['test']['size'] or 'all'}.npz"
    return earlier if earlier.is_file() else timing_inputs(fit, run_spec)


def _launch(
    order: dict[str, Any],
    arm: Arm,
    folder: Path,
    row: SideRow,
    session: str,
    number: int,
    part: str,
) -> None:
    run = row.row.ok[0]
    target = folder / str(row.flat["suite"]) / "runs" / run.run_id / "measurements"
    place = target / f"turn-{number + 1}"
    order_file, log = target / "order.json", target / "launch.log"
    write_json(order_file, order)
    environment = thread_environment(order["threads"]) | dict(arm.environment)
    if arm.tree is not None:
        paths = (str(arm.tree.resolve()), os.environ.get("PYTHONPATH", ""))
        environment["PYTHONPATH"] = os.pathsep.join(p for p in paths if p)
    quiet = Devices.of(arm.cache).measuring(device_name(order["device"]))
    with quiet, open(log, "wb") as output:
        process = subprocess.Popen(
            [arm.python, "-m", "harness.measure.launch", str(order_file.resolve()),
             str(place.resolve())],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment,
            cwd=arm.tree,
        )  # fmt: skip
        try:
            code = wait(process, TIMEOUT_SECONDS)
        except BaseException:
            process.kill()
            process.wait()
            raise
    if code or read_json(place / "timing.json") is None:
        tail = log.read_text(errors="replace").strip().splitlines()[-1:]
        raise RequestError(
            f"--rerun: {arm.label}'s {row_name(row)} ended with exit status {code}: "
            f"{' '.join(tail)}"
        )
    write_json(place / "pairing.json", {"session": session, "pair": number, "part": part})
