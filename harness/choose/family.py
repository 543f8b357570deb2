"""Families of language models, and what each is suited to: a prior, which measured scores overrule.

Autoencoding models (BERT's kind) read a text from both sides and suit understanding;
autoregressive ones (GPT's kind) read from the left and suit generation; sequence-to-sequence ones
(T5's kind) suit rewriting one text into another (Qiu et al. 2020, *Pre-trained Models for Natural
Language Processing: A Survey*).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

_UNDERSTANDING = "autoencoding models suit understanding (classes, entities, spans)"
SUITED = {
    "text-classification": ("autoencoding", _UNDERSTANDING),
    "token-classification": ("autoencoding", _UNDERSTANDING),
    "question-answering": ("autoencoding", _UNDERSTANDING),
    "text-generation": ("autoregressive", "autoregressive models suit generation"),
    "translation": ("sequence-to-sequence", "sequence-to-sequence models suit translation"),
    "summarization": ("sequence-to-sequence", "sequence-to-sequence models suit summarising"),
}

#: parts of names, for records older than the column ``model_family``
_NAMES = (
    ("sequence-to-sequence", r"t5|bart|pegasus|marian|m2m|nllb"),
    ("autoregressive", r"gpt|llama|llm|smol|qwen|mistral|gemma|opt-|bloom|phi-|falcon"),
    ("autoencoding", r"bert|minilm|electra|mpnet|bge|gte|e5|roberta|deberta"),
)


class Family(NamedTuple):
    """A model's family, and what it was told by."""

    name: str
    basis: str


def family_of(row: Mapping[str, Any]) -> Family | None:
    """By the configuration of its checkpoint, as recorded, else by the model's name; None for other
    kinds than transformers, or unknown."""
    if row.get("model_kind") != "transformer":
        return None
    if recorded := row.get("model_family"):
        return Family(recorded, "by its configuration")
    name = str(row.get("model_name")).lower()
    return next((Family(f, "by its name") for f, parts in _NAMES if re.search(parts, name)), None)
