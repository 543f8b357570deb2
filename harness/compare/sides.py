"""A side of a comparison: the rows of a results folder, with what lies behind each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.boards.collect import Row, collect
from harness.errors import RequestError
from harness.records.files import read_json, refuse_newer
from harness.records.store import measurement_folders


@dataclass(frozen=True)
class Launch:
    """One process that timed a run. ``session`` and ``pair`` are set where launches of two sides
    took turns; ``part`` is ``first`` or ``confirmation``."""

    host_id: str
    timing: Mapping[str, Any]
    host: Mapping[str, Any]
    session: str = ""
    pair: int = -1
    part: str = "first"

    @property
    def version(self) -> int:
        """What its keys mean; see `harness.measure.launch.TIMING_VERSION`."""
        return int(self.timing.get("timing_version", 1))


def alike(base: Sequence[Launch], head: Sequence[Launch]) -> tuple[list[Launch], list[Launch]]:
    """Launches of both sides whose keys mean the same, of the newest version that both have; none
    where they have none in common."""
    common = {x.version for x in base} & {x.version for x in head}
    newest = max(common, default=None)
    return [x for x in base if x.version == newest], [x for x in head if x.version == newest]


@dataclass(frozen=True)
class SideRow:
    """A row with its runs' specifications and launches, in the order in which they were made."""

    row: Row
    specs: tuple[Mapping[str, Any], ...]
    launches: tuple[Launch, ...]
    #: why launches that were begun gave no timing, each reason once
    failed_launches: tuple[str, ...]
    predictions: str | None  # digest of what was predicted, all seeds; None if unknown

    @property
    def flat(self) -> Mapping[str, Any]:
        return self.row.flat

    @property
    def row_id(self) -> str:
        return str(self.flat["row_id"])


@dataclass(frozen=True)
class Side:
    """Rows by row_id; ``name`` is what the user called it."""

    name: str
    rows: Mapping[str, SideRow]
    margins: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def suites_in(folder: Path) -> list[Path]:
    """The record folders in a results folder, or the folder itself if it is one."""
    if (folder / "plan.json").is_file():
        return [folder]
    return sorted(plan.parent for plan in folder.glob("*/plan.json"))


def read_side(name: str, folder: Path, suite: str | None = None) -> Side:
    """The side that a results folder (or one suite's folder in it) holds.

    Raises `RequestError` where there are no records, or records of a newer schema.
    """
    places = [p for p in suites_in(folder) if suite is None or p.name == suite]
    if not places:
        wanted = f"of suite {suite!r} " if suite else ""
        raise RequestError(f"{name}: no records {wanted}in {folder} (no plan.json)")
    rows: dict[str, SideRow] = {}
    margins: dict[str, float] = {}
    notes: list[str] = []
    for place in places:
        records = collect(place)
        margins |= records.plan.get("margins") or {}
        for row in records.rows:
            rows[str(row.flat["row_id"])] = _side_row(place, row)
            notes += [
                f"{name}: run {run.run_id} is damaged: {run.reason}"
                for run in row.runs
                if run.status == "damaged"
            ]
    return Side(name, rows, margins, tuple(notes))


def _side_row(place: Path, row: Row) -> SideRow:
    specs, launches, failed = [], [], []
    for run in row.ok:
        folder = place / "runs" / run.run_id
        specs.append(checked(folder / "spec.json") or {})
        for one in measurement_folders(folder):
            timing = checked(one / "timing.json")
            if timing is None:
                failed += _failure(one)
                continue
            host = checked(one / "host.json") or {}
            pairing = checked(one / "pairing.json") or {}
            launches.append(
                Launch(
                    str(host.get("host_id", "unknown")),
                    timing,
                    host,
                    str(pairing.get("session", "")),
                    int(pairing.get("pair", -1)),
                    str(pairing.get("part", "first")),
                )
            )
    digests = [predictions_digest(place / "runs" / run.run_id) for run in row.ok]
    whole = None if not digests or None in digests else "+".join(str(d) for d in digests)
    return SideRow(row, tuple(specs), tuple(launches), tuple(dict.fromkeys(failed)), whole)


def _failure(measurement: Path) -> list[str]:
    """Why a measurement failed; [] where it was cut off, or belongs to another program."""
    status = checked(measurement / "status.json")
    if status is None or status.get("status") == "ok":
        return []
    return [f"{status.get('status')}: {status.get('reason') or 'no reason recorded'}"]


def checked(path: Path) -> dict[str, Any] | None:
    """A record file; `RequestError` where its schema is newer than this program."""
    value = read_json(path)
    refuse_newer(path, value or {})
    return value


def predictions_digest(run: Path) -> str | None:
    """SHA-256 (12 digits) of a run's ids and predictions, whatever the file's compression."""
    import hashlib

    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(run / "predictions.parquet") as file:
            names = set(file.schema_arrow.names)
            if "prediction_digest" in names:  # a baseline keeps the digest, not the predictions
                return str(file.read(columns=["prediction_digest"])[0][0].as_py())
            table = file.read(columns=["id", "prediction"])
    except (OSError, pa.ArrowException, KeyError, IndexError):
        return None
    if table.num_columns < 2:
        return None
    text = "\n".join(f"{a}\t{b}" for a, b in zip(*(c.to_pylist() for c in table), strict=True))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
