from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.boards.across import across_sentences, across_table, across_tasks
from harness.boards.board import build
from harness.boards.fronts import fronts
from tests.records import write_results


def fit(model: str, task: str, score: float | None, status: str = "ok") -> dict[str, Any]:
    return {
        "model": model, "recipe": "fine-tune", "framework": "torch", "task": task, "score": score,
        "status": status, "reason": "" if status == "ok" else f"{task} {status}",
    }  # fmt: skip


def test_only_fits_complete_on_every_task_are_ranked_and_the_rest_keep_their_coverage() -> None:
    found = across_tasks(
        [
            fit("a", "x", 0.9), fit("a", "y", 0.7),
            fit("b", "x", 0.8), fit("b", "y", 0.8),
            fit("only-x", "x", 0.99),
            fit("half", "x", 0.95), fit("half", "y", 0.99, "partial 2/3"),
            fit("broken", "x", None, "oom"), fit("broken", "y", 0.6),
        ],
        ["x", "y"],
    )  # fmt: skip
    lines = {line.row["model"]: line for line in found.standings}
    assert [line.row["model"] for line in found.ranked] == ["a", "b"]  # equal: the mean score
    assert (lines["a"].ranks, lines["a"].mean_rank) == ([1.0, 2.0], 1.5)
    assert (lines["b"].ranks, lines["b"].mean_score) == ([2.0, 1.0], pytest.approx(0.8))
    for name in ("only-x", "half", "broken"):
        assert lines[name].mean_rank is None and lines[name].mean_score is None
        assert lines[name].complete == 1
    assert lines["half"].scores == [0.95, 0.99]  # shown as far as it got
    assert [(gap.task, gap.status) for gap in lines["broken"].gaps] == [("x", "oom")]
    assert [(gap.task, gap.status) for gap in lines["only-x"].gaps] == [("y", "not planned")]
    assert found.win_rates == [[None, 0.5], [0.5, None]]


def test_a_critical_difference_needs_five_complete_tasks_and_three_fits() -> None:
    rng = np.random.default_rng(0)
    tasks = [f"t{i}" for i in range(5)]
    rows = [fit(m, t, b + 0.01 * rng.random()) for m, b in zip("abc", (0.9, 0.8, 0.7), strict=True)
            for t in tasks]  # fmt: skip
    full = across_tasks(rows, tasks)
    assert full.critical is not None and full.critical_reason == ""
    assert full.critical.friedman_p < 0.001
    assert full.critical.difference == pytest.approx(2.343 * np.sqrt(12 / 30), rel=1e-3)
    assert np.array(full.critical.p_values).shape == (3, 3)
    four = across_tasks([row for row in rows if row["task"] != "t4"], tasks[:4])
    assert four.critical is None
    assert four.critical_reason == "needs 5 complete tasks, there are 4"
    two = across_tasks([row for row in rows if row["model"] != "c"], tasks)
    assert two.critical_reason == ("needs three fits that are complete on every task, there are 2")
    says = across_sentences(full, {}, {})
    assert says[0].startswith("3 of 3 fits are complete on all 5 tasks")
    assert "closer than 1.48 cannot be told apart" in says[1]
    assert says[2] == "By it b, fine-tune cannot be told from a, fine-tune."


def test_a_task_that_failed_for_all_fits_is_left_out_and_the_other_five_are_compared() -> None:
    tasks = [f"t{i}" for i in range(6)]
    rows = [fit(m, t, b) for m, b in zip("abc", (0.9, 0.8, 0.7), strict=True) for t in tasks[:5]]
    rows += [fit(m, "t5", None, "oom") for m in "ab"] + [fit("c", "t5", 0.7)]
    found = across_tasks(rows, tasks)
    assert (found.tasks, found.left_out) == (tasks[:5], ["t5"])
    assert [line.row["model"] for line in found.ranked] == ["a", "b", "c"]
    assert found.critical is not None
    says = across_sentences(found, {}, {"t5": "Task six"})
    assert says[0] == "Left out, as fewer than two fits are complete there: Task six."
    assert says[1].startswith("3 of 3 fits are complete on all 5 tasks")


def test_without_friedmans_rejection_there_is_no_critical_difference() -> None:
    orders = ("abc", "bca", "cab", "abc", "cba")
    rows = [
        fit(model, f"t{i}", 0.9 - 0.1 * place)
        for i, order in enumerate(orders)
        for place, model in enumerate(order)
    ]
    found = across_tasks(rows, [f"t{i}" for i in range(5)])
    assert found.critical is None
    says = across_sentences(found, {}, {})
    assert says[-1].startswith(
        "Critical difference: not asked for, as Friedman's test does not reject that all rank alike"
    )


def test_without_a_complete_fit_nobody_is_ranked() -> None:
    found = across_tasks([fit("a", "x", 0.9), fit("b", "y", 0.8)], ["x", "y"])
    assert found.ranked == [] and len(found.standings) == 2
    assert across_sentences(found, {}, {}) == [
        "No fit is complete on every task, so none is ranked over all of them."
    ]
    table = across_table(found, {}, {"x": "X", "y": "Y"})
    assert table is not None
    assert {row[1].text for row in table.rows} == {"-"}
    assert {row[-1].text for row in table.rows} == {"1 of 2"}


def test_fronts_are_of_one_task_size_and_host_and_leave_incomplete_rows_out() -> None:
    def row(**facts: Any) -> dict[str, Any]:
        base = {
            "task": "x", "host_id": "h", "status": "ok", "score": 0.9, "latency_p50_ms": 5.0,
            "size_mb": 90.0, "peak_memory_mb": None, "fit_seconds": 80.0, "energy_j_per_1000": None,
        }  # fmt: skip
        return base | facts

    found = fronts(
        [
            row(),
            row(score=0.8, latency_p50_ms=2.0, size_mb=95.0, fit_seconds=81.0),
            row(score=0.7, latency_p50_ms=3.0),
            row(score=0.7, latency_p50_ms=9.0, host_id="other"),
            row(score=0.1, task="y", peak_memory_mb=300.0),
            row(status="partial 1/2", latency_p50_ms=0.1),
            row(status="oom", score=None),
        ]
    )
    assert found == [
        ["latency", "size", "fit_time"], ["latency"], [], ["latency", "size", "fit_time"],
        ["latency", "size", "memory", "fit_time"], None, None,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return build(write_results(tmp_path_factory.mktemp("results")))


def test_every_row_of_a_task_carries_its_resolution(board: Any) -> None:
    by_task: dict[str, set[Any]] = {}
    for row in board.rows:
        by_task.setdefault(row["task"], set()).add(row["resolution"])
    assert set(by_task) == {"topics", "entities", "reading"}
    for values in by_task.values():
        assert len(values) == 1
        assert 0.005 < min(values) < 0.1


def test_rows_on_a_front_say_on_which(board: Any) -> None:
    rows = [row for row in board.rows if row["task"] == "reading"]
    assert {row["runtime"]: row["pareto"] for row in rows if row["model"] == "majority"} == {
        "sklearn": ["latency", "size", "memory", "fit_time"]
    }
    assert all(row["pareto"] is None for row in rows if row["status"] != "ok")
    assert json.dumps(board.rows)  # flat, plain data


def test_trade_offs_of_two_hosts_are_told_apart(tmp_path: Path) -> None:
    folder = write_results(tmp_path, size=60)
    assert {s.trade_offs_are for s in build(folder).page.sections} == {
        "Best trade-offs: no other complete row scores higher and costs no more."
    }
    for host in folder.glob("runs/*/measurements/*/host.json"):
        if host.parents[2].name < "8":
            host.write_text(json.dumps({**json.loads(host.read_text()), "host_id": "other"}))
    section = build(folder).page.sections[0]
    assert "of each host by itself" in section.trade_offs_are
    latency = next(fact.text for fact in section.trade_offs if fact.label == "p50, ms")
    assert "host other" in latency and "host a1b2c3d4" in latency


def test_the_page_carries_the_standings_and_their_notes(board: Any) -> None:
    page = board.page
    assert [line.row["model"] for line in page.across.ranked] == ["minilm", "majority"]
    assert page.summary.rows[0][1].text == "1.00 [1.00, 1.00]"
    assert page.summary_notes[-1] == "Critical difference: needs 5 complete tasks, there are 3."


def test_a_single_task_has_no_summary(tmp_path: Path) -> None:
    folder = write_results(tmp_path, size=60)
    plan = json.loads((folder / "plan.json").read_text())
    plan["rows"] = [row for row in plan["rows"] if row["row"]["task"] == "topics"]
    (folder / "plan.json").write_text(json.dumps(plan))
    page = build(folder).page
    assert (page.across, page.summary, page.summary_notes) == (None, None, [])
