"""ONNX Runtime with the fit's own weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from harness.backends.base import Predictor, Runtime
from harness.backends.torch.backend import TorchBackend
from harness.measure.reference_speed import Product

#: the file that `harness.backends.torch.export` writes
EXPORT = "model.onnx"


class OnnxRuntime(Runtime):
    """Runs ``model.onnx`` as it was exported."""

    name: ClassVar[str] = "onnxruntime"
    framework: ClassVar[str] = "onnxruntime"
    dtype: ClassVar[str] = "float32"
    libraries: ClassVar[tuple[str, ...]] = ("onnxruntime", "onnx", "onnxscript", "torch")
    #: what PyTorch's exporter traces
    kind_libraries: ClassVar[Mapping[str, tuple[str, ...]]] = TorchBackend.kind_libraries
    version: ClassVar[int] = 1
    needs: ClassVar[Literal["artifact", "onnx"]] = "onnx"

    def load(self, artifact: Path, exports: Path, *, device: str, threads: int) -> Predictor:
        from harness.backends.onnxruntime.session import OnnxPredictor

        return OnnxPredictor(self.weights(exports), self.dtype, device=device, threads=threads)

    def products(self, device: str, threads: int) -> list[Product]:
        from harness.backends.onnxruntime.products import products

        return products(device, threads)

    def size_bytes(self, artifact: Path, exports: Path) -> int:
        return self.weights(exports).stat().st_size

    def weights(self, exports: Path) -> Path:
        return exports / EXPORT
