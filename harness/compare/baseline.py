"""Named baselines: a suite's records made small, for git.

``results/baselines/NAME.json`` says what is in ``NAME.tar.xz``: its SHA-256, suites, rows, hosts.
The archive holds the same records as a results folder, less what a comparison does not need:
predictions as a digest beside the per-example outcomes, samples with four digits.
"""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import re
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.boards.collect import collect
from harness.compare.sides import predictions_digest, suites_in
from harness.errors import RequestError
from harness.records.files import (
    finite,
    read_json,
    refuse_newer,
    write_bytes,
    write_json,
)
from harness.records.store import measurement_folders

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
#: a launch's medians spread by percents; the fourth digit of a sample says nothing
DIGITS = 4


def baseline_file(results: Path, name: str) -> Path:
    """The description of a baseline (it need not exist)."""
    if not NAME.fullmatch(name):
        return results / "baselines" / "-none"  # a path that nothing is saved under
    return results / "baselines" / f"{name}.json"


def archive_file(results: Path, name: str) -> Path:
    """The archive of a baseline, whatever its description calls it."""
    return baseline_file(results, name).with_suffix(".tar.xz")


def save(
    results: Path, name: str, suite: str | None, facts: dict[str, Any], into: Path | None = None
) -> Path:
    """Save the records of ``results`` (or of one suite in it) as a baseline; its description.

    ``facts``: what else to note (commit, time); ``into``: the results folder that keeps it, where
    that is another. `RequestError` where there are no records.
    """
    if not NAME.fullmatch(name):
        raise RequestError(f"{name!r}: a baseline's name has letters, digits, '.', '_' and '-'")
    places = [p for p in suites_in(results) if suite is None or p.name == suite]
    if not places:
        known = ", ".join(p.name for p in suites_in(results)) or "none"
        raise RequestError(f"no records of {suite or 'any suite'} in {results}; there are: {known}")
    members: dict[str, bytes] = {}
    rows, hosts = 0, set()
    for place in places:
        records = collect(place)
        rows += len(records.rows)
        hosts |= set(records.hosts)
        members |= _members(place, records)
    data = _pack(members)
    archive = archive_file(into or results, name)
    write_bytes(archive, data)
    target = baseline_file(into or results, name)
    write_json(
        target,
        {
            "name": name, "archive": archive.name, "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(), "suites": [p.name for p in places],
            "rows": rows, "hosts": sorted(hosts), **facts,
        },
    )  # fmt: skip
    return target


@contextmanager
def open_baseline(results: Path, name: str) -> Iterator[Path]:
    """A baseline unpacked into a scratch results folder.

    Raises `RequestError` where it is missing, truncated or altered (its digest differs), or of a
    newer schema.
    """
    description = describe(results, name)
    archive = archive_file(results, name)
    try:
        data = archive.read_bytes()
    except OSError:
        raise RequestError(f"baseline {name!r}: {archive} is missing") from None
    found = hashlib.sha256(data).hexdigest()
    if found != description.get("sha256"):
        raise RequestError(
            f"baseline {name!r}: {archive} is damaged: {len(data)} bytes of SHA-256 {found[:12]}, "
            f"its description says {description.get('bytes')} of "
            f"{str(description.get('sha256'))[:12]}; fetch it again (git checkout, git lfs pull) "
            "or save it anew"
        )
    with tempfile.TemporaryDirectory(prefix="harness-baseline-") as scratch:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:xz") as tar:
            tar.extractall(scratch, filter="data")
        yield Path(scratch)


def describe(results: Path, name: str) -> dict[str, Any]:
    """The description of a baseline; `RequestError` where there is none."""
    path = baseline_file(results, name)
    value = read_json(path)
    if value is None:
        known = ", ".join(b["name"] for b in every(results)) or "none"
        raise RequestError(
            f"no baseline {name!r} in {results / 'baselines'}; there are: {known}"
            + (f" ({path} cannot be read)" if path.is_file() else "")
        )
    refuse_newer(path, value)
    return value


def every(results: Path) -> list[dict[str, Any]]:
    """All readable descriptions, by name."""
    found = [read_json(path) for path in sorted((results / "baselines").glob("*.json"))]
    return [value for value in found if value and "sha256" in value]


def remove(results: Path, name: str) -> None:
    """Delete a baseline; `RequestError` where there is none."""
    describe(results, name)
    archive_file(results, name).unlink(missing_ok=True)
    baseline_file(results, name).unlink()


def _members(place: Path, records: Any) -> dict[str, bytes]:
    """Archive members of one suite: path to bytes."""
    suite, found = place.name, {}

    def keep(path: Path, value: Any) -> None:
        if path.name == "status.json":  # of files that are others here; the archive has its own
            value = {key: item for key, item in value.items() if key not in ("files", "digest")}
        found[f"{suite}/{path.relative_to(place)}"] = (
            json.dumps(finite(value), sort_keys=True, separators=(",", ":")) + "\n"
        ).encode()

    keep(place / "plan.json", read_json(place / "plan.json"))
    for row in records.rows:
        for run in row.runs:
            fit = place / "fits" / run.fit_id
            for name in ("spec", "status", "fit", "facts"):
                value = read_json(fit / f"{name}.json")
                if value is not None:
                    value.pop("epochs", None)
                    keep(fit / f"{name}.json", value)
            folder = place / "runs" / run.run_id
            for name in ("spec", "status", "metrics"):
                value = read_json(folder / f"{name}.json")
                if value is not None:
                    keep(folder / f"{name}.json", value)
            if run.status == "ok":
                relative = f"{suite}/{folder.relative_to(place)}/predictions.parquet"
                found[relative] = _slim(folder)
            for one in measurement_folders(folder):
                for name in ("timing", "host", "pairing", "status"):
                    value = read_json(one / f"{name}.json")
                    if value is not None:
                        keep(one / f"{name}.json", _rounded(value))
    return found


def _slim(run: Path) -> bytes:
    """Predictions with outcomes only, and the digest of what was predicted."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(run / "predictions.parquet") as file:
        table = file.read(columns=["id", "cluster", "score_num", "score_den"])
    same = bool(table["id"].cast(pa.string()).equals(table["cluster"].cast(pa.string())))
    digest = pa.array([predictions_digest(run)] * table.num_rows)
    table = table.append_column("prediction_digest", digest)
    buffer = io.BytesIO()
    # stored as it is: xz over the whole archive does better than Parquet's own, page by page
    pq.write_table(table, buffer, compression="none", use_dictionary=not same)
    return buffer.getvalue()


def _rounded(value: Any) -> Any:
    """Lists of samples with `DIGITS` significant digits; all else as it is."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list) and len(value) > DIGITS and all(isinstance(x, float) for x in value):
        return [float(f"{x:.{DIGITS}g}") for x in value]
    return value


def _pack(members: dict[str, bytes]) -> bytes:
    """A deterministic archive: the same records give the same bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in sorted(members.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            tar.addfile(entry, io.BytesIO(data))
    return lzma.compress(buffer.getvalue(), preset=6)
