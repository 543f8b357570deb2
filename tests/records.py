"""A small results folder in the record format, from simulated predictions with known truth.

Three tasks, five models, several runtimes and seeds; one fit failed, one runtime unsupported, one
row partial, one not run. Host, licences and names are invented.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harness.records.files import write_json
from harness.records.identity import digest

HOST = {
    "host_id": "a1b2c3d4", "cpu": "Example CPU 2.0 GHz", "cores": 2, "memory_gb": 16.0, "gpu": None,
    "os": "Linux", "python": "3.12.1", "libraries": {"torch": "2.13.0", "onnxruntime": "1.31.1"},
    "threads_asked": 2, "threads_observed": 2, "load": 0.12, "git_commit": "0123456789abcdef",
    "git_dirty": False,
}  # fmt: skip

MODELS = {
    "minilm": ("MiniLM-L6", "transformer", "Apache-2.0", 22.7e6),
    "smol": ("SmolLM-135M", "transformer", "Apache-2.0", 134.5e6),
    "static": ("Static embeddings", "static-embeddings", "MIT", 8.2e6),
    "tfidf": ("TF-IDF + logistic regression", "tfidf-logreg", "BSD-3-Clause", 0.21e6),
    "majority": ("Majority class", "majority", "none", 8),
}

TASKS = {
    "topics": ("News topics", "text-classification", "accuracy"),
    "entities": ("Newswire entities", "token-classification", "f1_entity"),
    "reading": ("Reading questions", "question-answering", "f1"),
}

#: expected score of (model, recipe) on each task: the truth behind the simulation
SKILL = {
    ("minilm", "fine-tune"): {"topics": 0.955, "entities": 0.90, "reading": 0.80},
    ("minilm", "linear-probe"): {"topics": 0.93, "entities": 0.78},
    ("smol", "fine-tune"): {"topics": 0.953, "entities": 0.86, "reading": 0.70},
    ("static", "linear-probe"): {"topics": 0.90, "entities": 0.60},
    ("tfidf", "baseline"): {"topics": 0.935},
    ("majority", "baseline"): {"topics": 0.50, "entities": 0.0, "reading": 0.33},
}

RUNTIMES = {
    "torch": ("float32", 6.9, 120.0),
    "onnxruntime": ("float32", 4.4, 150.0),
    "onnxruntime-int8": ("int8", 2.2, 260.0),
    "tensorflow": ("float32", 15.9, 90.0),
    "sklearn": ("float32", 0.4, 9000.0),
}


@dataclass(frozen=True)
class Truth:
    """What the simulation draws from; one ease per test example, shared by all systems."""

    size: int
    seed: int

    def outcomes(
        self, task: str, skill: float, seed: int, noise: int
    ) -> tuple[list[str], np.ndarray, np.ndarray]:
        """(clusters, score_num, score_den) of one run; ``noise`` is the runtime's own draw."""
        size = self.size
        shared = np.random.default_rng([self.seed, len(task)])
        own = np.random.default_rng([self.seed, len(task), seed, round(skill * 1000)])
        shift = own.normal(0, 0.004)
        hardness = shared.random(size)
        right = (0.6 * hardness + 0.4 * own.random(size)) < _quantile(skill + shift)
        if noise:  # another runtime flips a few predictions
            flips = np.random.default_rng([noise, seed, len(task)]).random(size) < 0.01
            right = np.where(flips, ~right, right)
        if task == "topics":
            return [f"t{i}" for i in range(size)], right * 1.0, np.ones(size)
        if task == "entities":
            gold = shared.integers(0, 4, size)
            found = np.where(right, gold, np.maximum(gold - 1, 0)) * (skill > 0)
            return [f"doc{i // 5}" for i in range(size)], 2.0 * found, (gold + found) * 1.0
        partly = np.where(right, 1.0, np.round(own.random(size) * 0.5, 2))
        return [f"par{i // 3}" for i in range(size)], partly, np.ones(size)


def _quantile(share: float) -> float:
    """Threshold that a sum 0.6 u + 0.4 v of uniforms stays under with that chance."""
    grid = np.random.default_rng(1).random((2, 20_000))
    return float(np.quantile(0.6 * grid[0] + 0.4 * grid[1], min(max(share, 0.0), 1.0)))


def write_results(
    folder: Path,
    *,
    size: int = 600,
    seed: int = 0,
    trouble: bool = True,
    names: Mapping[str, str] | None = None,
    seeds_of: Callable[[str, str], tuple[int, ...]] | None = None,
) -> Path:
    """Write ``folder/demo`` and return it. ``trouble``: with failed, partial and missing runs."""
    results, truth = folder / "demo", Truth(size, seed)
    seeds_of = seeds_of or (lambda task, recipe: (1, 2, 3) if task == "topics" else (1,))
    rows = []
    for (model, recipe), skills in SKILL.items():
        for task, skill in skills.items():
            baseline = recipe == "baseline"
            framework = "sklearn" if baseline else "torch"
            runtimes = ["sklearn"] if baseline else ["torch", "onnxruntime", "onnxruntime-int8"]
            seeds = (1,) if baseline else seeds_of(task, recipe)
            for number, runtime in enumerate(runtimes):
                row = {
                    "suite": "demo", "model": model, "task": task, "recipe": recipe,
                    "framework": framework, "runtime": runtime, "device": "cpu",
                    "dtype": RUNTIMES[runtime][0],
                }  # fmt: skip
                row_id, runs = digest(row), []
                for one in seeds:
                    fit_id = digest([model, recipe, task, framework, one])
                    run_id = digest([row_id, one])
                    runs.append({"run_id": run_id, "fit_id": fit_id, "seed": one})
                    fate = _fate(model, recipe, task, runtime, one) if trouble else ("ok", "")
                    _write_fit(results / "fits" / fit_id, row, truth, skill, one, fate)
                    if fate[0] != "missing":
                        _write_run(
                            results / "runs" / run_id, row, truth, skill, one, number, fate,
                            timed=one == seeds[0],
                        )  # fmt: skip
                rows.append({"row_id": row_id, "row": row, "runs": runs})
    write_json(results / "plan.json", _plan(rows, dict(names or {}), size))
    return results


def _fate(model: str, recipe: str, task: str, runtime: str, seed: int) -> tuple[str, str]:
    """What befalls a run: (status, reason)."""
    if (model, recipe, task) == ("smol", "fine-tune", "reading"):
        return "missing" if runtime != "torch" else "oom", "needs 9.1 GB, 6.0 GB were free"
    if (model, recipe, task, seed) == ("minilm", "linear-probe", "topics", 3):
        return "failed", "the worker process ended with signal 9"
    if (model, runtime) == ("smol", "onnxruntime-int8"):
        return "unsupported", "no int8 kernel for operator GatherElements"
    if (model, task, runtime) == ("static", "entities", "onnxruntime"):
        return "missing", ""
    return "ok", ""


def _plan(rows: list[dict[str, Any]], names: dict[str, str], size: int) -> dict[str, Any]:
    return {
        "suite": "demo",
        "title": "Small models on news",
        "description": "Which small pretrained model to build on, on a laptop without a GPU.",
        "command": "harness run demo",
        "limits": {"budget": "training sets are drawn subsets; use --full for all of them"},
        "models": {
            model: {
                "name": names.get(model, name), "kind": kind, "licence": licence,
                "url": f"https://example.org/{model}", "source": None, "pooling": "mean",
            }
            for model, (name, kind, licence, _) in MODELS.items()
        },
        "tasks": {
            task: {
                "name": name, "type": kind, "licence": "CC-BY-4.0", "url": "", "primary": primary,
                "max_length": 128, "stride": 32 if task == "reading" else 0,
                "budget": {"train": 2000, "validation": 500, "test": size, "seed": 13},
            }
            for task, (name, kind, primary) in TASKS.items()
        },
        "rows": rows,
    }  # fmt: skip


def _write_fit(
    place: Path, row: dict[str, Any], truth: Truth, skill: float, seed: int, fate: tuple[str, str]
) -> None:
    if (place / "status.json").exists():
        return
    baseline = row["framework"] == "sklearn"
    seconds = {"fine-tune": 84.0, "linear-probe": 14.0, "baseline": 1.6}[row["recipe"]]
    seconds *= 3.5 if row["model"] == "smol" else 1
    write_json(
        place / "spec.json",
        {"recipe": row["recipe"], "framework": row["framework"], "seed": seed,
         "fit_dtype": "float32" if baseline else "bfloat16"},
    )  # fmt: skip
    if fate[0] == "oom":
        write_json(place / "status.json", {"status": "oom", "reason": fate[1], "seconds": 3.0})
        return
    _, num, den = truth.outcomes(row["task"], skill, seed, 0)
    score = float(num.sum() / den.sum())
    write_json(
        place / "fit.json",
        {
            "seconds": seconds, "examples_per_second": 2000 * 3 / seconds, "epochs": [],
            "params": int(MODELS[row["model"]][3]), "train_score": score + 0.4 * (1 - score),
            "validation_score": score, "train_examples": 2000, "train_available": 8000,
            "validation_examples": 500,
            "truncated_share": {"train": 0.2, "validation": 0.2, "test": 0.237},
            "overlap": {"test_in_train": 7, "share": 7 / truth.size}, "labels": [],
            "host_id": HOST["host_id"], "host": HOST,
        },
    )  # fmt: skip
    write_json(place / "status.json", {"status": "ok", "reason": "", "seconds": seconds})


def _write_run(
    place: Path,
    row: dict[str, Any],
    truth: Truth,
    skill: float,
    seed: int,
    number: int,
    fate: tuple[str, str],
    timed: bool,
) -> None:
    if fate[0] == "oom":
        return  # the fit tells why
    if fate[0] != "ok":
        write_json(place / "status.json", {"status": fate[0], "reason": fate[1]})
        return
    int8 = row["dtype"] == "int8"
    clusters, num, den = truth.outcomes(row["task"], skill, seed, number if int8 else 0)
    place.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {
            "id": [f"{row['task']}-{i}" for i in range(truth.size)], "cluster": clusters,
            "target": ["x"] * truth.size, "prediction": ["x"] * truth.size,
            "score_num": num, "score_den": den,
        }
    )  # fmt: skip
    pq.write_table(table, place / "predictions.parquet")
    params, score = MODELS[row["model"]][3], float(num.sum() / den.sum())
    primary = TASKS[row["task"]][2]
    write_json(
        place / "metrics.json",
        {
            "primary": primary, "score": score, "examples": truth.size,
            "examples_available": truth.size + 400,
            "metrics": {primary: score},
            "parity_rel_diff": None if number == 0 else 0.031 if int8 else 2.6e-6,
            "prediction_agreement": None if number == 0 else 0.996 if int8 else 1.0,
            "size_mb": params * (1 if int8 else 4) / 1e6, "params": int(params),
            "score_seconds": 12.0, "observed": {}, "truncated_share": 0.237,
        },
    )  # fmt: skip
    if timed:
        _, latency, throughput = RUNTIMES[row["runtime"]]
        factor = (params / 22.7e6) ** 0.7 if row["framework"] == "torch" else 1.0
        for launch in range(2):
            measured = place / "measurements" / f"{HOST['host_id']}-{launch}"
            p50 = latency * factor * (1 + 0.02 * launch)
            write_json(
                measured / "timing.json",
                {
                    "latency_p50_ms": p50, "latency_p90_ms": p50 * 1.3, "latency_p99_ms": None,
                    "latency_p99_ms_reason": "64 samples do not carry a 99th percentile",
                    "samples": 64, "throughput_per_s": throughput / factor,
                    "peak_memory_mb": 300 + params * 5e-6, "load_seconds": 0.4,
                },
            )  # fmt: skip
            write_json(measured / "host.json", HOST)
    write_json(place / "status.json", {"status": "ok", "reason": ""})
