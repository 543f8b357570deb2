"""The runtime `torch`: an artifact computed by PyTorch itself, in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from harness.backends.base import Batch, Predictor, Runtime
from harness.backends.torch.threads import check_device, use_threads

#: weights that an artifact may hold, by kind
_WEIGHTS = ("model*.safetensors", "embeddings.safetensors", "head.safetensors")


class TorchPredictor(Predictor):
    """Logits of a model in evaluation mode."""

    def __init__(self, model: nn.Module, device: str) -> None:
        self._model, self._device = model, device

    def predict(self, batch: Batch) -> np.ndarray:
        with torch.inference_mode():
            tensors = {n: torch.from_numpy(a).to(self._device) for n, a in batch.items()}
            return self._model(**tensors).float().cpu().numpy()

    def observed(self) -> dict[str, Any]:
        parameter = next(self._model.parameters())
        return {
            "device": str(parameter.device),
            "dtype": str(parameter.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "attention": _attention(self._model),
        }


class TorchRuntime(Runtime):
    name = "torch"
    framework = "torch"
    dtype = "float32"
    libraries = ("torch", "transformers")
    version = 1
    needs = "artifact"

    def load(self, artifact: Path, exports: Path, *, device: str, threads: int) -> Predictor:
        from harness.backends.torch.models import load

        check_device(device)
        use_threads(threads)
        model, _ = load(artifact, device)
        return TorchPredictor(model, device)

    def size_bytes(self, artifact: Path, exports: Path) -> int:
        files = {file for pattern in _WEIGHTS for file in artifact.glob(pattern)}
        return sum(file.stat().st_size for file in files)


def _attention(model: nn.Module) -> str | None:
    """The attention implementation that transformers runs."""
    config = getattr(getattr(model, "backbone", None), "config", None)
    return getattr(config, "_attn_implementation", None)
