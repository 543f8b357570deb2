"""The runtimes `tensorflow` (a traced graph) and `tensorflow-xla` (that graph, compiled)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from harness.backends.base import Predictor, Runtime, weights_bytes
from harness.measure.reference_speed import Product


class TensorFlowRuntime(Runtime):
    name: ClassVar[str] = "tensorflow"
    framework: ClassVar[str] = "tensorflow"
    dtype: ClassVar[str] = "float32"
    libraries: ClassVar[tuple[str, ...]] = ("tensorflow", "keras", "keras-hub")
    version: ClassVar[int] = 1
    needs: ClassVar[Literal["artifact", "onnx"]] = "artifact"
    xla: ClassVar[bool] = False

    def load(self, artifact: Path, exports: Path, *, device: str, threads: int) -> Predictor:
        from harness.backends.tensorflow.threads import set_up

        set_up(device, threads)
        from harness.backends.tensorflow.model import load
        from harness.backends.tensorflow.predictor import TensorFlowPredictor

        return TensorFlowPredictor(load(artifact), xla=self.xla)

    def products(self, device: str, threads: int) -> list[Product]:
        from harness.backends.tensorflow.threads import set_up

        set_up(device, threads)
        from harness.backends.tensorflow.products import products

        return products(device)

    def size_bytes(self, artifact: Path, exports: Path) -> int:
        return weights_bytes(artifact)


class TensorFlowXlaRuntime(TensorFlowRuntime):
    name: ClassVar[str] = "tensorflow-xla"
    xla: ClassVar[bool] = True
