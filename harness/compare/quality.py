"""Quality: the paired difference on the same test examples, over seeds.

What counts as chance depends on the weights:

- the same fits on both sides (another runtime, another version of one): only examples are drawn
- other weights, three seeds a side or more: seeds are drawn too, with the variance that the seeds
  of both sides show together (equal in truth, for one recipe)
- other weights, fewer seeds: the variance is assumed, `ASSUMED_SEED_SD`, or what the seeds show
  if that is more. A single retraining moves a score without anything having got worse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.boards.outcomes import Outcomes, join
from harness.compare.rule import Change, units_to_decide
from harness.compare.sides import SideRow
from harness.stats.clusters import influence, influence_variance
from harness.stats.paired import components_p, paired_difference
from harness.stats.seeds import Component, half_width

#: Standard deviation of a fine-tuned model's score over seeds, where the records cannot tell.
#: Dodge et al. (2020), arXiv:2002.06305, and Mosbach et al. (2021), arXiv:2006.04884, find 0.3
#: (SST-2, 67,000 examples) to several points (RTE, 2,500) for BERT; one point is SQuAD's and
#: MRPC's order.
ASSUMED_SEED_SD = 0.01
#: with it, degrees of freedom: an assumption is worth about as much as five observed seeds
ASSUMED_FREEDOM = 4
#: seeds a side from which their own variance is used
ENOUGH_SEEDS = 3


@dataclass(frozen=True)
class QualityChange:
    """``change`` is positive where HEAD scores lower; in shares of 1."""

    change: Change
    base: float
    head: float
    basis: str
    needs: str


def is_drawn(spec: Mapping[str, Any]) -> bool:
    """Whether a fit's seed can move its score: not for baselines and convex probes."""
    if spec.get("recipe") == "baseline":
        return False
    hidden = (spec.get("settings") or {}).get("hidden")
    return not (spec.get("recipe") == "linear-probe" and not hidden)


def quality_change(base: SideRow, head: SideRow, margin: float) -> QualityChange | None:
    """None where a side has no scored run, or the two share no test example."""
    a_runs, b_runs = base.row.ok, head.row.ok
    same_fits = bool(a_runs) and {r.fit_id for r in a_runs} == {r.fit_id for r in b_runs}
    order = [r.fit_id for r in a_runs] if same_fits else None
    a, b = base.row.outcomes(order), head.row.outcomes(order)
    if a is None or b is None:
        return None
    a, b = join(a, b)
    if not len(a):
        return None
    drawn = not same_fits and any(is_drawn(run.fit_spec) for run in (*a_runs, *b_runs))
    change, seeds = difference(a, b, same_fits=same_fits, drawn=drawn)
    basis = f"{len(a):,} examples, " + (
        "the same weights" if same_fits else f"{len(a.num)} and {len(b.num)} seeds"
    )
    if drawn and min(len(a.num), len(b.num)) < ENOUGH_SEEDS:
        basis += f" (seed SD assumed {100 * ASSUMED_SEED_SD:.0f} point)"
    needs = _needs(a, b, change, seeds, margin, drawn)
    return QualityChange(change, a.score, b.score, basis, needs)


def difference(
    a: Outcomes, b: Outcomes, *, same_fits: bool, drawn: bool
) -> tuple[Change, Component | None]:
    """Score of ``a`` less score of ``b`` (positive: b is worse), and the seeds' part of it."""
    equal = a.num.shape == b.num.shape and np.array_equal(a.num, b.num)
    if equal and np.array_equal(a.den, b.den):
        return Change(0.0, 0.0, 0.0, 1.0), None
    seeds = None
    if same_fits and len(a.num) > 1:
        gaps = a.num.sum(1) / a.den.sum(1) - b.num.sum(1) / b.den.sum(1)
        seeds = Component(float(np.var(gaps, ddof=1)) / len(gaps), len(gaps) - 1)
    elif drawn:
        seeds = seed_part(a, b)
    # the example part holds seeds fixed: average each example's outcome over them
    one_a, one_b = _held(a), _held(b)
    found = paired_difference(one_a[0], one_a[1], one_b[0], one_b[1], a.clusters)
    residuals = influence(a.num, a.den, a.clusters) - influence(b.num, b.den, b.clusters)
    examples = Component(influence_variance(residuals), max(1, len(residuals) - 1))
    value, low, high = found.value, found.low, found.high
    parts = [examples]
    if seeds:
        extra = half_width([seeds])
        low, high = (
            value - float(np.hypot(value - low, extra)),
            value + float(np.hypot(high - value, extra)),
        )
        parts.append(seeds)
    return Change(value, low, high, components_p(value, parts)), seeds


def seed_part(a: Outcomes, b: Outcomes) -> Component:
    """Variance of the difference of means over independent seeds; see the module's head."""
    scores = [o.num.sum(1) / o.den.sum(1) for o in (a, b)]
    counts = [len(s) for s in scores]
    freedom = sum(counts) - 2
    shown = sum(float(np.square(s - s.mean()).sum()) for s in scores) / max(1, freedom)
    if min(counts) < ENOUGH_SEEDS:
        shown, freedom = max(shown, ASSUMED_SEED_SD**2), ASSUMED_FREEDOM
    return Component(shown * (1 / counts[0] + 1 / counts[1]), freedom)


def _held(o: Outcomes) -> tuple[np.ndarray, np.ndarray]:
    """One pseudo-run whose ratio is the mean of the seeds' ratios: weights 1 / sum(den)."""
    if len(o.num) == 1:
        return o.num, o.den
    total = o.den.sum(axis=1, keepdims=True)
    share = o.num / total
    return share.mean(axis=0)[None], (o.den / total).mean(axis=0)[None]


def _needs(
    a: Outcomes, b: Outcomes, change: Change, seeds: Component | None, margin: float, drawn: bool
) -> str:
    """What would decide an undecided difference: examples, or seeds."""
    fixed = half_width([seeds]) if seeds else 0.0
    gap = influence(a.num, a.den, a.clusters) - influence(b.num, b.den, b.clusters)
    clusters = len(gap)
    spread = float(np.sqrt(influence_variance(gap) * clusters))
    count = units_to_decide(change.value, spread, margin, fixed)
    if count is not None and clusters < count < 100 * clusters:
        return f"about {count - clusters:,} more test examples"
    room = abs(change.value) if abs(change.value) > margin else margin - abs(change.value)
    examples = max(0.0, (change.high - change.low) / 2)
    without = float(np.sqrt(max(0.0, examples**2 - fixed**2)))
    if drawn and seeds and room > without:
        per_seed = float(np.sqrt(seeds.variance / (1 / len(a.num) + 1 / len(b.num))))
        total = units_to_decide(change.value, per_seed * np.sqrt(2), margin, without)
        if total is not None and total < 100:
            more = max(total, ENOUGH_SEEDS) - min(len(a.num), len(b.num))
            if more > 0:
                return f"about {more} more seeds a side"
    return "more test examples and seeds: the change lies near the margin"
