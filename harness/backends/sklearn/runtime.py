"""Computes predictions of fitted baselines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from harness.backends.base import ArtifactInfo, Batch, Predictor, Runtime
from harness.backends.sklearn import tfidf
from harness.backends.sklearn.baseline import Baseline, only_column, restore
from harness.errors import Unsupported


class BaselinePredictor(Predictor):
    """Logits of a baseline; its thread pools are set for the whole process."""

    def __init__(self, model: Baseline, threads: int) -> None:
        from threadpoolctl import threadpool_limits

        self._model = model
        self._threads = threads
        threadpool_limits(threads)  # of the libraries that loading or fitting has imported

    def predict(self, batch: Batch) -> np.ndarray:
        return self._model.logits(only_column(batch))

    def observed(self) -> dict[str, Any]:
        """``threads`` is what the largest of the process's thread pools holds; where none can be
        asked (Accelerate on macOS), what was set."""
        from threadpoolctl import threadpool_info

        pools = [pool["num_threads"] for pool in threadpool_info()]
        return {"device": "cpu", "dtype": "float32", "threads": max(pools, default=self._threads)}


class SklearnRuntime(Runtime):
    """scikit-learn on the CPU."""

    name: ClassVar[str] = "sklearn"
    framework: ClassVar[str] = "sklearn"
    dtype: ClassVar[str] = "float32"
    libraries: ClassVar[tuple[str, ...]] = ("scikit-learn", "numpy", "scipy")
    version: ClassVar[int] = 1
    needs: ClassVar[Literal["artifact", "onnx"]] = "artifact"
    devices: ClassVar[tuple[str, ...]] = ("cpu",)

    def load(self, artifact: Path, exports: Path, *, device: str, threads: int) -> Predictor:
        if device != "cpu":
            raise Unsupported(f"scikit-learn computes on the CPU, not on {device!r}")
        info = ArtifactInfo(**json.loads((artifact / "harness.json").read_text()))
        return BaselinePredictor(restore(artifact, info), threads)

    def size_bytes(self, artifact: Path, exports: Path) -> int:
        files = (artifact / name for name in (tfidf.WEIGHTS_FILE, tfidf.VOCABULARY_FILE))
        return sum(file.stat().st_size for file in files if file.is_file())
