"""How long each test input was: recorded beside its prediction, for boards to slice by."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.boards.board import build
from harness.boards.predictions import read_predictions, slices
from harness.stages.score import input_lengths
from harness.tasks.base import Encoded, Ragged
from tests.conftest import MAJORITY_SUITE, Harness


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


def test_columns_that_a_task_names_are_recorded_and_sliced_by(
    harness: Harness, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(
        MAJORITY_SUITE.replace("    type: text", "    slices: [source]\n    type: text")
    )
    rows = "\n".join(f"text {i},{'yes' if i % 3 else 'no'},{'web' if i % 2 else 'mail'}"
                     for i in range(40))  # fmt: skip
    for name in ("train", "test"):
        (tmp_path / f"{name}.csv").write_text(f"text,label,source\n{rows}\n")
    answer = harness("run", "mine.yaml")
    assert answer.status == 0, answer.err
    folder = tmp_path / "results" / "mine"
    frame = read_predictions(next((folder / "runs").glob("*/predictions.parquet")))
    assert frame is not None and frame["input_length"].tolist() == [2.0] * 40
    (found,) = [s for s in slices(frame) if s.name == "source"]
    by_source = {part: (n, score) for part, n, score, _, _ in found.lines}
    assert by_source == {"mail": (20, 0.65), "web": (20, 13 / 20)}
    (block,) = [
        block
        for blocks in build(folder).evidence.rows.values()
        for block in blocks
        if block["title"] == "Score by source"
    ]
    assert [line[0] for line in block["rows"]] == ["mail", "web"]
