"""Per-example outcomes of runs, and their joins on example ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.stats.clusters import mean_ratio


class Damaged(Exception):
    """A record that claims to be complete and cannot be read."""


@dataclass(frozen=True)
class Outcomes:
    """How the runs of one row (one run a seed) did on the test examples they share.

    ``ids``: (examples,) pyarrow strings; ``clusters``: (examples,) integer codes; ``num``,
    ``den``: (seeds, examples), the primary metric being the mean of sum(num) / sum(den).
    """

    ids: Any
    clusters: np.ndarray
    num: np.ndarray
    den: np.ndarray

    def __len__(self) -> int:
        return len(self.clusters)

    @property
    def score(self) -> float:
        return mean_ratio(self.num, self.den)

    def take(self, positions: np.ndarray) -> Outcomes:
        """The examples at ``positions``, in that order."""
        return Outcomes(
            self.ids.take(positions),
            self.clusters[positions],
            self.num[:, positions],
            self.den[:, positions],
        )


def read_outcomes(path: Path) -> Outcomes:
    """One run's ``predictions.parquet``; `Damaged` with the reason where that cannot be."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:  # read_table would import pandas, half a second
            table = file.read(columns=["id", "cluster", "score_num", "score_den"])
    except (OSError, pa.ArrowException) as error:
        raise Damaged(f"{path.name} cannot be read: {str(error).splitlines()[0]}") from None
    if table.num_columns != 4:
        raise Damaged(f"{path.name} lacks one of: id, cluster, score_num, score_den")
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    if any(column.null_count for column in columns.values()):
        raise Damaged(f"{path.name} has empty cells among: {', '.join(columns)}")
    for name in ("score_num", "score_den"):
        kind = columns[name].type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
            raise Damaged(f"{path.name} holds no numbers in {name}: {kind}")
    clusters = columns["cluster"].dictionary_encode().indices
    # from_dlpack, since pyarrow's to_numpy would import pandas too
    num, den = (
        np.from_dlpack(columns[name].cast(pa.float64()))[None, :]
        for name in ("score_num", "score_den")
    )
    if not (np.isfinite(num).all() and np.isfinite(den).all()):
        raise Damaged(f"{path.name} holds scores that are not finite")
    return Outcomes(columns["id"].cast(pa.string()), np.from_dlpack(clusters), num, den)


def join(a: Outcomes, b: Outcomes) -> tuple[Outcomes, Outcomes]:
    """Both on the examples they share, in the order of ``a``."""
    if a.ids.equals(b.ids):
        return a, b
    place = {name: position for position, name in enumerate(b.ids.to_pylist())}
    pairs = [
        (position, place[name]) for position, name in enumerate(a.ids.to_pylist()) if name in place
    ]
    left, right = np.array(pairs, np.int64).reshape(-1, 2).T
    return a.take(left), b.take(right)


def stack(runs: Sequence[Outcomes]) -> Outcomes:
    """One row's seeds together, on the examples that all of them share."""
    result = runs[0]
    for run in runs[1:]:
        result, run = join(result, run)
        result = Outcomes(
            result.ids,
            result.clusters,
            np.concatenate([result.num, run.num]),
            np.concatenate([result.den, run.den]),
        )
    return result
