"""The official SQuAD metrics (Rajpurkar et al. 2016 and 2018), as fractions of 1.

Restated from the evaluation scripts of SQuAD 1.1 and 2.0. Both give the same numbers on data
without unanswerable questions, but for a gold answer of which normalisation leaves nothing
("the"): here, as in 2.0, such a gold answer is dropped; 1.1 gives it a match but no F1.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise_answer(text: str) -> str:
    """Lower case, then without ASCII punctuation, articles and superfluous whitespace."""
    plain = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", plain).split())


def token_f1(prediction: str, gold: str) -> float:
    """F1 of the bags of words of two *normalised* answers; two empty ones agree."""
    found, wanted = prediction.split(), gold.split()
    if not found or not wanted:
        return float(found == wanted)
    common = sum((Counter(found) & Counter(wanted)).values())
    return 2 * common / (len(found) + len(wanted))


def answer_scores(prediction: str, golds: Sequence[str]) -> tuple[float, float]:
    """(exact match, F1) of an answer's text, each the best over the gold answers.

    "" is the answer "there is none", right where ``golds`` is empty.
    """
    found = normalise_answer(prediction)
    wanted = [text for gold in golds if (text := normalise_answer(gold))] or [""]
    return float(found in wanted), max(token_f1(found, text) for text in wanted)


def squad_metrics(
    exact: np.ndarray, f1: np.ndarray, has_answer: np.ndarray
) -> dict[str, float | int]:
    """Means over all questions, over those with an answer, and over those without.

    (questions,) arrays. As in the official script, figures of an empty group are left out. For
    questions without an answer, F1 and exact match are the same: was "none" predicted?
    """
    has_answer = np.asarray(has_answer, bool)
    result: dict[str, float | int] = {
        "exact_match": float(np.mean(exact)),
        "f1": float(np.mean(f1)),
        "has_answer_examples": int(has_answer.sum()),
        "no_answer_examples": int((~has_answer).sum()),
    }
    if has_answer.any():
        result["has_answer_exact"] = float(exact[has_answer].mean())
        result["has_answer_f1"] = float(f1[has_answer].mean())
    if not has_answer.all():
        result["no_answer_accuracy"] = float(exact[~has_answer].mean())
        result["no_answer_f1"] = float(f1[~has_answer].mean())
    return result
