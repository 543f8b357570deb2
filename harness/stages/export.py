"""A fitted artifact in another form, made by the framework that can write it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from harness import registry
from harness.backends.base import Progress
from harness.records.files import read_json, whole_folder, write_json
from harness.sources.derived import RECEIPT, reusable, sign
from harness.specifications import STAGE_VERSIONS, installed, libraries_of
from harness.stages.job import Job


def export_onnx(job: Job, progress: Progress) -> dict[str, Any]:
    """``onnx/model.onnx`` of the artifact; whether it is right, the score stage tells.

    Written once by each set of library releases, since every run's identity names them.
    """
    made_by = exported_by(job)
    known = read_json(job.exports / "export.json")
    if known is not None and reusable(job.exports / RECEIPT, made_by):
        return known
    from harness.backends.torch.export import export_onnx as write

    progress("export", 0, 1, "onnx")
    start = time.perf_counter()
    with whole_folder(job.exports) as scratch:
        facts = write(job.artifact, scratch)
        facts["seconds"] = time.perf_counter() - start
        write_json(scratch / "export.json", facts)
        sign(scratch / RECEIPT, made_by)
    progress("export", 1, 1, "onnx")
    return facts


def is_exported(fit_folder: Path, runtime_name: str) -> bool:
    """Whether all is there that a runtime loads beside the artifact."""
    runtime = registry.runtimes.get(runtime_name)
    return runtime.needs != "onnx" or runtime().weights(fit_folder / "onnx").is_file()


def exported_by(job: Job) -> dict[str, Any]:
    """What the graph depends on besides the artifact: the stage's version, and what traces it."""
    runtime = registry.runtimes.get("onnxruntime")
    return {
        "export": STAGE_VERSIONS["export"],
        **installed(libraries_of(runtime, job.spec["model"]["kind"])),
    }
