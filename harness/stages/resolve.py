"""What a framework finds out about a model before the first fit: whether its checkpoint fits its
configuration, and what `fit_dtype: auto` means for it on this device and host."""

from __future__ import annotations

from typing import Any

from harness import registry
from harness.backends.base import Progress
from harness.stages.fetch import model_folder
from harness.stages.job import Job


def check(job: Job, progress: Progress) -> dict[str, Any]:
    """`RequestError` for a checkpoint whose tensors do not fit its own configuration."""
    folder = model_folder(job)
    if folder is not None:
        registry.backends.get(job.spec["framework"])().check(job.spec["model"]["kind"], folder)
    return {}


def resolve(job: Job, progress: Progress) -> dict[str, Any]:
    """``{"fit_dtype": ..., "figures": {...}}``; the caller stores it."""
    backend = registry.backends.get(job.spec["framework"])()
    progress("resolve", 0, 1, "fit dtype")
    dtype, figures = backend.resolve_dtype(
        job.spec["model"]["kind"], model_folder(job), job.spec["device"], job.spec["threads"]
    )
    progress("resolve", 1, 1, dtype)
    return {"fit_dtype": dtype, "figures": figures}
