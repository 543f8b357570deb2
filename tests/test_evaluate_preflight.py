"""Metrics of `evaluate` in a suite: loaded before anything is trained, and then scored by."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import MAJORITY_SUITE, Harness
from tests.test_evaluate_adapter import script

SUITE = MAJORITY_SUITE.replace("    data:\n", "    metrics: [mine.py]\n    data:\n").replace(
    "launches: 1", "launches: 0"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text("text,label\n" + "a,x\nb,y\nc,x\n" * 5)
    (tmp_path / "mine.yaml").write_text(SUITE)
    return tmp_path


def test_a_local_metric_scores_a_run(harness: Harness, folder: Path) -> None:
    script(folder, "mine", 'datasets.Value("string")')
    modules = str(folder / "modules")
    answer = harness("run", "mine.yaml", "--trust-remote-code", HF_MODULES_CACHE=modules)
    assert answer.status == 0, answer.err
    (metrics,) = folder.glob("results/mine/runs/*/metrics.json")
    assert json.loads(metrics.read_text())["metrics"]["evaluate_mine_share"] == pytest.approx(2 / 3)


def test_a_metric_is_told_no_secret(harness: Harness, folder: Path) -> None:
    script(folder, "mine", 'datasets.Value("string")')
    text = (folder / "mine.py").read_text()
    (folder / "mine.py").write_text(f"import os\nassert 'HF_TOKEN' not in os.environ\n{text}")
    answer = harness("fetch", "mine.yaml", "--trust-remote-code", HF_TOKEN="hf_not_a_real_token")
    assert answer.status == 0, answer.err


@pytest.mark.parametrize("command", ["run", "fetch"])
def test_a_metric_that_does_not_load_is_refused_with_its_place(
    harness: Harness, folder: Path, command: str
) -> None:
    (folder / "mine.py").write_text("import nosuch_library\n")
    answer = harness(command, "mine.yaml", "--trust-remote-code")
    assert answer.status == 2, answer.err
    said = answer.err.strip().splitlines()[-1]
    assert said.startswith("harness: mine.yaml:7: metric 'mine.py' does not load: ")
    assert "nosuch_library" in said
    assert not list(folder.glob("results/mine/fits/*"))
