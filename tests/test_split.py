"""Draws are seeded, stratified and nested."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.split import draw, hold_out

STRATA = st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=120)
SEEDS = st.integers(0, 2**32)


@given(STRATA, SEEDS, st.data())
def test_a_smaller_draw_is_part_of_every_larger_one(
    strata: list[str], seed: int, data: st.DataObject
) -> None:
    small = data.draw(st.integers(0, len(strata)))
    large = data.draw(st.integers(small, len(strata)))
    assert set(draw(strata, small, seed)) <= set(draw(strata, large, seed))


@given(STRATA, SEEDS, st.data())
def test_every_stratum_keeps_its_share_to_less_than_one_example(
    strata: list[str], seed: int, data: st.DataObject
) -> None:
    size = data.draw(st.integers(0, len(strata)))
    drawn = Counter(strata[i] for i in draw(strata, size, seed))
    for stratum, count in Counter(strata).items():
        exact = size * count  # over len(strata)
        assert exact // len(strata) <= drawn[stratum] <= -(-exact // len(strata))


@given(STRATA, SEEDS, st.data())
def test_a_draw_has_its_size_no_repeats_and_the_original_order(
    strata: list[str], seed: int, data: st.DataObject
) -> None:
    size = data.draw(st.integers(0, 2 * len(strata)))
    drawn = draw(strata, size, seed)
    assert len(drawn) == min(size, len(strata))
    assert drawn == sorted(set(drawn))


def test_no_size_draws_everything() -> None:
    assert draw(["a", "b", "a"], None, 1) == [0, 1, 2]


def test_the_seed_decides() -> None:
    strata = ["a", "b"] * 500
    assert draw(strata, 100, 1) == draw(strata, 100, 1)
    assert draw(strata, 100, 1) != draw(strata, 100, 2)


def test_every_example_is_equally_likely() -> None:
    # 1 of 4 "a" and 1 of 4 "b" in each draw of 2: 1000 draws pick each example 250 times on
    # average, with a standard deviation of 14; the bound is over 5 of them
    strata = list("aaaabbbb")
    counts = Counter(i for seed in range(1000) for i in draw(strata, 2, seed))
    assert all(abs(counts[i] - 250) < 75 for i in range(8)), counts


def test_strata_of_one_are_drawn_like_the_rest() -> None:
    # 100 examples of one class and 100 classes of one: half of a draw should be of each
    strata = ["common"] * 100 + [f"rare {i}" for i in range(100)]
    drawn = draw(strata, 50, 3)
    assert sum(strata[i] == "common" for i in drawn) == 25


@given(STRATA, SEEDS, st.data())
def test_holding_out_parts_the_examples(strata: list[str], seed: int, data: st.DataObject) -> None:
    if len(strata) < 2:
        with pytest.raises(ValueError, match="cannot hold"):
            hold_out(strata, 1, seed)
        return
    size = data.draw(st.integers(1, len(strata) - 1))
    train, validation = hold_out(strata, size, seed)
    assert sorted(train + validation) == list(range(len(strata)))
    assert len(validation) == size


def test_a_share_is_rounded_and_at_least_one() -> None:
    assert len(hold_out(["a"] * 25, 0.1, 1)[1]) == 2
    assert len(hold_out(["a"] * 3, 0.1, 1)[1]) == 1


def test_a_class_of_one_example_stays_in_train() -> None:
    strata = ["a"] * 10 + [f"only {i}" for i in range(10)]
    for seed in range(20):
        assert set(hold_out(strata, 5, seed)[1]) <= set(range(10))


@pytest.mark.parametrize("size", [-1, 0, 4, 5, 0.0, 1.0, 1.5])
def test_no_part_may_be_empty(size: float) -> None:
    with pytest.raises(ValueError, match=f"cannot hold {size} out of 4"):
        hold_out(["a"] * 4, size, 1)
