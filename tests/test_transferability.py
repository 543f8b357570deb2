"""LogME, H-score and LEEP against values worked out by hand and against other routes."""

from __future__ import annotations

import numpy as np
import pytest

from harness.stats.transferability import h_score, leep, logme


def test_leep_of_a_perfect_source_is_zero_and_of_a_useless_one_the_label_entropy() -> None:
    labels = np.array([0, 0, 1, 1])
    assert leep(np.eye(2)[labels], labels) == pytest.approx(0.0)
    assert leep(np.full((4, 2), 0.5), labels) == pytest.approx(np.log(0.5))


def test_leep_by_hand() -> None:
    """Two examples, two source classes. Joint P(y, z): rows (0.8, 0.2)/2 and (0.4, 0.6)/2; P(z) is
    (0.6, 0.4); P(y=0|z) = (2/3, 1/4). Expected: 0.8*2/3 + 0.2/4 = 7/12, and 0.4/3 + 0.6*3/4."""
    expected = (np.log(7 / 12) + np.log(0.4 / 3 + 0.45)) / 2
    assert leep(np.array([[0.8, 0.2], [0.4, 0.6]]), np.array([0, 1])) == pytest.approx(expected)


def test_h_score_by_hand() -> None:
    """Classes at -1 and +1 with spread 0.5: 1 / (1 + 0.25) of the variance is between them."""
    x = np.array([[-1.5], [-0.5], [0.5], [1.5]])
    assert h_score(x, np.array([0, 0, 1, 1])) == pytest.approx(1 / 1.25)


def test_h_score_is_the_sum_of_squared_canonical_correlations() -> None:
    """Bao et al., section 3: equal to what linear discriminant analysis' eigenvalues give."""
    from scipy.linalg import eigh

    draw = np.random.default_rng(0)
    labels = draw.integers(0, 3, 200)
    x = draw.normal(size=(200, 5)) + np.eye(3, 5)[labels] * 2
    centred = x - x.mean(0)
    between = sum(
        (labels == k).sum() * np.outer(m, m)
        for k in range(3)
        for m in [centred[labels == k].mean(0)]
    )
    values = eigh(between, centred.T @ centred, eigvals_only=True)
    assert h_score(x, labels) == pytest.approx(values.sum())


def test_logme_is_the_maximum_of_the_evidence() -> None:
    """Against scipy: the same evidence from its Gaussian marginal, maximised over alpha, beta."""
    from scipy.optimize import minimize
    from scipy.stats import multivariate_normal

    draw = np.random.default_rng(1)
    labels = np.arange(60) % 2
    x = draw.normal(size=(60, 4)) + np.outer(labels, [1.0, 0.5, 0, 0])

    def best(target: np.ndarray) -> float:
        def loss(logs: np.ndarray) -> float:
            alpha, beta = np.exp(logs)
            covariance = np.eye(60) / beta + x @ x.T / alpha
            return -float(multivariate_normal.logpdf(target, np.zeros(60), covariance))

        return -minimize(loss, [0.0, 0.0], method="Nelder-Mead").fun / 60

    wanted = np.mean([best((labels == k) * 1.0) for k in (0, 1)])
    assert logme(x, labels) == pytest.approx(wanted, abs=2e-4)


def test_logme_holds_with_more_features_than_examples() -> None:
    draw = np.random.default_rng(2)
    labels = np.arange(40) % 4
    good = draw.normal(size=(40, 100)) + 3 * np.eye(4, 100)[labels]
    assert logme(good, labels) > logme(draw.normal(size=(40, 100)), labels)


def test_features_that_tell_classes_apart_score_higher() -> None:
    draw = np.random.default_rng(3)
    labels = draw.integers(0, 4, 300)
    noise = draw.normal(size=(300, 8))
    shifts = [0.0, 0.5, 1.0, 2.0, 4.0]
    for measure in (logme, h_score):
        values = [measure(noise + s * np.eye(4, 8)[labels], labels) for s in shifts]
        assert values == sorted(values), measure.__name__


@pytest.mark.parametrize("measure", [logme, h_score, leep])
def test_one_class_has_no_transferability(measure: object) -> None:
    with pytest.raises(ValueError, match="two classes"):
        measure(np.full((4, 2), 0.5), np.zeros(4, int))  # type: ignore[operator]
