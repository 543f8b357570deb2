"""`harness board --with-examples` and `show`, over records of a suite that is given by its path."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import MAJORITY_SUITE, Harness
from tests.records import write_results


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A suite in a folder of its own; the majority class gets every "no" of its test file wrong."""
    place = tmp_path / "mine"
    place.mkdir()
    (place / "mine.yaml").write_text(MAJORITY_SUITE)
    (place / "train.csv").write_text("text,label\n" + "good,yes\nfine,yes\nbad,no\n" * 20)
    (place / "test.csv").write_text("text,label\nfair,yes\nfoul play,no\n")
    return tmp_path


def test_texts_of_a_suite_given_by_its_path_are_shown(harness: Harness, folder: Path) -> None:
    assert harness("run", "mine/mine.yaml", "--only", "toy").status == 0
    answer = harness("board", "mine", "--with-examples", "--to", "private")
    assert answer.status == 0, answer.err
    assert "foul play" in (folder / "private" / "leaderboard.html").read_text()
    kept = folder / "results" / "mine" / "leaderboard.html"
    assert "foul play" not in kept.read_text()
    assert "harness run mine/mine.yaml --only toy" in (kept.parent / "leaderboard.md").read_text()
    data = json.loads((kept.parent / "plan.json").read_text())["data"]["toy"]["data"]
    assert data["test"]["source"] == "path:../../mine/test.csv"  # no path of this machine


def test_data_given_on_the_command_line_are_read_again(harness: Harness, folder: Path) -> None:
    lines = "".join(f"other {i},{'no' if i % 4 == 0 else 'yes'}\n" for i in range(60))
    (folder / "other.csv").write_text(f"text,label\n{lines}")
    assert harness("run", "mine/mine.yaml", "--data", "toy=other.csv").status == 0
    answer = harness("board", "mine", "--with-examples", "--to", "private")
    assert answer.status == 0, answer.err
    page = (folder / "private" / "leaderboard.html").read_text()
    assert "other 4" in page or "other 8" in page or "other 12" in page
    assert "not found in the local data" not in page


def test_texts_are_not_written_into_a_results_folder_unasked(
    harness: Harness, tmp_path: Path
) -> None:
    write_results(tmp_path / "results", size=60)
    before = sorted(tmp_path.rglob("*"))
    answer = harness("board", "demo", "--with-examples")
    assert answer.status == 2 and "--to DIR" in answer.err
    assert sorted(tmp_path.rglob("*")) == before


def test_show_prints_all_runs_of_a_row_and_the_fit_of_one_that_has_no_record(
    harness: Harness, tmp_path: Path
) -> None:
    folder = write_results(tmp_path / "results", size=60)
    (tmp_path / "results" / "foreign").mkdir()
    (tmp_path / "results" / "foreign" / "plan.json").write_text('{"rows": [{"row_id": "x"}]}')
    rows = json.loads((folder / "plan.json").read_text())["rows"]
    row = next(row for row in rows if len(row["runs"]) == 3)
    shown = harness("show", row["row_id"]).out
    assert all(run["run_id"] in shown for run in row["runs"])
    failed = next(
        row for row in rows if row["row"]["model"] == "smol" and row["row"]["task"] == "reading"
    )
    shown = harness("show", failed["row_id"]).out
    assert failed["runs"][0]["fit_id"] in shown and "needs 9.1 GB" in shown
