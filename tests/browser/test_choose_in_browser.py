"""The form on a board's page answers what `harness choose` answers, and equally."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.boards.board import build, render, write
from harness.boards.definition import Definition
from harness.choose.answer import decide, decisions
from harness.choose.evidence import select
from harness.choose.gather import gather
from harness.choose.question import Question
from harness.records.files import read_json, write_json
from tests.browser.conftest import Open
from tests.conftest import Harness
from tests.curve_suite import write_curve_suite
from tests.records import HOST, write_results

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
        if name in ("task", "device", "percentile"):
            field.select_option(value)
        else:
            field.fill(value)
    told: dict[str, Any] = json.loads(page.locator("#choose-answer").get_attribute("data-answer"))
    return told


def decided(results: Path, told: dict[str, Any]) -> dict[str, Any]:
    """What the command decides on the question that the form asked."""
    found = gather(results)
    question = Question(**told["question"])
    evidence = select(found.rows, question, found.p_value)
    return decisions(evidence, decide(evidence, question))


def test_the_form_decides_as_the_command_does(nlp: Path, opened: Open) -> None:
    tab = opened(nlp / "leaderboard.html")
    page = tab.page
    for fields in (
        {"task": "text-classification"},
        {"task": "text-classification", "max_fit_seconds": "30"},
        {"task": "token-classification", "device": "cpu", "examples": "1000",
         "max_latency_ms": "10", "max_size_mb": "100", "min_score": "0.8"},
        {"task": "conll-mrc", "max_latency_ms": "1", "min_score": "0.99"},
        {"task": "question-answering", "weight_score": "3", "weight_fit_time": "1",
         "percentile": "p50"},
    ):  # fmt: skip
        told = ask(page, **fields)
        assert told["answer"] == decided(nlp.parent, told), fields
    assert "Recommended" in page.locator("#choose-answer").inner_text()
    assert not tab.complaints


@pytest.mark.parametrize(
    "shown",
    [Definition(), Definition(rank_by="f1_macro"), Definition(filters={"runtime": "torch"})],
    ids=["default", "ranked by another metric", "filtered"],
)
def test_what_a_definition_shows_changes_no_answer(
    nlp: Path, tmp_path: Path, opened: Open, shown: Definition
) -> None:
    write(build(nlp, shown), tmp_path, shown)
    told = ask(opened(tmp_path / "leaderboard.html").page, task="text-classification")
    assert told["answer"] == decided(nlp.parent, told)
    assert told["answer"]["recommended"] and len(told["answer"]["ranking"]) > 5


def test_the_asked_training_size_chooses_among_those_of_a_curve(
    tmp_path: Path, opened: Open
) -> None:
    folder = write_curve_suite(tmp_path)
    # without its largest size, one model is compared at a smaller one, and is tied with nobody
    for place in (folder / "runs").glob("*-smol-1600/status.json"):
        place.write_text('{"status": "oom", "reason": "needs 9 GB"}')
    render(folder)
    page = opened(folder / "leaderboard.html").page
    leaders = set()
    for size in ("100", "400", "1600"):
        told = ask(page, task="spam", examples=size)
        assert told["answer"] == decided(tmp_path, told)
        leaders.add(told["answer"]["leader"])
    assert len(leaders) > 1
    assert "smol" in told["answer"]["untested"][0]
    assert "Not tested against" in page.locator("#choose-answer").inner_text()


def test_the_printed_command_answers_the_same(
    nlp: Path, tmp_path: Path, opened: Open, harness: Harness
) -> None:
    """On the page's own folder, and on a page that was written elsewhere."""
    write(build(nlp), tmp_path / "else where", Definition())
    for folder in (nlp, tmp_path / "else where"):
        page = opened(folder / "leaderboard.html").page
        told = ask(page, task="text-classification", max_size_mb="60", weight_latency="1")
        words = shlex.split(page.locator("#choose-answer pre").inner_text())
        assert words[0] == "harness"
        answer = harness(*words[1:], "--json")
        assert answer.status == 0, answer.err
        said = json.loads(answer.out)
        assert {key: said[key] for key in told["answer"]} == told["answer"]


def test_what_nothing_satisfies_names_the_nearest(nlp: Path, opened: Open) -> None:
    page = opened(nlp / "leaderboard.html").page
    ask(page, task="conll-mrc", max_latency_ms="1", min_score="0.99")
    text = page.locator("#choose-answer").inner_text()
    assert "the nearest is" in text and "--max-latency-ms 1" in text
    assert "Excluded by --min-score" in text


def test_rows_that_another_host_timed_are_named(tmp_path: Path, opened: Open) -> None:
    """One row has a launch on a second host, more than on the first: the console is told to take
    the board's timings."""
    folder = write_results(tmp_path, trouble=False, size=100)
    plan = json.loads((folder / "plan.json").read_text())
    (entry,) = [
        e for e in plan["rows"] if (e["row"]["model"], e["row"]["task"]) == ("tfidf", "topics")
    ]
    place = folder / "runs" / entry["runs"][0]["run_id"] / "measurements"
    timing = read_json(next(place.glob("*-0")) / "timing.json") or {}
    for launch in range(3):
        write_json(place / f"h2-{launch}" / "timing.json", timing)
        write_json(place / f"h2-{launch}" / "host.json", HOST | {"host_id": "h2"})
    render(folder)
    page = opened(folder / "leaderboard.html").page
    ask(page, task="topics", max_size_mb="500", weight_score="1")
    text = page.locator("#choose-answer").inner_text()
    assert "Timed on another host than the recommended" in text
    assert "harness choose --suite demo --timings board" in text
