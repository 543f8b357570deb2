"""Several systems on several tasks: ranks, wins, and whether the order means anything.

Tasks are the units here: one score a system and task, tasks taken as draws from the tasks that
one cares about. Sources: Demsar, JMLR 7 (2006), for Friedman's test, Nemenyi's critical
difference and their use on classifiers; Friedman, JASA 32 (1937), with the correction for ties
of Conover (*Practical Nonparametric Statistics*, 1999, 5.8); Iman and Davenport,
*Communications in Statistics* A9 (1980), for the F statistic, less conservative than chi-square.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import fdtrc

from harness.stats.bootstrap import LEVEL, RESAMPLES

#: Below it Friedman's test has next to no power, and neither its chi-square nor its F
#: approximation holds (Demsar 2006, 3.2.2, asks for more than ten for chi-square, k > 5)
FEWEST_TASKS = 5


class Friedman(NamedTuple):
    """Test of "all systems rank alike": Iman and Davenport's F, its p-value; NaN if undefined."""

    statistic: float
    p_value: float


def task_ranks(scores: np.ndarray) -> np.ndarray:
    """(systems, tasks) scores to ranks within each task: 1 is best, ties share their mean.

    The mean over tasks orders as Borda's count does (de Borda 1781). No NaN may be among them.
    """
    if np.isnan(scores).any():
        raise ValueError("a system without a score on a task cannot be ranked with the others")
    better = (scores[None, :, :] > scores[:, None, :]).sum(axis=1)
    equal = (scores[None, :, :] == scores[:, None, :]).sum(axis=1)
    return np.asarray(better + (equal + 1) / 2)


def win_rates(scores: np.ndarray) -> np.ndarray:
    """Share of tasks on which row beats column, a tie counting half: (systems, systems).

    NaN on the diagonal, and where two systems share no task; NaN scores are left out pairwise.
    """
    wins = (scores[:, None, :] > scores[None, :, :]).astype(float)
    wins += 0.5 * (scores[:, None, :] == scores[None, :, :])
    both = ~(np.isnan(scores)[:, None, :] | np.isnan(scores)[None, :, :])
    shared = both.sum(axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = np.where(shared > 0, (wins * both).sum(axis=2) / shared, np.nan)
    np.fill_diagonal(rates, np.nan)
    return np.asarray(rates)


def rank_intervals(
    ranks: np.ndarray, *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> np.ndarray:
    """Percentile bootstrap of each system's mean rank over tasks: (systems, 2).

    Tasks are drawn with replacement. NaN for fewer than two tasks. With few tasks it is too
    narrow, as every bootstrap of few units is; it says how the order hangs on single tasks.
    """
    systems, tasks = ranks.shape
    if tasks < 2:
        return np.full((systems, 2), np.nan)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(tasks, np.full(tasks, 1 / tasks), size=resamples)
    means = counts @ ranks.T / tasks
    return np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0).T


def friedman(ranks: np.ndarray) -> Friedman:
    """Friedman's test on (systems, tasks) ranks, corrected for ties, as Iman and Davenport's F.

    NaN for fewer than two systems or tasks, or where every task ties all systems.
    """
    systems, tasks = ranks.shape
    if systems < 2 or tasks < 2:
        return Friedman(float("nan"), float("nan"))
    spread = np.square(ranks - (systems + 1) / 2).sum()
    if spread == 0:
        return Friedman(float("nan"), float("nan"))
    sums = ranks.sum(axis=1)
    between = np.square(sums - tasks * (systems + 1) / 2).sum()
    chi_square = (systems - 1) * between / spread
    rest = tasks * (systems - 1) - chi_square
    if rest <= 1e-12:  # every task orders the systems the same
        return Friedman(float("inf"), 0.0)
    statistic = (tasks - 1) * chi_square / rest
    freedom = systems - 1
    return Friedman(float(statistic), float(fdtrc(freedom, freedom * (tasks - 1), statistic)))


def critical_difference(systems: int, tasks: int, alpha: float = 0.05) -> float:
    """Nemenyi's: mean ranks that lie farther apart differ, at ``alpha`` over all pairs.

    q * sqrt(k (k + 1) / (6 N)) with q the studentized range's quantile, infinite degrees of
    freedom, over sqrt(2) (Demsar 2006, 3.2.2).
    """
    if systems < 2 or tasks < 1:
        return float("nan")
    from scipy.stats import studentized_range  # a second, which boards of few tasks are spared

    q = float(studentized_range.ppf(1 - alpha, systems, np.inf)) / np.sqrt(2)
    return float(q * np.sqrt(systems * (systems + 1) / (6 * tasks)))


def nemenyi_p(mean_ranks: np.ndarray, tasks: int) -> np.ndarray:
    """Pairwise p-values of Nemenyi's test, (systems, systems), ones on the diagonal."""
    from scipy.stats import studentized_range

    systems = len(mean_ranks)
    error = np.sqrt(systems * (systems + 1) / (6 * tasks))
    apart = np.abs(mean_ranks[:, None] - mean_ranks[None, :]) / error * np.sqrt(2)
    p = np.asarray(studentized_range.sf(apart, systems, np.inf))
    np.fill_diagonal(p, 1.0)
    return np.clip(p, 0.0, 1.0)
