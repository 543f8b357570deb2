"""Per-example predictions of one run, read for its evidence: calibration, slices, errors.

numpy and pyarrow only; a board loads no pandas.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.stats.bootstrap import examples_interval

#: values of a column that are slices of their own: the most frequent
MOST_SLICES = 30
#: groups that a numeric column is cut into, of about equal size
LENGTH_GROUPS = 5
#: columns of predictions.parquet that are results, not properties of an example
_RESULTS = frozenset(
    (
        "id", "cluster", "prediction", "score_num", "score_den",
        "exact", "f1", "null_margin", "tp", "n_pred",
    )
)  # fmt: skip

#: what some columns are called in front of readers
_NAMES = {"target": "true class", "n_gold": "number of true entities"}

Frame = Mapping[str, Any]


def read_predictions(path: Path) -> dict[str, Any] | None:
    """Columns as numpy arrays (strings: object); None where the file cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
    except (OSError, pa.ArrowException):
        return None
    frame: dict[str, Any] = {}
    for name in table.column_names:
        column = table[name]
        kind = column.type
        if pa.types.is_floating(kind) or pa.types.is_integer(kind):
            frame[name] = np.array(column.to_pylist(), float)  # null becomes NaN
        else:
            frame[name] = np.array(column.to_pylist(), object)
    needed = {"id", "cluster", "target", "prediction", "score_num", "score_den"}
    return frame if needed <= set(frame) else None


def calibration(frame: Frame) -> tuple[float, list[tuple[float, float, int, float, float]]] | None:
    """Expected calibration error, and (low, high, examples, mean said, share right) of each bin.

    Ten bins of equal width over the probability of the predicted class (Guo et al., 2017); None
    where the run gave no probabilities.
    """
    said = confidence(frame)
    if said is None or not len(said):
        return None
    right = frame["score_num"] / frame["score_den"]
    place = np.minimum((said * 10).astype(int), 9)
    bins, error = [], 0.0
    for i in range(10):
        inside = place == i
        count = int(inside.sum())
        if count:
            mean, share = float(said[inside].mean()), float(right[inside].mean())
            error += count / len(said) * abs(mean - share)
            bins.append((i / 10, (i + 1) / 10, count, mean, share))
    return error, bins


def confidence(frame: Frame) -> np.ndarray | None:
    """(examples,) probability of the predicted class; None without probabilities."""
    columns = [values for name, values in frame.items() if name.startswith("prob_")]
    if not columns:
        return None
    return np.max(np.stack(columns), axis=0)


@dataclass(frozen=True)
class Slices:
    """Scores by one property: (value, examples, score, low, high) a line.

    Where a property has more than `MOST_SLICES` values, the most frequent ones; ``other_values``
    and ``other_examples`` count the rest.
    """

    name: str
    lines: list[tuple[str, int, float, float | None, float | None]]
    other_values: int
    other_examples: int


def slices(frame: Frame, classes: int = 0) -> list[Slices]:
    """Score with its interval by each property that the records carry.

    By class, by groups of input length and number of entities, and by any column whose name begins
    with ``slice_``. ``classes``: how many the task has; targets of more kinds than these and than
    `MOST_SLICES` are sequences or answers, and no property of an example.
    """
    found = []
    for name, values in frame.items():
        if name in _RESULTS or name.startswith("prob_"):
            continue
        groups, others = _groups(values)
        sequences = name == "target" and len(groups) + len(others) > max(classes, MOST_SLICES)
        if len(groups) < 2 or sequences:
            continue
        lines = [(label, int(inside.sum()), *_score(frame, inside)) for label, inside in groups]
        shown = _NAMES.get(name, name.removeprefix("slice_"))
        found.append(Slices(shown, lines, len(others), sum(others)))
    return found


def wrong_examples(frame: Frame, most: int) -> tuple[list[tuple[str, str, str, float | None]], int]:
    """(id, target, prediction, probability said) of examples below full score, and their number.

    The surest errors first where there are probabilities (a sure error is often a wrong label),
    else the largest losses, else in the file's order.
    """
    lost = frame["score_den"] - frame["score_num"]
    wrong = np.flatnonzero(lost > 1e-9)
    said = confidence(frame)
    keys = lost if said is None else said
    order = wrong[np.argsort(-keys[wrong], kind="stable")][:most]
    return [
        (
            str(frame["id"][i]),
            _short(frame["target"][i]),
            _short(frame["prediction"][i]),
            None if said is None else float(said[i]),
        )
        for i in order
    ], len(wrong)


def _groups(values: np.ndarray) -> tuple[list[tuple[str, np.ndarray]], list[int]]:
    """(label, mask) pairs that part the examples, and how many examples each further value has.

    Numbers by size, texts by alphabet; of more than `MOST_SLICES` texts the most frequent, these
    first.
    """
    if values.dtype == float:
        known = values[np.isfinite(values)]
        distinct = np.unique(known)
        if len(distinct) <= LENGTH_GROUPS:
            return [(f"{value:g}", values == value) for value in distinct], []
        edges = np.unique(np.quantile(known, np.linspace(0, 1, LENGTH_GROUPS + 1)))
        pairs = []
        for i, (low, high) in enumerate(itertools.pairwise(edges)):
            last = i == len(edges) - 2
            inside = (values >= low) & ((values <= high) if last else (values < high))
            if inside.any():
                inner = values[inside]
                low, high = f"{inner.min():g}", f"{inner.max():g}"
                pairs.append((low if low == high else f"{low} to {high}", inside))
        return pairs, []
    texts = np.array([str(value) for value in values], object)
    counts = Counter(sorted(texts))
    ordered = counts.most_common() if len(counts) > MOST_SLICES else list(counts.items())
    groups = [(text, texts == text) for text, _ in ordered[:MOST_SLICES]]
    return groups, [count for _, count in ordered[MOST_SLICES:]]


def _score(frame: Frame, inside: np.ndarray) -> tuple[float, float | None, float | None]:
    num, den = frame["score_num"][inside][None, :], frame["score_den"][inside][None, :]
    if not den.sum():
        return float("nan"), None, None
    codes = np.unique(frame["cluster"][inside].astype(str), return_inverse=True)[1]
    low, high = examples_interval(num, den, codes, resamples=400)
    score = float(num.sum() / den.sum())
    known = np.isfinite([low, high]).all()
    return score, (float(low) if known else None), (float(high) if known else None)


def _short(value: Any) -> str:
    """Labels and tags, not texts; long tag sequences are cut."""
    from harness.boards.wording import clean

    text = clean(value)
    return text if len(text) <= 60 else text[:57] + "..."
