"""What a board says of the bounds of a task's evidence, where the matrix overrides them."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.boards.board import build
from harness.records.files import read_json, write_json
from tests.records import write_results

SMOL = "SmolLM-135M"


def overridden(folder: Path) -> Path:
    """The demo's records, where SmolLM reads 64 tokens, and learned from 100 examples."""
    results = write_results(folder, size=100, trouble=False)
    for row in (read_json(results / "plan.json") or {})["rows"]:
        if (row["row"]["model"], row["row"]["task"]) != ("smol", "topics"):
            continue
        for run in row["runs"]:
            fit = results / "fits" / run["fit_id"]
            for path, changes in (
                (fit / "spec.json", {"task": {"max_length": 64}}),
                (fit / "fit.json", {"train_examples": 100}),
                (results / "runs" / run["run_id"] / "metrics.json", {"truncated_share": 0.5}),
            ):
                write_json(path, (read_json(path) or {}) | changes)
    return results


@pytest.fixture(scope="module")
def limits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Label to text, by task."""
    sections = build(overridden(tmp_path_factory.mktemp("limits"))).page.sections
    return {s.task: {fact.label: fact.text for fact in s.limits} for s in sections}


def test_a_limit_of_one_model_stands_beside_that_of_the_others(
    limits: dict[str, dict[str, str]],
) -> None:
    assert limits["topics"]["maximum length"] == (
        f"128 tokens ({SMOL}: 64); 23.70% ({SMOL}: 50.00%) of test inputs cut"
    )
    assert limits["topics"]["training examples"] == (
        f"2,000 ({SMOL}: 100) of 8,000, drawn by seed 13, stratified"
    )


def test_a_limit_that_all_share_is_stated_once(limits: dict[str, dict[str, str]]) -> None:
    assert limits["reading"]["maximum length"] == (
        "128 tokens, windows overlap by 32; 23.70% of test inputs cut"
    )
    assert limits["reading"]["training examples"].startswith("2,000 of 8,000")
