"""Dropout from pools of factors, as `harness.backends.torch.dropout` does it and why.

A pool is a variable; a mask is a slice of it at an offset drawn in the graph from the step's
number, so that a traced step draws anew each time and the same seed gives the same weights.
"""

from __future__ import annotations

from typing import Any

from harness.backends.masks import POOL, REUSE, MaskSource
from harness.backends.tensorflow.architectures import layers
from harness.backends.tensorflow.model import TensorFlowModel


class PooledDropout:
    """Masks for all dropout layers of a model while it trains on a CPU."""

    def __init__(self, model: TensorFlowModel, seed: int, largest: int) -> None:
        """``largest``: elements of the largest mask that a step may ask for."""
        import keras
        import tensorflow as tf

        self._size = max(POOL, 2 * largest)
        self._step = tf.Variable(0, dtype=tf.int32, trainable=False)
        self._seed = seed
        self._calls = 0
        self._used = 0
        self._pools: dict[float, tuple[MaskSource, Any]] = {}
        for layer in layers(model.backbone):
            if isinstance(layer, keras.layers.Dropout) and layer.rate > 0:
                layer.call = self._call(float(layer.rate))
        if model.head_dropout:
            model.dropout = self._call(model.head_dropout)

    def advance(self, elements: int) -> None:
        """Note a step that used about so many factors; draws the pools anew when worn."""
        self._step.assign_add(1)
        self._used += elements
        if self._used > REUSE * self._size:
            self._used = 0
            for source, pool in self._pools.values():
                pool.assign(source.draw(self._size))

    def _call(self, rate: float) -> Any:
        import tensorflow as tf

        if rate not in self._pools:
            source = MaskSource(rate, self._seed + len(self._pools))
            self._pools[rate] = source, tf.Variable(source.draw(self._size), trainable=False)
        pool = self._pools[rate][1]

        def call(inputs: Any, training: bool = False) -> Any:
            if not training:
                return inputs
            self._calls += 1  # each use in the traced graph has a stream of its own
            shape = tf.shape(inputs)
            count = tf.reduce_prod(shape)
            offset = tf.random.stateless_uniform(
                [], [self._step + self._seed, self._calls], 0, self._size - count + 1, tf.int32
            )
            mask = tf.reshape(tf.slice(pool, [offset], [count]), shape)
            return inputs * tf.cast(mask, inputs.dtype)

        return call
