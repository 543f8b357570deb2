"""Successive halving on predicted scores: many candidates on little data, the better half on more.

Jamieson and Talwalkar 2016, *Non-stochastic Best Arm Identification*; here the resource is the
number of training examples. Candidates are compared by what they would score on all examples, from
their learning curves (as in Domhan et al. 2015, *Speeding up Automatic Hyperparameter Optimization
of Deep Neural Networks by Extrapolation of Learning Curves*, there over epochs): a fine-tuning
that loses on a hundred examples may win on a thousand.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from harness.errors import RequestError
from harness.stats.curve import FEWEST_SIZES, power_law

#: the first rung is at least this part of the last; two more, each twice the one before, let a
#: learning curve be drawn for less than half of what the last rung costs
FIRST_RUNG = 16
#: the smallest useful training size: below, scores are noise, and a classifier with fewer than
#: eight examples a class (the few-shot setting) tells little of what it becomes with more
SMALLEST_RUNG, EXAMPLES_A_CLASS = 100, 8
#: resampled curves; only their mean line is used
_DRAWS = 50
#: a fit may take this much longer than was estimated
CAUTION = 1.3
T = TypeVar("T")
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Fitted:
    """One fit of a search: ``seconds`` of training, and ``fixed`` of loading and scoring beside."""

    train: int
    score: float
    seconds: float
    fixed: float


def useful_size(examples: int, classes: int) -> int:
    """The fewest training examples that a candidate is judged on."""
    return min(examples, max(SMALLEST_RUNG, EXAMPLES_A_CLASS * classes))


def rungs(final: int, smallest: int = SMALLEST_RUNG) -> list[int]:
    """Training sizes: two or three small ones for a learning curve, then ``final`` alone.

    3200 -> [200, 400, 800, 3200]; 1000 -> [100, 200, 1000]; 350 -> [350], as two smaller ones would
    cost as much.
    """
    first = max(smallest, final // FIRST_RUNG)
    small = [first, 2 * first] if 4 * first <= final else []
    return [*small, *([4 * first] if 16 * first <= final else []), final]


def predicted(fits: Sequence[Fitted], examples: int, validation: int) -> float:
    """Score expected with ``examples`` training examples, from fits scored on ``validation``.

    A measured score at that size is itself the answer. From three sizes on, a power law
    (`harness.stats.curve`); of two, the same with a limit of 1, which is the most that such a curve
    can come to, so that nobody is dropped for a late start; of one, its score.
    """
    points = {fit.train: fit.score for fit in sorted(fits, key=lambda fit: fit.train)}
    sizes, scores = np.array(list(points), float), np.array(list(points.values()))
    if len(sizes) == 1 or sizes[-1] >= examples:
        return float(scores[-1])
    if len(sizes) >= FEWEST_SIZES:
        draws = np.random.default_rng(0).binomial(validation, scores, (_DRAWS, len(sizes)))
        curve = power_law(sizes, scores, draws / validation)
        if not isinstance(curve, str):
            return curve.predict(examples).value
    first, last = 1 - scores[-2:]
    if not 0 < last < first:
        return float(scores[-1])
    slope = math.log(first / last) / math.log(sizes[-1] / sizes[-2])
    return float(1 - last * (sizes[-1] / examples) ** slope)


def ranked(scores: Mapping[str, float], shortlist: Sequence[str], validation: int) -> list[str]:
    """Best first; of those within one standard error of the best one left, the order of
    ``shortlist`` (names, most promising first) decides."""
    waiting = [name for name in shortlist if name in scores]
    order = []
    while waiting:
        best = min(max(scores[name] for name in waiting), 1.0)
        error = math.sqrt(best * (1 - best) / max(validation, 1))
        order.append(next(name for name in waiting if scores[name] >= best - error))
        waiting.remove(order[-1])
    return order


def better_half(order: Sequence[T]) -> list[T]:
    """The first half, at least one."""
    return list(order[: max(1, math.ceil(len(order) / 2))])


def expected_seconds(fitted: Fitted, wanted: int) -> float:
    """What a fit takes on ``wanted`` examples, with some caution, after this one."""
    return fitted.fixed + CAUTION * fitted.seconds * wanted / max(fitted.train, 1)


def duration(text: str) -> float:
    """``90s``, ``10m``, ``1.5h`` or plain seconds; `RequestError` for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|min|h)?\s*", text)
    value = float(found[1]) * _UNITS[found[2] or ""] if found else 0.0
    if not value > 0:
        raise RequestError(f"--time {text}: not a duration such as 90s, 10m or 1h")
    return value
