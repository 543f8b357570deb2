from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.boards.board import build, render
from harness.data.split import draw
from harness.errors import RequestError
from harness.plan import Machine, Options, Plan, make_plan
from harness.records.files import write_json
from harness.stats.curve import PowerLaw, power_law
from harness.suite import load_suite

SIZES = np.array([100.0, 200.0, 400.0, 800.0, 1600.0])


def noisy(
    scores: np.ndarray, spread: float = 0.004, draws: int = 1000, seed: int = 0
) -> np.ndarray:
    return scores + np.random.default_rng(seed).normal(0, spread, (draws, len(scores)))


def fitted(sizes: np.ndarray, scores: np.ndarray, spread: float = 0.004) -> PowerLaw:
    found = power_law(sizes, scores, noisy(scores, spread))
    assert isinstance(found, PowerLaw)
    return found


@pytest.mark.parametrize(("a", "b", "c"), [(0.92, 2.0, 0.5), (0.85, 3.0, 0.8), (0.97, 0.6, 0.25)])
def test_scores_on_a_power_law_give_it_back(a: float, b: float, c: float) -> None:
    law = fitted(SIZES, a - b * SIZES**-c)
    assert law.a == pytest.approx(a, abs=0.01)
    assert law.c == pytest.approx(c, rel=0.06)
    assert law.predict(400).value == pytest.approx(a - b * 400**-c, abs=1e-3)
    assert law.notes == ()


def test_the_fit_is_no_worse_than_scipys() -> None:
    from scipy.optimize import least_squares

    scores = np.array([0.71, 0.80, 0.83, 0.87, 0.878])
    law = fitted(SIZES, scores)
    free = least_squares(
        lambda p: p[0] - p[1] * SIZES ** -p[2] - scores, [0.9, 1.0, 0.5],
        bounds=([0, 0, 0.05], [1, np.inf, 2]),
    )  # fmt: skip
    ours = np.square(law.a - law.b * SIZES**-law.c - scores).sum()
    assert ours <= 2 * free.cost * 1.1


def test_the_interval_of_a_prediction_covers_the_truth() -> None:
    rng = np.random.default_rng(4)
    truth = 0.92 - 2.0 * SIZES**-0.5
    hits, trials = 0, 200
    for trial in range(trials):
        seen = truth + rng.normal(0, 0.006, 5)
        law = power_law(SIZES, seen, noisy(seen, 0.006, 300, trial))
        assert isinstance(law, PowerLaw)
        _, low, high = law.predict(3200)
        hits += low <= 0.92 - 2.0 * 3200**-0.5 <= high
    assert 0.88 <= hits / trials <= 0.99


def test_degenerate_curves_have_stated_answers() -> None:
    two = power_law(SIZES[:2], np.array([0.7, 0.8]), noisy(np.array([0.7, 0.8])))
    assert two == "a curve needs 3 training sizes, there are 2"
    twice = power_law(np.array([100, 100, 200.0]), np.full(3, 0.8), noisy(np.full(3, 0.8)))
    assert twice == "a curve needs 3 training sizes, there are 2"
    unknown = np.array([0.7, np.nan, 0.8])
    assert power_law(SIZES[:3], unknown, noisy(unknown)) == "a score is unknown"
    falling = fitted(SIZES, np.array([0.9, 0.89, 0.88, 0.87, 0.86]))
    assert (falling.b, falling.notes) == (0.0, ("the score does not rise with the training size",))
    assert falling.predict(10_000).value == pytest.approx(0.88, abs=0.01)
    still = power_law(SIZES, np.full(5, 0.9), np.full((50, 5), 0.9))  # nothing varies at all
    assert isinstance(still, PowerLaw) and still.predict(50) == pytest.approx((0.9, 0.9, 0.9))
    three = fitted(SIZES[:3], np.array([0.7, 0.8, 0.85]))
    assert "three sizes do not test the form" in three.notes
    steep = fitted(SIZES, np.array([0.2, 0.4, 0.6, 0.8, 0.99]))
    assert "no limit below 1 is in sight" in steep.notes and steep.a == 1.0


SUITE = """\
suite: mine
models:
  - {id: tfidf, kind: tfidf-logreg}
  - {id: majority, kind: majority}
tasks:
  - id: toy
    type: text-classification
    data:
      train: {source: "path:train.csv"}
      test: {source: "path:test.csv"}
    budget: {train: 10, test: 5}
  - id: other
    type: text-classification
    data:
      train: {source: "path:train.csv"}
      test: {source: "path:test.csv"}
matrix:
  - {models: [tfidf], tasks: [toy, other], recipe: baseline}
  - {models: [majority], tasks: [toy], recipe: baseline}
threads: 1
"""
CURVE = SUITE.replace("train: 10,", "train: [4, 16, 8],")


def planned(folder: Path, text: str, **options: Any) -> Plan:
    (folder / "train.csv").write_text("text,label\n" + "good,1\nbad,0\n" * 10)
    (folder / "test.csv").write_text("text,label\ngood,1\nbad,0\n")
    (folder / "mine.yaml").write_text(text)
    suite = load_suite(str(folder / "mine.yaml"))
    return make_plan(suite, Options(**options), {}, Machine("host", gpu=False, cores=2))


def ids(plan: Plan) -> dict[tuple[str, str, int | None], tuple[str, str]]:
    return {
        (fit.model.id, fit.task.id, fit.spec["task"]["budget"]["train"]): (
            fit.fit_id,
            fit.runs[0].row_id,
        )
        for fit in plan.fits
    }


def test_a_list_of_sizes_makes_a_fit_of_each_and_the_size_a_part_of_the_row(tmp_path: Path) -> None:
    plan = planned(tmp_path, CURVE)
    found = ids(plan)
    assert [key for key in found if key[1] == "toy"] == [
        ("tfidf", "toy", 4), ("tfidf", "toy", 8), ("tfidf", "toy", 16),
        ("majority", "toy", 4), ("majority", "toy", 8), ("majority", "toy", 16),
    ]  # fmt: skip
    assert len({row_id for _, row_id in found.values()}) == len(found)
    rows = [run.row for fit, run in plan.runs() if fit.task.id == "toy"]
    assert {row["train_budget"] for row in rows} == {4, 8, 16}


def test_rows_of_a_single_size_keep_their_ids(tmp_path: Path) -> None:
    """Recorded before there were learning curves."""
    single = planned(tmp_path, SUITE)
    assert all("train_budget" not in run.row for _, run in single.runs())
    one = ids(single)["majority", "toy", 10]
    as_list = ids(planned(tmp_path, SUITE.replace("train: 10,", "train: [10],")))
    assert as_list["majority", "toy", 10] == one
    curve = planned(tmp_path, CURVE)
    assert ids(curve)["tfidf", "other", None] == ids(single)["tfidf", "other", None]
    # a fit is what it is, whether it stands alone or on a curve
    ten = ids(planned(tmp_path, SUITE.replace("train: 10,", "train: [10, 12],")))
    assert ten["majority", "toy", 10][0] == one[0]
    assert ten["majority", "toy", 10][1] != one[1]


def test_full_has_one_size_and_no_curve(tmp_path: Path) -> None:
    plan = planned(tmp_path, CURVE, full=True)
    assert {fit.spec["task"]["budget"]["train"] for fit in plan.fits} == {None}
    assert all("train_budget" not in run.row for _, run in plan.runs())


@pytest.mark.parametrize(
    ("train", "complaint"),
    [
        ("[4, 4]", r"mine.yaml:11: tasks.0.budget.train: a list of training sizes names each"),
        ("[]", "names each size once"),
        ("[0, 4]", "a training size must be greater than 0"),
        ("[4, many]", "must be a number of examples, or a list of them"),
    ],
)
def test_a_wrong_list_of_sizes_is_refused(tmp_path: Path, train: str, complaint: str) -> None:
    with pytest.raises(RequestError, match=complaint):
        planned(tmp_path, SUITE.replace("train: 10,", f"train: {train},"))


def test_an_entry_may_have_a_curve_of_its_own_but_not_beside_no_size(tmp_path: Path) -> None:
    own = SUITE.replace(
        "tasks: [toy], recipe: baseline}",
        "tasks: [toy], recipe: baseline, budget: {train: [5, 9]}}",
    )
    found = ids(planned(tmp_path, own))
    assert {key for key in found if key[1] == "toy"} == {
        ("tfidf", "toy", 10), ("majority", "toy", 5), ("majority", "toy", 9),
    }  # fmt: skip
    with pytest.raises(RequestError, match="toy is learned from training sets of several sizes"):
        planned(tmp_path, own.replace("train: 10, ", ""))
    with pytest.raises(RequestError, match=r"mine.yaml:19: train: a list of training sizes"):
        planned(tmp_path, own.replace("[5, 9]", "[5, 5]"))


def test_a_smaller_draw_is_part_of_the_larger() -> None:
    strata = ["a"] * 70 + ["b"] * 25 + ["c"] * 5
    small, middle, large = (set(draw(strata, size, 17)) for size in (10, 30, 80))
    assert small < middle < large


def curve_records(folder: Path, skill: dict[str, list[float]], broken: str = "") -> Path:
    """One task, sizes 100, 300, 1000; scores drawn around ``skill`` on the same 800 examples."""
    rng = np.random.default_rng(5)
    hardness, rows = rng.random(800), []
    for model, levels in skill.items():
        for size, level in zip((100, 300, 1000), levels, strict=True):
            run_id = f"{model}-{size}"
            row = {
                "suite": "demo", "model": model, "task": "t", "recipe": "fine-tune",
                "framework": "torch", "runtime": "torch", "device": "cpu", "dtype": "float32",
                "train_budget": size,
            }  # fmt: skip
            runs = [{"run_id": run_id, "fit_id": run_id, "seed": 1}]
            rows.append({"row_id": f"row-{run_id}", "row": row, "runs": runs})
            place = folder / "demo" / "runs" / run_id
            if run_id == broken:
                write_json(place / "status.json", {"status": "oom", "reason": "needs 9 GB"})
                continue
            right = (hardness < level).astype(float)
            write_json(place / "metrics.json", {"score": float(right.mean()), "metrics": {}})
            names = [f"e{i}" for i in range(800)]
            columns = {"score_num": right, "score_den": np.ones(800)}
            pq.write_table(pa.table({"id": names, "cluster": names, **columns}),
                           place / "predictions.parquet")  # fmt: skip
            write_json(place / "status.json", {"status": "ok", "reason": ""})
            facts = {"train_examples": size, "train_available": 5000}
            write_json(folder / "demo" / "fits" / run_id / "fit.json", facts)
    models = {model: {"name": model, "licence": "MIT"} for model in skill}
    tasks = {"t": {"name": "T", "primary": "accuracy", "licence": "CC0-1.0"}}
    plan = {"suite": "demo", "models": models, "tasks": tasks, "rows": rows}
    write_json(folder / "demo" / "plan.json", plan)
    return folder / "demo"


SKILL = {"a": [0.75, 0.86, 0.92], "b": [0.82, 0.87, 0.89]}


def test_fits_are_ranked_within_a_size_and_the_table_shows_the_largest(tmp_path: Path) -> None:
    board = build(curve_records(tmp_path, SKILL))
    places = {(row["model"], row["train_budget"]): row["rank"] for row in board.rows}
    assert places == {("a", 100): 2, ("b", 100): 1, ("a", 300): 2, ("b", 300): 1,
                      ("a", 1000): 1, ("b", 1000): 2}  # fmt: skip
    section = board.page.sections[0]
    assert [row["train_budget"] for row in section.fit_rows] == [1000, 1000]
    assert section.headline.startswith("On T, a fine-tuned wins with 0.9")
    curve = section.curves[0]
    assert [row["train_budget"] for row in curve.rows] == [100, 300, 1000]
    assert curve.law is not None and curve.doubled is not None
    size, expected = curve.doubled
    assert size == 2000
    assert 0.92 < expected.value <= expected.high < 1.0


def test_a_failed_size_keeps_its_place_on_the_curve_and_is_no_zero(tmp_path: Path) -> None:
    board = build(curve_records(tmp_path, SKILL, broken="a-300"))
    table = board.page.sections[0].curve_table
    assert table is not None
    line = [cell.text for cell in table.rows[0]]
    assert line[2] == "oom"
    assert line[-1] == "no curve: a curve needs 3 training sizes, there are 2"
    assert board.page.problems is not None
    assert board.page.problems.rows[0][1].text == "a, fine-tune, 300 examples"


def test_the_markdown_and_statistics_json_tell_the_curve(tmp_path: Path) -> None:
    folder = curve_records(tmp_path, SKILL)
    render(folder)
    text = (folder / "leaderboard.md").read_text()
    assert "### Score by training size" in text
    found = json.loads((folder / "statistics.json").read_text())
    curve = found["learning_curves"][0]
    assert [point["train_examples"] for point in curve["points"]] == [100, 300, 1000]
    assert curve["points"][0]["runs"] == ["a-100"]
    assert curve["law"]["doubled"]["train_examples"] == 2000
    assert found["resolution"]["t"] == pytest.approx(build(folder).rows[0]["resolution"])
    assert found["across_tasks"] is None
