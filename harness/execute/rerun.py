"""Time two sides of a comparison on this host, taking turns: ``harness compare --rerun``.

Each row's artifact (what its fit left in the cache) is launched for BASE and for HEAD alternately,
BHHB BHHB, each in its own interpreter and source tree. What drifts hits both. Where the first
pairs raise a suspicion, as many pairs again are made to confirm it.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.compare.judge import row_name
from harness.compare.rule import is_worse
from harness.compare.sides import Side, SideRow, read_side, suites_in
from harness.compare.speed import WORSE, speed_change
from harness.errors import RequestError
from harness.execute.devices import Devices, device_name
from harness.execute.launches import OURS, Interpreter, few_launches, launch, specification
from harness.execute.process import StageFailed
from harness.records.files import read_json, write_json
from harness.records.store import finish
from harness.stages.job import timing_inputs
from harness.suite import Timing

#: Short launches, many of them: launches differ more than the samples of one do.
TIMING = Timing(min_samples=64, max_samples=128, max_seconds=2, batch_sizes=(8,), sweep_seconds=0.3)


@dataclass(frozen=True)
class Arm:
    """How one side is launched."""

    label: str  # BASE or HEAD
    cache: Path
    interpreter: Interpreter = OURS
    remote_code: bool = False  # whether artifacts may run code of their checkpoints


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
    are. A launch that fails is recorded, and no more are made of its row. Raises `RequestError`
    where an artifact is not in the cache.
    """
    if few := few_launches(launches):
        say(f"note: {few}")
    session = secrets.token_hex(6)
    sides = (base, head)
    folders = (_copy(base[1], scratch / "base"), _copy(head[1], scratch / "head"))
    turns = [
        tuple(
            _Turns(row, arm, folder, session)
            for row, (_, _, arm), folder in zip(rows, sides, folders, strict=True)
        )
        for rows in pairs
    ]
    left = list(range(len(pairs)))
    for part, verb in (("first", "first"), ("confirmation", "confirm")):
        begin = launches if part == "confirmation" else 0
        for count in range(launches):
            for i in list(left):
                for side in turns[i] if count % 2 == 0 else reversed(turns[i]):
                    say(f"{verb} {count + 1}/{launches} {side.arm.label}: {row_name(side.row)}")
                    if not side.launch(begin + count, part):
                        left.remove(i)
                        break
        again = [
            read_side(side.name, folder)
            for (side, _, _), folder in zip(sides, folders, strict=True)
        ]
        left = [i for i in left if _suspicious(pairs[i], again, margin)]
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


def _place_of(row: SideRow, results: Path) -> Path:
    """The folder of records that holds a row; it need not be called as the suite is."""

    def holds(place: Path) -> bool:
        plan = read_json(place / "plan.json") or {}
        return any(entry["row_id"] == row.row_id for entry in plan["rows"])

    return [place for place in suites_in(results) if holds(place)][-1]  # as `read_side` reads


class _Turns:
    """One side's launches of one row: of its first seed's artifact."""

    def __init__(self, row: SideRow, arm: Arm, folder: Path, session: str) -> None:
        run = row.row.ok[0]
        self.row, self.arm, self._session = row, arm, session
        self._spec = _specification(row, arm)
        self._target = _place_of(row, folder) / "runs" / run.run_id / "measurements"

    def launch(self, number: int, part: str) -> bool:
        """Make launch ``number``; False where it failed, which is recorded instead.

        What the system killed for reasons of its own gets a second try.
        """
        try:
            self._tried(number, part)
        except StageFailed as failure:
            if failure.status == "request":
                raise RequestError(f"--rerun: {failure.reason}") from None
            finish(
                self._place(number), failure.status, failure.reason,  # type: ignore[arg-type]
                stage="time", log_tail=failure.log_tail,
            )  # fmt: skip
            return False
        return True

    def _tried(self, number: int, part: str) -> None:
        try:
            self._once(number, part)
        except StageFailed as failure:
            if not failure.passing:
                raise
            self._once(number, part)

    def _once(self, number: int, part: str) -> None:
        place = self._place(number)
        with Devices.of(self.arm.cache).measuring(device_name(self._spec["device"])):
            launch(
                self._spec, self._target / "order.json", place, self._target / "launch.log",
                interpreter=self.arm.interpreter,
            )  # fmt: skip
        pairing = {"session": self._session, "pair": number, "part": part}
        write_json(place / "pairing.json", pairing)

    def _place(self, number: int) -> Path:
        return self._target / f"turn-{number + 1}"


def _specification(row: SideRow, arm: Arm) -> dict[str, Any]:
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
    return specification(
        runtime=spec["runtime"],
        artifact=fit / "artifact",
        exports=fit / "onnx",
        inputs=inputs,
        device=spec["device"],
        threads=int(arm.interpreter.environment.get("OMP_NUM_THREADS", spec["threads"])),
        timing=TIMING,
        seed=1,
        remote_code=arm.remote_code,
    )


def _inputs(fit: Path, run_spec: Mapping[str, Any]) -> Path:
    """Test inputs beside a fit; under the name that earlier versions gave them, if they made it."""
    if not run_spec:
        return fit
    earlier = fit / f"timing-inputs-{run_spec['test']['size'] or 'all'}.npz"
    return earlier if earlier.is_file() else timing_inputs(fit, run_spec)
