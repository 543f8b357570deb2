"""Words of a sentence as small documents of features, for a token classifier without a network."""

from __future__ import annotations

import re
from collections.abc import Sequence

#: Neighbours looked at on each side, and the longest prefix and suffix: the usual feature set of
#: feature-based taggers (Ratnaparkhi 1996; Tjong Kim Sang and De Meulder 2003, 3).
WINDOW = 2
AFFIX = 4

_REPEATED = re.compile(r"(.)\1+")


def shape(word: str) -> str:
    """Capitals to X, small letters to x, digits to d, repetitions dropped: ``U.N.`` is ``X.X.``"""
    classes = "".join(
        "X" if c.isupper() else "x" if c.islower() else "d" if c.isdigit() else c for c in word
    )
    return _REPEATED.sub(r"\1", classes)


def word_features(words: Sequence[str]) -> list[list[str]]:
    """One list of feature strings per word: itself, its affixes and shape, and its neighbours."""
    lower = [word.lower() for word in words]
    shapes = [shape(word) for word in words]
    documents = []
    for i, word in enumerate(words):
        document = ["bias", f"word={word}", f"lower={lower[i]}", f"shape={shapes[i]}"]
        for length in range(1, min(AFFIX, len(word) - 1) + 1):
            document.append(f"prefix={lower[i][:length]}")
            document.append(f"suffix={lower[i][-length:]}")
        for distance in range(-WINDOW, WINDOW + 1):
            j = i + distance
            if distance and 0 <= j < len(words):
                document.append(f"{distance:+d} lower={lower[j]}")
                document.append(f"{distance:+d} shape={shapes[j]}")
            elif distance:
                document.append(f"{distance:+d} outside")
        if i > 0:
            document.append(f"-1 and word={lower[i - 1]} {lower[i]}")
        if i + 1 < len(words):
            document.append(f"word and +1={lower[i]} {lower[i + 1]}")
        documents.append(document)
    return documents
