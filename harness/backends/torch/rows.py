"""Train only those rows of an embedding table that the training data can reach.

Half of MiniLM's parameters are word embeddings, most of which a small training set never
touches. Their gradient is zero for ever, so AdamW's moments stay zero and weight decay alone moves
them, by a factor known in closed form. Leaving them out is therefore exact, and saves zeroing,
clipping and updating them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TrainedRows(nn.Module):
    """Stands in for an `nn.Embedding`: reached rows while training, the whole table otherwise."""

    compact: Tensor
    reached: Tensor

    def __init__(self, embedding: nn.Embedding, reached: np.ndarray) -> None:
        """``reached``: sorted token ids that occur in training batches, padding included."""
        super().__init__()
        self._whole = embedding
        self.register_buffer("reached", torch.from_numpy(reached.astype(np.int64)), False)
        compact = torch.full((embedding.num_embeddings,), -1, dtype=torch.int64)
        compact[self.reached] = torch.arange(len(reached))
        self.register_buffer("compact", compact, False)
        padding = embedding.padding_idx
        self._padding = int(compact[padding]) if padding is not None else -1
        self.weight = nn.Parameter(embedding.weight.detach()[self.reached].clone())
        self._shrunk = 1.0
        self._stale = False

    def forward(self, ids: Tensor) -> Tensor:
        if not self.training:
            return self.whole()(ids)
        self._stale = True
        padding = self._padding if self._padding >= 0 else None
        return F.embedding(self.compact[ids], self.weight, padding_idx=padding)

    def decay(self, factor: float) -> None:
        """Note one step's weight decay, a factor of (1 - learning rate * decay)."""
        self._shrunk *= factor

    def whole(self) -> nn.Embedding:
        """The full embedding with the trained rows in place."""
        if self._stale:
            with torch.no_grad():
                self._whole.weight.mul_(self._shrunk)
                self._whole.weight[self.reached] = self.weight
            self._shrunk, self._stale = 1.0, False
        return self._whole


def install(backbone: nn.Module, token_ids: np.ndarray) -> TrainedRows | None:
    """Put `TrainedRows` into a transformer; None where its embedding is of a special class."""
    embedding = backbone.get_input_embeddings()  # type: ignore[operator]
    if type(embedding) is not nn.Embedding:
        return None
    special = [0] if embedding.padding_idx is None else [0, embedding.padding_idx]
    rows = TrainedRows(embedding, np.union1d(token_ids, special))
    embedding.requires_grad_(False)
    backbone.set_input_embeddings(rows)  # type: ignore[operator]
    return rows


def uninstall(backbone: nn.Module, rows: TrainedRows) -> None:
    """Put the plain embedding back, trained rows included."""
    backbone.set_input_embeddings(rows.whole().requires_grad_(True))  # type: ignore[operator]
