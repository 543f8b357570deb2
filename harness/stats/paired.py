"""Is A better than B, on the same test examples? Paired tests and intervals of the difference.

Pairing matters: two systems err on the same hard examples, so the difference is known far better
than either score, and overlapping intervals say little.

- one seed each, 0/1 scores, single-example clusters: McNemar's exact test
- one seed each, anything else: cluster permutation test
- several seeds on either side: a t-type test in which seeds count too (`harness.stats.seeds`).
  A permutation of examples alone holds the seeds fixed: it would ask whether *these* fitted
  weights differ, and answer yes for two sets of seeds of one and the same recipe.

Where A and B differ by the same in every cluster and every seed, no variance was seen, and neither
a t-type test nor a bootstrap knows any doubt, be it after two examples. Of G clusters' swaps only
"none" and "all" are then as extreme, so that the exact test's p is 2 / 2^G, as McNemar's is;
`components_p` does not go below it. The interval is that test's inverse: all G clusters fall to
one side with probability s^G, so that a share s of them down to s^G = (1 - level) / 2 is not ruled
out (Clopper and Pearson, *Biometrika* 26, 1934), and were the others swapped, the difference d
would be (2s - 1) d. As nothing tells that they could not exceed d as well, both sides are as wide.

Sources: McNemar, *Psychometrika* 12 (1947); Noreen, *Computer-Intensive Methods for Testing
Hypotheses* (1989) and Yeh, COLING (2000), for swapping two systems' outputs; Phipson and Smyth,
*Stat. Appl. Genet. Mol. Biol.* 9 (2010), for counting the observed outcome among the draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import bdtr

from harness.stats.bootstrap import (
    LEVEL,
    RESAMPLES,
    Interval,
    is_proportion,
    is_share,
    mean_ratios,
    one_ratio,
    resampled_interval,
    resampled_sums,
)
from harness.stats.clusters import (
    cluster_sums,
    distinct,
    influence_by_seed,
    influence_variance,
    mean_ratio,
)
from harness.stats.seeds import (
    Component,
    kept_share,
    pooled,
    seed_component,
    two_sided_p,
    widen,
)

Method = Literal["mcnemar", "permutation", "seeds"]

#: Differences of ratios equal up to rounding count as equal
_ROUNDING = 1e-12
#: One binomial draw costs about as much as this many swap bits
_COUNT_COST = 12
_BLOCK = 2_000_000


class PairedTest(NamedTuple):
    """Two-sided p of "they score the same", and the test it comes from."""

    p_value: float
    method: Method


class Difference(NamedTuple):
    """Score of A minus score of B, with its interval."""

    value: float
    low: float
    high: float


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Exact two-sided p of McNemar's test.

    ``only_a``: examples that A alone got right; ``only_b``: B alone. Under the null each
    discordant example falls either way with probability one half. 1.0 where there is none.
    """
    discordant = only_a + only_b
    if discordant == 0:
        return 1.0
    return min(1.0, 2.0 * float(bdtr(min(only_a, only_b), discordant, 0.5)))


def permutation_p(
    num_a: np.ndarray,
    den_a: np.ndarray,
    num_b: np.ndarray,
    den_b: np.ndarray,
    clusters: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> float:
    """Two-sided p of the cluster permutation test on a difference of ratios. All are (examples,).

    Swaps the two systems' outputs within whole clusters at random and counts how often the
    difference is at least as large as the observed one. All swaps are enumerated where there are
    at most ``resamples`` of them (then p is exact), else (hits + 1) / (resamples + 1).
    """
    rows = cluster_sums(np.stack([num_a, den_a, num_b, den_b]), clusters).T
    total = rows.sum(axis=0)
    change = np.stack([rows[:, 2] - rows[:, 0], rows[:, 3] - rows[:, 1]], axis=1)
    change = change[np.any(change != 0, axis=1)]  # swapping equal outputs changes nothing
    observed = float(np.abs(_difference(total, np.zeros(2))))
    if 2 ** min(len(change), 63) <= resamples:
        bits = np.arange(2 ** len(change))[:, None] >> np.arange(len(change)) & 1
        return float(np.mean(_extreme(total, bits @ change, observed)))
    swapped = _swapped_sums(change, resamples, np.random.default_rng(seed))
    hits = int(_extreme(total, swapped, observed).sum())
    return (hits + 1) / (resamples + 1)


def paired_test(
    num_a: np.ndarray,
    den_a: np.ndarray,
    num_b: np.ndarray,
    den_b: np.ndarray,
    clusters: np.ndarray,
    *,
    same_fits: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> PairedTest:
    """The two-sided test of "A and B score the same" that fits the data.

    ``num``, ``den``: (seeds, examples); A and B may have different numbers of seeds.
    ``same_fits``: seed i of A and of B are the same weights (two runtimes of one fit), so the
    seeds' differences are paired too. Otherwise seeds of A and B are independent; a side with
    one seed adds no seed variance, since none is known (true for deterministic baselines).
    """
    parts = difference_components(num_a, den_a, num_b, den_b, clusters, same_fits=same_fits)
    if len(parts) > 1:
        difference = mean_ratio(num_a, den_a) - mean_ratio(num_b, den_b)
        return PairedTest(components_p(difference, parts), "seeds")
    if (
        is_proportion(num_a, den_a)
        and is_proportion(num_b, den_b)
        and len(np.unique(clusters)) == len(clusters)
    ):
        only_a, only_b = int((num_a > num_b).sum()), int((num_b > num_a).sum())
        return PairedTest(mcnemar_exact(only_a, only_b), "mcnemar")
    p = permutation_p(
        num_a[0], den_a[0], num_b[0], den_b[0], clusters, resamples=resamples, seed=seed
    )
    return PairedTest(p, "permutation")


def components_p(difference: float, parts: Sequence[Component]) -> float:
    """p of a difference from its `difference_components`, the examples' first.

    Without any variance it is that of the exact test of the examples (see the module).
    """
    p = two_sided_p(difference, parts)
    if sum(part.variance for part in parts) <= (_ROUNDING * difference) ** 2:
        return max(p, 2.0 ** -parts[0].freedom)  # clusters less one
    return p


def paired_difference(
    num_a: np.ndarray,
    den_a: np.ndarray,
    num_b: np.ndarray,
    den_b: np.ndarray,
    clusters: np.ndarray,
    *,
    same_fits: bool = False,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Difference:
    """Score A - score B with a paired cluster bootstrap, widened by the seeds' variance.

    Arguments as in `paired_test`. Equal outputs throughout give [0, 0]: on these examples
    nothing differed. Other outputs on a single cluster give NaN limits. Outputs that differ by
    the same throughout give the interval that the module derives, within [-1, 1] for shares.
    """
    if np.array_equal(num_a, num_b) and np.array_equal(den_a, den_b):
        return Difference(0.0, 0.0, 0.0)
    value = mean_ratio(num_a, den_a) - mean_ratio(num_b, den_b)
    parts_a, parts_b = one_ratio(num_a, den_a), one_ratio(num_b, den_b)
    a, b = len(parts_a[0]), len(parts_b[0])
    rows = cluster_sums(np.concatenate([*parts_a, *parts_b]), clusters).T
    sums = resampled_sums(rows, resamples, seed)
    scores_a = mean_ratios(sums[:, :a], sums[:, a : 2 * a])
    scores_b = mean_ratios(sums[:, 2 * a : 2 * a + b], sums[:, 2 * a + b :])
    interval = resampled_interval(scores_a - scores_b, len(rows), level)
    seeds = _seed_component(num_a, den_a, num_b, den_b, same_fits)
    if seeds is not None:
        kept = kept_share(_influences(num_a, den_a, num_b, den_b, clusters, same_fits))
        interval = widen(value, interval, len(rows), seeds, level, kept)
    if interval.high - interval.low <= _ROUNDING * abs(value):
        half = 2 * (1 - ((1 - level) / 2) ** (1 / len(rows))) * abs(value)
        interval = Interval(value - half, value + half)
        if is_share(num_a, den_a) and is_share(num_b, den_b):
            interval = Interval(max(interval.low, -1.0), min(interval.high, 1.0))
    return Difference(value, interval.low, interval.high)


def difference_components(
    num_a: np.ndarray,
    den_a: np.ndarray,
    num_b: np.ndarray,
    den_b: np.ndarray,
    clusters: np.ndarray,
    *,
    same_fits: bool = False,
) -> list[Component]:
    """Variances of score A - score B: of the examples, and (with several seeds) of the seeds.

    Arguments as in `paired_test`. The seeds' disagreement about single examples is counted with
    the seeds, as `harness.stats.seeds` explains.
    """
    influences = _influences(num_a, den_a, num_b, den_b, clusters, same_fits)
    mean = influences[0].mean(axis=0)
    if not same_fits:
        mean = mean - influences[1].mean(axis=0)
    variance, freedom = influence_variance(mean), max(1, len(mean) - 1)
    seeds = _seed_component(num_a, den_a, num_b, den_b, same_fits)
    if seeds is None:
        return [Component(variance, freedom)]
    return [Component(variance * kept_share(influences), freedom), seeds]


def _influences(
    num_a: np.ndarray,
    den_a: np.ndarray,
    num_b: np.ndarray,
    den_b: np.ndarray,
    clusters: np.ndarray,
    same_fits: bool,
) -> list[np.ndarray]:
    """Both sides' influence by seed, or that of their differences where fits are the same."""
    a, b = influence_by_seed(num_a, den_a, clusters), influence_by_seed(num_b, den_b, clusters)
    return [a - b] if same_fits else [a, b]


def _seed_component(
    num_a: np.ndarray, den_a: np.ndarray, num_b: np.ndarray, den_b: np.ndarray, same_fits: bool
) -> Component | None:
    scores_a = num_a.sum(axis=1) / den_a.sum(axis=1)
    scores_b = num_b.sum(axis=1) / den_b.sum(axis=1)
    if same_fits:
        return seed_component(scores_a - scores_b)
    found = [seed_component(scores_a), seed_component(scores_b)]
    return pooled([part for part in found if part is not None])


def _swapped_sums(change: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Random swaps: what (num, den) move from B to A in each, (resamples, 2)."""
    kinds, times = distinct(change)
    if len(kinds) * _COUNT_COST <= len(change):
        return rng.binomial(times, 0.5, size=(resamples, len(kinds))) @ kinds
    moved = np.empty((resamples, 2))
    block = max(1, _BLOCK // len(change))
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        bits = rng.integers(0, 2, (size, len(change)), dtype=np.int8)
        moved[start : start + size] = bits.astype(float) @ change
    return moved


def _difference(total: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Difference of ratios after moving sums: total (4,), moved (..., 2)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        a = (total[0] + moved[..., 0]) / (total[1] + moved[..., 1])
        b = (total[2] - moved[..., 0]) / (total[3] - moved[..., 1])
    return np.asarray(a - b)


def _extreme(total: np.ndarray, moved: np.ndarray, observed: float) -> np.ndarray:
    """Which swaps differ at least as much as observed; undefined ratios count as extreme."""
    values = np.abs(_difference(total, moved))
    return ~(values < observed - _ROUNDING)
