"""The runtime `torch`: an artifact computed by PyTorch itself, in float32."""

from __future__ import annotations

from pathlib import Path

from harness.backends.base import Predictor, Runtime, weights_bytes
from harness.backends.torch.backend import TorchBackend
from harness.measure.reference_speed import Product


class TorchRuntime(Runtime):
    name = "torch"
    framework = "torch"
    dtype = "float32"
    libraries = ("torch",)
    kind_libraries = TorchBackend.kind_libraries
    version = 1
    needs = "artifact"

    def load(self, artifact: Path, exports: Path, *, device: str, threads: int) -> Predictor:
        from harness.backends.torch.models import load as load_model
        from harness.backends.torch.predictor import TorchPredictor
        from harness.backends.torch.threads import set_up

        set_up(device, threads)
        model, _ = load_model(artifact, device)
        return TorchPredictor(model, device)

    def products(self, device: str, threads: int) -> list[Product]:
        from harness.backends.torch.products import products
        from harness.backends.torch.threads import set_up

        set_up(device, threads)
        return products(device)

    def size_bytes(self, artifact: Path, exports: Path) -> int:
        return weights_bytes(artifact)
