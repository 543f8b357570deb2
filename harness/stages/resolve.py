"""What `fit_dtype: auto` means for a model on this device and host, by a short measurement."""

from __future__ import annotations

from typing import Any

from harness import registry
from harness.backends.base import Progress
from harness.stages.fetch import model_folder
from harness.stages.job import Job


def resolve(job: Job, progress: Progress) -> dict[str, Any]:
    """``{"fit_dtype": ..., "figures": {...}}``; the caller stores it."""
    backend = registry.backends.get(job.spec["framework"])()
    progress("resolve", 0, 1, "fit dtype")
    dtype, figures = backend.resolve_dtype(
        job.spec["model"]["kind"], model_folder(job), job.spec["device"], job.spec["threads"]
    )
    progress("resolve", 1, 1, dtype)
    return {"fit_dtype": dtype, "figures": figures}
