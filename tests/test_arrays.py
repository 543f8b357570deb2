"""Prepared arrays survive a trip to disk, without pickle."""

from __future__ import annotations

import numpy as np
import pytest

from harness.data.arrays import (
    load_encoded,
    load_ragged_list,
    object_array,
    save_encoded,
    save_ragged_list,
)
from harness.tasks.base import Encoded, Ragged


def test_token_inputs_come_back_with_values_types_and_names(tmp_path):
    encoded = Encoded(
        {
            "input_ids": Ragged.of([[5, 6, 7], [], [8]]),
            "token_type_ids": Ragged.of([[0, 0, 1], [], [0]]),
        },
        {"labels": Ragged.of([[1, -100, 2], [], [0]], np.int64), "start": np.array([3, 1, 4])},
        np.array([0, 0, 1]),
        np.array([True, False]),
        {"null_position": np.array([0, 0, 2])},
    )
    save_encoded(tmp_path / "split.npz", encoded)
    loaded = load_encoded(tmp_path / "split.npz")
    for group in ("inputs", "targets", "extras"):
        before, after = getattr(encoded, group), getattr(loaded, group)
        assert list(before) == list(after)
        for name, column in before.items():
            assert type(column) is type(after[name])
            if isinstance(column, Ragged):
                np.testing.assert_array_equal(column.offsets, after[name].offsets, strict=True)
                column, after[name] = column.values, after[name].values
            np.testing.assert_array_equal(column, after[name], strict=True)
    np.testing.assert_array_equal(encoded.example_index, loaded.example_index, strict=True)
    np.testing.assert_array_equal(encoded.truncated, loaded.truncated, strict=True)


@pytest.mark.parametrize(
    "items",
    [
        ["plain", "naïve 漢字 \ud800 \x00", ""],
        [["two", "words"], ["as", "many"]],  # numpy would make a square of it
        [["one"], [], ["x", "y"]],
    ],
)
def test_texts_and_word_lists_come_back_as_objects(tmp_path, items):
    texts = object_array(items)
    encoded = Encoded({"text": texts}, {}, np.arange(len(items)), np.zeros(len(items), bool))
    save_encoded(tmp_path / "text.npz", encoded)
    loaded = load_encoded(tmp_path / "text.npz").inputs["text"]
    assert loaded.shape == (len(items),)
    assert loaded.dtype == object
    assert loaded.tolist() == items


def test_the_file_holds_no_pickle(tmp_path):
    encoded = Encoded({"text": object_array(["a"])}, {}, np.arange(1), np.zeros(1, bool))
    save_encoded(tmp_path / "text.npz", encoded)
    with np.load(tmp_path / "text.npz", allow_pickle=False) as archive:
        assert all(archive[name].dtype != object for name in archive)


def test_objects_that_json_cannot_hold_are_refused_and_leave_no_file(tmp_path):
    encoded = Encoded({"text": object_array([{1, 2}])}, {}, np.arange(1), np.zeros(1, bool))
    with pytest.raises(TypeError, match="set"):
        save_encoded(tmp_path / "text.npz", encoded)
    assert list(tmp_path.iterdir()) == []


def test_logits_of_mixed_shapes_come_back(tmp_path):
    rows = [
        np.array([1.0, 2.0], np.float32),
        np.arange(6, dtype=np.float32).reshape(3, 2),
        np.empty((0, 2), np.float32),
    ]
    save_ragged_list(tmp_path / "logits.npz", rows)
    loaded = load_ragged_list(tmp_path / "logits.npz")
    assert len(loaded) == 3
    for before, after in zip(rows, loaded, strict=True):
        np.testing.assert_array_equal(before, after, strict=True)


def test_an_empty_list_of_logits_comes_back_empty(tmp_path):
    save_ragged_list(tmp_path / "logits.npz", [])
    assert load_ragged_list(tmp_path / "logits.npz") == []


def test_another_npz_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", a=np.arange(3))
    with pytest.raises(ValueError, match="not a file of prepared arrays"):
        load_encoded(tmp_path / "other.npz")
