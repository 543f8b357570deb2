"""Logits of an artifact, computed by PyTorch itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from harness.backends.base import Batch, Predictor

#: calls before the first event: kernels are loaded, and shapes that are new met, at the first
_WARM_UP = 3


class TorchPredictor(Predictor):
    """Logits of a model in evaluation mode."""

    def __init__(self, model: nn.Module, device: str) -> None:
        self._model, self._device = model, device

    def predict(self, batch: Batch) -> np.ndarray:
        with torch.inference_mode():
            tensors = {n: torch.from_numpy(a).to(self._device) for n, a in batch.items()}
            return self._model(**tensors).float().cpu().numpy()

    def device_times_ms(self, batch: Batch, repeats: int) -> list[float]:
        """By CUDA events, which the GPU stamps itself: without copies and waiting for the answer.

        Where its kernels are shorter than their launches, as on single inputs, the gaps in which it
        waits for the next launch are in it: what the GPU was taken for, not what it computed.
        """
        if self._device == "cpu":
            return []
        events = [
            (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
            for _ in range(repeats)
        ]
        with torch.inference_mode():
            tensors = {n: torch.from_numpy(a).to(self._device) for n, a in batch.items()}
            for _ in range(_WARM_UP):
                self._model(**tensors)
            torch.cuda.synchronize(self._device)
            for begin, end in events:
                begin.record()
                self._model(**tensors)
                end.record()
            torch.cuda.synchronize(self._device)
        return [begin.elapsed_time(end) for begin, end in events]

    def device_memory(self) -> dict[str, float]:
        if self._device == "cpu":
            return {}
        return {
            "allocated_mb": torch.cuda.max_memory_allocated(self._device) / 1e6,
            "reserved_mb": torch.cuda.max_memory_reserved(self._device) / 1e6,
        }

    def observed(self) -> dict[str, Any]:
        parameter = next(self._model.parameters())
        return {
            "device": str(parameter.device),
            "dtype": str(parameter.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "interop_threads": torch.get_num_interop_threads(),
            "attention": _attention(self._model),
        }


def _attention(model: nn.Module) -> str | None:
    """The attention implementation that transformers runs."""
    config = getattr(getattr(model, "backbone", None), "config", None)
    return getattr(config, "_attn_implementation", None)
