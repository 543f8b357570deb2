"""The form on a board's page answers what `harness choose` answers, and equally."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.boards.board import render
from harness.choose.answer import decide, decisions
from harness.choose.evidence import select
from harness.choose.gather import gather
from harness.choose.question import Question
from tests.browser.conftest import Open

REFERENCE = Path(__file__).parents[2] / "results" / "reference"


@pytest.fixture(scope="module")
def nlp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference records of suite nlp with a page rendered anew."""
    folder = tmp_path_factory.mktemp("reference") / "nlp"
    shutil.copytree(REFERENCE / "nlp", folder)
    render(folder)
    return folder


def ask(page: Any, **fields: str) -> dict[str, Any]:
    page.locator("#choose button[type=reset]").click()
    page.wait_for_timeout(50)
    for name, value in fields.items():
        field = page.locator(f"#choose [name={name}]")
        if name in ("task", "device"):
            field.select_option(value)
        else:
            field.fill(value)
    told: dict[str, Any] = json.loads(page.locator("#choose-answer").get_attribute("data-answer"))
    return told


def test_the_form_decides_as_the_command_does(nlp: Path, opened: Open) -> None:
    tab = opened(nlp / "leaderboard.html")
    page = tab.page
    rows = gather(nlp.parent).rows
    for fields in (
        {"task": "text-classification"},
        {"task": "token-classification", "device": "cpu", "examples": "1000",
         "max_latency_ms": "10", "max_size_mb": "100", "min_score": "0.8"},
        {"task": "conll-mrc", "max_latency_ms": "1", "min_score": "0.99"},
        {"task": "question-answering", "weight_score": "3", "weight_latency": "1"},
    ):  # fmt: skip
        told = ask(page, **fields)
        question = Question(**told["question"])
        evidence = select(rows, question)
        assert told["answer"] == decisions(evidence, decide(evidence, question)), fields
    assert "Recommended" in page.locator("#choose-answer").inner_text()
    assert not tab.complaints


def test_what_nothing_satisfies_names_the_nearest(nlp: Path, opened: Open) -> None:
    page = opened(nlp / "leaderboard.html").page
    ask(page, task="conll-mrc", max_latency_ms="1", min_score="0.99")
    text = page.locator("#choose-answer").inner_text()
    assert "the nearest is" in text and "--max-latency-ms 1" in text
