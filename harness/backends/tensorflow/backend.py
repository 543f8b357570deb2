"""The framework `tensorflow`: fine-tunes and probes the checkpoints that PyTorch does."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, ClassVar

from harness.backends.base import Backend, FitReport, FitRequest, Progress
from harness.errors import RequestError


class TensorFlowBackend(Backend):
    """Keras 3 and KerasHub; every pretrained backbone passes the parity gate first."""

    name: ClassVar[str] = "tensorflow"
    kinds: ClassVar[tuple[str, ...]] = ("transformer",)
    libraries: ClassVar[tuple[str, ...]] = ("tensorflow", "keras", "keras-hub")
    version: ClassVar[int] = 1
    runtime: ClassVar[str] = "tensorflow"
    reference: ClassVar[str] = "torch"

    def fit(self, request: FitRequest, progress: Progress) -> FitReport:
        from harness.backends.tensorflow.threads import set_up

        set_up(request.device, request.threads)
        begun = time.perf_counter()
        difference = self._gate(request)
        gate_seconds = time.perf_counter() - begun
        if request.recipe == "linear-probe":
            from harness.backends.tensorflow.probe import probe

            report = probe(request, progress)
        elif request.recipe in ("fine-tune", "scratch"):
            from harness.backends.tensorflow.loop import train

            report = train(request, progress)
        else:
            raise RequestError(f"the framework `tensorflow` has no recipe {request.recipe!r}")
        report.notes |= {"gate_rel_diff": difference, "gate_seconds": gate_seconds}
        return report

    def _gate(self, request: FitRequest) -> float:
        from harness.backends.tensorflow.gate import check
        from harness.backends.tensorflow.model import build

        assert request.model_folder is not None and request.reference is not None
        model = build(request.info, request.model_folder)
        return check(model.hidden, request.reference)

    def resolve_dtype(
        self, model_kind: str, model_folder: Path | None, device: str, threads: int
    ) -> tuple[str, dict[str, Any]]:
        return "float32", {"reason": "mixed precision was not measured to help in TensorFlow"}
