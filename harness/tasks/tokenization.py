"""Tokenizers put to use: one copy per purpose, never the caller's own object changed.

A ``tokenizer.json`` often carries its author's padding and truncation; both are replaced here,
because padding belongs to the batch and truncation to the task.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from harness.tasks.base import Ragged

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer


def configured(
    tokenizer: Tokenizer,
    max_length: int | None,
    *,
    strategy: Literal["longest_first", "only_second"] = "longest_first",
    stride: int = 0,
) -> Tokenizer:
    """A copy that does not pad and cuts at ``max_length`` tokens, special ones included."""
    copy: Tokenizer = type(tokenizer).from_str(tokenizer.to_str())
    copy.no_padding()
    if max_length is None:
        copy.no_truncation()
    else:
        copy.enable_truncation(max_length, stride=stride, strategy=strategy)
    return copy


def uses_segments(tokenizer: Tokenizer) -> bool:
    """Whether the tokenizer tells the second text of a pair from the first by type ids.

    Asked once per tokenizer and not per batch, so that every batch, and every export traced
    from one, has the same inputs. RoBERTa's template, for one, gives 0 to both texts.
    """
    return any(tokenizer.encode("a", "b").type_ids)


def ragged_ids(encodings: Iterable[Encoding]) -> Ragged:
    """Token ids; an input that yields no token (empty text, no template) becomes one id 0.

    A row of length 0 has no mean, no first and no last token to pool.
    """
    return Ragged.of([encoding.ids or [0] for encoding in encodings], np.int32)


def ragged_segments(encodings: Iterable[Encoding]) -> Ragged:
    """Type ids, row by row as long as `ragged_ids`."""
    return Ragged.of([encoding.type_ids or [0] for encoding in encodings], np.int32)


def word_separator(tokenizer: Tokenizer) -> str:
    """What to put before every word but the first so that words are read as in running text.

    Byte-level BPE (GPT-2, RoBERTa, Llama 3, SmolLM2) keeps the space as part of the next word's
    first token, but is handed words without spaces when the input is already split; the model
    would see only sentence beginnings. Some need a space put back, some add their own mark
    (SentencePiece), some ignore spaces (BERT). Which one it is, is asked of the tokenizer:
    "" or " ", whichever yields the tokens of the running text.
    """
    words = ["the", "the"]
    running = _ids(tokenizer, " ".join(words))
    for separator in ("", " "):
        if _ids(tokenizer, [words[0], separator + words[1]]) == running:
            return separator
    return ""


def _ids(tokenizer: Tokenizer, text: Any) -> list[int]:
    return tokenizer.encode(
        text, is_pretokenized=isinstance(text, list), add_special_tokens=False
    ).ids
