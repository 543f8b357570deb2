"""Families of language models, and what each is suited to: a prior, which measured scores overrule.

Autoencoding models (BERT's kind) read a text from both sides and suit understanding;
autoregressive ones (GPT's kind) read from the left and suit generation; sequence-to-sequence ones
(T5's kind) suit rewriting one text into another (Qiu et al. 2020, *Pre-trained Models for Natural
Language Processing: A Survey*).
"""

from __future__ import annotations

import re

_UNDERSTANDING = "autoencoding models suit understanding (classes, entities, spans)"
SUITED = {
    "text-classification": ("autoencoding", _UNDERSTANDING),
    "token-classification": ("autoencoding", _UNDERSTANDING),
    "question-answering": ("autoencoding", _UNDERSTANDING),
    "text-generation": ("autoregressive", "autoregressive models suit generation"),
    "translation": ("sequence-to-sequence", "sequence-to-sequence models suit translation"),
    "summarization": ("sequence-to-sequence", "sequence-to-sequence models suit summarising"),
}

#: parts of names; records do not say what an architecture reads
_NAMES = (
    ("sequence-to-sequence", r"t5|bart|pegasus|marian|m2m|nllb"),
    ("autoregressive", r"gpt|llama|llm|smol|qwen|mistral|gemma|opt-|bloom|phi-|falcon"),
    ("autoencoding", r"bert|minilm|electra|mpnet|bge|gte|e5|roberta|deberta"),
)


def family_of(name: str, kind: str | None) -> str | None:
    """The family that a model's name tells; None for other kinds than transformers, or unknown."""
    if kind != "transformer":
        return None
    return next((f for f, parts in _NAMES if re.search(parts, name.lower())), None)
