from __future__ import annotations

import numpy as np
import pytest
import scikit_posthocs
from scipy import stats

from harness.stats.across import (
    critical_difference,
    friedman,
    nemenyi_p,
    rank_intervals,
    task_ranks,
    win_rates,
)
from harness.stats.pareto import pareto_front


def some_scores(systems: int = 4, tasks: int = 12, ties: bool = True) -> np.ndarray:
    rng = np.random.default_rng(systems * tasks)
    scores = rng.normal(0.8, 0.05, (systems, tasks)) + np.linspace(0, 0.08, systems)[:, None]
    return np.round(scores, 2) if ties else scores


def test_ranks_within_a_task_start_at_the_best_and_ties_share_their_mean() -> None:
    scores = np.array([[0.9, 0.5], [0.7, 0.5], [0.9, 0.5]])
    assert task_ranks(scores).tolist() == [[1.5, 2.0], [3.0, 2.0], [1.5, 2.0]]
    many = some_scores(7, 9)
    assert task_ranks(many) == pytest.approx(stats.rankdata(-many, axis=0))


def test_a_missing_score_is_never_ranked() -> None:
    with pytest.raises(ValueError, match="without a score"):
        task_ranks(np.array([[0.9], [np.nan]]))


def test_mean_ranks_order_as_bordas_count_does() -> None:
    scores = some_scores(6, 11)
    systems = len(scores)
    borda = [
        sum((scores[i, t] > scores[j, t]) + 0.5 * (scores[i, t] == scores[j, t])
            for t in range(11) for j in range(systems) if j != i)
        for i in range(systems)
    ]  # fmt: skip
    means = task_ranks(scores).mean(axis=1)
    assert borda == pytest.approx((systems - means) * 11)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("systems", "tasks"), [(3, 5), (4, 12), (8, 20)])
def test_friedman_equals_scipys_chi_square_turned_into_f(
    systems: int, tasks: int, ties: bool
) -> None:
    scores = some_scores(systems, tasks, ties)
    chi = stats.friedmanchisquare(*scores).statistic
    f = (tasks - 1) * chi / (tasks * (systems - 1) - chi)
    expected = stats.f.sf(f, systems - 1, (systems - 1) * (tasks - 1))
    assert friedman(task_ranks(scores)) == pytest.approx((f, expected))


def test_friedman_of_the_degenerate() -> None:
    assert np.isnan(friedman(np.full((3, 6), 2.0)).p_value)  # every task ties all
    assert np.isnan(friedman(np.ones((1, 6))).p_value)
    assert friedman(np.repeat([[1.0], [2.0], [3.0]], 6, axis=1)).p_value == 0.0  # all agree


@pytest.mark.parametrize(("systems", "q"), [(2, 1.960), (3, 2.343), (5, 2.728), (10, 3.164)])
def test_critical_difference_is_demsars(systems: int, q: float) -> None:
    """Table 5(a) of Demsar (2006): q of Nemenyi's test at 5%."""
    expected = q * np.sqrt(systems * (systems + 1) / (6 * 14))
    assert critical_difference(systems, 14) == pytest.approx(expected, rel=5e-4)


def test_nemenyi_equals_scikit_posthocs() -> None:
    scores = some_scores(5, 9)
    expected = scikit_posthocs.posthoc_nemenyi_friedman(scores.T).to_numpy()
    assert nemenyi_p(task_ranks(scores).mean(axis=1), 9) == pytest.approx(expected, abs=1e-6)


def test_mean_ranks_one_critical_difference_apart_have_p_five_percent() -> None:
    apart = np.array([1.0, 1.0 + critical_difference(4, 8), 2.5, 3.0])
    assert nemenyi_p(apart, 8)[0, 1] == pytest.approx(0.05, abs=1e-6)


def test_win_rates_count_ties_half_and_shared_tasks_only() -> None:
    scores = np.array([[0.9, 0.8, 0.7, np.nan], [0.8, 0.8, 0.9, 0.1], [np.nan] * 3 + [0.5]])
    rates = win_rates(scores)
    assert rates[0, 1] == rates[1, 0] == pytest.approx(0.5)  # won, tied, lost
    assert rates[2, 1] == 1.0
    assert np.isnan(rates[0, 2])
    assert np.isnan(np.diag(rates)).all()


def test_rank_intervals_hold_the_mean_and_are_the_same_every_time() -> None:
    ranks = task_ranks(some_scores(5, 10))
    bounds = rank_intervals(ranks)
    assert (bounds[:, 0] <= ranks.mean(axis=1)).all() and (ranks.mean(axis=1) <= bounds[:, 1]).all()
    assert np.array_equal(bounds, rank_intervals(ranks))
    error = ranks.std(axis=1) / np.sqrt(10)
    assert (bounds[:, 1] - bounds[:, 0]) / 2 == pytest.approx(1.96 * error, rel=0.12)
    assert np.isnan(rank_intervals(ranks[:, :1])).all()


def test_the_front_holds_what_nothing_beats_on_both_counts() -> None:
    score = np.array([0.9, 0.8, 0.85, 0.9, np.nan, 0.95])
    cost = np.array([5.0, 1.0, 3.0, 6.0, 0.1, np.nan])
    assert pareto_front(score, cost).tolist() == [True, True, True, False, False, False]


def test_equal_points_are_on_the_front_together_and_dearer_equals_are_not() -> None:
    assert pareto_front(np.array([0.9, 0.9, 0.9]), np.array([1.0, 1.0, 2.0])).tolist() == [
        True, True, False,
    ]  # fmt: skip
    assert pareto_front(np.array([]), np.array([])).tolist() == []


def test_the_front_equals_the_definition_on_random_points() -> None:
    rng = np.random.default_rng(0)
    score, cost = rng.integers(0, 12, 300) / 10, rng.integers(0, 12, 300) * 1.0
    slow = [
        not any((score[j] >= score[i]) and (cost[j] <= cost[i])
                and (score[j] > score[i] or cost[j] < cost[i]) for j in range(300))
        for i in range(300)
    ]  # fmt: skip
    assert pareto_front(score, cost).tolist() == slow
