"""`harness choose`: evidence, the rule, its words, and bad input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.choose.answer import decide
from harness.choose.ask import ask
from harness.choose.evidence import select
from harness.choose.gather import gather
from harness.choose.question import Question, task_named, weights_from
from harness.choose.reasons import reasons
from harness.errors import RequestError
from tests.conftest import Harness
from tests.records import write_results

ROOT = Path(__file__).parents[1]
TEXT = "text-classification"


def row(model: str, score: float | None = 0.9, **facts: Any) -> dict[str, Any]:
    """A flat row with what `choose` reads of it."""
    plain = {
        "row_id": f"{model}-{facts.get('task', 'topics')}", "suite": "demo", "model": model,
        "task": "topics", "task_type": TEXT, "model_kind": "transformer", "model_name": model,
        "recipe": "fine-tune", "framework": "torch", "runtime": "torch", "device": "cpu",
        "dtype": "float32", "status": "ok", "reason": "", "score": score, "score_low": None,
        "score_high": None, "score_name": "accuracy", "tied_with_best": False,
        "score_delta_high": None, "latency_p50_ms": 5.0, "latency_p90_ms": 6.0,
        "latency_p99_ms": None, "size_mb": 90.0, "peak_memory_mb": 500.0, "fit_seconds": 50.0,
        "energy_j_per_1000": None, "throughput_per_s": 100.0, "train_examples": 1000,
        "train_score": 0.95, "seeds_ok": 1, "launches": 1, "host_id": "h1",
        "runs": [f"run-{model}"],
    }  # fmt: skip
    return plain | facts


def recommended(rows: list[dict[str, Any]], question: Question) -> str | None:
    best = decide(select(rows, question), question).recommended
    return None if best is None else str(best["model"])


# -- the rule -----------------------------------------------------------------------------------


def test_the_highest_score_wins_where_nothing_ties() -> None:
    rows = [row("a", 0.90, tied_with_best=True), row("b", 0.88, latency_p90_ms=1.0)]
    assert recommended(rows, Question(TEXT)) == "a"


def test_of_tied_fits_the_cheaper_one_wins_and_a_linear_baseline_first() -> None:
    tied = {"tied_with_best": True}
    rows = [row("a", 0.90, **tied), row("b", 0.88, latency_p90_ms=1.0, **tied)]
    assert recommended(rows, Question(TEXT)) == "b"
    rows.append(row("tfidf", 0.87, recipe="baseline", latency_p90_ms=2.0, **tied))
    assert recommended(rows, Question(TEXT)) == "tfidf"


def test_a_runtime_known_to_score_below_its_fit_does_not_inherit_the_tie() -> None:
    tied = {"tied_with_best": True}
    int8 = row("a", 0.86, runtime="int8", dtype="int8", latency_p90_ms=1.0, score_delta_high=-0.01)
    assert recommended([row("a", 0.90, **tied), int8 | tied], Question(TEXT)) == "a"
    answer = decide(select([row("a", 0.90, **tied), int8 | tied], Question(TEXT)), Question(TEXT))
    assert [c["runtime"] for c in answer.tied] == ["torch"]


def test_guessing_is_never_recommended() -> None:
    rows = [row("majority", 0.99, model_kind="majority", latency_p90_ms=0.001), row("a", 0.6)]
    assert recommended(rows, Question(TEXT, weights={"latency": 1.0})) == "a"


def test_costs_count_by_ratio() -> None:
    """10 ms to 1 ms is worth as much as 100 ms to 10 ms: the middle one gains exactly one half."""
    rows = [row(m, 0.9, latency_p90_ms=ms) for m, ms in (("a", 1.0), ("b", 10.0), ("c", 100.0))]
    question = Question(TEXT, weights={"latency": 1.0})
    answer = decide(select(rows, question), question)
    assert [(c["model"], u) for c, u in answer.ranking] == [("a", 1.0), ("b", 0.5), ("c", 0.0)]


def test_a_candidate_without_the_evidence_is_excluded_by_name_not_by_zero() -> None:
    rows = [row("a", 0.9, latency_p90_ms=None, latency_p50_ms=None), row("b", 0.8)]
    question = Question(TEXT, max_latency_ms=10)
    answer = decide(select(rows, question), question)
    assert answer.recommended is not None and answer.recommended["model"] == "b"
    (out,) = answer.excluded
    assert (out.broken, out.unmeasured) == ((), ("max_latency_ms",))


def test_the_nearest_breaks_the_bounds_by_the_smallest_ratio() -> None:
    """a: 2x the latency; b: 1.1x the latency and 1.2x the size, 1.32x together."""
    rows = [
        row("a", latency_p90_ms=20.0, size_mb=50.0),
        row("b", latency_p90_ms=11.0, size_mb=120.0),
    ]
    question = Question(TEXT, max_latency_ms=10, max_size_mb=100)
    answer = decide(select(rows, question), question)
    assert answer.recommended is None
    assert answer.nearest is not None and answer.nearest["model"] == "b"


# -- evidence -----------------------------------------------------------------------------------


def test_boards_nearest_in_training_size_answer() -> None:
    small = {"suite": "small", "train_examples": 100}
    rows = [row("a", 0.9), row("b", 0.8), row("a", 0.5, **small), row("b", 0.6, **small)]
    assert recommended(rows, Question(TEXT, examples=800)) == "a"
    assert recommended(rows, Question(TEXT, examples=120)) == "b"
    assert select(rows, Question(TEXT)).boards == {"topics": "demo"}, "most examples by default"


def test_only_candidates_on_the_same_data_sets_are_compared() -> None:
    rows = [
        row("a", 0.7), row("a", 0.7, task="news"),
        row("b", 0.6), row("b", 0.6, task="news"),
        row("c", 0.99, task="news"),
    ]  # fmt: skip
    found = select(rows, Question(TEXT))
    assert sorted(c["model"] for c in found.candidates) == ["a", "b"]
    assert list(found.partial.values()) == [("topics",)]
    assert recommended(rows, Question("news")) == "c"


def test_a_failed_run_is_no_evidence_and_is_named() -> None:
    rows = [row("a"), row("b", None, status="oom", reason="needs 9 GB")]
    found = select(rows, Question(TEXT))
    assert [r["model"] for r in found.unscored] == ["b"]
    assert [c["model"] for c in found.candidates] == ["a"]


def test_p99_only_where_every_timed_candidate_carries_it() -> None:
    both = [row("a", latency_p99_ms=9.0), row("b", latency_p99_ms=8.0)]
    assert select(both, Question(TEXT)).percentile == "p99"
    assert select([*both, row("c")], Question(TEXT)).percentile == "p90"


# -- words --------------------------------------------------------------------------------------


def said_of(rows: list[dict[str, Any]], question: Question, here: str = "h1") -> Any:
    evidence = select(rows, question)
    return reasons(evidence, decide(evidence, question), question, {}, here)


def test_a_bound_that_the_interval_crosses_is_only_estimated() -> None:
    rows = [row("a", 0.82, score_low=0.78, score_high=0.86)]
    said = said_of(rows, Question(TEXT, min_score=0.8))
    assert any("reaches down to 0.780" in line for line in said.estimated)
    assert not any("reaches" in line for line in said_of(rows, Question(TEXT)).estimated)


def test_size_and_host_apart_are_said() -> None:
    said = said_of([row("a")], Question(TEXT, examples=50), here="another")
    assert any("50 examples: it was fitted on 1,000" in line for line in said.estimated)
    assert any("another host" in line for line in said.estimated)
    near = said_of([row("a")], Question(TEXT, examples=900))
    assert not any("it was fitted on" in line for line in near.estimated)


def test_price_is_seconds_times_the_hourly_price() -> None:
    """50 s at 36 an hour cost 0.5; a million at 100 a second take 10,000 s and cost 100."""
    said = said_of([row("a")], Question(TEXT, price_per_hour=36))
    assert any("one fit costs 0.50 " in line for line in said.why)
    assert any("a million predictions cost 100 " in line for line in said.why)


def test_the_runner_up_is_preferred_for_what_it_is_better_at() -> None:
    rows = [row("a", 0.9, tied_with_best=True), row("b", 0.8, latency_p90_ms=1.0, size_mb=120.0)]
    said = said_of(rows, Question(TEXT))
    assert said.prefer_runner_up == ["latency counts most: 1.00 instead of 6.00 ms"]


# -- the request --------------------------------------------------------------------------------


def test_aliases_and_data_sets_name_a_task() -> None:
    assert task_named("NER", [], []) == "token-classification"
    assert task_named("my-tickets", [], ["my-tickets"]) == "my-tickets"
    with pytest.raises(RequestError, match="did you mean 'ner'"):
        task_named("nre", [], [])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("speed=1", "unknown key 'speed'"),
        ("scor=1", "did you mean 'score'"),
        ("score=x", "NAME=NUMBER"),
        ("score=-1", "NAME=NUMBER"),
        ("score=nan", "NAME=NUMBER"),
        ("score", "NAME=NUMBER"),
        ("score=1,score=2", "twice"),
        ("score=0", "above 0"),
    ],
)
def test_bad_weights_are_refused_by_name(text: str, complaint: str) -> None:
    with pytest.raises(RequestError, match=complaint):
        weights_from(text)


def test_prompts_ask_again_until_they_understand(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from rich.console import Console

    typed = iter(["nar", "ner", "many", "1000", "tpu", "cpu", "ten", "10", "", "", "", "0.8",
                  "speed=1", "score=3,latency=1"])  # fmt: skip
    monkeypatch.setattr("builtins.input", lambda *_: next(typed))
    shown = io.StringIO()
    found = ask(Console(file=shown, width=200), ["token-classification"], ["conll"], ["cpu"])
    assert found == {
        "task": "token-classification", "examples": 1000, "device": "cpu", "max_latency_ms": 10.0,
        "max_size_mb": None, "max_memory_mb": None, "max_fit_seconds": None, "min_score": 0.8,
        "weights": {"score": 3.0, "latency": 1.0},
    }  # fmt: skip
    for complaint in ("did you mean 'ner'", "'many' is not a number", "'tpu' is not among",
                      "'ten' is not a number", "unknown key 'speed'"):  # fmt: skip
        assert complaint in shown.getvalue()


# -- the command --------------------------------------------------------------------------------


def test_the_command_cites_runs_that_exist(harness: Harness) -> None:
    reference = ROOT / "results" / "reference"
    answer = harness("choose", "--task", "ner", "--results", str(reference), "--json")
    assert answer.status == 0, answer.err
    told = json.loads(answer.out)
    best = told["candidates"][told["recommended"]]
    assert best["runs"]
    for run in best["runs"]:
        assert list(reference.glob(f"*/runs/{run}/metrics.json")), run
    text = harness("choose", "--task", "ner", "--results", str(reference))
    assert best["runs"][0] in text.out and "Runner-up" in text.out


def test_contradictory_bounds_name_the_nearest(harness: Harness, tmp_path: Path) -> None:
    write_results(tmp_path / "results")
    answer = harness("choose", "--task", "ner", "--max-size-mb", "0.001", "--min-score", "0.99")
    assert answer.status == 2
    assert "Nothing satisfies" in answer.out and "the nearest is" in answer.out
    assert "you asked 0.99" in answer.out and "--max-size-mb" in answer.err


def test_no_evidence_says_what_there_is(harness: Harness, tmp_path: Path) -> None:
    write_results(tmp_path / "results")
    shutil.rmtree(tmp_path / "results" / "demo" / "runs")
    answer = harness("choose", "--task", "ner", "--suite", "demo")
    assert answer.status == 2 and "no evidence for 'token-classification'" in answer.err
    assert "Traceback" not in answer.err


def test_broken_and_foreign_folders_are_named_skipped_and_counted(
    harness: Harness, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    write_results(results)
    (results / "holiday").mkdir()
    for name, text in (
        ("torn", '{"rows": ['),
        ("odd", '{"rows": 7}'),
        ("newer", '{"schema_version": 99}'),
    ):
        (results / name).mkdir()
        (results / name / "plan.json").write_text(text)
    victim = next((results / "demo" / "runs").glob("*/predictions.parquet"))
    victim.write_bytes(b"not parquet")
    answer = harness("choose", "--task", "ner")
    assert answer.status == 0, answer.err
    for name in ("holiday", "torn", "odd", "newer"):
        assert f"skipped results/{name}: " in answer.out
    assert "4 folders skipped" in answer.out and "1 damaged runs" in answer.out
    told = json.loads(harness("choose", "--task", "ner", "--json").out)
    assert len(told["skipped"]) == 4 and told["damaged_runs"] == 1


def test_names_are_text_not_markup(harness: Harness, tmp_path: Path) -> None:
    write_results(tmp_path / "results", names={"minilm": "[red]\x1b[31m<img src=x>"})
    answer = harness("choose", "--task", "ner")
    assert "[red]" in answer.out and "\x1b[31m<img" not in answer.out


def test_without_a_terminal_it_asks_for_a_task(harness: Harness) -> None:
    answer = harness("choose")
    assert answer.status == 2 and "--task" in answer.err


def test_own_results_come_before_the_reference(harness: Harness, tmp_path: Path) -> None:
    write_results(tmp_path / "results")
    own = harness("choose", "--task", "ner")
    assert "suite demo" in own.out and "reference" not in own.out
    images = harness("choose", "--task", "vision")
    assert "no results of your own on image-classification" in images.out


def test_gathering_reads_a_folder_of_suites(tmp_path: Path) -> None:
    write_results(tmp_path)
    assert [p.name for p in gather(tmp_path).read] == ["demo"]
    with pytest.raises(RequestError, match="there are: demo"):
        gather(tmp_path, ("other",))
