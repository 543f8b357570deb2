"""Flat rows of a board, as many as one likes: invented figures in every column."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from harness.boards.keys import FLAGS, KEYS, TEXTS

RUNTIMES = ("torch", "onnxruntime", "onnxruntime-int8", "tensorflow")


def flat_rows(count: int, tasks: int = 4, seed: int = 0) -> pa.Table:
    """Columns in the contract's order; rows of a fit (four runtimes) share its rank."""
    rng = np.random.default_rng(seed)
    number = np.arange(count)
    task, fit = number % tasks, number // (tasks * 4)
    score = np.clip(0.95 - fit * (0.6 / max(fit.max(), 1)), 0, 1)
    known: dict[str, Any] = {
        "row_id": [f"{i:016x}" for i in range(count)],
        "suite": _words(["many"], np.zeros(count, int)),
        "model": _words([f"model-{i}" for i in range(fit.max() + 1)], fit),
        "task": _words([f"task-{i}" for i in range(tasks)], task),
        "recipe": _words(["fine-tune"], np.zeros(count, int)),
        "framework": _words(["torch"], np.zeros(count, int)),
        "runtime": _words(RUNTIMES, number // tasks % 4),
        "device": _words(["cpu"], np.zeros(count, int)),
        "dtype": _words(["float32", "int8"], (number // tasks % 4 == 2).astype(int)),
        "status": _words(["ok"], np.zeros(count, int)),
        "score_name": _words(["accuracy"], np.zeros(count, int)),
        "score_basis": _words(["examples"], np.zeros(count, int)),
        "runs": pa.ListArray.from_arrays(np.arange(count + 1), [f"{i:016x}" for i in range(count)]),
        "pareto": pa.ListArray.from_arrays(np.zeros(count + 1, int), pa.array([], pa.string())),
        "rank": fit + 1,
        "tied_with_best": fit < 2,
        "score": score,
        "score_low": score - 0.02,
        "score_high": score + 0.02,
        "seeds": np.ones(count, int),
        "seeds_ok": np.ones(count, int),
        "train_budget": pa.nulls(count, pa.int64()),
        "schema_version": np.ones(count, int),
    }
    columns = {}
    for key in KEYS:
        if key in known:
            columns[key] = known[key]
        elif key in TEXTS:
            columns[key] = _words(["same"], np.zeros(count, int))
        elif key in FLAGS:
            columns[key] = np.ones(count, bool)
        else:
            columns[key] = rng.lognormal(2, 1, count)
    return pa.table(columns)


def _words(words: Any, codes: np.ndarray) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(list(words))).cast(pa.string())
