"""The study's arithmetic, by hand."""

from __future__ import annotations

import pytest

from tests.benchmarks.choose_study import regrets, tau_interval


def test_regret_is_what_the_best_scores_more_than_the_pick() -> None:
    scores = {"a/fine-tune": 0.9, "a/linear-probe": 0.7, "b/baseline": 0.8}
    found = regrets(scores, "b/baseline", "a/fine-tune", ["a/linear-probe"])
    assert found == pytest.approx({"choose": 0.1, "leader": 0.0, "random": 0.1, "largest": 0.2})


def test_tau_is_the_mean_over_sets_and_its_interval_holds_it() -> None:
    up, down = [(1, 1), (2, 2), (3, 3)], [(1, 3), (2, 2), (3, 1)]
    assert tau_interval([up, up]) == (1.0, 1.0, 1.0)
    tau, low, high = tau_interval([up, down])
    assert tau == 0.0 and low == -1.0 and high == 1.0
