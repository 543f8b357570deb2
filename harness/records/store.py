"""Where records lie, and which of them are complete.

::

    results/resolved.json                   what `auto` came to, per model, device and host
    results/<suite>/plan.json               the rows that the suite asks for
    results/<suite>/fits/<fit_id>/          spec.json fit.json status.json
    results/<suite>/runs/<run_id>/          spec.json metrics.json predictions.parquet status.json
        measurements/<host_id>-<n>/         timing.json host.json
        explain.json                        where `harness explain` was asked

``status.json`` is written last: a record without it does not exist. It names the record's other
files with their digests, and its own; a measurement has them in ``digests.json``. What is added to
a complete record, ``explain.json``, carries its own and those of the files that it was added to.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.errors import RequestError
from harness.records.digests import sealed
from harness.records.files import read_json, write_json

Status = Literal["ok", "failed", "timeout", "oom", "diverged", "unsupported", "skipped"]

#: answers, not failures: they do not make the exit status 1
ANSWERS: frozenset[str] = frozenset({"ok", "unsupported", "skipped"})


#: faithfulness of a run's attributions, added to its record after completion
EXPLAIN_FILE = "explain.json"


def measurement_folders(run: Path) -> list[Path]:
    """The folders ``HOST-NUMBER`` of a run's measurements, by host, oldest first.
    Those of other names are people's own (a copy called ``...-1.bak``)."""
    named = ((f.name.rpartition("-"), f) for f in (run / "measurements").glob("*-*"))
    return [f for _, _, f in sorted((n[0], int(n[2]), f) for n, f in named if n[2].isdecimal())]


@dataclass(frozen=True)
class Store:
    """The records of one suite under one results folder."""

    results: Path
    suite: str

    @property
    def folder(self) -> Path:
        return self.results / self.suite

    def fit(self, fit_id: str) -> Path:
        return self.folder / "fits" / fit_id

    def run(self, run_id: str) -> Path:
        return self.folder / "runs" / run_id

    def measurements(self, run_id: str, host_id: str) -> list[Path]:
        """Measurements of a run on a host: complete ones have ``timing.json``, failed ones
        ``status.json``."""
        return [
            f
            for f in measurement_folders(self.run(run_id))
            if f.name.rpartition("-")[0] == host_id
            and ((f / "timing.json").is_file() or (f / "status.json").is_file())
        ]

    def lock(self, fit_id: str) -> Path:
        """What a process holds while it works on a fit and its runs."""
        return self.folder / ".locks" / f"{fit_id}.lock"

    def set_aside(self, record: Path) -> Path:
        """Move a damaged record out of the way, for people to look at; where it lies now.

        A run's measurements stay: each is a record of its own, of some host, and what is made again
        is the same run. Without ``status.json``, which goes first, the run itself does not exist.
        """
        number = 1
        while True:
            folder = self.folder / "damaged" / f"{record.parent.name}-{record.name}-{number}"
            if not folder.exists():
                break
            number += 1
        folder.mkdir(parents=True)
        for path in sorted(record.iterdir(), key=lambda path: path.name != "status.json"):
            if path.name != "measurements":
                os.replace(path, folder / path.name)
        with suppress(OSError):  # they are there
            record.rmdir()
        return folder

    def check_writable(self) -> None:
        """`RequestError` unless records can be written here."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe = self.folder / f".writable-{os.getpid()}"
            probe.touch()
            probe.unlink(missing_ok=True)  # another host's process may have our number
        except OSError as error:
            raise RequestError(
                f"results folder {self.folder} cannot be written ({error.strerror}); "
                "choose another with --results DIR"
            ) from None


def status_of(record: Path) -> dict[str, Any] | None:
    """``status.json`` of a record, or None while it is not complete."""
    return read_json(record / "status.json")


def is_done(record: Path) -> bool:
    """True for a complete record of any status; failures are not tried again unasked."""
    return status_of(record) is not None


def finish(record: Path, status: Status, reason: str = "", **facts: Any) -> None:
    """Complete a record. Must be the last write into it."""
    write_json(
        record / "status.json", sealed(record, {"status": status, "reason": reason, **facts})
    )
