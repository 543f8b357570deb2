"""AdamW as BERT's authors use it: no decay on biases and norms, linear warm-up, linear decay."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from harness.backends.torch.models import HeadedModel


def adamw(model: HeadedModel, settings: dict[str, Any]) -> torch.optim.AdamW:
    """Fused AdamW over all trainable parameters, the head at its own learning rate if it has one.

    Each group keeps its peak rate as ``peak_lr``.
    """
    rate = settings["learning_rate"]
    head_rate = settings.get("head_learning_rate") or rate
    head = {id(p) for p in model.head.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            # biases and the scales of norms are vectors; decaying them only shifts the output
            decay = settings["weight_decay"] if parameter.ndim > 1 else 0.0
            key = (head_rate if id(parameter) in head else rate, decay)
            groups.setdefault(key, []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "lr": lr, "peak_lr": lr, "weight_decay": decay}
            for (lr, decay), parameters in groups.items()
        ],
        fused=True,
    )


def set_rates(optimiser: torch.optim.Optimizer, share: float) -> None:
    """Set every group's learning rate to a share of its peak."""
    for group in optimiser.param_groups:
        group["lr"] = group["peak_lr"] * share


def clip(optimiser: torch.optim.AdamW, norm: float) -> None:
    """Limit the Euclidean norm of all gradients together in the optimiser's next step.

    What `torch.nn.utils.clip_grad_norm_` computes, but the fused update divides by the factor while
    it reads the gradients anyway, which on a CPU saves a pass over memory. An update takes the
    factor along, so it is set before each.
    """
    groups = optimiser.param_groups
    gradients = [p.grad for g in groups for p in g["params"] if p.grad is not None]
    total = nn.utils.get_total_norm(gradients)
    optimiser.grad_scale = ((total + 1e-6) / norm).clamp(min=1.0)  # type: ignore[attr-defined]


def l1_norm(model: nn.Module) -> Tensor:
    """Sum of the absolute trainable weights (not of biases and norms)."""
    weights = [p.abs().sum() for p in model.parameters() if p.requires_grad and p.ndim > 1]
    return torch.stack(weights).sum()
