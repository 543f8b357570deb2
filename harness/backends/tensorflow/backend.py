"""The framework `tensorflow`: fine-tunes and probes the checkpoints that PyTorch does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from harness.backends.base import (
    ArtifactInfo,
    Backend,
    Batch,
    FitReport,
    FitRequest,
    Progress,
)
from harness.backends.dtype_trial import DTYPES, PRODUCT, on_cpu, on_gpu
from harness.backends.gate import check
from harness.errors import RequestError


class TensorFlowBackend(Backend):
    """Keras 3 and KerasHub; every pretrained backbone passes the parity gate first."""

    name: ClassVar[str] = "tensorflow"
    kinds: ClassVar[tuple[str, ...]] = ("transformer", "timm", "keras-application")
    libraries: ClassVar[tuple[str, ...]] = ("tensorflow", "keras", "keras-hub")
    version: ClassVar[int] = 2
    runtime: ClassVar[str] = "tensorflow"
    references: ClassVar[Mapping[str, str]] = {"transformer": "torch", "timm": "torch"}

    def fit(self, request: FitRequest, progress: Progress) -> FitReport:
        from harness.backends.tensorflow.threads import set_up

        set_up(request.device, request.threads)
        from harness.backends.tensorflow.loop import train
        from harness.backends.tensorflow.model import build
        from harness.backends.tensorflow.probe import probe

        if request.recipe == "baseline":
            raise RequestError(f"the framework `tensorflow` has no recipe {request.recipe!r}")
        assert request.model_folder is not None
        scratch = request.recipe == "scratch"
        # new weights have no reference: the same architecture with the checkpoint's stands in
        stand_in = build(request.info, request.model_folder) if scratch else None
        model = build(
            request.info,
            request.model_folder,
            recipe=request.recipe,
            seed=request.seed,
            dropout=request.settings.get("dropout"),
        )
        gated = stand_in or model
        fit = probe if request.recipe == "linear-probe" else train
        difference = check(gated.compute_hidden, request.reference) if request.reference else None
        report = fit(model, request, progress)
        if difference is not None:
            report.notes["gate_rel_diff"] = difference
        return report

    def hidden_states(self, model_kind: str, model_folder: Path, batch: Batch) -> np.ndarray:
        from harness.backends.tensorflow.threads import set_up

        set_up("cpu", 0)
        from harness.backends.tensorflow.model import build

        info = ArtifactInfo(model_kind, "tensorflow", "", "pooled", 2, "mean", ["0", "1"], 64)
        if "pixel_values" in batch:  # Keras' applications pad by the size that they are built for
            info.extra["image"] = {"size": batch["pixel_values"].shape[-1]}
        return build(info, model_folder).compute_hidden(batch)

    def resolve_dtype(
        self, model_kind: str, model_folder: Path | None, device: str, threads: int
    ) -> tuple[str, dict[str, Any]]:
        """bfloat16 where training steps are faster with it, measured on a CPU, known on a GPU."""
        from harness.backends.tensorflow.threads import computes_bfloat16, set_up

        set_up(device, threads)
        assert model_folder is not None
        if device != "cpu":
            return on_gpu(computes_bfloat16())
        import tensorflow as tf

        from harness.backends.tensorflow.trial import steps

        sides = {dtype: tf.ones((PRODUCT, PRODUCT), dtype) for dtype in DTYPES}
        return on_cpu(
            lambda dtype: tf.linalg.matmul(sides[dtype], sides[dtype]),
            lambda: steps(model_kind, model_folder, threads),
        )
