"""A runtime that computes nothing: what it takes is what the harness itself takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from harness.backends.base import Batch, Predictor, Runtime


class NoopPredictor(Predictor):
    """Zeros, (batch, 1), at once. ``threads`` and ``device`` are told back as they were asked."""

    def __init__(self, device: str, threads: int) -> None:
        self._device, self._threads = device, threads
        self._zeros = np.zeros((4096, 1), np.float32)  # larger than any batch that is asked for

    def predict(self, batch: Batch) -> np.ndarray:
        for column in batch.values():
            return self._zeros[: len(column)]
        return self._zeros[:0]

    def observed(self) -> dict[str, Any]:
        return {"device": self._device, "dtype": "float32", "threads": self._threads}


class NoopRuntime(Runtime):
    """Loads nothing, so it works with any artifact or none."""

    name: ClassVar[str] = "noop"
    framework: ClassVar[str] = "sklearn"  # any worker can host it
    dtype: ClassVar[str] = "float32"
    libraries: ClassVar[tuple[str, ...]] = ("numpy",)
    version: ClassVar[int] = 1
    needs: ClassVar[Literal["artifact", "onnx"]] = "artifact"

    def load(self, artifact: Path, exports: Path, *, device: str, threads: int) -> Predictor:
        return NoopPredictor(device, threads)

    def size_bytes(self, artifact: Path, exports: Path) -> int:
        return 0
