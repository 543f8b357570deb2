"""How much of a test set was seen in training, word for word."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def normalise_key(*texts: str) -> str:
    """One comparable key of an example's texts: case folded, whitespace runs as one space."""
    return " ".join(" ".join(texts).casefold().split())


def overlap(train_keys: Iterable[str], test_keys: Sequence[str]) -> dict[str, Any]:
    """``test_in_train``: test examples whose normalised key training holds, too; ``share`` of all.

    The share of an empty test set is 0.
    """
    seen = {normalise_key(key) for key in train_keys}
    found = sum(normalise_key(key) in seen for key in test_keys)
    return {"test_in_train": found, "share": found / len(test_keys) if test_keys else 0.0}
