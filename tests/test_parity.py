"""Parity figures, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.backends.parity import parity


def test_it_is_the_largest_difference_over_the_largest_reference():
    reference = [np.array([1.0, -4.0]), np.array([[2.0, 0.5], [1.0, 3.0]])]
    logits = [np.array([1.0, -4.1]), np.array([[2.0, 0.5], [1.2, 3.0]])]
    result = parity(reference, logits)
    assert result["parity_abs_diff"] == pytest.approx(0.2)
    assert result["parity_rel_diff"] == pytest.approx(0.05)
    assert result["examples"] == 2


def test_equal_logits_are_exactly_zero_apart_even_if_all_are_zero():
    assert parity([np.zeros(3)], [np.zeros(3)])["parity_rel_diff"] == 0.0


def test_any_difference_from_all_zero_is_infinitely_far():
    assert parity([np.zeros(2)], [np.array([0.0, 1e-9])])["parity_rel_diff"] == math.inf


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_logit_that_is_not_finite_on_one_side_is_infinitely_far(bad):
    assert parity([np.array([1.0, 2.0])], [np.array([1.0, bad])])["parity_rel_diff"] == math.inf
    assert parity([np.array([1.0, bad])], [np.array([1.0, 2.0])])["parity_rel_diff"] == math.inf


def test_the_same_infinity_on_both_sides_is_no_difference():
    row = np.array([1.0, -math.inf])
    assert parity([row], [row.copy()])["parity_rel_diff"] == 0.0


def test_nothing_compared_is_no_figure():
    result = parity([], [])
    assert result["parity_rel_diff"] is None
    assert "no logits" in result["parity_rel_diff_reason"]


def test_unequal_shapes_and_counts_are_errors():
    with pytest.raises(ValueError, match="row 0: shape"):
        parity([np.zeros(2)], [np.zeros(3)])
    with pytest.raises(ValueError, match="1 reference rows against 0"):
        parity([np.zeros(2)], [])
