"""How faithful an attribution is: what a model says without the tokens it names, or with them only.

Sources: DeYoung et al. 2020, *ERASER: A Benchmark to Evaluate Rationalized NLP Models*, section 4:

    comprehensiveness_k = p(x)_j - p(x without r_k)_j      the higher, the more r_k was needed
    sufficiency_k       = p(x)_j - p(r_k alone)_j          the lower, the more r_k is enough

where j is the class predicted on x and r_k the share k of the tokens with the highest attribution.
AOPC is the mean over the shares (Samek et al. 2017); the paper's formula also counts the empty
set, whose comprehensiveness is 0, and so is 5/6 of this mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.stats.bootstrap import bootstrap_interval

#: shares of an example's tokens that are taken away, or kept, as in ERASER
SHARES = (0.01, 0.05, 0.10, 0.20, 0.50)

#: (example, (tokens,) bool of those that are kept) pairs to p of each example's own class
Probabilities = Callable[[Sequence[tuple[int, np.ndarray]]], np.ndarray]


@dataclass(frozen=True)
class Faithfulness:
    """Both measures, (examples, orders, shares)."""

    comprehensiveness: np.ndarray
    sufficiency: np.ndarray


def taken(share: float, tokens: int) -> int:
    """Tokens in a share, one at least; rounded up (the slack absorbs 0.07 * 100 > 7)."""
    return max(1, math.ceil(share * tokens - 1e-9))


def faithfulness(
    content: Sequence[np.ndarray],
    orders: Sequence[Sequence[np.ndarray]],
    probabilities: Probabilities,
) -> Faithfulness:
    """Both measures of several orders of each example's tokens.

    ``content[i]``: (tokens,) bool, false for the frame that the tokenizer adds, which always stays.
    ``orders[i]``: orders of the content's positions, most important first. Tokens are deleted, not
    masked, so that the model reads a shorter text. What coincides is computed once.
    """
    asked: dict[tuple[int, bytes], int] = {}
    texts: list[tuple[int, np.ndarray]] = []

    def ask(example: int, kept: np.ndarray) -> int:
        key = (example, kept.tobytes())
        if key not in asked:
            asked[key] = len(texts)
            texts.append((example, kept))
        return asked[key]

    shape = (len(content), len(orders[0]) if orders else 0, len(SHARES))
    full = np.zeros(shape, np.int64)
    without, alone = full.copy(), full.copy()
    for i, words in enumerate(content):
        full[i] = ask(i, np.ones(len(words), bool))
        for o, order in enumerate(orders[i]):
            for s, share in enumerate(SHARES):
                top = np.zeros(len(words), bool)
                top[order[: taken(share, len(order))]] = True
                without[i, o, s] = ask(i, ~top)
                alone[i, o, s] = ask(i, top | ~words)
    p = np.asarray(probabilities(texts), float)
    return Faithfulness(p[full] - p[without], p[full] - p[alone])


def summary(values: np.ndarray, sign: int) -> dict[str, Any]:
    """One measure in a record: the attribution (order 0) against random orders (the others).

    ``values``: (examples, orders, shares). ``sign`` 1 where more is better, -1 where less is; the
    paired difference is positive where the attribution is better, its 95% interval a bootstrap
    over the examples.
    """
    aopc, chance = values[:, 0].mean(axis=1), values[:, 1:].mean(axis=(1, 2))
    better = sign * (aopc - chance)
    count = len(better)
    low, high = bootstrap_interval(better[None], np.ones((1, count)), np.arange(count))
    return {
        "by_share": values[:, 0].mean(axis=0),
        "by_share_random": values[:, 1:].mean(axis=(0, 1)),
        "aopc": aopc.mean(),
        "aopc_random": chance.mean(),
        "better_by": better.mean(),
        "better_by_low": low,
        "better_by_high": high,
        "aopc_of_examples": aopc,
        "aopc_random_of_examples": chance,
    }
