"""Results folders to flat rows, read afresh from records; what is broken is named, not fatal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.boards.collect import collect
from harness.boards.pairs import Pairs
from harness.boards.rank import ranked
from harness.errors import RequestError


@dataclass
class Gathered:
    """Rows of every suite that could be read, and the folders that could not."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    #: suite folders read, in order
    read: list[Path] = field(default_factory=list)
    #: (folder, why it was skipped)
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    #: (runs that claim to be complete and cannot be read, suite folder)
    damaged: list[tuple[int, Path]] = field(default_factory=list)
    task_names: dict[str, str] = field(default_factory=dict)
    hosts: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    #: paired tests of each suite's rows
    pairs: list[Pairs] = field(default_factory=list)

    def p_value(self, a: str, b: str) -> float | None:
        """Of two rows by their ids; None where no test was made."""
        found = (pairs.p_value(a, b) for pairs in self.pairs)
        return next((p for p in found if p is not None), None)

    @property
    def types(self) -> list[str]:
        return sorted({row["task_type"] for row in self.rows if row["task_type"]})

    @property
    def data_sets(self) -> list[str]:
        return sorted({row["task"] for row in self.rows})


def gather(results: Path, suites: tuple[str, ...] = (), near: str | None = None) -> Gathered:
    """All suites under ``results``, or those named; ``near``: the host_id whose timings come
    first. `RequestError` for a named suite that is not there."""
    found = Gathered()
    for folder in sorted(p for p in results.glob("*") if p.is_dir()):
        if folder.name.startswith(".") or (suites and folder.name not in suites):
            continue
        if not suites and not (folder / "plan.json").exists() and _holds_suites(folder):
            continue  # a folder of suites, as results/reference is
        _read(folder, found, near)
    missing = [name for name in suites if name not in {p.name for p in found.read}]
    if missing:
        why = "; ".join(f"{p.name}: {reason}" for p, reason in found.skipped)
        known = ", ".join(sorted(p.parent.name for p in results.glob("*/plan.json")))
        raise RequestError(
            f"no records of a suite {missing[0]!r} in {results}"
            + (f" ({why})" if why else "")
            + f"; there are: {known or 'none'}"
        )
    return found


def reference_folder(results: Path) -> Path | None:
    """Where the reference results lie that a clone carries; None without a clone."""
    for folder in (
        results / "reference",
        Path(__file__).resolve().parents[2] / "results/reference",
    ):
        if any(folder.glob("*/plan.json")):
            return folder
    return None


def _holds_suites(folder: Path) -> bool:
    return any(folder.glob("*/plan.json"))


def _read(folder: Path, found: Gathered, near: str | None) -> None:
    if not (folder / "plan.json").is_file():
        found.skipped.append((folder, "no plan.json: not a suite's records"))
        return
    try:
        records = collect(folder, near)
        rows = ranked(records)
    except RequestError as error:
        found.skipped.append((folder, str(error)))
        return
    except Exception as error:  # a foreign plan.json can be anything; the others still answer
        what = str(error).strip().splitlines() or [""]
        found.skipped.append((folder, f"not records of ours ({type(error).__name__}: {what[0]})"))
        return
    found.read.append(folder)
    found.rows += rows
    damaged = sum(run.status == "damaged" for row in records.rows for run in row.runs)
    if damaged:
        found.damaged.append((damaged, folder))
    found.hosts |= dict(records.hosts)
    found.pairs.append(Pairs(records.rows))
    for task, facts in records.plan["tasks"].items():
        found.task_names.setdefault(task, facts.get("name") or task)
