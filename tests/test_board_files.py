"""What `harness board` writes besides the page: definitions, pictures, rows as files."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.boards import charts, pictures
from harness.boards.assets import json_script
from harness.boards.board import build, render
from harness.boards.columns import COLUMNS
from harness.boards.definition import Definition, load_definition
from harness.boards.evidence import LIMITS
from harness.boards.explorer import MAX_ROWS, shares
from harness.boards.flat import best_rows, page_of, read_rows, write_flat
from harness.boards.keys import FLAGS, KEYS, LISTS, NUMBERS, TEXTS
from harness.boards.page import Page
from harness.boards.predictions import slices
from harness.boards.pull_request import render_pull_request
from harness.boards.render_csv import render_csv
from harness.boards.render_html import render_html
from harness.boards.render_parquet import columns_to_csv, table_of
from harness.errors import RequestError
from tests.conftest import Harness
from tests.flat_rows import flat_rows
from tests.records import write_results

REFERENCE = Path(__file__).parents[1] / "results" / "reference"
SUITES = sorted(path.parent.name for path in REFERENCE.glob("*/plan.json"))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_results(tmp_path_factory.mktemp("files"), size=120)
    render(folder)
    return folder


@pytest.fixture(scope="module", params=SUITES)
def reference(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Boards of records that real runs made, with every verdict and reason that those have."""
    folder = tmp_path_factory.mktemp("reference") / request.param
    shutil.copytree(REFERENCE / request.param, folder)
    render(folder)
    return folder


def flat_page(table: pa.Table, title: str) -> Page:
    return page_of(best_rows(table, Definition()), Definition(), title, len(table))


def csv_of(table: pa.Table) -> list[dict[str, str]]:
    file = io.BytesIO()
    columns_to_csv(table, file)
    return list(csv.DictReader(io.StringIO(file.getvalue().decode())))


def test_parquet_csv_and_json_hold_the_same_rows(results: Path) -> None:
    rows = json.loads((results / "leaderboard.json").read_text())
    table = pq.read_table(results / "leaderboard.parquet")
    assert table.column_names == [key for key in rows[0] if key in KEYS]
    assert table["score"].to_pylist() == [row["score"] for row in rows]
    assert table["runs"].to_pylist() == [row["runs"] for row in rows]
    assert table["tied_with_best"].type == pa.bool_()


def test_columns_become_the_same_csv_as_rows(results: Path) -> None:
    rows = build(results).rows
    rows[0]["reason"] = "=cmd()"
    by_rows = list(csv.DictReader(io.StringIO(render_csv(rows))))
    by_columns = csv_of(table_of(rows))
    assert by_columns[0]["reason"] == "'=cmd()"
    for one, other in zip(by_rows, by_columns, strict=True):
        assert one.keys() == other.keys()
        for key, text in one.items():
            assert text == other[key] or float(text) == float(other[key]), key


def test_the_speed_definition_puts_the_fastest_first_and_leaves_failures_out(
    results: Path,
) -> None:
    board = build(results, load_definition("speed"))
    facts = board.page.explorer.facts
    assert {row["status"] for row in facts} == {"ok"}
    assert len(facts) < len(board.rows)
    assert board.page.title.endswith("speed and size")
    assert "Shown" in [fact.label for fact in board.page.reading]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "board_columns:\n  - rank\n  - latnecy_p50_ms\n",
            r"x\.yaml:3: .*did you mean 'latency_p50",
        ),
        ("sort_by: -scor\n", r"x\.yaml:1: sort_by: unknown column 'scor'; did you mean 'score'"),
        ("filters:\n  max_sise_mb: 3\n", r"x\.yaml:2: filters: unknown key 'max_sise_mb'"),
        ("filters: {max_size_mb: big}\n", r"x\.yaml:1: filters: 'max_size_mb' needs a number"),
        ("filters: {max_model: 5}\n", r"x\.yaml:1: filters: 'max_model': model holds no numbers"),
        (
            "filters: {max_throughput_verdict: 5}\n",
            "'max_throughput_verdict': throughput_verdict holds no numbers",
        ),
        ("filters: {min_runs: 1}\n", r"x\.yaml:1: filters: 'min_runs': runs holds no numbers"),
        ("controls: [pareto]\n", r"x\.yaml:1: controls: 'pareto' holds lists"),
        (
            "board_columns: [model]\nsort_by: size_mb\n",
            r"x\.yaml:2: sort_by: 'size_mb' is not among board_columns: model",
        ),
        ("controls: [tsk]\n", r"x\.yaml:1: controls: unknown key 'tsk'; did you mean 'task'"),
    ],
)
def test_a_wrong_entry_is_named_with_its_own_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(RequestError, match=message):
        load_definition(str(tmp_path / "x.yaml"))


def test_every_key_of_a_row_can_be_a_column(results: Path) -> None:
    board = build(results, Definition(board_columns=KEYS))
    explorer = board.page.explorer
    shown = [dict(zip(explorer.keys, line, strict=True)) for line in explorer.rows]
    row, cells = board.rows[0], shown[0]
    assert cells["accuracy"].text == f"{row['accuracy']:.3f}"
    assert cells["host_id"].text == row["host_id"]
    assert cells["tied_with_best"].text == "yes"
    assert cells["runs"].text == " ".join(row["runs"])
    assert cells["train_examples"].text == "2,000"
    assert {"p_vs_best", "examples_available", "validation_score"} <= set(explorer.keys)
    page = render_html(board.page, Definition(board_columns=KEYS))
    assert "p vs best" in page


def test_an_unknown_column_is_exit_status_2(
    harness: Harness, results: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text("board_columns: [modle]\n")
    answer = harness("board", "demo", "--results", results.parent, "--definition", "mine.yaml")
    assert answer.status == 2
    assert "mine.yaml:1" in answer.err and "did you mean 'model'" in answer.err


def test_pictures_are_svg_and_png(results: Path, tmp_path: Path) -> None:
    keys = {picture.key for picture in pictures.of_board(build(results).page)}
    assert {"1-topics-scores", "2-entities-size_mb", "wins", "ranks"} <= keys
    definition = Definition(filters={"task": "topics", "max_size_mb": 1})
    paths = pictures.write(build(results, definition).page, tmp_path)
    names = {path.name for path in paths}
    assert {"1-topics-latency_p50_ms.svg", "1-topics-scores.png"} <= names
    assert all(p.read_bytes().startswith((b"<svg", b"\x89PNG")) for p in paths)
    assert "TF-IDF + logistic regression" in (tmp_path / "1-topics-scores.svg").read_text()


def test_every_picture_is_valid_by_altairs_schema() -> None:
    import altair

    specs = [charts.cost_chart(cost) for cost in charts.COSTS]
    specs += [
        charts.score_chart(pictures.MOST_BARS),
        charts.heat_map(["a"]),
        charts.learning_curves(["a"], [100, 400]),
    ]
    for spec in [*specs, charts.rank_chart(), charts.rank_chart(True)]:
        altair.Chart.from_dict(charts.filled(spec, []))


def test_a_pull_request_gets_headlines_and_short_tables(results: Path) -> None:
    text = render_pull_request(build(results).page)
    assert text.startswith("### Small models on news\n\n- On News topics, ")
    assert len(text.splitlines()) < 60
    assert "| rank | model" in text and "without a complete result" in text


def test_evidence_names_runs_host_and_errors(results: Path) -> None:
    board = build(results)
    blocks = board.evidence.rows[board.rows[0]["row_id"]]
    by_title = {block["title"].partition(" (")[0]: block for block in blocks}
    assert [line[1] for line in by_title["Runs"]["rows"]] == board.rows[0]["runs"]
    assert ["host", "a1b2c3d4"] in by_title["Host"]["facts"]
    wrong = by_title["Examples that it got wrong"]
    assert len(wrong["rows"]) <= LIMITS["wrong"] and "text" not in wrong["head"]


def test_errors_without_probabilities_are_said_to_come_by_their_loss(results: Path) -> None:
    board = build(results)
    notes = [
        block["note"]
        for blocks in board.evidence.rows.values()
        for block in blocks
        if block["title"].startswith("Examples that it got wrong") and "first" in block["note"]
    ]
    assert notes
    assert all(note.endswith("the largest losses first") for note in notes)


def test_a_property_of_many_values_shows_the_most_frequent_and_counts_the_rest() -> None:
    intents = np.repeat([f"intent {i:02}" for i in range(77)], range(77, 0, -1)).astype(object)
    ones = np.ones(len(intents))
    frame = {
        "id": intents, "cluster": np.arange(len(intents)).astype(str), "prediction": intents,
        "score_num": ones, "score_den": ones, "target": intents, "slice_source": intents,
    }  # fmt: skip
    by_class, by_source = slices(frame, classes=77)
    assert (by_class.name, by_source.name) == ("true class", "source")
    assert [line[:2] for line in by_class.lines[:2]] == [("intent 00", 77), ("intent 01", 76)]
    assert len(by_class.lines) == 30 and by_class.other_values == 47
    assert by_class.other_examples == sum(range(1, 48))
    # answers and tag sequences are no classes
    assert [found.name for found in slices(frame, classes=0)] == ["source"]


def test_runs_link_the_files_that_are_there_and_only_from_beside_the_records(
    results: Path,
) -> None:
    def records(beside: bool) -> list[list[str]]:
        board = build(results, beside=beside)
        blocks = [block for found in board.evidence.rows.values() for block in found]
        return [b["head"] + line for b in blocks if b["title"] == "Runs" for line in b["rows"]]

    links = [line[-1] for line in records(beside=True)]
    assert {link.rpartition("/")[2] for link in links} == {"metrics.json", "status.json", "-"}
    assert all((results / link).is_file() for link in links if link != "-")
    assert not any("runs/" in cell for line in records(beside=False) for cell in line)


def test_the_page_says_what_it_leaves_out(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "is not in this page" not in render_html(build(results).page, Definition())
    monkeypatch.setitem(LIMITS, "bytes", 20_000)
    board = build(results)
    page = render_html(board.page, Definition(), board.evidence)
    assert f"Evidence of {board.evidence.left_out} rows is not in this page" in page
    flat = flat_page(flat_rows(2400, tasks=1), "many")
    plain = render_html(flat, Definition(), plain=True)
    assert "(the first 40 of 600 fits)" in plain
    assert "Score against latency is not drawn for more than 120 rows" in plain


def test_evidence_shows_texts_only_where_they_are_brought(results: Path) -> None:
    texts = {"topics": {f"topics-{i}": f"text number {i}" for i in range(120)}}
    board = build(results, texts=texts)
    row = next(row for row in board.rows if row["task"] == "topics")
    block = board.evidence.rows[row["row_id"]][-1]
    assert block["head"][-1] == "text" and block["rows"][0][-1].startswith("text number")
    assert "text number" not in (results / "leaderboard.html").read_text()


def test_evidence_stays_within_its_bytes(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIMITS, "bytes", 20_000)
    evidence = build(results).evidence
    assert evidence.left_out > 10
    assert len(json.dumps(evidence.rows, ensure_ascii=False).encode()) <= 20_100


def test_json_cannot_end_its_script() -> None:
    text = "</script><!--\u2028&"
    assert json.loads(json_script([text])) == [text]
    assert not set("<>&\u2028") & set(json_script([text]))


def test_a_page_keeps_the_best_of_every_task_and_says_how_many_there_are() -> None:
    assert shares([3, 100, 100], 23) == [3, 10, 10]
    table = flat_rows(40_000)
    page = flat_page(table, "many")
    facts = page.explorer.facts
    assert len(facts) == MAX_ROWS and page.explorer.total == 40_000
    assert {row["task"] for row in facts} == {f"task-{i}" for i in range(4)}
    assert max(row["rank"] for row in facts) == MAX_ROWS // 16


def test_flat_rows_read_back_from_every_format(results: Path, tmp_path: Path) -> None:
    for suffix in ("parquet", "csv", "json"):
        table = read_rows(results / f"leaderboard.{suffix}")
        paths = write_flat(table, tmp_path / suffix, Definition(), "again")
        assert len(table) == 34 and all(path.stat().st_size for path in paths)
        # the dialog of a row does not advise `harness show`, which knows none of them
        assert re.search(r'"recorded": ?false', paths[0].read_text())
    (tmp_path / "no.csv").write_text("a,b\n1,2\n")
    with pytest.raises(RequestError, match="row_id, task, model, score missing"):
        read_rows(tmp_path / "no.csv")


@pytest.mark.parametrize("suffix", ["parquet", "csv", "json"])
def test_the_rows_of_real_records_read_back_from_every_format(reference: Path, suffix: str) -> None:
    rows = json.loads((reference / "leaderboard.json").read_text())
    found = read_rows(reference / f"leaderboard.{suffix}").to_pylist()
    assert len(found) == len(rows) > 0
    for row, back in zip(rows, found, strict=True):
        for key in KEYS:
            joined = " ".join(row[key]) if suffix == "csv" and key in LISTS else row[key]
            # a CSV cannot tell an empty text from none
            assert back[key] == joined or {back[key], joined} <= {None, ""}, key


def test_every_key_of_a_real_row_holds_what_is_declared_and_can_be_shown(reference: Path) -> None:
    kinds = [(LISTS, {list}), (FLAGS, {bool}), (TEXTS, {str}), (NUMBERS, {int, float})]
    for row in json.loads((reference / "leaderboard.json").read_text()):
        assert tuple(row) == KEYS
        for keys, kind in kinds:
            held = {key: row[key] for key in keys if row[key] is not None}
            assert {key: value for key, value in held.items() if type(value) not in kind} == {}
        assert all(COLUMNS[key].cell(row, {}).text for key in KEYS)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"score": ["high"]}, "column 'score' holds string, no numbers"),
        ({"rank": ["first"]}, "column 'rank' holds string, no numbers"),
        ({"task": [None]}, "column 'task' has empty cells"),
        ({"runtime": [3.5]}, "column 'runtime' holds double, no text"),
        ({"tied_with_best": [2]}, "column 'tied_with_best' holds int64, neither true nor false"),
        ({"pareto": [[1]]}, "int64>, neither lists of text nor text"),
    ],
)
def test_a_column_of_another_sort_is_named(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    row = {"row_id": ["1"], "task": ["t"], "model": ["m"], "score": [0.5]}
    pq.write_table(pa.table(row), tmp_path / "good.parquet")
    assert write_flat(read_rows(tmp_path / "good.parquet"), tmp_path, Definition(), "good")
    pq.write_table(pa.table(row | change), tmp_path / "odd.parquet")
    with pytest.raises(RequestError, match=re.escape(told)):
        read_rows(tmp_path / "odd.parquet")


def test_texts_of_a_csv_stay_texts_where_they_look_like_numbers(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("row_id,task,model,score,runs\n0012,7,8,0.5,0013\n")
    facts = flat_page(read_rows(tmp_path / "rows.csv"), "digits").explorer.facts
    assert (facts[0]["row_id"], facts[0]["task"]) == ("0012", "7")


@pytest.mark.slow
def test_a_million_rows_render_in_ten_seconds_and_4_gb(tmp_path: Path) -> None:
    """The better of two renderings counts; making the rows takes longer than they do."""
    pq.write_table(flat_rows(1_000_000), tmp_path / "rows.parquet")
    import resource

    seconds = []
    for _ in range(2):
        start = time.monotonic()
        table = read_rows(tmp_path / "rows.parquet")
        page, rows = write_flat(table, tmp_path / "out", Definition(), "many")
        seconds.append(time.monotonic() - start)
        del table
    print(f"seconds {seconds}, page {page.stat().st_size / 1e6:.0f} MB")
    with rows.open("rb") as file:
        assert sum(1 for _ in file) == 1_000_001
    assert min(seconds) < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4_000_000  # KB
