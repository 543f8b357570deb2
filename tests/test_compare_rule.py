"""The rule as pure statistics: what is called, what is not, and at which rates."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from harness.boards.outcomes import Outcomes
from harness.compare.judge import row_name
from harness.compare.power import (
    comparisons,
    launch_rates,
    launch_verdict,
    quality_rates,
    side_rates,
)
from harness.compare.quality import difference
from harness.compare.rule import Change, decide, units_to_decide
from harness.compare.sides import read_side
from harness.compare.speed import DEFAULT_LAUNCHES
from harness.stats.discoveries import benjamini_hochberg
from harness.stats.log_ratio import paired_log_ratio, welch_log_ratio
from tests.records import write_results
from tests.test_compare_sides import launches, run_of

MARGIN = 0.03


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (Change(0.05, 0.04, 0.06, 0.001), "regression"),
        (Change(-0.05, -0.06, -0.04, 0.001), "improved"),
        (Change(0.01, 0.005, 0.02, 0.001), "equivalent"),  # there, and of no consequence
        (Change(0.02, 0.01, 0.04, 0.001), "inconclusive"),  # there, perhaps beyond the margin
        (Change(0.05, -0.01, 0.11, 0.1), "inconclusive"),
        (Change(0.05, float("nan"), float("nan")), "inconclusive"),
    ],
)
def test_the_interval_and_the_margin_decide(change: Change, verdict: str) -> None:
    assert decide(change, MARGIN).verdict == verdict


def test_a_regression_needs_its_confirmation_and_a_small_q() -> None:
    worse = Change(0.05, 0.04, 0.06, 0.001)
    assert decide(worse, MARGIN, agreed=False).verdict == "inconclusive"
    assert decide(worse, MARGIN, q=0.051).verdict == "inconclusive"
    assert decide(worse, MARGIN, q=0.049, agreed_better=False).verdict == "regression"
    once = Change(0.05, 0.001, 0.1, 0.03)
    assert decide(once, MARGIN, confirmable=False).verdict == "inconclusive"


def test_paired_and_welch_intervals_are_those_of_scipy() -> None:
    rng = np.random.default_rng(1)
    base, head = np.exp(rng.normal(2, 0.1, 9)), np.exp(rng.normal(2.2, 0.3, 9))
    a, b = np.log(base), np.log(head)
    ours, theirs = paired_log_ratio(base, head), stats.ttest_rel(b, a)
    assert ours.p_value == pytest.approx(theirs.pvalue)
    limits = theirs.confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((limits.low, limits.high))
    welch, theirs = welch_log_ratio(base, head[:6]), stats.ttest_ind(b[:6], a, equal_var=False)
    assert welch.p_value == pytest.approx(theirs.pvalue)
    limits = theirs.confidence_interval(0.95)
    assert (welch.low, welch.high) == pytest.approx((limits.low, limits.high))


def test_another_hour_of_the_host_widens_an_interval_whatever_the_launches() -> None:
    base = np.exp(np.random.default_rng(1).normal(0, 0.001, 500))
    wide = welch_log_ratio(base, base, between=0.08)
    assert wide.high == pytest.approx(1.96 * 0.08 * 2**0.5, rel=0.01)


def test_q_values_are_those_of_scipy() -> None:
    p = np.random.default_rng(2).random(20) ** 3
    assert benjamini_hochberg(list(p)) == pytest.approx(stats.false_discovery_control(p))
    assert benjamini_hochberg([]) == []
    with pytest.raises(ValueError, match="p-values"):
        benjamini_hochberg([1.2])


def test_the_advised_number_of_launches_decides() -> None:
    spread = 0.047
    for value in (0.0, 0.05, 0.10):
        count = units_to_decide(value, spread, MARGIN)
        assert count is not None
        half = stats.t.ppf(0.975, count - 1) * spread / count**0.5
        assert decide(Change(value, value - half, value + half, 0.01), MARGIN).verdict in (
            "equivalent",
            "regression",
        )
    assert units_to_decide(0.0, spread, MARGIN, fixed=0.04) is None


def published_noise(count: int, rng: np.random.Generator) -> np.ndarray:
    """Differences of launches that spread by 3.3%, as equal launches of a plain loop did."""
    return rng.normal(0, 0.033 * 2**0.5, count)


def test_launches_that_spread_by_three_percent_meet_the_targets() -> None:
    margin = np.log1p(MARGIN)
    equal = launch_rates(published_noise, "equal", 0.0, DEFAULT_LAUNCHES, margin, 1000)
    assert equal.regression <= 0.01
    slow = launch_rates(published_noise, "10%", 0.10, DEFAULT_LAUNCHES, margin, 300)
    assert slow.regression >= 0.9
    small = launch_rates(published_noise, "5%", 0.05, 2 * DEFAULT_LAUNCHES, margin, 300)
    assert small.regression >= 0.9


@pytest.mark.parametrize("sd", [0.1, 0.5])
def test_a_noisy_host_makes_no_alarms_but_inconclusive_comparisons(sd: float) -> None:
    def noise(count: int, rng: np.random.Generator) -> np.ndarray:
        return rng.standard_t(3, count) * sd

    equal = launch_rates(noise, "equal", 0.0, DEFAULT_LAUNCHES, np.log1p(MARGIN), 1000)
    assert equal.regression <= 0.01 and equal.inconclusive > 0.9


MEASURED = sorted((Path(__file__).parent / "compare_data").glob("launches-*.csv"))


@pytest.mark.parametrize("path", MEASURED, ids=lambda p: p.stem)
def test_equal_things_resampled_from_real_launches_raise_no_alarm(path: Path) -> None:
    """1,000 comparisons: a stretch of real launches, in order, taking turns as BASE and HEAD."""
    with open(path) as file:
        logs = np.log([float(row["latency_p50_ms"]) for row in csv.DictReader(file)])
    rng = np.random.default_rng(3)
    alarms = 0
    for _ in range(1000):
        begin = rng.integers(0, len(logs) - 4 * DEFAULT_LAUNCHES + 1)
        pairs = logs[begin : begin + 4 * DEFAULT_LAUNCHES].reshape(-1, 2)
        signs = rng.choice([-1, 1], len(pairs))  # which of a pair went first
        difference = signs * (pairs[:, 1] - pairs[:, 0])
        alarms += launch_verdict(difference, DEFAULT_LAUNCHES, np.log1p(MARGIN)) == "regression"
    assert alarms <= 10


def outcomes(seeds: int) -> Outcomes:
    rng = np.random.default_rng(4)
    num = np.repeat((rng.random(2000) < 0.93)[None] * 1.0, seeds, axis=0)
    return Outcomes(pa.array([f"{i}" for i in range(2000)]), np.arange(2000), num, num * 0 + 1)


@pytest.mark.parametrize(
    ("seeds", "how"),
    [
        (1, {"same_fits": True, "drawn": False}),
        (5, {"same_fits": False, "drawn": True, "seed_sd": 0.005}),
    ],
)
def test_three_points_on_2000_examples_are_seen_and_equal_things_are_not(
    seeds: int, how: dict[str, object]
) -> None:
    equal = quality_rates(outcomes(seeds), "equal", 0.0, 0.01, 150, **how)  # type: ignore[arg-type]
    assert equal.regression <= 0.02  # 3 of 150: a true 1% passes in 94 of 100 draws
    loss = quality_rates(outcomes(seeds), "loss", 0.03, 0.01, 60, **how)  # type: ignore[arg-type]
    assert loss.regression >= 0.9


@pytest.mark.parametrize(("examples", "p"), [(5, 0.0625), (6, 0.03125)])
def test_a_few_examples_that_all_got_worse_are_as_sure_as_an_exact_test(
    examples: int, p: float
) -> None:
    """The same weights, all answers right and then all wrong: no variance, and no certainty."""
    ids, clusters = pa.array([str(n) for n in range(examples)]), np.arange(examples)
    right = np.ones((2, examples))
    before, after = (Outcomes(ids, clusters, num, right) for num in (right, 0 * right))
    change, _ = difference(before, after, same_fits=True, drawn=False)
    assert change.p_value == p
    assert (change.low > 0) == (p < 0.05)


def test_one_retrained_seed_is_no_evidence_of_a_small_loss() -> None:
    equal = quality_rates(
        outcomes(1), "equal", 0.0, 0.01, 60, same_fits=False, drawn=True, seed_sd=0.01
    )
    assert equal.regression == 0


def test_many_comparisons_at_once_cost_power_and_raise_no_alarms() -> None:
    margin = np.log1p(MARGIN)

    def rate(effect: float, others: int) -> float:
        return launch_rates(
            published_noise, "", effect, DEFAULT_LAUNCHES, margin, 200, others=others
        ).regression

    assert rate(0.05, 0) - rate(0.05, 400) > 0.1
    assert rate(0.0, 400) == 0.0


def test_a_row_says_whether_its_noise_is_its_own(tmp_path: Path) -> None:
    place = write_results(tmp_path, size=60, trouble=False)
    (run,) = run_of(place, "tfidf", "topics", "sklearn")
    launches(run, [0.4, 0.41, 0.39, 0.4, 0.42, 0.4])
    side = read_side("side", place)
    rates = side_rates(side, 0.03, 0.01, 2, row_name, 6)
    noise = {rate.what: rate.noise for rate in rates}
    assert {n for what, n in noise.items() if "latency" in what and "tfidf" in what} == {"own"}
    assert {n for what, n in noise.items() if "latency" in what and "tfidf" not in what} == {
        "assumed"
    }
    assert any("assumed: 2 launches tell too little" in what for what in noise)
    assert {rate.comparisons for rate in rates} == {comparisons(side)}
    assert comparisons(side) > len(side.rows)
