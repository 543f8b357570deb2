"""What a fit will take, from what fits like it took: for the order of work, never for a result."""

from __future__ import annotations

from typing import Any

from harness.execute.base import Assignment
from harness.records.files import read_json
from harness.records.store import Store

#: seconds a fit where nothing is known: only their order counts
_GUESSED_SECONDS = {"fine-tune": 1000.0, "scratch": 1000.0, "linear-probe": 100.0, "baseline": 1.0}
#: bytes of a worker with a framework and a small model, measured with PyTorch: 0.8 to 1.5 GB
_GUESSED_BYTES = 1_500_000_000


class Estimates:
    """Reads the records of a suite once, when first asked."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[Any, ...], tuple[float, int]] | None = None

    def seconds(self, assignment: Assignment) -> float:
        """Of the fit alone; its runs follow it."""
        recipe = assignment.fit.spec["recipe"]
        return self._of(assignment).get("seconds", _GUESSED_SECONDS.get(recipe, 1000.0))

    def bytes(self, assignment: Assignment) -> int:
        return int(self._of(assignment).get("bytes") or _GUESSED_BYTES)

    def _of(self, assignment: Assignment) -> dict[str, Any]:
        if self._known is None:
            self._known = dict(self._read())
        found = self._known.get(_alike(assignment.fit.spec))
        return {"seconds": found[0], "bytes": found[1]} if found else {}

    def _read(self) -> dict[tuple[Any, ...], tuple[float, int]]:
        known = {}
        for folder in (self._store.folder / "fits").glob("*"):
            spec, status = read_json(folder / "spec.json"), read_json(folder / "status.json")
            if spec and status and status.get("status") == "ok":
                memory = int(1e6 * status.get("memory_mb", 0))
                known[_alike(spec)] = float(status.get("seconds", 0.0)), memory
        return known


def _alike(spec: dict[str, Any]) -> tuple[Any, ...]:
    """Fits that differ in seed and settings take about as long."""
    names = ("recipe", "framework", "device")
    return spec["model"]["id"], spec["task"]["id"], *(spec.get(name) for name in names)
