"""Start and end logits over windows of tokens, to one best span per example.

All windows of all examples lie in one flat token axis, so that numpy visits every candidate span
once: ``max_tokens`` additions over that axis, whatever the windows' lengths.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class BestSpans:
    """Per example: the best span's first and last token on the flat axis (-1, -1 if there is no
    candidate), its score (-inf then), and the score of "no answer"."""

    first: np.ndarray
    last: np.ndarray
    score: np.ndarray
    null_score: np.ndarray


def best_spans(
    logits: np.ndarray,
    in_context: np.ndarray,
    window_offsets: np.ndarray,
    null_positions: np.ndarray,
    example_index: np.ndarray,
    max_tokens: int,
) -> BestSpans:
    """The highest start + end logit over all windows of each example, and the null score.

    ``logits``: (tokens, 2); ``in_context``: (tokens,) bool, one contiguous run a window;
    ``window_offsets``: (windows + 1,); ``null_positions``: (windows,) the token of each window
    that stands for "no answer"; ``example_index``: (windows,) ascending without gaps.

    As in BERT's and Hugging Face's reference (Devlin et al. 2019, 4.3), a span lies in the
    context, is at most ``max_tokens`` tokens long, and the null score is the *least* over an
    example's windows. The reference looks only at the 20 best starts and ends of a window; this
    search is exhaustive, so it never misses the best pair. Of equal spans, the first and then
    the shortest wins.
    """
    start, end = logits[:, 0].astype(np.float64), logits[:, 1].astype(np.float64)
    start = np.where(in_context, start, -np.inf)
    end = np.where(in_context, end, -np.inf)
    windows = len(window_offsets) - 1
    window_end = np.repeat(window_offsets[1:], np.diff(window_offsets))
    score = start + end
    length = np.zeros(len(score), np.int64)
    position = np.arange(len(score))
    for extra in range(1, max_tokens):
        if extra >= len(score):
            break
        candidate = np.where(
            position[:-extra] + extra < window_end[:-extra], start[:-extra] + end[extra:], -np.inf
        )
        better = candidate > score[:-extra]
        score[:-extra][better] = candidate[better]
        length[:-extra][better] = extra

    examples = int(example_index[-1]) + 1 if windows else 0
    first_window = np.searchsorted(example_index, np.arange(examples))
    begins = window_offsets[:-1][first_window]
    best = np.maximum.reduceat(score, begins) if len(begins) else np.empty(0)
    owner = np.repeat(example_index, np.diff(window_offsets))
    hits = np.flatnonzero((score == best[owner]) & np.isfinite(score))
    winners, where = np.unique(owner[hits], return_index=True)
    first = np.full(len(best), -1, np.int64)
    first[winners] = hits[where]
    last = np.where(first >= 0, first + length[first], -1)

    null_tokens = window_offsets[:-1] + null_positions
    null = logits[null_tokens].astype(np.float64).sum(axis=1)
    null_score = np.minimum.reduceat(null, first_window) if len(begins) else np.empty(0)
    return BestSpans(first, last, best, null_score)
