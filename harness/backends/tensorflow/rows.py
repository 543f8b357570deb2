"""Train only those rows of the token embedding that the training data can reach.

As in `harness.backends.torch.rows`, and exact for the same reason: a row without gradient only
decays, by a factor known in closed form.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.backends.tensorflow.model import TensorFlowModel


class TrainedRows:
    """The reached rows of a backbone's token embedding, while it trains."""

    def __init__(self, model: TensorFlowModel, token_ids: np.ndarray) -> None:
        """``token_ids``: all ids that occur in training batches, but for the padding's 0."""
        import tensorflow as tf

        layer = model.backbone.token_embedding
        self.table = layer.embeddings
        self.reached = np.union1d(token_ids, [0])
        compact = np.zeros(self.table.shape[0], np.int32)
        compact[self.reached] = np.arange(len(self.reached))
        self._compact = tf.constant(compact)
        self.rows = tf.Variable(tf.gather(self.table.value, self.reached))
        self._shrunk = 1.0
        #: whether a function that is being traced looks tokens up here
        self.training = False
        whole = layer.call

        def call(inputs: Any, *arguments: Any, **options: Any) -> Any:
            if self.training and not (options.get("reverse") or any(arguments)):
                return tf.gather(self.rows, tf.gather(self._compact, inputs))
            return whole(inputs, *arguments, **options)

        layer.call = call

    def decay(self, factor: float) -> None:
        """Note one step's weight decay, a factor of (1 - learning rate * decay)."""
        self._shrunk *= factor

    def sync(self) -> None:
        """Put the trained rows into the table, and the decay upon all others."""
        import tensorflow as tf

        whole = self.table.value * self._shrunk
        rows = tf.constant(self.reached[:, None], tf.int32)
        self.table.assign(tf.tensor_scatter_nd_update(whole, rows, self.rows))
        self._shrunk = 1.0

    def reload(self) -> None:
        """Take the rows as the table now has them."""
        import tensorflow as tf

        self.rows.assign(tf.gather(self.table.value, self.reached))
