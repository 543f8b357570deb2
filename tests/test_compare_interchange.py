"""Other tools read our records and we read theirs; pytest plugin; history."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.boards.board import render
from harness.compare.interchange import to_smaller_is_better
from harness.compare.sides import read_side
from harness.stats.steps import steps
from tests.conftest import Harness
from tests.records import write_results
from tests.test_compare_rerun import git
from tests.test_compare_sides import break_predictions, edit, run_of


@pytest.fixture
def records(tmp_path: Path) -> Path:
    return write_results(tmp_path / "results", size=300, trouble=False)


def test_pytest_benchmark_compares_our_records(
    records: Path, tmp_path: Path, harness: Harness
) -> None:
    for timing in run_of(records, "tfidf", "topics", "sklearn")[0].rglob("timing.json"):
        edit(timing, latency_ms=[0.4, 0.5, 0.45, 0.41])
    for name in ("0001_a", "0002_b"):
        answer = harness("compare", "results", "--export-benchmark", f"{name}.json")
        assert answer.status == 0, answer.err
    done = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "compare", "0001_a.json", "0002_b.json"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "tfidf baseline on topics" in done.stdout and "Median" in done.stdout
    smaller = to_smaller_is_better(read_side("a", records))
    assert all({"name", "unit", "value"} <= entry.keys() for entry in smaller)


def benchmark_file(path: Path, median: float, cpu: str = "c") -> None:
    path.parent.mkdir(exist_ok=True)
    entry = {"fullname": "t.py::test_plan", "stats": {"median": median}}
    machine = {"cpu": {"brand_raw": cpu, "count": 2}}
    path.write_text(json.dumps({"benchmarks": [entry], "machine_info": machine}))


def test_files_of_pytest_benchmark_are_judged_by_the_same_rule(
    harness: Harness, tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    for i in range(8):
        for side, factor in (("a", 1.0), ("b", 1.2), ("c", 1.0)):
            benchmark_file(tmp_path / side / f"{i}.json", factor * np.exp(rng.normal(0, 0.01)))
    quiet = ("--session-noise", "0.005")
    assert harness("compare", "a", "b", *quiet).status == 3
    assert harness("compare", "a", "c", *quiet).status == 0
    benchmark_file(tmp_path / "other" / "1.json", 1.0, cpu="another")
    refused = harness("compare", "a", "other")
    assert refused.status == 2 and "different hosts" in refused.err


def test_a_marked_test_fails_where_records_got_worse(records: Path, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "results", tmp_path / "old")
    for run in run_of(records, "minilm", "topics", "onnxruntime"):
        break_predictions(run, 0.06)
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["harness.pytest_plugin"]\n')
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_mine.py").write_text(
        "import pytest\n"
        'mark = lambda row: pytest.mark.model_regression(suite="demo", row=row, base="old")\n'
        '@mark("minilm")\ndef test_worse(): pass\n'
        '@mark("tfidf")\ndef test_same(): pass\n'
        '@pytest.mark.model_regression("demo", "tfidf", base="old")\ndef test_places(): pass\n'
        '@pytest.mark.model_regression("demo", rows="tfidf")\ndef test_wrong(): pass\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"], cwd=tmp_path, capture_output=True, text=True
    )
    assert "2 failed, 2 passed" in done.stdout, done.stdout
    assert "unexpected keyword argument 'rows'" in done.stdout
    assert "got worse:" in done.stdout and "minilm fine-tune on topics" in done.stdout


def test_a_step_is_found_where_it_is_and_noise_has_none() -> None:
    pytest.importorskip("ruptures")
    noise = np.random.default_rng(2).normal(0, 0.02, 40)
    assert steps(noise) == []
    assert steps(noise + 0.3 * (np.arange(40) >= 25)) == [25]
    assert steps(np.zeros(10)) == [] and steps(np.zeros(2)) == []


def test_history_finds_the_commit_that_moved_a_row(
    records: Path, harness: Harness, tmp_path: Path
) -> None:
    pytest.importorskip("ruptures")
    git(tmp_path, "init", "-q", "-b", "main")
    commits = []
    for i in range(6):
        if i == 3:
            for run in run_of(records, "tfidf", "topics", "sklearn"):
                break_predictions(run, 0.1)
        (records / "note.txt").write_text(str(i))
        git(tmp_path, "add", "results")
        git(tmp_path, "commit", "-qm", f"records {i}")
        head = ["git", "rev-parse", "HEAD"]
        commits.append(subprocess.check_output(head, cwd=tmp_path, text=True).strip())
    render(records)
    answer = harness("history", "demo", "--json", "--page", "results/demo/history.html")
    assert answer.status == 0, answer.err
    moved = [s for s in json.loads(answer.out) if s["steps"]]
    assert [(s["metric"], s["commits"][s["steps"][0]]) for s in moved] == [("score", commits[3])]
    assert 'href="demo/history.html"' in (tmp_path / "results" / "index.html").read_text()
    page = (records / "history.html").read_text()
    assert commits[3][:10] in page and page.count("<svg") > 10
