"""Floating-point operations of one prediction, counted and not timed.

PyTorch's counter sees matrix products and convolutions, two operations for each multiplication and
addition; activations, norms and look-ups in tables are left out, as everywhere such figures are
quoted. What costs nothing there (an embedding table, a TF-IDF vector) is small, not free.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from harness.backends.base import Batch


def count(model: nn.Module, inputs: dict[str, Tensor]) -> int:
    """Operations of one call of ``model`` in evaluation mode.

    Attention is computed by its definition meanwhile: the counter does not know the fused kernel
    that CPUs use (torch 2.13), and would take attention's own products for nothing.
    """
    with sdpa_kernel(SDPBackend.MATH), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(**inputs)
    return int(counter.get_total_flops())


def artifact_facts(artifact: Path, example: Batch) -> dict[str, Any]:
    """``flops_per_example`` and ``params`` of an artifact, for one example, a batch of size 1; and
    the ``family`` of a language model (`harness.backends.torch.family`), else None."""
    from harness.backends.torch.family import family_of
    from harness.backends.torch.models import load

    model, info = load(artifact)
    return {
        "flops_per_example": count(model, {n: torch.from_numpy(a) for n, a in example.items()}),
        "params": sum(parameter.numel() for parameter in model.parameters()),
        "family": family_of(artifact) if info.kind == "transformer" else None,
    }
