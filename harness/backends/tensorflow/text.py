"""Models of token ids in TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from harness.backends.base import ArtifactInfo, Batch
from harness.backends.heads import HEAD_DROPOUT_KEYS
from harness.backends.tensorflow.architectures import build as build_backbone
from harness.backends.tensorflow.architectures import first
from harness.backends.tensorflow.model import Inputs, TensorFlowModel

#: lengths and batches that XLA sees are padded up to a power of two from here
_SMALLEST = 16


class TextModel(TensorFlowModel):
    """A text backbone, pooled where the task has one label a sequence."""

    def width(self) -> int:
        return int(_sequence(self.backbone.output).shape[-1])

    def hidden(self, inputs: Inputs, training: bool = False) -> Any:
        """Last hidden states, (batch, length, hidden), float32."""
        import tensorflow as tf

        ids = tf.cast(inputs["input_ids"], tf.int32)
        given = {"token_ids": ids, "padding_mask": tf.cast(inputs["attention_mask"], tf.int32)}
        if "segment_ids" in {tensor.name for tensor in self.backbone.inputs}:
            segments = inputs.get("token_type_ids")
            given["segment_ids"] = (
                tf.zeros_like(ids) if segments is None else tf.cast(segments, tf.int32)
            )
        return tf.cast(_sequence(self.backbone(given, training=training)), tf.float32)

    def features(self, inputs: Inputs, training: bool = False) -> Any:
        """(batch, hidden) for pooled heads, else (batch, length, hidden)."""
        import tensorflow as tf

        hidden = self.hidden(inputs, training)
        if self.info.head != "pooled":
            return hidden
        mask = tf.cast(inputs["attention_mask"], tf.float32)
        if self.info.pooling == "cls":
            return hidden[:, 0]
        if self.info.pooling == "mean":
            total = tf.maximum(tf.reduce_sum(mask, 1, keepdims=True), 1.0)
            return tf.reduce_sum(hidden * mask[..., None], 1) / total
        last = tf.maximum(tf.cast(tf.reduce_sum(mask, 1), tf.int32) - 1, 0)
        return tf.gather(hidden, last, batch_dims=1)

    def padded_up(self, batch: Batch) -> Batch:
        """Masked columns and repeated rows up to powers of two (or the longest input)."""
        rows, length = batch["input_ids"].shape
        longest = self.info.max_length
        wide = max(length, min(longest, max(_SMALLEST, 1 << (length - 1).bit_length())))
        tall = 1 << (rows - 1).bit_length()
        return {
            name: np.pad(
                np.pad(array, ((0, 0), (0, wide - length))), ((0, tall - rows), (0, 0)), "edge"
            )
            for name, array in batch.items()
        }


def build_transformer(
    info: ArtifactInfo, folder: Path, scratch: bool, dropout: float | None, seed: int
) -> TextModel:
    """A text backbone of KerasHub with the folder's weights."""
    backbone, checkpoint, config = build_backbone(folder, scratch=scratch, dropout=dropout)
    rate = dropout if dropout is not None else first(config, HEAD_DROPOUT_KEYS, 0.0)
    return TextModel(backbone, checkpoint, info, float(rate), seed)


def _sequence(output: Any) -> Any:
    """The hidden states among what a backbone returns."""
    return output["sequence_output"] if isinstance(output, dict) else output
