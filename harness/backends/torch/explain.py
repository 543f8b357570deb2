"""Attributions of a fitted text classifier, by captum.

Source: Sundararajan, Taly and Yan 2017, *Axiomatic Attribution for Deep Networks*: the gradient of
a logit integrated along the straight line from a blank text's embeddings to the text's own, times
their difference. By completeness it adds up to the difference of the two logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.backends.base import Attributions, Progress, pad
from harness.backends.torch.models import TextModel, load
from harness.backends.torch.threads import set_up
from harness.errors import Unsupported
from harness.tasks.base import Encoded

#: points of the Gauss-Legendre rule along the line, captum's default
STEPS = 50


def attributions(
    artifact: Path,
    encoded: Encoded,
    classes: np.ndarray,
    content: Sequence[np.ndarray],
    blank: int,
    *,
    device: str,
    threads: int,
    progress: Progress,
) -> Attributions:
    """See `harness.backends.base.Backend.attributions`."""
    set_up(device, threads)
    model, _ = load(artifact, device)
    if not isinstance(model, TextModel):
        raise Unsupported("only models of token ids have tokens to attribute to")
    return integrated_gradients(
        model, encoded, classes, content, blank, device=device, progress=progress
    )


def integrated_gradients(
    model: TextModel,
    encoded: Encoded,
    classes: np.ndarray,
    content: Sequence[np.ndarray],
    blank: int,
    *,
    device: str,
    progress: Progress,
) -> Attributions:
    """Per token, the sum over the embedding's dimensions; 0 for the frame, which is no blank."""
    from captum.attr import LayerIntegratedGradients

    def logits(ids: Tensor, mask: Tensor, segments: Tensor | None = None) -> Tensor:
        return model(input_ids=ids, attention_mask=mask, token_type_ids=segments).float()

    method: Any = LayerIntegratedGradients(logits, model.token_embeddings)
    scores, gaps = [], []
    for i, words in enumerate(content):
        batch = {
            name: torch.from_numpy(array).to(device)
            for name, array in pad(encoded, np.array([i])).items()
        }
        ids = batch["input_ids"]
        empty = ids.clone()
        empty[0, torch.from_numpy(np.flatnonzero(words)).to(device)] = blank
        found, gap = method.attribute(
            ids,
            baselines=empty,
            target=int(classes[i]),
            additional_forward_args=(batch["attention_mask"], batch.get("token_type_ids")),
            n_steps=STEPS,
            return_convergence_delta=True,
        )
        scores.append(found.sum(-1)[0].detach().float().cpu().numpy())
        gaps.append(float(gap))
        progress("attribute", i + 1, len(content), "")
    return Attributions(scores, np.array(gaps), {"steps": STEPS, "library": "captum"})
