"""What a pretrained backbone computes in its reference framework, for another one's parity gate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from harness import registry
from harness.backends.base import Progress, lengths_of, pad
from harness.records.files import write_bytes
from harness.records.identity import digest
from harness.sources.cache import mark_used
from harness.specifications import STAGE_VERSIONS, installed, libraries_of
from harness.stages import prepare
from harness.stages.fetch import model_folder
from harness.stages.job import Job

#: examples of each kind, the shortest and the longest
_EXAMPLES = 4


def reference(job: Job, progress: Progress) -> dict[str, Any]:
    """Write `reference_file` unless it is there: padded inputs and their hidden states."""
    path = reference_file(job)
    if path.is_file():
        mark_used(path)
        return {"reference": str(path)}
    import io

    progress("reference", 0, 1, "")
    origin = reference_framework(job)
    folder = model_folder(job)
    assert folder is not None and origin is not None
    encoded = prepare.split(job, "train", folder).encoded
    order = np.argsort(lengths_of(encoded), kind="stable")
    chosen = np.unique(np.concatenate([order[:_EXAMPLES], order[-_EXAMPLES:]]))
    batch = pad(encoded, chosen)
    kind = job.spec["model"]["kind"]
    hidden = registry.backends.get(origin)().hidden_states(kind, folder, batch)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, hidden=hidden, framework=np.array(origin), **batch)
    write_bytes(path, buffer.getvalue())
    progress("reference", 1, 1, "")
    return {"reference": str(path)}


def reference_framework(job: Job) -> str | None:
    """The framework that the job's backbone is compared with; None for its own checkpoints."""
    kinds = registry.backends.get(job.spec["framework"]).references
    framework: str | None = kinds.get(job.spec["model"]["kind"])
    return framework


def reference_file(job: Job) -> Path:
    """Where the comparison of a job's model on a job's data stands in the cache."""
    spec = job.spec
    name = digest(
        [spec["model"]["files"], *prepare.inputs_key(job), spec["versions"]["prepare"],
         STAGE_VERSIONS["reference"], _computed_by(job)]
    )  # fmt: skip
    return job.cache / "references" / f"{name}.npz"


def _computed_by(job: Job) -> dict[str, str]:
    """Releases of the libraries of the reference framework."""
    origin = reference_framework(job)
    if origin is None:
        return {}
    return installed(libraries_of(registry.backends.get(origin), job.spec["model"]["kind"]))
