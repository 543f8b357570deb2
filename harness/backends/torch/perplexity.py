"""How well a checkpoint's own language-model head predicts texts that it was not asked to learn."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.backends.base import LanguageModelScore
from harness.backends.torch.models import read_config
from harness.backends.torch.own_head import with_own_head
from harness.backends.torch.threads import use_threads
from harness.errors import Unsupported

#: masked copies of one text in a batch
_BATCH = 32


def language_model_score(
    folder: Path,
    texts: Sequence[tuple[np.ndarray, np.ndarray]],
    mask_id: int | None,
    *,
    seconds: float,
    threads: int,
) -> LanguageModelScore:
    """Perplexity of the checkpoint in ``folder`` on tokenized texts.

    ``texts``: (token ids, which of them the tokenizer added), both (length,). A masked model is
    scored by pseudo-perplexity, each token of the text masked in turn (Salazar et al. 2020,
    *Masked Language Model Scoring*, ACL): exp of the mean negative log-likelihood a token. An
    autoregressive one by its perplexity, a text's first token left out where nothing precedes it.
    Begins no text after ``seconds``. Raises `Unsupported` where there is no such head.
    """
    use_threads(threads)
    model, masked = _with_head(folder)
    if masked and mask_id is None:
        raise Unsupported("its tokenizer has no mask token")
    losses: list[float] = []
    begun = time.monotonic()
    with torch.inference_mode():
        for ids, added in texts:
            if losses and time.monotonic() - begun > seconds:
                break
            tokens = torch.from_numpy(np.asarray(ids, np.int64))
            own = np.flatnonzero(~np.asarray(added, bool))
            if masked:
                assert mask_id is not None
                losses += _masked(model, tokens, own, mask_id)
            else:
                losses += _next(model, tokens, own[own > 0])
    if not losses:
        raise Unsupported("no text has a token that could be scored")
    kind = "pseudo-perplexity" if masked else "perplexity"
    return LanguageModelScore(kind, float(np.exp(np.mean(losses))), len(losses))


def _masked(model: Any, ids: torch.Tensor, places: np.ndarray, mask_id: int) -> list[float]:
    """-log p(token | all others) of each place."""
    losses: list[float] = []
    for start in range(0, len(places), _BATCH):
        chunk = torch.from_numpy(places[start : start + _BATCH])
        rows = torch.arange(len(chunk))
        batch = ids.repeat(len(chunk), 1)
        batch[rows, chunk] = mask_id
        logits = model(input_ids=batch).logits[rows, chunk].float()
        losses += torch.nn.functional.cross_entropy(logits, ids[chunk], reduction="none").tolist()
    return losses


def _next(model: Any, ids: torch.Tensor, places: np.ndarray) -> list[float]:
    """-log p(token | those before it) of each place, which must not be the first."""
    if not len(places):
        return []
    where = torch.from_numpy(places)
    logits = model(input_ids=ids[None]).logits[0, where - 1].float()
    losses: list[float] = torch.nn.functional.cross_entropy(
        logits, ids[where], reduction="none"
    ).tolist()
    return losses


def _with_head(folder: Path) -> tuple[Any, bool]:
    """The checkpoint under its own head, and whether that is for masked tokens."""
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    config = read_config(folder)
    # encoders stand in both lists, as they can be made to generate
    masked = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if not masked and config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise Unsupported(f"models of type {config.model_type} have no language-model head")
    loader: Any = AutoModelForMaskedLM if masked else AutoModelForCausalLM
    return with_own_head(loader, folder, config, "language-model head"), masked
