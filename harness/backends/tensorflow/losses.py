"""The losses that a task may name, as (sum, count) of logits and one padded batch.

Sums, so that a batch may be computed in parts. The means are those of `harness.backends.torch`.
"""

from __future__ import annotations

from typing import Any

from harness.tasks.base import IGNORED_LABEL


def pooled_loss(logits: Any, inputs: Any, targets: Any, smoothing: float) -> tuple[Any, Any]:
    """Cross entropy of (batch, outputs) logits; counts examples."""
    import tensorflow as tf

    losses = _cross_entropy(logits, targets["labels"], smoothing)
    return tf.reduce_sum(losses), tf.cast(tf.shape(losses)[0], tf.float32)


def token_loss(logits: Any, inputs: Any, targets: Any, smoothing: float) -> tuple[Any, Any]:
    """Cross entropy of (batch, length, outputs) logits; counts labelled tokens."""
    import tensorflow as tf

    labelled = tf.cast(targets["labels"] != IGNORED_LABEL, tf.float32)
    labels = tf.maximum(targets["labels"], 0)
    losses = _cross_entropy(logits, labels, smoothing) * labelled
    return tf.reduce_sum(losses), tf.reduce_sum(labelled)


def span_loss(logits: Any, inputs: Any, targets: Any, smoothing: float) -> tuple[Any, Any]:
    """Mean of the start's and the end's cross entropy over real positions; counts examples."""
    import tensorflow as tf

    mask = tf.cast(inputs["attention_mask"], tf.float32)
    total = tf.constant(0.0)
    for column, name in enumerate(("start", "end")):
        # far below every logit, yet finite: infinity times a mask of zero is no number
        scores = logits[..., column] - (1.0 - mask) * 1e9
        logs = tf.nn.log_softmax(scores)
        wanted = (1.0 - smoothing) * tf.one_hot(targets[name], tf.shape(logs)[1])
        wanted += smoothing * mask / tf.reduce_sum(mask, 1, keepdims=True)
        total -= tf.reduce_sum(wanted * mask * logs)
    return total / 2.0, tf.cast(tf.shape(mask)[0], tf.float32)


def _cross_entropy(logits: Any, labels: Any, smoothing: float) -> Any:
    import tensorflow as tf

    outputs = tf.shape(logits)[-1]
    wanted = (1.0 - smoothing) * tf.one_hot(labels, outputs)
    wanted += smoothing / tf.cast(outputs, tf.float32)
    return -tf.reduce_sum(wanted * tf.nn.log_softmax(logits), -1)


LOSSES = {"cross_entropy": pooled_loss, "token_cross_entropy": token_loss, "span": span_loss}
