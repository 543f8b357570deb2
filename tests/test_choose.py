"""`harness choose`: evidence, the rule, its words, and bad input."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.choose.answer import Answer, decide
from harness.choose.ask import ask
from harness.choose.evidence import PValue, select
from harness.choose.form import MOST_ROWS, make_form
from harness.choose.gather import gather
from harness.choose.question import (
    BOUNDS,
    OWN_DATA_TYPE,
    Question,
    task_named,
    weights_from,
)
from harness.choose.reasons import figures, reasons
from harness.cli import _parser
from harness.commands.time import Target, _check_record
from harness.errors import RequestError
from harness.records.store import Store
from tests.conftest import Harness
from tests.curve_suite import write_curve_suite
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
        "score_high": None, "score_name": "accuracy", "latency_p50_ms": 5.0, "latency_p90_ms": 6.0,
        "latency_p99_ms": None, "size_mb": 90.0, "peak_memory_mb": 500.0, "fit_seconds": 50.0,
        "energy_j_per_1000": None, "throughput_per_s": 100.0, "train_examples": 1000,
        "train_score": 0.95, "seeds_ok": 1, "launches": 1, "host_id": "h1",
        "runs": [f"run-{model}"],
    }  # fmt: skip
    return plain | facts


def p_from(p_values: dict[tuple[str, str], float]) -> PValue:
    """p of two rows by their ids, in either order; other pairs were not tested."""
    return lambda a, b: p_values.get((a, b), p_values.get((b, a)))


def answered(
    rows: list[dict[str, Any]], question: Question, tested: dict[tuple[str, str], float]
) -> Answer:
    return decide(select(rows, question, p_from(tested)), question)


def recommended(
    rows: list[dict[str, Any]],
    question: Question,
    tested: dict[tuple[str, str], float] | None = None,
) -> str | None:
    best = answered(rows, question, tested or {}).recommended
    return None if best is None else str(best["model"])


# -- the rule -----------------------------------------------------------------------------------


def test_the_highest_score_wins_where_nothing_ties() -> None:
    rows = [row("a", 0.90), row("b", 0.88, latency_p90_ms=1.0)]
    assert recommended(rows, Question(TEXT), {("a-topics", "b-topics"): 0.01}) == "a"


def test_of_tied_fits_the_cheaper_one_wins_and_a_linear_baseline_first() -> None:
    rows = [row("a", 0.90), row("b", 0.88, latency_p90_ms=1.0)]
    tested = {("a-topics", "b-topics"): 0.2}
    assert recommended(rows, Question(TEXT), tested) == "b"
    rows.append(row("tfidf", 0.87, recipe="baseline", latency_p90_ms=2.0))
    tested["a-topics", "tfidf-topics"] = 0.1
    assert recommended(rows, Question(TEXT), tested) == "tfidf"


def test_ties_are_with_the_leader_within_bounds_not_with_an_excluded_best() -> None:
    """Both are tied with the best, which is too large, and told from each other."""
    rows = [
        row("large", 0.92, size_mb=900.0),
        row("a", 0.90),
        row("tfidf", 0.87, recipe="baseline"),
    ]
    with_best = {("large-topics", "a-topics"): 0.6, ("large-topics", "tfidf-topics"): 0.3}
    question = Question(TEXT, max_size_mb=100)
    apart = answered(rows, question, with_best | {("a-topics", "tfidf-topics"): 0.001})
    assert [c["model"] for c in apart.tied] == ["a"] and apart.untested == ()
    assert apart.recommended is not None and apart.recommended["model"] == "a"
    alike = with_best | {("a-topics", "tfidf-topics"): 0.4}
    assert recommended(rows, question, alike) == "tfidf"


def test_what_was_not_tested_is_never_tied_and_is_named() -> None:
    rows = [row("a", 0.90), row("tfidf", 0.899, recipe="baseline")]
    answer = answered(rows, Question(TEXT), {})
    assert [c["model"] for c in answer.tied] == ["a"]
    assert [c["model"] for c in answer.untested] == ["tfidf"]
    assert answer.recommended is not None and answer.recommended["model"] == "a"
    assert any("not tested against a fine-tuned" in w and w.endswith("): tfidf")
               for w in said_of(rows, Question(TEXT)).why)  # fmt: skip


def test_tests_with_the_leader_are_corrected_over_the_fits_within_bounds() -> None:
    """p = 0.03 tells two fits apart; among three tests of this kind Holm asks for 0.05 / 3."""
    rows = [row(m, score) for m, score in (("a", 0.9), ("b", 0.89), ("c", 0.88), ("d", 0.87))]
    tested = {("a-topics", f"{m}-topics"): 0.03 for m in "bcd"}
    assert [c["model"] for c in answered(rows, Question(TEXT), tested).tied] == ["a", "b", "c", "d"]
    two = answered(rows, Question(TEXT, min_score=0.885), tested)
    assert [c["model"] for c in two.tied] == ["a"]


def test_runtimes_of_one_fit_are_one_test_and_each_is_tested_with_the_one_that_trained_it() -> None:
    int8 = {"runtime": "int8", "dtype": "int8", "latency_p90_ms": 1.0}
    rows = [
        row("a", 0.90), row("a", 0.86, row_id="a8", **int8),
        row("b", 0.89), row("b", 0.84, row_id="b8", **int8),
    ]  # fmt: skip
    tested = {("a-topics", "a8"): 0.01, ("a-topics", "b-topics"): 0.04, ("b-topics", "b8"): 0.5,
              ("a-topics", "b8"): 0.001}  # fmt: skip
    assert [c["model"] for c in answered(rows, Question(TEXT), tested).tied] == ["a"]
    tested["a-topics", "b-topics"] = 0.2
    found = answered(rows, Question(TEXT), tested)
    assert [(c["model"], c["runtime"]) for c in found.tied] == [
        ("a", "torch"), ("b", "int8"), ("b", "torch")
    ]  # fmt: skip


def test_fits_on_other_training_sizes_are_not_tied(tmp_path: Path) -> None:
    """The leader failed on the asked size: its row on another one was tested with none of this."""
    folder = write_curve_suite(tmp_path)
    plan = json.loads((folder / "plan.json").read_text())
    for place in (folder / "runs").glob("*-smol-100/status.json"):
        place.write_text('{"status": "oom", "reason": "needs 9 GB"}')
    assert plan["rows"]
    found = gather(tmp_path)
    question = Question("news", examples=100)
    answer = decide(select(found.rows, question, found.p_value), question)
    assert answer.leader is not None and answer.leader.rows[0]["train_budget"] == 400
    assert [c.key for c in answer.tied] == [answer.leader.key]
    assert {c["model"] for c in answer.untested} == {"minilm", "tfidf", "static"}


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


def test_a_data_set_measured_for_a_few_shuts_out_none_of_the_others() -> None:
    rows = [row(m, 0.7) for m in "abcde"] + [row("a", 0.9, task="mine"), row("b", 0.9, task="mine")]
    found = select(rows, Question(TEXT))
    assert len(found.candidates) == 5 and not found.partial
    assert found.thin == {"mine": 2}


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


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"model_name": "Llama", "model_family": "autoencoding"},
         "as this one is (by its configuration;"),
        ({"model_name": "My BERT", "model_family": "autoregressive"},
         "this one is autoregressive, yet it scored (by its configuration;"),
        ({"model_name": "My BERT"}, "as this one is (by its name;"),
        ({"model_name": "Llama", "model_family": None},
         "this one is autoregressive, yet it scored (by its name;"),
        ({"model_name": "own"}, None),
        ({"model_name": "BERT", "model_kind": "static-embeddings"}, None),
    ],
)  # fmt: skip
def test_a_family_is_that_of_the_configuration_and_of_the_name_only_without_one(
    facts: dict[str, Any], told: str | None
) -> None:
    why = [line for line in said_of([row("a", **facts)], Question(TEXT)).why if "suit" in line]
    assert [told in line for line in why if told] == ([True] if told else [])
    assert len(why) == (1 if told else 0)


def test_the_runner_up_is_preferred_for_what_it_is_better_at() -> None:
    rows = [row("a", 0.9), row("b", 0.8, latency_p90_ms=1.0, size_mb=120.0)]
    said = said_of(rows, Question(TEXT))
    assert said.prefer_runner_up == ["latency counts most: 1.00 ms instead of 6.00 ms"]


def test_what_is_known_of_a_candidate_is_shown() -> None:
    facts = {"params": 22.7e6, "energy_j_per_1000": 5.0, "first_answer_seconds": 2.0,
             "server_rate_per_s": 30.0, "server_percentile": 0.99,
             "server_latency_bound_ms": 100.0}  # fmt: skip
    evidence = select([row("a", **facts)], Question(TEXT))
    shown = figures(evidence.candidates[0], evidence)
    for part in (
        "parameters 22.7M", "energy 5.00 J per 1,000", "throughput 100 examples/s",
        "cold start 2.00 s", "server rate 30.0 queries/s (99% within 100 ms)",
    ):  # fmt: skip
        assert part in shown
    for bound in ({"max_params": 1e6}, {"max_energy_j": 1}, {"max_cold_start_s": 1},
                  {"min_server_rate": 60}, {"min_throughput": 200}):  # fmt: skip
        assert recommended([row("a", **facts)], Question(TEXT, **bound)) is None


def test_ties_are_named() -> None:
    rows = [row("a", 0.90), row("b", 0.89), row("tfidf", 0.88, recipe="baseline")]
    question = Question(TEXT)
    tested = {("a-topics", "b-topics"): 0.5, ("a-topics", "tfidf-topics"): 0.4}
    evidence = select(rows, question, p_from(tested))
    said = reasons(evidence, decide(evidence, question), question, {}, "h1")
    assert said.why[0] == (
        "tied with the highest score within bounds (a fine-tuned, run by torch on cpu (float32), "
        "0.900): paired tests do not tell it from that, nor b fine-tuned; recommended as a linear "
        "baseline"
    )


def test_guessing_is_a_floor_however_often_it_was_run() -> None:
    guess = {"model_kind": "majority", "recipe": "baseline"}
    rows = [row("a", 0.9), row("majority", 0.5, **guess),
            row("majority", 0.5, row_id="another", device="cuda", **guess)]  # fmt: skip
    assert "+40.00 points over guessing" in said_of(rows, Question(TEXT)).why


def test_candidates_that_another_host_timed_are_named() -> None:
    rows = [row("a", 0.9), row("b", 0.8, host_id="h2"), row("c", 0.7)]
    (line,) = [e for e in said_of(rows, Question(TEXT)).estimated if "another host" in e]
    assert line.endswith(": b fine-tuned")


def test_a_page_of_very_many_rows_says_that_it_has_no_form() -> None:
    rows = [row(f"m{i}", 0.5) for i in range(MOST_ROWS + 1)]
    assert make_form(rows, command="harness choose --suite big").reason == (
        "Left out of a page of more than 5,000 rows. Ask on a console: harness choose --suite big"
    )
    assert make_form(rows[1:]).data is not None


def test_every_command_that_is_advised_is_taken_as_it_is_printed(tmp_path: Path) -> None:
    served = {"server_rate_per_s": 30.0, "server_percentile": 0.99,
              "server_latency_bound_ms": 100.0}  # fmt: skip
    rows = [row("a", 0.9, energy_j_per_1000=2.0, **served), row("b", 0.8)]
    said = said_of(rows, Question(TEXT, min_server_rate=20, max_energy_j=3), here="another")
    seen = set()
    for line in said.measure:
        program, *argv = shlex.split(line, comments=True)
        assert program == "harness"
        args = _parser(argv).parse_args(argv)
        if argv[0] == "time":
            store = Store(tmp_path, "demo"), args.target
            target = Target("b", "torch", tmp_path, tmp_path, tmp_path, "cpu", 1, 1, store)
            _check_record(args, target)
            assert args.target == "run-b" and "server" in args.scenario
        elif argv[0] == "choose":
            assert args.type == OWN_DATA_TYPE
        seen.add((argv[0], *(word for word in argv if word.startswith("--") and argv[0] == "run")))
    assert seen == {("time",), ("choose",), ("run",), ("run", "--seeds"), ("run", "--only")}


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

    typed = iter(["nar", "ner", "many", "1000", "tpu", "cpu", "ten", "10", "0.8",
                  "speed=1", "score=3,latency=1"])  # fmt: skip
    monkeypatch.setattr("builtins.input", lambda *_: next(typed))
    shown = io.StringIO()
    given = dict.fromkeys(set(BOUNDS) - {"max_latency_ms", "min_score"}, 7.0)
    console = Console(file=shown, width=200)
    found = ask(console, ["token-classification"], ["conll"], ["cpu"], given)
    assert found == {
        "task": "token-classification", "examples": 1000, "device": "cpu", "max_latency_ms": 10.0,
        "min_score": 0.8, "weights": {"score": 3.0, "latency": 1.0},
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
    assert "Traceback" not in answer.err and "--data" not in answer.err
    for task in ("text-classification", "topics"):  # the type, and a data set of it
        answer = harness("choose", "--task", task, "--suite", "demo")
        assert answer.status == 2
        assert "--data mine.csv --type text-classification" in answer.err


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


def test_prompts_leave_alone_what_flags_gave(tmp_path: Path) -> None:
    write_results(tmp_path / "results")
    flags = ["--prompt", "--json", "--max-size-mb", "60", "--weights", "latency=1",
             "--examples", "500", "--percentile", "p50"]  # fmt: skip
    answer = subprocess.run(
        [sys.executable, "-m", "harness.cli", "choose", *flags],
        cwd=tmp_path, input="ner\n" + "\n" * (len(BOUNDS) + 1), capture_output=True, text=True,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    asked = json.loads(answer.stdout)["question"]  # prompts went to stderr
    assert asked["task"] == "token-classification" and asked["max_size_mb"] == 60
    assert asked["examples"] == 500 and asked["weights"] == {"latency": 1.0}
    assert asked["percentile"] == "p50"
    assert "Which task?" in answer.stderr and "How many" not in answer.stderr


def test_flags_without_a_meaning_beside_own_data_are_refused(harness: Harness) -> None:
    answer = harness("choose", "--data", "mine.csv", "--task", "ner", "--examples", "100")
    assert answer.status == 2 and "--task, --examples: of no meaning beside --data" in answer.err


def test_a_bound_that_nobody_was_measured_on_is_said_so(harness: Harness, tmp_path: Path) -> None:
    write_results(tmp_path / "results")
    answer = harness("choose", "--task", "ner", "--device", "cpu", "--max-cold-start-s", "1")
    assert answer.status == 2
    assert "no candidate was measured on all of: --max-cold-start-s" in answer.out
    elsewhere = harness("choose", "--task", "ner", "--device", "cuda")
    assert "nothing was measured on that device; there is evidence on: cpu" in elsewhere.out


def test_guesses_alone_are_no_evidence_of_your_own(harness: Harness, tmp_path: Path) -> None:
    folder = write_results(tmp_path / "results")
    plan = json.loads((folder / "plan.json").read_text())
    plan["rows"] = [row for row in plan["rows"] if row["row"]["model"] == "majority"]
    (folder / "plan.json").write_text(json.dumps(plan))
    answer = harness("choose", "--task", "ner")
    assert answer.status == 0, answer.err
    assert "no results of your own on token-classification" in answer.out


def test_why_another_board_was_taken(harness: Harness, tmp_path: Path) -> None:
    folder = write_results(tmp_path / "results")
    shutil.copytree(folder, tmp_path / "results" / "twin")
    plan = json.loads((folder / "plan.json").read_text())
    for entry in plan["rows"]:
        entry["row"]["suite"] = "twin"
        entry["row_id"] += "-twin"
    (tmp_path / "results" / "twin" / "plan.json").write_text(json.dumps(plan))
    plain = harness("choose", "--task", "ner")
    assert "not used: entities in suite twin: suite demo has more training examples" in plain.out
    sized = harness("choose", "--task", "ner", "--examples", "100")
    assert "suite twin: further from the asked training size" in sized.out


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
