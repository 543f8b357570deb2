"""The machines behind rows, and what changed on them from one record to the next.

Records of one host may be of different days: after an upgrade, fits that it does not touch are
kept. What was then installed is told with every version that was seen, never with the first alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol


class Recorded(Protocol):
    """A run with what its records say of machines."""

    @property
    def fit(self) -> Mapping[str, Any]: ...
    @property
    def measurements(self) -> tuple[tuple[Mapping[str, Any], Mapping[str, Any]], ...]: ...


def hosts_of(runs: Iterable[Recorded]) -> dict[str, dict[str, Any]]:
    """host_id to facts of every host that measured or trained these runs.

    Hardware, threads: as the first record has them; a host_id is their digest. ``os``, ``python``,
    each of ``libraries``, ``commits``: the different values that were seen, as one text. ``load``:
    lowest and highest average over a minute.
    """
    seen: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        trained = {"host_id": run.fit.get("host_id"), **(run.fit.get("host") or {})}
        # a measurement tells of threads as well, so it comes first
        for facts in (*(host for _, host in run.measurements), trained):
            if facts.get("host_id"):
                seen.setdefault(str(facts["host_id"]), []).append(facts)
    return {host_id: _one(records) for host_id, records in seen.items()}


def _one(records: list[Mapping[str, Any]]) -> dict[str, Any]:
    libraries = [record.get("libraries") or {} for record in records]
    loads = [load for record in records if (load := _load(record)) is not None]
    names = sorted({name for versions in libraries for name in versions})
    return {
        **records[0],
        **{key: _seen(record.get(key) for record in records) for key in ("os", "python")},
        "libraries": {name: _seen(versions.get(name) for versions in libraries) for name in names},
        "commits": _seen(map(_commit, records)),
        "load": (min(loads), max(loads)) if loads else None,
    }


def _seen(values: Iterable[Any]) -> str:
    """Each once, in the order of the records; at most three of them are named."""
    texts = list(dict.fromkeys(str(value) for value in values if value))
    named, more = texts[:3], len(texts) - 3
    return " and ".join(named) + (f" and {more} more" if more > 0 else "")


def _commit(record: Mapping[str, Any]) -> str:
    commit = str(record.get("git_commit") or "")[:12]
    return commit + (" with uncommitted changes" if commit and record.get("git_dirty") else "")


def _load(record: Mapping[str, Any]) -> float | None:
    load = record.get("load")
    return load[0] if isinstance(load, list) else load
