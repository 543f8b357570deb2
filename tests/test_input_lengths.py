"""How long each test input was: recorded beside its prediction, for boards to slice by."""

from __future__ import annotations

import numpy as np

from harness.stages.score import input_lengths
from harness.tasks.base import Encoded, Ragged


def encoded(inputs: dict, index: list[int]) -> Encoded:
    return Encoded(inputs, {}, np.array(index), np.zeros(max(index) + 1, bool))


def test_tokens_are_counted_over_all_windows_of_an_example() -> None:
    windows = encoded({"input_ids": Ragged.of([[1, 2, 3], [4, 5], [6]])}, [0, 0, 1])
    lengths, unit = input_lengths(windows, 2)
    assert lengths is not None and lengths.tolist() == [5, 1] and unit == "tokens"


def test_words_are_counted_where_a_baseline_reads_text() -> None:
    texts = np.array(["two words", "one"], object)
    lengths, unit = input_lengths(encoded({"text": texts}, [0, 1]), 2)
    assert lengths is not None and lengths.tolist() == [2, 1] and unit == "words"


def test_images_have_no_length() -> None:
    assert input_lengths(encoded({"pixel_values": np.zeros((1, 2))}, [0]), 1) == (None, None)
