"""How often would the rule be wrong, and how often right? Simulated from rows' own noise.

Alarm rate (equal things called a regression), power (a planted loss called one) and the share of
`inconclusive` belong together: a rule that always said "inconclusive" would raise no false alarm.
The simulation calls the very functions that judge real records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.boards.outcomes import Outcomes
from harness.compare.quality import difference, is_drawn
from harness.compare.rule import decide, is_worse
from harness.compare.sides import Side, SideRow
from harness.compare.speed import (
    ASSUMED_LAUNCH_SD,
    DEFAULT_LAUNCHES,
    Change,
    judge,
)
from harness.stats.log_ratio import paired_log_ratio

SLOWDOWNS = (0.05, 0.10)
LOSS = 0.03
#: share of test examples on which two equal things disagree, half of them either way: two seeds
#: of one recipe, or one model before and after a change of rounding, differ by a few percent
DISCORDANT = 0.04
#: launches from which a row's own noise is used
ENOUGH = 6


@dataclass(frozen=True)
class Rates:
    """Shares of simulated comparisons; ``effect`` is the planted change, 0 for equal things."""

    what: str
    effect: float
    units: str
    regression: float
    inconclusive: float
    equivalent: float
    improved: float
    repeats: int


def launch_rates(
    noise: Callable[[int, np.random.Generator], np.ndarray],
    what: str,
    effect: float,
    launches: int,
    margin: float,
    repeats: int,
    seed: int = 0,
) -> Rates:
    """Interleaved runs of ``launches`` pairs, and as many again where the first look suspicious.

    ``noise(count, rng)`` draws that many pairs' log differences of equal things.
    """
    rng = np.random.default_rng(seed)
    verdicts: Counter[str] = Counter()
    for _ in range(repeats):
        pairs = noise(2 * launches, rng) + np.log1p(effect)
        verdicts[launch_verdict(pairs, launches, margin)] += 1
    return _rates(what, effect, f"{launches} pairs", verdicts, repeats)


def launch_verdict(pairs: np.ndarray, launches: int, margin: float) -> str:
    """What `harness compare --rerun` says of pairs' log differences; the later ones are used only
    where the first ``launches`` raise a suspicion."""
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
        found.change, margin, agreed=found.agreed, agreed_better=found.agreed_better
    ).verdict


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
        verdicts[decide(change, margin, confirmable=False).verdict] += 1
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


def row_noise(row: SideRow, metric: str) -> tuple[Callable[..., np.ndarray], float, str]:
    """A row's own launch noise as a source of pairs' log differences, its SD, and its origin."""
    values = np.array(
        [float(x.timing[metric]) for x in row.launches if (x.timing.get(metric) or 0) > 0]
    )
    if len(values) >= ENOUGH:
        logs = np.log(values)
        rest = (logs - logs.mean()) * np.sqrt(len(logs) / (len(logs) - 1))

        def own(count: int, rng: np.random.Generator) -> np.ndarray:
            return np.asarray(rng.choice(rest, count) - rng.choice(rest, count))

        return own, float(rest.std()), f"{len(values)} launches"

    def assumed(count: int, rng: np.random.Generator) -> np.ndarray:
        return rng.normal(0, ASSUMED_LAUNCH_SD * np.sqrt(2), count)

    return assumed, ASSUMED_LAUNCH_SD, "assumed"


def side_rates(
    side: Side, speed_margin: float, quality_margin: float, repeats: int,
    name: Callable[[SideRow], str], launches: int = DEFAULT_LAUNCHES,
) -> list[Rates]:  # fmt: skip
    """Rates of every row: latency at the default number of launches and at twice that; quality
    with the same weights, and retrained where the row's seeds were drawn."""
    found: list[Rates] = []
    for row in side.rows.values():
        if not row.row.ok:
            continue
        if row.launches:
            noise, sd, origin = row_noise(row, "latency_p50_ms")
            what = f"{name(row)}: latency (launch SD {100 * sd:.1f}%, {origin})"
            margin = float(np.log1p(speed_margin))
            for count, effects in (
                (launches, (0.0, *SLOWDOWNS)),
                (2 * launches, (0.0, *SLOWDOWNS)),
            ):
                for effect in effects:
                    found.append(launch_rates(noise, what, effect, count, margin, repeats))
        outcomes = row.row.outcomes()
        if outcomes is None or not len(outcomes):
            continue
        drawn = any(is_drawn(run.fit_spec) for run in row.row.ok)
        what = f"{name(row)}: {row.flat['score_name']}"
        modes: list[tuple[str, dict[str, Any]]] = [
            ("the same weights", {"same_fits": True, "drawn": False})
        ]
        if drawn:
            seeds = len(outcomes.num)
            scores = outcomes.num.sum(1) / outcomes.den.sum(1)
            sd = float(scores.std(ddof=1)) if seeds > 2 else 0.005
            mode = f"retrained, {seeds} seed{'s' * (seeds > 1)}, seed SD {100 * sd:.1f} pt"
            modes.append((mode, {"same_fits": False, "drawn": True, "seed_sd": sd}))
        for label, how in modes:
            for loss in (0.0, LOSS):
                found.append(
                    quality_rates(
                        outcomes, f"{what} ({label})", loss, quality_margin, repeats, **how
                    )
                )
    return found


def _rates(what: str, effect: float, units: str, verdicts: Counter[str], repeats: int) -> Rates:
    shares = {
        verdict: verdicts[verdict] / repeats
        for verdict in ("regression", "inconclusive", "equivalent", "improved")
    }
    return Rates(what, effect, units, repeats=repeats, **shares)
