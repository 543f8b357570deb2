"""The README's task type and runtime, installed as somebody's package, run in a suite."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import Harness

README = Path(__file__).resolve().parents[1] / "README.md"

SUITE = """\
suite: reviews
models:
  - {{id: tiny, source: "path:{model}"}}
  - {{id: tfidf, kind: tfidf-logreg}}
tasks:
  - id: reviews
    type: star-ratings
    data: {{train: {{source: "path:train.csv"}}, test: {{source: "path:test.csv"}}}}
matrix:
  - models: [tiny]
    tasks: [reviews]
    recipe: fine-tune
    runtimes: [torch, onnx-reference]
    settings: {{epochs: 1, fit_dtype: float32}}
  - {{models: [tfidf], tasks: [reviews], recipe: baseline}}
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.S)


def install(site: Path) -> None:
    """`my_package`, of the README's code, as pip would have installed it."""
    info = site / "my_package-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "my_package.py").write_text("\n".join(blocks("python")))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (toml,) = blocks("toml")
    groups = re.findall(r'\[project\.entry-points\."(.+?)"\]\n((?:\S+ = .*\n)+)', toml)
    assert len(groups) == 2
    (info / "entry_points.txt").write_text(
        "".join(f"[{group}]\n{lines}" for group, lines in groups).replace('"', "")
    )


def reviews(count: int) -> str:
    words = {1: "bad", 3: "good and bad", 5: "good"}
    lines = [f"it was {words[n]} {i},{n}" for i in range(count) for n in words]
    return "text,label\n" + "\n".join(lines) + "\n"


def test_the_readmes_task_and_runtime_work_as_they_stand(
    harness: Harness, tmp_path: Path, tiny_bert: Path
) -> None:
    install(tmp_path / "site")
    (tmp_path / "reviews.yaml").write_text(SUITE.format(model=tiny_bert))
    (tmp_path / "train.csv").write_text(reviews(30))
    (tmp_path / "test.csv").write_text(reviews(5))
    path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    answer = harness("run", "reviews.yaml", "--launches", "0", PYTHONPATH=path)
    assert answer.status == 0, answer.err
    results = tmp_path / "results" / "reviews"
    rows = {
        (row["model"], row["runtime"]): row
        for row in json.loads((results / "leaderboard.json").read_text())
    }
    assert set(rows) == {("tiny", "torch"), ("tiny", "onnx-reference"), ("tfidf", "sklearn")}
    assert rows["tiny", "onnx-reference"]["parity_rel_diff"] < 1e-5
    assert rows["tiny", "onnx-reference"]["prediction_agreement"] == 1.0
    for row in rows.values():
        (run,) = row["runs"]
        predictions = pd.read_parquet(results / "runs" / run / "predictions.parquet")
        off = abs(predictions["target"].astype(int) - predictions["prediction"].astype(int))
        # three classes: the highest and the lowest are two apart
        assert row["score"] == pytest.approx(1 - off.mean() / 2)
