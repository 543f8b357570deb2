"""What a tracker is given, and how ``--track NAME:URI`` finds it.

A tracker is told complete records only, after they are on disk, each as often as it is asked to
mirror: it keeps one copy a ``key``. Nothing that goes wrong in it costs a record.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from harness.errors import RequestError
from harness.records.files import read_json
from harness.records.store import Store
from harness.registry import Registry

trackers = Registry(
    "harness.trackers", "tracker", built_in={"mlflow": "harness.track.mlflow:MlflowTracker"}
)

#: what of a suite's folder is mirrored besides its runs
BOARDS = ("leaderboard.html", "leaderboard.md", "leaderboard.csv", "leaderboard.json", "plan.json")


class TrackingFailed(Exception):
    """The tracker's server could not be told; the message says which and why."""


@dataclass(frozen=True)
class Entry:
    """One run as its records tell it, or a suite's board (which has files and no more).

    ``key`` names it for ever (the run_id); ``state`` changes when any of its files does.
    """

    key: str
    name: str
    state: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    files: Mapping[str, Path]  # name in the mirror (with folders) to the file


class Tracker(ABC):
    """A connection to one server."""

    name: ClassVar[str]

    def __init__(self, uri: str) -> None:
        """`RequestError` where its library is missing or the URI is none of its."""
        self.uri = uri

    @abstractmethod
    def mirror(self, suite: str, entries: Sequence[Entry]) -> int:
        """Bring the server up to date; the number of entries written. Raises `TrackingFailed`."""


def make_tracker(target: str) -> Tracker:
    """The tracker of ``NAME:URI``; `RequestError` before any work for one that cannot be."""
    name, colon, uri = target.partition(":")
    if not colon or not uri:
        raise RequestError(
            f"--track {target}: not of the form NAME:URI, for example "
            f"mlflow:http://127.0.0.1:5000; known: {', '.join(trackers.names())}"
        )
    tracker: Tracker = trackers.get(name, where=f"--track {target}")(uri)
    return tracker


def entries(store: Store) -> Iterator[Entry]:
    """Every complete run of the suite's plan, and last the board. A run behind two rows (a model
    under two names) is one entry, of the first."""
    plan = read_json(store.folder / "plan.json") or {}
    seen: set[str] = set()
    for row in plan.get("rows", []):
        for run in row["runs"]:
            if run["run_id"] in seen:
                continue
            seen.add(run["run_id"])
            if (store.run(run["run_id"]) / "status.json").is_file():
                yield _run_entry(store, row["row"], row["row_id"], run)
    files = {name: store.folder / name for name in BOARDS if (store.folder / name).is_file()}
    if files:
        yield Entry(
            f"board:{store.suite}", f"leaderboard of {store.suite}", _state(files), {}, {},
            {"kind": "leaderboard"}, files,
        )  # fmt: skip


def _run_entry(store: Store, row: Mapping[str, str], row_id: str, run: Mapping[str, Any]) -> Entry:
    record, fit = store.run(run["run_id"]), store.fit(run["fit_id"])
    spec, status = read_json(fit / "spec.json") or {}, read_json(record / "status.json") or {}
    scored, fitted = read_json(record / "metrics.json") or {}, read_json(fit / "fit.json") or {}
    params = dict(row) | {
        "seed": run["seed"],
        "fit_dtype": spec.get("fit_dtype"),
        "threads": spec.get("threads"),
        **{f"settings.{key}": value for key, value in (spec.get("settings") or {}).items()},
    }
    metrics = {"score": scored.get("score"), **(scored.get("metrics") or {})}
    metrics |= {key: scored.get(key) for key in ("size_mb", "truncated_share", "parity_rel_diff")}
    metrics |= {
        f"fit.{key}": fitted.get(key)
        for key in ("seconds", "examples_per_second", "train_score", "validation_score")
    }
    for timing in sorted((record / "measurements").glob("*/timing.json")):
        facts = read_json(timing) or {}
        metrics |= {f"{timing.parent.name}.{key}": value for key, value in facts.items()}
    files = {
        f"run/{path.relative_to(record)}": path
        for path in sorted(record.rglob("*"))
        # hidden ones another process is writing
        if path.is_file() and not path.name.startswith(".")
    }
    files |= {f"fit/{path.name}": path for path in sorted(fit.glob("[!.]*.json"))}
    return Entry(
        key=run["run_id"],
        name=f"{row['model']} {row['recipe']} on {row['task']} in {row['runtime']}",
        state=_state(files),
        params={key: str(value) for key, value in params.items() if value is not None},
        metrics=dict(_numbers(metrics)),
        tags={
            "kind": "run", "fit_id": run["fit_id"], "row_id": row_id,
            "status": str(status.get("status")), "reason": str(status.get("reason") or ""),
        },
        files=files,
    )  # fmt: skip


def _numbers(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of nested mappings, with dotted names; samples and texts stay in the files."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{key}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield f"{prefix}{key}", float(value)


def _state(files: Mapping[str, Path]) -> str:
    """SHA-256 of all files, by name and content."""
    whole = hashlib.sha256()
    for name, path in sorted(files.items()):
        whole.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()
