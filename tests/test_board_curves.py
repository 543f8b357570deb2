"""The board of five tasks with learning curves: golden, its pictures, and what it leaves out."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from rich.console import Console

from harness.boards import charts, page, pictures
from harness.boards.board import Board, build, render
from harness.boards.definition import Definition
from harness.boards.flat import best_rows, page_of, read_rows
from harness.boards.render_html import render_html
from harness.boards.render_markdown import render_markdown
from harness.boards.terminal import print_board
from tests.curve_suite import MODELS, SIZES, TASKS, write_curve_suite

GOLDEN = Path(__file__).parent / "golden" / "curves.md"
#: models that only guess are left out of pictures
DRAWN = len(MODELS) - 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_curve_suite(tmp_path_factory.mktemp("curves"))


@pytest.fixture(scope="module")
def board(folder: Path) -> Board:
    return build(folder)


def printed(board: Board) -> str:
    out = io.StringIO()
    print_board(board.page, Console(file=out, width=200))
    return out.getvalue()


def test_the_board_of_five_tasks_and_three_sizes_is_the_golden_one(board: Board) -> None:
    """Rewrite it with UPDATE_GOLDEN=1, and read the difference."""
    text = render_markdown(board.page)
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")
    assert "Nemenyi's critical difference" in text and "### Score by training size" in text


def test_the_curves_of_each_task_are_a_picture_in_its_section(board: Board) -> None:
    drawn = [picture for picture in board.page.pictures if picture.task]
    assert [picture.task for picture in drawn] == list(TASKS)
    rows = drawn[0].values
    measured = [row for row in rows if row["kind"] == "measured"]
    assert len(measured) == DRAWN * len(SIZES)
    scores = {
        (r["model"], r["train_budget"]): r["score"] for r in board.rows if r["task"] == "news"
    }
    for row in measured:
        model = row["label"].partition(" ")[0].rstrip(",")
        assert row["score"] == scores[model, row["examples"]]
        assert row["low"] < row["score"] < row["high"]
    expected = [row for row in rows if row["kind"] == "expected"]
    assert len(expected) == DRAWN and {row["examples"] for row in expected} == {3200}
    curve = board.page.sections[0].curves[0]
    assert curve.law is not None
    line = [r for r in rows if r["kind"] == "fitted" and r["label"] == measured[0]["label"]]
    assert (line[0]["examples"], line[-1]["examples"]) == pytest.approx((100, 3200))
    for point in line[:: len(line) // 4]:
        found = curve.law.predict(point["examples"])
        assert (point["score"], point["low"]) == pytest.approx((found.value, found.low), abs=1e-4)


def test_points_of_one_size_are_drawn_side_by_side_and_near(board: Board) -> None:
    rows = next(picture.values for picture in board.page.pictures if picture.task)
    places = [r["place"] for r in rows if r["kind"] == "measured" and r["examples"] == 400]
    assert len(set(places)) == DRAWN
    assert all(place == pytest.approx(400, rel=0.1) for place in places)


def test_the_picture_is_valid_by_altairs_schema(board: Board) -> None:
    import altair

    for picture in board.page.pictures:
        altair.Chart.from_dict(charts.filled(picture.spec, picture.values))


def test_curves_and_ranks_are_among_the_files_of_pictures(board: Board, tmp_path: Path) -> None:
    keys = [picture.key for picture in pictures.of_board(board.page)]
    assert len(keys) == len(set(keys))
    assert {"wins", "ranks", *(f"{i}-{task}-curves" for i, task in enumerate(TASKS, 1))} <= set(
        keys
    )


def test_a_size_without_a_score_is_not_drawn_and_one_size_is_no_curve(board: Board) -> None:
    curve = board.page.sections[0].curves[0]
    broken = type(curve)(
        [{**curve.rows[0], "status": "oom", "score": None}, *curve.rows[1:]], None, "two sizes"
    )
    (picture,) = pictures.of_curves(1, "news", "News", [broken], board.page.names)
    assert [row["examples"] for row in picture.values] == [400, 1600]
    lone = type(curve)([broken.rows[0], curve.rows[1]], None, "one size")
    assert pictures.of_curves(1, "news", "News", [lone], board.page.names) == []


def test_flat_rows_of_several_sizes_render_without_their_records(folder: Path) -> None:
    render(folder)
    table = read_rows(folder / "leaderboard.parquet")
    shown = page_of(best_rows(table, Definition()), Definition(), "curves", len(table))
    table = shown.sections[0].curve_table
    assert table is not None
    assert table.rows[0][-1].text == "no curve: a size has no outcomes"
    picture = next(picture for picture in shown.pictures if picture.task)
    assert {row["kind"] for row in picture.values} == {"measured"}


def test_rows_of_several_training_sizes_are_told_apart(board: Board) -> None:
    explorer = board.page.explorer
    place = explorer.keys.index("train_budget")
    assert {line[place].text for line in explorer.rows} == {"100", "400", "1,600"}
    (control,) = [c for c in explorer.controls if c.key == "train_budget"]
    assert (control.label, [value for value, _ in control.choices]) == (
        "training size", ["1600", "400", "100"],
    )  # fmt: skip
    labels = [facts["label"] for facts in explorer.facts if facts["model"] == "minilm"]
    assert labels[0] == "minilm, fine-tune, 1,600 examples"
    assert len(set(labels)) == len(SIZES)


def test_pictures_of_scores_are_of_the_largest_training_size(board: Board) -> None:
    (scores, *_) = [p for p in pictures.of_board(board.page) if p.key.endswith("-scores")]
    assert {row["train_budget"] for row in scores.values} == {1600}
    assert len(scores.values) == len(MODELS)


def test_every_tasks_resolution_stands_on_the_console(board: Board) -> None:
    text = printed(board)
    assert text.count("resolution: ") == len(TASKS)
    shown = next(f.text for f in board.page.sections[0].limits if f.label == "resolution")
    assert shown in text.replace("\n", " ")


def test_the_console_says_what_intervals_of_one_seed_leave_out(board: Board) -> None:
    assert "seeds: 1; intervals cover the uncertainty of the test set only" in printed(board)


def test_the_board_says_where_it_leaves_the_comparison_over_tasks_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "MOST_ACROSS", 24)
    board = build(folder)
    assert board.page.summary is None
    told = "The comparison over tasks is left out: it counts wins for every pair of fits, and 25 "
    for text in (
        render_markdown(board.page), printed(board), render_html(board.page, Definition()),
    ):  # fmt: skip
        assert told in text
