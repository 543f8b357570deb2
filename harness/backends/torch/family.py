"""How a language model reads a text, by its checkpoint's own configuration."""

from __future__ import annotations

from pathlib import Path

from harness.backends.torch.models import read_config


def family_of(folder: Path) -> str | None:
    """``autoencoding``, ``autoregressive`` or ``sequence-to-sequence``; None for a configuration
    that transformers has no language-model head for."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    config = read_config(folder)
    if getattr(config, "is_encoder_decoder", False):
        return "sequence-to-sequence"
    # encoders stand in both lists, as ``is_decoder`` makes them read from the left
    reads_from_left = getattr(config, "is_decoder", False)
    if config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not reads_from_left:
        return "autoencoding"
    return "autoregressive" if config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES else None
