"""Logits of an artifact, computed by TensorFlow in one traced graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.backends.base import Batch, Predictor
from harness.backends.tensorflow.model import TensorFlowModel
from harness.backends.tensorflow.threads import observed_threads

#: XLA compiles for each shape: lengths and batches are padded up to a power of two from here
_SMALLEST = 16


class TensorFlowPredictor(Predictor):
    """Logits with dropout off; ``xla`` compiles the graph, for padded shapes."""

    def __init__(self, model: TensorFlowModel, *, xla: bool = False) -> None:
        self._model, self._xla = model, xla
        self._traced: dict[tuple[str, ...], Any] = {}

    def predict(self, batch: Batch) -> np.ndarray:
        import tensorflow as tf

        rows, length = batch["input_ids"].shape
        if self._xla:
            batch = _padded_up(batch, rows, length, self._model.info.max_length)
        key = tuple(sorted(batch))
        if key not in self._traced:
            self._traced[key] = tf.function(
                self._model.logits,
                input_signature=None if self._xla else [signature(batch)],
                jit_compile=self._xla,
            )
        logits = self._traced[key]({name: tf.constant(batch[name]) for name in key}).numpy()
        return logits[:rows, :length] if logits.ndim == 3 else logits[:rows]

    def observed(self) -> dict[str, Any]:
        return {
            "device": _device_of(self._model),
            "dtype": str(self._model.weight.dtype.name),
            "threads": observed_threads(),
            "compiled": "XLA, shapes padded to powers of two" if self._xla else "tf.function",
        }


def signature(batch: Batch) -> dict[str, Any]:
    """What a traced function takes: a batch's arrays with every dimension open."""
    import tensorflow as tf

    return {
        name: tf.TensorSpec([None] * array.ndim, tf.as_dtype(array.dtype))
        for name, array in batch.items()
    }


def _padded_up(batch: Batch, rows: int, length: int, longest: int) -> Batch:
    """A batch with masked columns and repeated rows up to powers of two (or the longest input)."""
    wide = max(length, min(longest, max(_SMALLEST, 1 << (length - 1).bit_length())))
    tall = 1 << (rows - 1).bit_length()
    return {
        name: np.pad(
            np.pad(array, ((0, 0), (0, wide - length))), ((0, tall - rows), (0, 0)), "edge"
        )
        for name, array in batch.items()
    }


def _device_of(model: TensorFlowModel) -> str:
    return "cuda" if "GPU" in model.weight.device else "cpu"
