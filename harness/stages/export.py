"""A fitted artifact in another form, made by the framework that can write it."""

from __future__ import annotations

import time
from typing import Any

from harness.backends.base import Progress
from harness.records.files import read_json, whole_folder, write_json
from harness.stages.job import Job


def export_onnx(job: Job, progress: Progress) -> dict[str, Any]:
    """``onnx/model.onnx`` of the artifact, once; whether it is right, the score stage tells."""
    known = read_json(job.exports / "export.json")
    if known is not None:
        return known
    from harness.backends.torch.export import export_onnx as write

    progress("export", 0, 1, "onnx")
    start = time.perf_counter()
    with whole_folder(job.exports) as scratch:
        facts = write(job.artifact, scratch)
        facts["seconds"] = time.perf_counter() - start
        write_json(scratch / "export.json", facts)
    progress("export", 1, 1, "onnx")
    return facts
