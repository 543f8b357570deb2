"""Every pair of a board's rows: the tests that ties under a bound come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.boards.collect import Records, collect
from harness.boards.pairs import MOST_TESTED, Pairs
from harness.boards.rank import ranked
from harness.choose.gather import gather
from harness.records.files import read_json, write_json
from harness.stats.paired import mcnemar_exact
from tests.curve_suite import write_curve_suite
from tests.records import HOST, write_results
from tests.test_board_rows import one_task


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Records:
    return collect(write_results(tmp_path_factory.mktemp("results")))


def test_a_pair_is_tested_by_mcnemar_whoever_leads_the_board(tmp_path: Path) -> None:
    draw = np.random.default_rng(2)
    right = {name: (draw.random(300) < share) * 1 for name, share in
             (("best", 0.9), ("a", 0.85), ("b", 0.7))}  # fmt: skip
    pairs = Pairs(collect(one_task(tmp_path, {name: [list(r)] for name, r in right.items()})).rows)
    a, b = right["a"], right["b"]
    expected = mcnemar_exact(int((a > b).sum()), int((b > a).sum()))
    assert pairs.p_value("a", "b") == pairs.p_value("b", "a") == expected


def test_tests_with_the_best_are_those_of_the_board(records: Records) -> None:
    """Two fits on a task need no correction: then the board's p is the pair's."""
    rows = [row for row in ranked(records) if row["task"] == "reading" and row["rank"]]
    own = [row for row in rows if row["runtime"] == row["framework"]]
    best = next(row for row in own if row["rank"] == 1)
    others = [row for row in own if row["p_vs_best"] is not None]
    pairs = Pairs(records.rows)
    largest = max(others, key=lambda row: row["p_vs_best"])
    assert pairs.p_value(best["row_id"], largest["row_id"]) == largest["p_vs_best"]


def test_runtimes_that_answer_alike_are_one_side(records: Records) -> None:
    pairs = Pairs(records.rows)
    rows = {(row.flat["model"], row.flat["runtime"]): row.flat["row_id"] for row in records.rows
            if row.flat["task"] == "entities" and row.flat["recipe"] == "fine-tune"}  # fmt: skip
    torch, onnx, int8 = (rows["minilm", r] for r in ("torch", "onnxruntime", "onnxruntime-int8"))
    (family,) = [f for f in pairs.as_json() if f["task"] == "entities"]
    assert family["sides"][torch] == family["sides"][onnx] != family["sides"][int8]
    assert pairs.p_value(torch, onnx) == 1.0
    lower = sorted([family["sides"][torch], family["sides"][int8]])
    assert family["p_values"][lower[1]][lower[0]] == pairs.p_value(torch, int8)


def test_rows_of_other_tasks_and_training_sizes_are_not_tested(tmp_path: Path) -> None:
    pairs = Pairs(collect(write_curve_suite(tmp_path)).rows)
    assert pairs.p_value("news-smol-400", "news-tfidf-400") is not None
    assert pairs.p_value("news-smol-400", "news-tfidf-100") is None
    assert pairs.p_value("news-smol-400", "spam-smol-400") is None
    assert pairs.p_value("news-smol-400", "no such row") is None


def test_of_very_many_rows_the_best_are_tested(tmp_path: Path) -> None:
    count = MOST_TESTED + 5
    systems = {f"m{i:02}": [[1] * (100 - i) + [0] * i] for i in range(count)}
    pairs = Pairs(collect(one_task(tmp_path, systems)).rows)
    assert pairs.p_value("m00", f"m{MOST_TESTED - 1:02}") is not None
    assert pairs.p_value("m00", f"m{MOST_TESTED:02}") is None


def test_timings_of_the_nearest_host_come_first(tmp_path: Path) -> None:
    """Two launches on one host, one here: a board shows the former, `choose` takes the latter."""
    folder = write_results(tmp_path)
    place = sorted((folder / "runs").glob("*/measurements"))[0]
    timing = read_json(next(place.glob("*-0")) / "timing.json")
    assert timing is not None
    write_json(place / "here-0" / "timing.json", timing | {"latency_p50_ms": 777.0})
    write_json(place / "here-0" / "host.json", HOST | {"host_id": "here"})
    assert 777.0 not in {row["latency_p50_ms"] for row in gather(tmp_path).rows}
    near = [row for row in gather(tmp_path, near="here").rows if row["latency_p50_ms"] == 777.0]
    assert [row["host_id"] for row in near] == ["here"]
    others = {row["host_id"] for row in gather(tmp_path, near="here").rows if row["launches"]}
    assert others == {"here", HOST["host_id"]}


def test_a_server_rate_stands_beside_the_launches_that_timed_single_queries(tmp_path: Path) -> None:
    folder = write_results(tmp_path)
    place = sorted((folder / "runs").glob("*/measurements"))[0]
    for launch, rate in enumerate((30.0, 40.0)):
        write_json(
            place / f"{HOST['host_id']}-{7 + launch}" / "timing.json",
            {"server_rate_per_s": rate, "server_percentile": 0.99,
             "server_latency_bound_ms": 100.0},
        )  # fmt: skip
        write_json(place / f"{HOST['host_id']}-{7 + launch}" / "host.json", HOST)
    (row,) = [r.flat for r in collect(folder).rows if r.flat["server_rate_per_s"] is not None]
    assert row["server_rate_per_s"] == 35.0 and row["server_latency_bound_ms"] == 100.0
    assert row["latency_p50_ms"] is not None and row["throughput_per_s"] is not None
