"""Percentiles against brute force and the binomial distribution."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from harness.measure.percentiles import percentile, samples_needed


@pytest.mark.parametrize(("q", "needed"), [(0.5, 5), (0.9, 29), (0.95, 59), (0.99, 299)])
def test_samples_needed_are_the_textbook_figures(q, needed):
    assert samples_needed(q) == needed


@pytest.mark.parametrize("confidence", [0.8, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("q", [0.01, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999])
def test_samples_needed_are_the_fewest_by_the_binomial(q, confidence):
    """The largest of n samples exceeds the q-quantile unless all n lie below it."""
    needed = next(n for n in range(1, 10_000) if 1 - binom.pmf(n, n, q) >= confidence)
    assert samples_needed(q, confidence) == needed


def test_a_sample_one_short_of_what_is_needed_has_no_percentile():
    assert percentile(list(range(298)), 0.99) == (None, 299)
    assert percentile(list(range(299)), 0.99) == (296.0, 299)  # ceil(296.01) = 297th smallest
    assert percentile([], 0.5) == (None, 5)


@pytest.mark.parametrize("count", [29, 50, 100, 101, 300, 400])
@pytest.mark.parametrize("q", [0.07, 0.5, 0.9])
def test_it_is_the_smallest_sample_not_under_weibulls_quantile(q, count):
    samples = np.random.default_rng(count).permutation(count).astype(float)
    value, _ = percentile(samples, q)
    bound = np.quantile(samples, q, method="weibull")
    assert value == min(x for x in samples if x >= bound - 1e-9)


@pytest.mark.parametrize("count", [300, 312, 350, 399, 408, 1000])
def test_a_pause_on_every_hundredth_call_is_in_the_p99(count):
    samples = [50.0 if call % 100 == 99 else 1.0 for call in range(count + 1)][-count:]
    assert percentile(samples, 0.99)[0] == 50.0
    assert percentile(samples, 0.5)[0] == 1.0


def test_all_equal_samples_give_that_value():
    assert percentile([3.5] * 300, 0.99) == (3.5, 299)


@pytest.mark.parametrize("q", [0.0, 1.0, -1.0, 99.0])
def test_shares_outside_zero_and_one_are_refused(q):
    with pytest.raises(ValueError, match="between 0 and 1"):
        percentile([1.0], q)
