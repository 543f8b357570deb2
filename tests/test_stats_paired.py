from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from harness.stats.holm import holm
from harness.stats.paired import mcnemar_exact, paired_difference, paired_test, permutation_p


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 1), (3, 3), (2, 9), (40, 21), (0, 12)])
def test_mcnemar_equals_statsmodels_and_the_binomial_test(only_a: int, only_b: int) -> None:
    p = mcnemar_exact(only_a, only_b)
    assert p == pytest.approx(mcnemar([[50, only_a], [only_b, 7]], exact=True).pvalue, abs=1e-12)
    assert p == pytest.approx(stats.binomtest(only_a, only_a + only_b).pvalue, abs=1e-12)


def test_mcnemar_without_discordant_examples_has_p_one() -> None:
    assert mcnemar_exact(0, 0) == 1.0


def f1_counts(rng: np.random.Generator, size: int, skill: float) -> tuple[np.ndarray, np.ndarray]:
    den = rng.integers(0, 7, size).astype(float)
    return np.minimum(den, rng.binomial(6, skill, size)).astype(float), den


def enumerated_p(
    num_a: np.ndarray, den_a: np.ndarray, num_b: np.ndarray, den_b: np.ndarray, clusters: np.ndarray
) -> float:
    """The definition, one swap at a time."""
    observed = abs(num_a.sum() / den_a.sum() - num_b.sum() / den_b.sum())
    names = sorted(set(clusters.tolist()))
    hits = 0
    for flips in product([False, True], repeat=len(names)):
        swap = np.isin(clusters, [n for n, flip in zip(names, flips, strict=True) if flip])
        na, nb = np.where(swap, num_b, num_a), np.where(swap, num_a, num_b)
        da, db = np.where(swap, den_b, den_a), np.where(swap, den_a, den_b)
        hits += abs(na.sum() / da.sum() - nb.sum() / db.sum()) >= observed - 1e-12
    return hits / 2 ** len(names)


@pytest.mark.parametrize("seed", range(4))
def test_small_permutation_tests_are_exact(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = f1_counts(rng, 14, 0.8), f1_counts(rng, 14, 0.4)
    clusters = np.repeat(np.arange(7), 2)
    assert permutation_p(*a, *b, clusters) == pytest.approx(enumerated_p(*a, *b, clusters))


def test_drawn_permutations_come_close_to_all_of_them() -> None:
    rng = np.random.default_rng(8)
    a, b = f1_counts(rng, 14, 0.55), f1_counts(rng, 14, 0.5)
    clusters = np.arange(14)
    exact = permutation_p(*a, *b, clusters, resamples=2**14)
    drawn = permutation_p(*a, *b, clusters, resamples=2**13)
    assert 0.05 < exact < 0.95
    assert drawn == pytest.approx(exact, abs=0.03)


def test_permutation_of_paired_means_agrees_with_scipy() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.random(300), rng.random(300) - 0.04
    expected = stats.permutation_test(
        (a, b), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples",
        n_resamples=9999, rng=np.random.default_rng(0),
    ).pvalue  # fmt: skip
    ours = permutation_p(a, np.ones(300), b, np.ones(300), np.arange(300), resamples=9999)
    assert ours == pytest.approx(expected, abs=0.02)


def test_permutation_of_right_and_wrong_agrees_with_mcnemar() -> None:
    a, b = np.ones(400), np.ones(400)
    a[:30], b[25:70] = 0, 0
    drawn = permutation_p(a, np.ones(400), b, np.ones(400), np.arange(400), resamples=20_000)
    assert drawn == pytest.approx(mcnemar_exact(40, 25), abs=0.01)


def test_a_permutation_p_is_never_zero() -> None:
    a, b = np.ones(500), np.zeros(500)
    p = permutation_p(a, a, b, a, np.arange(500), resamples=1000)
    assert p == pytest.approx(1 / 1001)


def test_swapping_whole_documents_needs_more_evidence_than_swapping_sentences() -> None:
    a = np.ones(60)
    b = np.ones(60)
    b[:20] = 0  # all twenty errors stand in one document
    clusters = np.repeat(np.arange(3), 20)
    assert permutation_p(a, np.ones(60), b, np.ones(60), np.arange(60)) < 0.001
    assert permutation_p(a, np.ones(60), b, np.ones(60), clusters) == 1.0


def test_one_seed_of_accuracy_uses_mcnemar_and_documents_use_permutation() -> None:
    a, b, den = np.ones((1, 40)), np.ones((1, 40)), np.ones((1, 40))
    b[0, :6] = 0
    assert paired_test(a, den, b, den, np.arange(40)) == (mcnemar_exact(6, 0), "mcnemar")
    documents = np.repeat(np.arange(20), 2)
    assert paired_test(a, den, b, den, documents).method == "permutation"
    assert paired_difference(a, den, b, den, documents).value == pytest.approx(0.15)


def test_difference_interval_is_narrower_when_systems_err_together() -> None:
    rng = np.random.default_rng(0)
    a = (rng.random((1, 2000)) < 0.8).astype(float)
    alike = np.where(rng.random((1, 2000)) < 0.02, 1 - a, a)
    apart = rng.permutation(a, axis=1)
    den, clusters = np.ones((1, 2000)), np.arange(2000)
    near = paired_difference(a, den, alike, den, clusters)
    far = paired_difference(a, den, apart, den, clusters)
    assert near.high - near.low < (far.high - far.low) / 3


def test_difference_interval_has_the_paired_standard_error() -> None:
    a, b = np.ones((1, 1000)), np.ones((1, 1000))
    b[0, :100], a[0, 100:140] = 0, 0
    den, clusters = np.ones((1, 1000)), np.arange(1000)
    _, low, high = paired_difference(a, den, b, den, clusters, resamples=20_000)
    error = np.std(a - b) / np.sqrt(1000)
    assert (low, high) == pytest.approx((0.06 - 1.96 * error, 0.06 + 1.96 * error), abs=8e-4)


def test_identical_runtimes_differ_by_exactly_nothing() -> None:
    a, den = np.ones((2, 50)), np.ones((2, 50))
    a[:, :7] = 0
    pair = (a, den, a.copy(), den, np.arange(50))
    assert paired_difference(*pair, same_fits=True) == (0.0, 0.0, 0.0)
    assert paired_test(*pair, same_fits=True).p_value == 1.0


def test_a_difference_on_one_document_says_nothing_about_others() -> None:
    a, b, den = np.array([[1.0, 1.0]]), np.array([[1.0, 0.0]]), np.ones((1, 2))
    value, low, high = paired_difference(a, den, b, den, np.zeros(2, int))
    assert value == 0.5 and np.isnan([low, high]).all()


def test_runtimes_of_the_same_fits_do_not_pay_for_the_seeds_of_training() -> None:
    rng = np.random.default_rng(0)
    right = (rng.random((2, 1000)) < np.array([[0.80], [0.90]])).astype(float)
    int8 = np.where(rng.random((2, 1000)) < 0.01, 0, right)
    den, clusters = np.ones((2, 1000)), np.arange(1000)
    paired = paired_difference(int8, den, right, den, clusters, same_fits=True)
    unpaired = paired_difference(int8, den, right, den, clusters)
    assert paired.high - paired.low < 0.2 * (unpaired.high - unpaired.low)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_two_sets_of_seeds_of_one_recipe_are_rarely_called_different(seeds: int) -> None:
    """False alarms at 5%; a permutation of examples alone raises them far more often."""
    rng = np.random.default_rng(seeds)
    trials, alarms, naive = 300, 0, 0
    den, clusters = np.ones((seeds, 1000)), np.arange(1000)
    for _ in range(trials):
        ease = rng.beta(8, 2, 1000)
        shift = rng.normal(0, 0.02, (2, seeds, 1))
        a, b = (rng.random((2, seeds, 1000)) < np.clip(ease + shift, 0, 1)).astype(float)
        alarms += paired_test(a, den, b, den, clusters).p_value <= 0.05
        naive += (
            permutation_p(a.mean(0), den[0], b.mean(0), den[0], clusters, resamples=200) <= 0.05
        )
    assert alarms / trials <= 0.07
    assert naive / trials > 0.10


def test_a_real_difference_is_found_over_seeds() -> None:
    rng = np.random.default_rng(4)
    den = np.ones((3, 2000))
    a = (rng.random((3, 2000)) < 0.93).astype(float)
    b = (rng.random((3, 2000)) < 0.85).astype(float)
    result = paired_test(a, den, b, den, np.arange(2000))
    assert result.method == "seeds"
    assert result.p_value < 0.01


@pytest.mark.parametrize("seeds", [1, 2, 5])
@pytest.mark.parametrize("same_fits", [False, True])
@pytest.mark.parametrize(
    ("examples", "p", "low"),  # 2 / 2^n, and 2 * 0.025^(1/n) - 1
    [(2, 0.5, -0.6838), (3, 0.25, -0.4152), (5, 0.0625, -0.0437), (6, 0.03125, 0.0814)],
)
def test_examples_without_any_variance_are_as_sure_as_mcnemar_whatever_the_seeds(
    examples: int, p: float, low: float, seeds: int, same_fits: bool
) -> None:
    right, den = np.ones((seeds, examples)), np.ones((seeds, examples))
    sides = right, den, 0 * right, den, np.arange(examples)
    assert paired_test(*sides, same_fits=same_fits).p_value == mcnemar_exact(examples, 0) == p
    difference = paired_difference(*sides, same_fits=same_fits)
    assert difference == pytest.approx((1.0, low, 1.0), abs=1e-4)
    assert (difference.low > 0) == (p <= 0.05)
    swapped = (sides[2], den, right, den, sides[4])
    assert paired_difference(*swapped, same_fits=same_fits) == pytest.approx(
        (-1.0, -1.0, -low), abs=1e-4
    )


def test_many_examples_without_any_variance_are_sure() -> None:
    right, den, clusters = np.ones((2, 1000)), np.ones((2, 1000)), np.arange(1000)
    assert paired_test(right, den, 0 * right, den, clusters).p_value < 1e-9
    _, low, high = paired_difference(right, den, 0 * right, den, clusters)
    # 2 * 0.025^(1/1000) - 1
    assert (low, high) == pytest.approx((0.99264, 1.0), abs=1e-5)


def test_a_difference_that_is_the_same_up_to_rounding_is_no_certainty() -> None:
    """Documents of other lengths, of which A finds 90% and B 30%: influences of 1e-17."""
    den = np.array([[10.0, 30.0, 70.0, 110.0]] * 3)
    sides = 0.9 * den, den, 0.3 * den, den, np.arange(4)
    assert paired_test(*sides).p_value == 0.125
    # 0.6 less and more 2 * (1 - 0.025^(1/4)) * 0.6, no more than 1
    assert paired_difference(*sides) == pytest.approx((0.6, -0.1228, 1.0), abs=1e-4)


def test_the_interval_of_what_never_varied_covers_as_often_as_it_says() -> None:
    """Each of eight examples goes to A with probability q; seeds of one fit agree about it."""
    rng, trials = np.random.default_rng(5), 4000
    den, clusters = np.ones((2, 8)), np.arange(8)
    for q in (0.55, 0.7, 0.9):
        unanimous = rng.random((trials, 8)) < q
        unanimous = unanimous[unanimous.all(axis=1) | ~unanimous.any(axis=1)]
        missed = 0
        for won in unanimous:
            a = np.tile(won.astype(float), (2, 1))
            found = paired_difference(a, den, 1 - a, den, clusters)
            missed += not found.low <= 2 * q - 1 <= found.high
        assert missed / trials <= 0.05


@pytest.mark.parametrize("p", [[0.01, 0.04, 0.03], [0.5], [0.2, 0.001, 0.2, 0.9, 0.0004]])
def test_holm_equals_statsmodels(p: list[float]) -> None:
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1].tolist(), abs=1e-12)


def test_holm_of_nothing_is_nothing() -> None:
    assert holm([]) == []


def test_holm_refuses_what_is_no_probability() -> None:
    with pytest.raises(ValueError, match="p-values"):
        holm([0.2, float("nan")])
