"""What a stage is told: one JSON-able description, the same on every executor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.records.identity import digest
from harness.suite import Model, TaskEntry


def timing_inputs(fit_folder: Path, run_spec: Mapping[str, Any]) -> Path:
    """Test inputs beside a fit, which may be scored on several test splits."""
    test = run_spec["test"]
    split = digest([test["file"], test["size"]])
    return fit_folder / f"timing-inputs-{test['size'] or 'all'}-{split}.npz"


@dataclass(frozen=True)
class Job:
    """One fit (and, for scoring, one of its runs) with the places it may use.

    ``spec`` is the fit's resolved specification; ``run`` a run's, or empty. ``cache`` holds
    downloads, prepared data and artifacts; ``record`` is the record folder that the stage
    writes into; ``base`` is the folder of the suite file, which `path:` sources start from.
    ``seconds`` is all that a stage may take that can stop half-way; None: as long as it takes.
    """

    fit_id: str
    spec: dict[str, Any]
    model: dict[str, Any]
    task: dict[str, Any]
    cache: Path
    base: Path
    record: Path
    trust_remote_code: bool = False
    run_id: str = ""
    run: dict[str, Any] = field(default_factory=dict)
    seconds: float | None = None

    @property
    def model_entry(self) -> Model:
        return Model.model_validate(self.model)

    @property
    def runs_remote_code(self) -> bool:
        """Whether code of the job's checkpoint runs: its suite and the command line both say so."""
        return self.trust_remote_code and bool(self.spec["model"].get("trust_remote_code"))

    @property
    def task_entry(self) -> TaskEntry:
        return TaskEntry.model_validate(self.task)

    @property
    def fit_folder(self) -> Path:
        """Where the cache keeps the fit: ``artifact/``, ``onnx/``, ``logits/``, ``fit.json``."""
        return self.cache / "fits" / self.fit_id

    @property
    def artifact(self) -> Path:
        return self.fit_folder / "artifact"

    @property
    def exports(self) -> Path:
        return self.fit_folder / "onnx"

    @property
    def timing_inputs(self) -> Path:
        """The run's, for its timing; scoring leaves them here."""
        return timing_inputs(self.fit_folder, self.run)

    def dumps(self) -> str:
        paths = {"cache": str(self.cache), "base": str(self.base), "record": str(self.record)}
        return json.dumps(self.__dict__ | paths)

    @classmethod
    def loads(cls, text: str) -> Job:
        data = json.loads(text)
        for key in ("cache", "base", "record"):
            data[key] = Path(data[key])
        return cls(**data)
