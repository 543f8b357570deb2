from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest

from harness.boards.board import build, render
from harness.boards.collect import collect
from harness.boards.columns import COLUMNS
from harness.boards.definition import Definition
from harness.boards.keys import KEYS
from harness.boards.page import Fact
from harness.boards.rank import ranked
from harness.errors import RequestError
from harness.measure.launch import TIMING_VERSION
from harness.records.digests import seal
from harness.records.files import read_json, write_json
from harness.records.store import finish
from harness.stats.bootstrap import wilson
from tests.conftest import Harness
from tests.records import write_results


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_results(tmp_path_factory.mktemp("results"))


def find(rows: Sequence[dict[str, Any]], **wanted: Any) -> dict[str, Any]:
    found = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    assert len(found) == 1, (wanted, len(found))
    return found[0]


def one_task(folder: Path, systems: Mapping[str, Sequence[Sequence[int]]]) -> Path:
    """One accuracy task; system name to right/wrong per example, one list a seed."""
    rows = []
    for model, seeds in systems.items():
        runs = []
        for seed, right in enumerate(seeds):
            fit_id = run_id = f"{model}-{seed}"
            runs.append({"run_id": run_id, "fit_id": fit_id, "seed": seed})
            place = folder / "mini" / "runs" / run_id
            write_json(place / "metrics.json", {"score": float(np.mean(right)), "metrics": {}})
            names = [f"e{i}" for i in range(len(right))]
            ones = [1.0] * len(right)
            scores = {"score_num": [float(r) for r in right], "score_den": ones}
            table = pa.table({"id": names, "cluster": names, **scores})
            pq.write_table(table, place / "predictions.parquet")
            write_json(place / "status.json", {"status": "ok", "reason": ""})
        row = {
            "suite": "mini", "model": model, "task": "t", "recipe": "fine-tune",
            "framework": "torch", "runtime": "torch", "device": "cpu", "dtype": "float32",
        }  # fmt: skip
        rows.append({"row_id": model, "row": row, "runs": runs})
    models: dict[str, Any] = {model: {"name": "", "licence": "MIT"} for model in systems}
    tasks = {"t": {"name": "T", "primary": "accuracy", "licence": "CC0-1.0"}}
    plan = {"suite": "mini", "models": models, "tasks": tasks, "rows": rows}
    write_json(folder / "mini" / "plan.json", plan)
    return folder / "mini"


def wrong_at(size: int, *places: int) -> list[int]:
    return [0 if i in places else 1 for i in range(size)]


def test_every_row_of_the_plan_is_on_the_board_once_with_every_key(results: Path) -> None:
    rows = build(results).rows
    plan = read_json(results / "plan.json")
    assert plan is not None
    assert sorted(row["row_id"] for row in rows) == sorted(r["row_id"] for r in plan["rows"])
    assert all(tuple(row) == KEYS for row in rows)


def test_one_seed_of_accuracy_has_wilsons_interval(results: Path) -> None:
    row = find(build(results).rows, model="tfidf", task="topics")
    right = round(row["score"] * 600)
    assert (row["score_low"], row["score_high"]) == wilson(right, 600)
    assert row["accuracy"] == row["score"] == pytest.approx(right / 600)
    assert (row["score_basis"], row["seeds"], row["seeds_ok"]) == ("examples", 1, 1)


def test_a_row_is_the_mean_over_its_seeds(results: Path) -> None:
    row = find(build(results).rows, model="minilm", task="topics", runtime="torch",
               recipe="fine-tune")  # fmt: skip
    records = [read_json(results / "runs" / run / "metrics.json") for run in row["runs"]]
    scores = [record["score"] for record in records if record]
    assert row["score"] == pytest.approx(np.mean(scores))
    assert (row["seeds_ok"], row["score_basis"]) == (3, "examples+seeds")


def test_a_row_has_the_family_that_its_fits_recorded(tmp_path: Path) -> None:
    folder = one_task(tmp_path, {"recorded": [[1, 0]], "older": [[1, 1]]})
    facts = {"flops_per_example": 1.0, "family": "autoencoding"}
    write_json(folder / "fits" / "recorded-0" / "facts.json", facts)
    rows = {row["model"]: row["model_family"] for row in build(folder).rows}
    assert rows == {"recorded": "autoencoding", "older": None}


def test_a_fit_without_a_time_of_its_own_says_why_everywhere(tmp_path: Path) -> None:
    folder, why = write_results(tmp_path, size=60), "features computed by torch"
    probe = {"model": "static", "recipe": "linear-probe", "task": "topics"}
    row_id = find(build(folder).rows, **probe, runtime="torch")["row_id"]
    (row,) = (row for row in collect(folder).rows if row.flat["row_id"] == row_id)
    for run in row.runs:
        gone = {"seconds": None, "seconds_reason": why, "examples_per_second": None}
        write_json(folder / "fits" / run.fit_id / "fit.json", {**run.fit, **gone})
    board = build(folder)
    flat = find(board.rows, **probe, runtime="torch")
    assert (flat["fit_seconds"], flat["fit_examples_per_second"]) == (None, None)
    assert flat["fit_seconds_reason"] == why
    other = find(board.rows, model="static", recipe="linear-probe", task="entities",
                 runtime="torch")  # fmt: skip
    assert other["fit_seconds"] == 14.0 and other["fit_seconds_reason"] is None
    training = next(b for b in board.evidence.rows[row_id] if b["title"] == "Training")
    assert ["time", f"none: {why}"] in training["facts"]
    section = next(s for s in board.page.sections if s.task == "topics")
    fits = len(section.fits.rows)
    assert Fact("fit time", f"none for 1 of {fits} fits: {why}") in section.limits


def test_timings_are_medians_over_launches_and_p99_stays_null(results: Path) -> None:
    row = find(build(results).rows, model="minilm", task="entities", runtime="onnxruntime",
               recipe="fine-tune")  # fmt: skip
    assert row["latency_p50_ms"] == pytest.approx(4.4 * 1.01)
    assert row["latency_p99_ms"] is None
    assert (row["launches"], row["host_id"]) == (2, "a1b2c3d4")
    # two launches, 4.4 and 4.488: t on the logarithms, one degree of freedom (12.706)
    half = 12.706 * (np.log(1.02) / np.sqrt(2)) / np.sqrt(2)
    centre = np.log(4.4) + np.log(1.02) / 2
    assert np.log(row["latency_p50_low_ms"]) == pytest.approx(centre - half, abs=1e-4)
    assert np.log(row["latency_p50_high_ms"]) == pytest.approx(centre + half, abs=1e-4)
    assert row["steady"] is None  # records of the first version do not tell


def test_failed_missing_and_unsupported_rows_stay_with_their_reason_and_no_score(
    results: Path,
) -> None:
    rows = build(results).rows
    for wanted, status, reason in (
        ({"model": "smol", "task": "reading", "runtime": "torch"},
         "oom", "its fit: needs 9.1 GB, 6.0 GB were free"),
        ({"model": "smol", "task": "entities", "runtime": "onnxruntime-int8"},
         "unsupported", "no int8 kernel for operator GatherElements"),
        ({"model": "static", "task": "entities", "runtime": "onnxruntime"},
         "missing", "not run yet"),
    ):  # fmt: skip
        row = find(rows, **wanted)
        assert (row["status"], row["reason"]) == (status, reason)
        assert (row["score"], row["rank"], row["tied_with_best"]) == (None, None, None)


def test_a_partial_row_shows_its_score_but_is_not_ranked(results: Path) -> None:
    row = find(build(results).rows, recipe="linear-probe", model="minilm", task="topics",
               runtime="torch")  # fmt: skip
    assert (row["status"], row["seeds"], row["seeds_ok"]) == ("partial 2/3", 3, 2)
    assert row["reason"] == "seed 3 failed: the worker process ended with signal 9"
    assert row["score"] is not None
    assert row["rank"] is None


def test_runtimes_inherit_the_rank_of_their_fit(results: Path) -> None:
    rows = build(results).rows
    ranks: dict[tuple[str, ...], set[Any]] = {}
    for row in rows:
        if row["status"] == "ok":
            key = (row["task"], row["model"], row["recipe"], row["framework"])
            ranks.setdefault(key, set()).add((row["rank"], row["p_vs_best"], row["gap_to_best"]))
    assert all(len(values) == 1 for values in ranks.values())


def test_score_delta_compares_a_runtime_with_the_one_that_trained_it(results: Path) -> None:
    rows = build(results).rows
    same = {"model": "minilm", "recipe": "fine-tune", "task": "topics"}
    own = find(rows, runtime="torch", **same)
    int8 = find(rows, runtime="onnxruntime-int8", **same)
    other = find(rows, runtime="onnxruntime", **same)
    assert own["score_delta"] is None
    assert int8["score_delta"] == pytest.approx(int8["score"] - own["score"])
    assert int8["score_delta_low"] < int8["score_delta"] < int8["score_delta_high"]
    assert (other["score_delta"], other["score_delta_low"], other["score_delta_high"]) == (0, 0, 0)


def test_ties_come_from_holm_corrected_mcnemar_tests(tmp_path: Path) -> None:
    folder = one_task(
        tmp_path,
        {
            "worst": [wrong_at(100, *range(20))],
            "best": [wrong_at(100, 50)],
            "near": [wrong_at(100, *range(6))],
        },
    )
    rows = ranked(collect(folder))
    assert [(row["model"], row["rank"]) for row in rows] == [("best", 1), ("near", 2), ("worst", 3)]
    p_worst, p_near = binomtest(1, 21).pvalue, binomtest(1, 7).pvalue
    assert rows[0]["p_vs_best"] is None
    assert rows[1]["p_vs_best"] == pytest.approx(max(p_near, 2 * p_worst))
    assert rows[2]["p_vs_best"] == pytest.approx(2 * p_worst)
    assert [row["tied_with_best"] for row in rows] == [True, True, False]
    assert rows[1]["gap_to_best"] == pytest.approx(0.05)


def test_overlapping_intervals_do_not_make_a_tie(tmp_path: Path) -> None:
    hard = range(100, 120)
    a = wrong_at(400, *hard)
    b = wrong_at(400, *hard, *range(9))  # all that A gets wrong, and nine more
    rows = ranked(collect(one_task(tmp_path, {"a": [a], "b": [b]})))
    assert rows[1]["score_high"] > rows[0]["score_low"]
    assert rows[1]["p_vs_best"] == pytest.approx(binomtest(0, 9).pvalue)
    assert rows[1]["tied_with_best"] is False


def test_equal_scores_share_a_rank(tmp_path: Path) -> None:
    systems = {"a": [wrong_at(50, 1)], "b": [wrong_at(50, 2)], "c": [wrong_at(50, 1, 2, 3)]}
    rows = ranked(collect(one_task(tmp_path, systems)))
    assert [row["rank"] for row in rows] == [1, 1, 3]


def test_seeds_that_scatter_are_not_called_different(tmp_path: Path) -> None:
    """Means 88% and 85% on 1,000 examples: many discordant examples, but the seeds overlap."""
    a = [wrong_at(1000, *range(n)) for n in (80, 160)]
    b = [wrong_at(1000, *range(500, 500 + n)) for n in (100, 200)]
    rows = ranked(collect(one_task(tmp_path, {"a": a, "b": b})))
    assert rows[1]["tied_with_best"] is True
    assert rows[1]["p_vs_best"] > 0.3


def test_fits_are_compared_on_the_examples_that_both_have_seen(tmp_path: Path) -> None:
    folder = one_task(tmp_path, {"a": [wrong_at(60, 0)], "b": [wrong_at(90, *range(80, 90))]})
    rows = ranked(collect(folder))
    b = find(rows, model="b")
    assert b["p_vs_best"] == 1.0  # on the shared 60 examples: one discordant


def test_a_score_that_predictions_do_not_yield_is_damage_not_evidence(tmp_path: Path) -> None:
    folder = one_task(tmp_path, {"a": [wrong_at(50, 0)]})
    write_json(folder / "runs" / "a-0" / "metrics.json", {"score": 0.99, "metrics": {}})
    row = ranked(collect(folder))[0]
    assert row["status"] == "damaged"
    assert row["reason"] == "metrics.json says 0.990000, predictions.parquet yields 0.980000"


def test_half_a_predictions_file_is_damage(tmp_path: Path) -> None:
    folder = one_task(tmp_path, {"a": [wrong_at(50, 0)], "b": [wrong_at(50, 0)]})
    path = folder / "runs" / "a-0" / "predictions.parquet"
    path.write_bytes(path.read_bytes()[:200])
    row = find(ranked(collect(folder)), model="a")
    assert (row["status"], row["score"]) == ("damaged", None)
    assert row["reason"].startswith("predictions.parquet cannot be read")


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("runs/a-0/status.json", {"verdict": "fine"}, "status.json: status: Field required"),
        ("runs/a-0/metrics.json", {"score": "good"}, "metrics.json: score: "),
        ("runs/a-0/metrics.json", {"score": 0.98, "metrics": {"f1": "x"}}, "metrics.f1: "),
        ("runs/a-0/metrics.json", {"score": 0.98, "metrics": {"confusion": [1]}}, "confusion.0: "),
        ("runs/a-0/metrics.json", {"score": 0.98, "overlap": {"share": []}}, "overlap."),
        ("runs/a-0/explain.json", {"comprehensiveness": 3}, "explain.json: comprehensiveness: "),
        ("runs/a-0/measurements/h-0/timing.json", {"latency_p50_ms": "2"}, "latency_p50_ms: "),
        ("runs/a-0/measurements/h-0/host.json", {"load": []}, "host.json: load"),
        ("fits/a-0/fit.json", {"seconds": "long"}, "its fit: fit.json: seconds: "),
        ("fits/a-0/status.json", {}, "its fit: status.json: status: Field required"),
    ],
)
def test_a_file_that_holds_something_else_costs_its_run_only(
    tmp_path: Path, file: str, content: dict[str, Any], told: str
) -> None:
    folder = one_task(tmp_path, {"a": [wrong_at(50, 0), wrong_at(50, 0)], "b": [wrong_at(50, 1)]})
    write_json(folder / "runs/a-0/measurements/h-0/timing.json", {"latency_p50_ms": 2.0})
    write_json(folder / file, content)
    render(folder)
    rows = json.loads((folder / "leaderboard.json").read_text())
    a, b = find(rows, model="a"), find(rows, model="b")
    assert (a["status"], a["score"]) == ("partial 1/2", 0.98)
    assert "damaged" in a["reason"] and told in a["reason"]
    assert (b["status"], b["rank"]) == ("ok", 1)


@pytest.mark.parametrize(
    "file", ["runs/a-0/metrics.json", "runs/a-0/measurements/h-1/timing.json", "fits/a-0/fit.json"]
)
def test_a_figure_that_is_not_what_was_written_is_on_no_board(tmp_path: Path, file: str) -> None:
    """Every file still holds what such a file holds: only the digests tell."""
    folder = one_task(tmp_path, {"a": [wrong_at(50, 0)]})
    run = folder / "runs/a-0"
    write_json(folder / "fits/a-0/fit.json", {"seconds": 7.0})
    write_json(run / "metrics.json", {"score": 0.98, "metrics": {"f1": 0.7}})
    write_json(run / "measurements/h-1/timing.json", {"latency_p50_ms": 7.0})
    for record in (folder / "fits/a-0", run):
        finish(record, "ok")
    seal(run / "measurements/h-1")
    assert ranked(collect(folder))[0]["status"] == "ok"
    path = folder / file
    path.write_text(path.read_text().replace("7", "1"))
    row = ranked(collect(folder))[0]
    assert row["status"] == "damaged" and f"{path.name} is not what was written" in row["reason"]


def test_predictions_that_hold_no_numbers_are_damage(tmp_path: Path) -> None:
    folder = one_task(tmp_path, {"a": [wrong_at(3)]})
    texts = pa.table(
        {name: ["1", "1", "1"] for name in ("id", "cluster", "score_num", "score_den")}
    )
    pq.write_table(texts, folder / "runs" / "a-0" / "predictions.parquet")
    row = ranked(collect(folder))[0]
    assert row["status"] == "damaged" and "holds no numbers in score_num" in row["reason"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"rows": None}, "rows: "),
        ({"rows": [{"row_id": "x", "row": {}, "runs": []}]}, "rows.0.row.model: "),
        ({"tasks": ["t"]}, "tasks: "),
        ({"models": {"a": "a model"}}, "models.a: "),
        ({"leaderboard": ["default"]}, "leaderboard: "),
        ({"schema_version": "two", "suite": 3}, "suite: "),
    ],
)
def test_a_foreign_plan_is_one_clear_message(
    harness: Harness, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    folder = one_task(tmp_path / "results", {"a": [wrong_at(5)]})
    plan = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps(plan | change))
    answer = harness("board", "mini")
    assert answer.status == 2
    (line,) = answer.err.splitlines()
    assert "plan.json: not the plan of a suite's records: " + told in line


def test_ranked_by_another_metric_there_are_no_ties(results: Path) -> None:
    rows = ranked(collect(results), "accuracy")
    topics = [row for row in rows if row["task"] == "topics" and row["rank"]]
    assert min(row["rank"] for row in topics) == 1
    assert {row["tied_with_best"] for row in rows} == {None}
    assert all(row["rank"] is None for row in rows if row["task"] == "entities")


def test_json_is_a_list_of_flat_rows_and_csv_says_the_same(results: Path) -> None:
    render(results)
    rows = json.loads((results / "leaderboard.json").read_text())
    with open(results / "leaderboard.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [row["row_id"] for row in rows] == [line["row_id"] for line in lines]
    for row, line in zip(rows, lines, strict=True):
        assert line["score"] == ("" if row["score"] is None else str(row["score"]))
        assert line["runs"].split() == row["runs"]
        assert not any(isinstance(value, dict) for value in row.values())


def test_rendering_again_gives_the_same_bytes(results: Path) -> None:
    first = [path.read_bytes() for path in render(results)]
    assert [path.read_bytes() for path in render(results)] == first


def test_no_plan_is_a_clear_request_error(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"plan\.json is missing"):
        build(tmp_path)


@pytest.mark.parametrize("name", ["plan", "fit", "status", "metrics", "timing", "host"])
def test_records_of_a_newer_program_are_refused(tmp_path: Path, name: str) -> None:
    folder = one_task(tmp_path, {"a": [wrong_at(5)]})
    write_json(folder / "fits" / "a-0" / "fit.json", {"seconds": 1.0})
    measured = folder / "runs" / "a-0" / "measurements" / "h-1"
    write_json(measured / "timing.json", {"latency_p50_ms": 1.0})
    write_json(measured / "host.json", {"host_id": "h"})
    path = next(folder.rglob(f"{name}.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 99}))
    with pytest.raises(RequestError, match=f"{name}.json: schema_version 99"):
        build(folder, Definition())


def timed_row(folder: Path, launches: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The row of a run with these launches, and its cells by column."""
    place = one_task(folder, {"a": [[1, 1, 0]]})
    for number, timing in enumerate(launches, 1):
        measured = place / "runs" / "a-0" / "measurements" / f"h-{number}"
        write_json(measured / "timing.json", {"timing_version": TIMING_VERSION, **timing})
        write_json(measured / "host.json", {"host_id": "h"})
    (row,) = build(place).rows
    shown = ("latency_p50_ms", "latency_p50_interval", "throughput_per_s")
    return row | {f"{key} cell": COLUMNS[key].cell(row, {}).text for key in shown}


WHOLE = {
    "latency_p50_ms": 12.4, "latency_p90_ms": 14.0, "latency_p99_ms": None, "steady": True,
    "verdict": "VALID", "throughput_per_s": 100.0, "throughput_verdict": "VALID",
    "peak_memory_mb": 300.0,
}  # fmt: skip
SERVER = {"server_rate_per_s": 40.0, "peak_memory_mb": 320.0}


def test_a_launch_of_another_scenario_does_not_take_a_rows_figures_away(tmp_path: Path) -> None:
    row = timed_row(tmp_path, [WHOLE, SERVER, WHOLE | {"latency_p50_ms": 12.6}])
    assert row["launches"] == 2
    assert row["latency_p50_ms"] == 12.5
    # t of one degree of freedom on the logarithms: 12.706 x ln(12.6 / 12.4) / 2 = 10.2%
    assert row["latency_p50_interval cell"] == "[11.3, 13.8]"
    assert row["latency_p99_ms"] is None
    assert row["peak_memory_mb"] == 300.0


def test_a_percentile_that_one_launch_does_not_carry_is_none_of_the_rows(tmp_path: Path) -> None:
    row = timed_row(tmp_path, [WHOLE, WHOLE | {"latency_p90_ms": None}])
    assert row["latency_p90_ms"] is None


def test_what_is_not_valid_or_not_steady_is_marked_beside_the_figure(tmp_path: Path) -> None:
    whole = timed_row(tmp_path / "whole", [WHOLE])
    assert (whole["latency_p50_ms cell"], whole["throughput_per_s cell"]) == ("12.4", "100")
    assert whole["latency_p50_interval cell"] == "-"  # of one launch there is none
    invalid = timed_row(tmp_path / "throughput", [WHOLE, WHOLE | {"throughput_verdict": "INVALID"}])
    assert invalid["throughput_per_s cell"] == "100 (INVALID)"
    assert (invalid["throughput_verdict"], invalid["timing_verdict"]) == ("INVALID", "VALID")
    assert invalid["latency_p50_ms cell"] == "12.4"
    doubted = timed_row(tmp_path / "latency", [WHOLE | {"verdict": "INVALID", "steady": False}])
    assert doubted["latency_p50_ms cell"] == "12.4 (not steady, INVALID)"
    assert doubted["throughput_per_s cell"] == "100"


def test_the_default_board_says_on_how_many_launches_a_row_rests(results: Path) -> None:
    for section in build(results).page.sections:
        heads = [header.text for header in section.runtimes.headers]
        counts = {row[heads.index("launches")].text for row in section.runtimes.rows}
        assert counts <= {"0", "2"} and "2" in counts
