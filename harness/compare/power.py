"""How often would the rule be wrong, and how often right? Simulated from rows' own noise.

Alarm rate (equal things called a regression), power (a planted loss called one) and the share of
`inconclusive` belong together: a rule that always said "inconclusive" would raise no false alarm.
The simulation calls the very functions that judge real records. A row is one of many: its q-value
is simulated among as many comparisons as the records hold, of which nothing else changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from harness.boards.outcomes import Outcomes
from harness.compare.quality import difference, is_drawn
from harness.compare.rule import decide, is_worse
from harness.compare.sides import Side, SideRow
from harness.compare.speed import (
    ASSUMED_LAUNCH_SD,
    DEFAULT_LAUNCHES,
    WORSE,
    Change,
    judge,
)
from harness.stats.discoveries import benjamini_hochberg
from harness.stats.log_ratio import paired_log_ratio

SLOWDOWNS = (0.05, 0.10)
LOSS = 0.03
#: share of test examples on which two equal things disagree, half of them either way: two seeds
#: of one recipe, or one model before and after a change of rounding, differ by a few percent
DISCORDANT = 0.04
#: standard deviation of a seed's score where a row has too few seeds to tell
ASSUMED_OWN_SEED_SD = 0.005
#: launches from which a row's own noise is used
ENOUGH = 6
#: p-values beside which a comparison stands that is made on its own
ALONE = np.empty(0)


@dataclass(frozen=True)
class Rates:
    """Shares of simulated comparisons; ``effect`` is the planted change, 0 for equal things.

    ``noise`` is ``own`` where it was measured on the row, else ``assumed``; ``comparisons``: how
    many are made at once, this one included.
    """

    what: str
    effect: float
    units: str
    regression: float
    inconclusive: float
    equivalent: float
    improved: float
    repeats: int
    noise: str = "own"
    comparisons: int = 1


def launch_rates(
    noise: Callable[[int, np.random.Generator], np.ndarray],
    what: str,
    effect: float,
    launches: int,
    margin: float,
    repeats: int,
    seed: int = 0,
    others: int = 0,
) -> Rates:
    """Interleaved runs of ``launches`` pairs, and as many again where the first look suspicious.

    ``noise(count, rng)`` draws that many pairs' log differences of equal things; ``others``: how
    many more comparisons are made, of things that are equal.
    """
    rng = np.random.default_rng(seed)
    verdicts: Counter[str] = Counter()
    for _ in range(repeats):
        pairs = noise(2 * launches, rng) + np.log1p(effect)
        verdicts[launch_verdict(pairs, launches, margin, rng.random(others))] += 1
    return _rates(what, effect, f"{launches} pairs", verdicts, repeats)


def launch_verdict(
    pairs: np.ndarray, launches: int, margin: float, other_p: np.ndarray = ALONE
) -> str:
    """What `harness compare --rerun` says of pairs' log differences, beside comparisons with the
    p-values ``other_p``; the later pairs are used only where the first ``launches`` raise a
    suspicion."""
    first, second = pairs[:launches], pairs[launches:]
    look = paired_log_ratio(np.ones(launches), np.exp(first))
    change = Change(look.value, look.low, look.high, look.p_value)
    if not (is_worse(change, margin) or is_worse(change.flipped(), margin)):
        second = second[:0]
    found = judge(
        (np.ones(launches), np.exp(first)), (np.ones(len(second)), np.exp(second)),
        1, margin, True, True, 0.0,
    )  # fmt: skip
    return decide(
        found.change, margin, q=_q(found.change, other_p),
        agreed=found.agreed, agreed_better=found.agreed_better,
    ).verdict  # fmt: skip


def _q(change: Change, other_p: np.ndarray) -> float:
    """The adjusted p-value of one change among others; 1 where one launch a side has none."""
    p_value = change.p_value if change.known else 1.0
    return benjamini_hochberg([p_value, *other_p])[0]


def quality_rates(
    outcomes: Outcomes,
    what: str,
    loss: float,
    margin: float,
    repeats: int,
    *,
    same_fits: bool,
    drawn: bool,
    seed_sd: float = 0.0,
    seed: int = 0,
    others: int = 0,
) -> Rates:
    """Comparisons on the row's own test examples, with `DISCORDANT` flips and a planted loss.

    ``seed_sd``: standard deviation of each seed's own shift, for retrained models.
    """
    rng = np.random.default_rng(seed)
    verdicts: Counter[str] = Counter()
    for _ in range(repeats):
        base = [_shifted(num, den, rng.normal(0, seed_sd), rng) for num, den in _seeds(outcomes)]
        head = [
            _shifted(num, den, -loss + rng.normal(0, seed_sd), rng) for num, den in _seeds(outcomes)
        ]
        a, b = (
            Outcomes(outcomes.ids, outcomes.clusters, np.stack(side), outcomes.den)
            for side in (base, head)
        )
        change, _ = difference(a, b, same_fits=same_fits, drawn=drawn)
        q = _q(change, rng.random(others))
        verdicts[decide(change, margin, q=q, confirmable=False).verdict] += 1
    return _rates(what, loss, f"{len(outcomes):,} examples", verdicts, repeats)


def _seeds(outcomes: Outcomes) -> list[tuple[np.ndarray, np.ndarray]]:
    return list(zip(outcomes.num, outcomes.den, strict=True))


def _shifted(
    num: np.ndarray, den: np.ndarray, shift: float, rng: np.random.Generator
) -> np.ndarray:
    """Outcomes with random flips either way, whose expected score moves by ``shift``."""
    scored = den > 0
    full = np.where(scored, den, 0.0)
    right = scored & (num >= full)
    wrong = scored & ~right
    each = DISCORDANT / 4 * scored.sum()  # both sides are flipped: half of the half for each
    down, up = each - min(0.0, shift) * scored.sum(), each + max(0.0, shift) * scored.sum()
    result = num.copy()
    for where, count, value in ((right, down, 0.0 * full), (wrong, up, full)):
        places = np.flatnonzero(where)
        chosen = places[rng.random(len(places)) < count / max(1, len(places))]
        result[chosen] = value[chosen]
    return result


class Noise(NamedTuple):
    """A source of pairs' log differences: ``draw(count, rng)``; ``sd`` is of one launch's log."""

    draw: Callable[[int, np.random.Generator], np.ndarray]
    sd: float
    origin: str  # own or assumed
    launches: int


def row_noise(row: SideRow, metric: str) -> Noise:
    """A row's own launch noise where it has `ENOUGH` launches, else `ASSUMED_LAUNCH_SD`."""
    values = np.array(
        [float(x.timing[metric]) for x in row.launches if (x.timing.get(metric) or 0) > 0]
    )
    if len(values) < ENOUGH:

        def assumed(count: int, rng: np.random.Generator) -> np.ndarray:
            return rng.normal(0, ASSUMED_LAUNCH_SD * np.sqrt(2), count)

        return Noise(assumed, ASSUMED_LAUNCH_SD, "assumed", len(values))
    logs = np.log(values)
    rest = (logs - logs.mean()) * np.sqrt(len(logs) / (len(logs) - 1))

    def own(count: int, rng: np.random.Generator) -> np.ndarray:
        return np.asarray(rng.choice(rest, count) - rng.choice(rest, count))

    return Noise(own, float(rest.std()), "own", len(values))


def comparisons(side: Side) -> int:
    """How many comparisons ``harness compare --rerun`` of a side's good rows makes at once."""
    count = 0
    for row in side.rows.values():
        outcomes = row.row.outcomes() if row.row.ok else None
        count += outcomes is not None and len(outcomes) > 0
        count += sum(any(x.timing.get(metric) for x in row.launches) for metric in WORSE)
    return count


def side_rates(
    side: Side, speed_margin: float, quality_margin: float, repeats: int,
    name: Callable[[SideRow], str], launches: int = DEFAULT_LAUNCHES,
) -> list[Rates]:  # fmt: skip
    """Rates of every row: latency at the default number of launches and at twice that; quality
    with the same weights, and retrained where the row's seeds were drawn."""
    total = comparisons(side)
    found: list[Rates] = []
    for row in side.rows.values():
        if row.row.ok:
            found += _latency_rates(row, name(row), speed_margin, launches, repeats, total - 1)
            found += _score_rates(row, name(row), quality_margin, repeats, total - 1)
    return [replace(rates, comparisons=total) for rates in found]


def _latency_rates(
    row: SideRow, name: str, margin: float, launches: int, repeats: int, others: int
) -> list[Rates]:
    if not row.launches:
        return []
    noise = row_noise(row, "latency_p50_ms")
    measured = f"{noise.launches} launch{'es' * (noise.launches != 1)}"
    origin = f"own, {measured}" if noise.origin == "own" else f"assumed: {measured} tell too little"
    what = f"{name}: latency (launch SD {100 * noise.sd:.1f}%, {origin})"
    rates = [
        launch_rates(
            noise.draw, what, effect, count, float(np.log1p(margin)), repeats, others=others
        )
        for count in (launches, 2 * launches)
        for effect in (0.0, *SLOWDOWNS)
    ]
    return [replace(rate, noise=noise.origin) for rate in rates]


def _score_rates(row: SideRow, name: str, margin: float, repeats: int, others: int) -> list[Rates]:
    outcomes = row.row.outcomes()
    if outcomes is None or not len(outcomes):
        return []
    modes: list[tuple[str, str, dict[str, Any]]] = [
        (
            f"the same weights, {100 * DISCORDANT:g}% of answers changed, assumed",
            "assumed",
            {"same_fits": True, "drawn": False},
        )
    ]
    if any(is_drawn(run.fit_spec) for run in row.row.ok):
        seeds = len(outcomes.num)
        scores = outcomes.num.sum(1) / outcomes.den.sum(1)
        origin = "own" if seeds > 2 else "assumed"
        sd = float(scores.std(ddof=1)) if seeds > 2 else ASSUMED_OWN_SEED_SD
        label = f"retrained, {seeds} seed{'s' * (seeds > 1)}, seed SD {100 * sd:.1f} pt, {origin}"
        modes.append((label, origin, {"same_fits": False, "drawn": True, "seed_sd": sd}))
    return [
        replace(
            quality_rates(
                outcomes, f"{name}: {row.flat['score_name']} ({label})", loss, margin, repeats,
                others=others, **how,
            ),
            noise=origin,
        )
        for label, origin, how in modes
        for loss in (0.0, LOSS)
    ]  # fmt: skip


def _rates(what: str, effect: float, units: str, verdicts: Counter[str], repeats: int) -> Rates:
    regression, inconclusive, equivalent, improved = (
        verdicts[verdict] / repeats
        for verdict in ("regression", "inconclusive", "equivalent", "improved")
    )
    return Rates(what, effect, units, regression, inconclusive, equivalent, improved, repeats)
