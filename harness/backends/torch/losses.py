"""The losses that a task may name, on a model and one padded batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.backends.torch.models import HeadedModel
from harness.tasks.base import IGNORED_LABEL

Loss = Callable[[HeadedModel, dict[str, Tensor], dict[str, Tensor], float], Tensor]


def pooled_loss(
    model: HeadedModel, inputs: dict[str, Tensor], targets: dict[str, Tensor], smoothing: float
) -> Tensor:
    """Cross entropy of (batch, outputs) logits."""
    return F.cross_entropy(model(**inputs).float(), targets["labels"], label_smoothing=smoothing)


def token_loss(
    model: HeadedModel, inputs: dict[str, Tensor], targets: dict[str, Tensor], smoothing: float
) -> Tensor:
    """Mean cross entropy over labelled tokens; the head sees only those."""
    labels = targets["labels"]
    labelled = labels != IGNORED_LABEL
    features = model.features(**inputs)[labelled]
    logits = model.logits(features).float()
    total = F.cross_entropy(logits, labels[labelled], label_smoothing=smoothing, reduction="sum")
    return total / max(len(features), 1)  # a batch without any label weighs nothing


def span_loss(
    model: HeadedModel, inputs: dict[str, Tensor], targets: dict[str, Tensor], smoothing: float
) -> Tensor:
    """Mean of the start's and the end's cross entropy over the real positions."""
    logits = model(**inputs).float()
    return span_cross_entropy(logits, inputs["attention_mask"].bool(), targets, smoothing)


def span_cross_entropy(
    logits: Tensor, real: Tensor, targets: dict[str, Tensor], smoothing: float
) -> Tensor:
    """(batch, length, 2) logits and a (batch, length) mask to one number.

    Smoothing spreads over real positions only: padding has probability 0, and its log none.
    """
    total = logits.new_zeros(())
    for column, name in enumerate(("start", "end")):
        scores = logits[..., column].masked_fill(~real, -torch.inf)
        total = total + F.cross_entropy(scores, targets[name]) * (1 - smoothing)
        if smoothing:
            logs = F.log_softmax(scores, dim=-1).masked_fill(~real, 0.0)
            total = total - smoothing * (logs.sum(-1) / real.sum(-1)).mean()
    return total / 2


LOSSES: dict[str, Loss] = {
    "cross_entropy": pooled_loss,
    "token_cross_entropy": token_loss,
    "span": span_loss,
}
