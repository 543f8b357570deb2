"""Test inputs that a launch is given: whole examples, in their real proportion of features."""

from __future__ import annotations

import numpy as np
import pytest

from harness.stages.prepare import sample
from harness.tasks.base import Encoded
from tests import tiny_models


def windows(counts: list[int]) -> Encoded:
    """Examples cut into so many features each."""
    tokens = tiny_models.tokens([1 + i % 7 for i in range(sum(counts))])
    index = np.repeat(np.arange(len(counts)), counts)
    return Encoded(tokens.inputs, {}, index, np.zeros(len(counts), bool))


def test_one_feature_an_example_is_a_permutation_cut_off():
    chosen = np.sort(np.random.default_rng(5).permutation(40)[:16])
    whole = windows([1] * 40)
    found = sample(whole, 16, 5)
    assert found.example_index.tolist() == list(range(16))
    rows = [whole.inputs["input_ids"][int(i)].tolist() for i in chosen]
    assert [found.inputs["input_ids"][i].tolist() for i in range(16)] == rows


@pytest.mark.parametrize("seed", range(5))
def test_examples_keep_all_their_features(seed):
    counts = [1, 4, 2, 1, 3] * 40
    found = sample(windows(counts), 200, seed)
    assert 196 < len(found) <= 200
    per_example = np.bincount(found.example_index)
    assert per_example.min() >= 1 and len(found.truncated) == len(per_example)
    assert per_example.mean() == pytest.approx(np.mean(counts), rel=0.2)
    assert set(per_example) <= set(counts)


def test_an_example_larger_than_the_sample_is_taken_all_the_same():
    assert len(sample(windows([5]), 3, 1)) == 5


def test_inputs_tell_their_features_an_example():
    assert windows([1, 4, 1]).features_per_example == 2.0
