"""Attention for training on a CPU: dropout from a `MaskPool`, and packed batches.

PyTorch's fused attention has no CPU kernel with dropout: it falls back to a decomposition that
draws its masks one by one. This one is that decomposition, with the scale folded into the queries
and masks from the pool. Registered with transformers, which calls it for every architecture.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from harness.backends.torch import packing
from harness.backends.torch.dropout import MaskPools
from harness.backends.torch.zoo import hide_torchvision

NAME = "harness_cpu_training"


def register() -> str:
    """Make the attention known to transformers; returns the name to build models with."""
    hide_torchvision()
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    def mask(*arguments: Any, **options: Any) -> Tensor | None:
        return eager_mask(*arguments, **options) if packing.layout.get() is None else None

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, mask)
    return NAME


def install(model: nn.Module, pools: MaskPools) -> None:
    """Hand the pools to the model's attention modules."""
    for module in model.modules():
        module._mask_pools = pools  # type: ignore[assignment]


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """softmax(q k^T * scaling + mask), dropped out, times v: (batch, length, heads, dim)."""
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    groups = query.shape[1] // key.shape[1]
    if groups > 1:  # grouped-query attention
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    pools: Any = getattr(module, "_mask_pools", None)
    at = packing.layout.get()
    if at is not None:
        causal = bool(getattr(module, "is_causal", False))
        output = packing.attend(
            query, key, value, at, scale=scale, causal=causal, dropout=dropout, pools=pools
        )
        return output, None
    scores = torch.matmul(query * scale, key.transpose(-1, -2))
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = torch.softmax(scores, dim=-1)
    if dropout > 0:
        weights = weights * pools.mask(dropout, weights.shape).to(weights.dtype)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), None
