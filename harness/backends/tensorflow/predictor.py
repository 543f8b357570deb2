"""Logits of an artifact, computed by TensorFlow in one traced graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.backends.base import Batch, Predictor
from harness.backends.tensorflow.model import TensorFlowModel
from harness.backends.tensorflow.threads import observed_interop_threads, observed_threads


class TensorFlowPredictor(Predictor):
    """Logits with dropout off; ``xla`` compiles the graph, for padded shapes."""

    def __init__(self, model: TensorFlowModel, *, xla: bool = False) -> None:
        self._model, self._xla = model, xla
        self._traced: dict[tuple[str, ...], Any] = {}

    def predict(self, batch: Batch) -> np.ndarray:
        import tensorflow as tf

        rows, length = next(iter(batch.values())).shape[:2]
        batch = self._model.feed(batch)
        if self._xla:
            batch = self._model.padded_up(batch)
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
            "dtype": str(self._model.head[0][0].dtype.name),
            "threads": observed_threads(),
            "interop_threads": observed_interop_threads(),
            "compiled": "XLA, shapes padded to powers of two" if self._xla else "tf.function",
        }


def signature(batch: Batch) -> dict[str, Any]:
    """What a traced function takes: a batch's arrays, open in number and length; of images the
    number alone, as convolutions need the rest."""
    import tensorflow as tf

    return {
        name: tf.TensorSpec(
            [None, *array.shape[1:]] if array.ndim == 4 else [None] * array.ndim,
            tf.as_dtype(array.dtype),
        )
        for name, array in batch.items()
    }


def _device_of(model: TensorFlowModel) -> str:
    """``cpu`` or ``cuda:N``, from a weight's ``/job:localhost/.../device:GPU:N``."""
    kind, _, number = model.head[0][0].device.rpartition("device:")[2].partition(":")
    return f"cuda:{number}" if kind == "GPU" else "cpu"
