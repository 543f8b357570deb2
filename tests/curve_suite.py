"""Records of five tasks learned from three training sizes each, with known truth.

Enough tasks for a critical difference, enough sizes for learning curves; no timings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harness.records.files import write_json

SIZES = (100, 400, 1600)
TASKS = {"news": 0.0, "reviews": -0.04, "questions": -0.1, "topics": 0.02, "spam": 0.03}
#: a, b, c of the share of test examples that a model gets right: a - b n^-c
MODELS = {
    "minilm": (0.94, 1.6, 0.45),
    "smol": (0.95, 2.6, 0.5),
    "tfidf": (0.90, 2.0, 0.42),
    "static": (0.86, 0.5, 0.45),
    "majority": (0.5, 0.0, 1.0),
}


def write_curve_suite(folder: Path, examples: int = 500) -> Path:
    """Write ``folder/curves`` and return it."""
    results, rows = folder / "curves", []
    for number, (task, shift) in enumerate(TASKS.items()):
        hardness = np.random.default_rng(number).random(examples)
        for model, (a, b, c) in MODELS.items():
            for size in SIZES:
                name = f"{task}-{model}-{size}"
                row = {
                    "suite": "curves", "model": model, "task": task, "recipe": "fine-tune",
                    "framework": "torch", "runtime": "torch", "device": "cpu",
                    "dtype": "float32", "train_budget": size,
                }  # fmt: skip
                runs = [{"run_id": name, "fit_id": name, "seed": 1}]
                rows.append({"row_id": name, "row": row, "runs": runs})
                own = np.random.default_rng([number, size, round(1000 * a)]).random(examples)
                right = 0.9 * hardness + 0.1 * own < a + shift - b * size**-c
                _write(results, name, right * 1.0, size)
    models = {model: {"name": model, "kind": model, "licence": "MIT"} for model in MODELS}
    tasks = {task: {"name": task.title(), "type": "text-classification", "primary": "accuracy",
                    "licence": "CC0-1.0"}
             for task in TASKS}  # fmt: skip
    plan: dict[str, Any] = {"suite": "curves", "title": "Small models and little data"}
    write_json(results / "plan.json", {**plan, "models": models, "tasks": tasks, "rows": rows})
    return results


def _write(results: Path, name: str, right: np.ndarray, size: int) -> None:
    ids = [f"e{i}" for i in range(len(right))]
    table = pa.table(
        {"id": ids, "cluster": ids, "score_num": right, "score_den": np.ones(len(right))}
    )
    run, fit = results / "runs" / name, results / "fits" / name
    metrics = {"score": float(right.mean()), "metrics": {}, "examples": len(right)}
    write_json(run / "metrics.json", metrics)
    pq.write_table(table, run / "predictions.parquet")
    write_json(run / "status.json", {"status": "ok", "reason": ""})
    write_json(fit / "fit.json", {"train_examples": size, "train_available": 5000})
