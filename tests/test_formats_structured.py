"""Parquet in the hub's layout, and SQuAD's JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.data.read import read_table
from harness.data.table import Table
from harness.errors import RequestError

pa = pytest.importorskip("pyarrow")
SHARED = Path(__file__).parents[2] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not here")


def write_parquet(path: Path, columns: dict[str, Any], features: Any = None) -> Path:
    import pyarrow.parquet as pq

    table = pa.table(columns)
    if features is not None:
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        table = table.replace_schema_metadata(metadata)
    pq.write_table(table, path)
    return path


def test_class_labels_of_the_hub_become_their_names(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path / "a.parquet",
        {"text": ["a", "b", "c"], "label": [1, 0, -1], "tags": [[0, 2], [], [1]], "n": [1, 2, 3]},
        {
            "text": {"dtype": "string", "_type": "Value"},
            "label": {"names": ["neg", "pos"], "_type": "ClassLabel"},
            "tags": {
                "feature": {"names": ["O", "B-x", "I-x"], "_type": "ClassLabel"},
                "_type": "List",
            },
            "n": {"dtype": "int64", "_type": "Value"},
        },
    )
    assert read_table(path, None, {}, "a.parquet").columns == {
        "text": ["a", "b", "c"],
        "label": ["pos", "neg", None],
        "tags": [["O", "I-x"], [], ["B-x"]],
        "n": [1, 2, 3],
    }


def test_what_datasets_writes_is_read_with_its_class_names(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "tags": datasets.Sequence(datasets.ClassLabel(names=["O", "B-x"])),
            "answers": {"text": datasets.Value("string")},
        }
    )
    data = datasets.Dataset.from_dict(
        {"tags": [[0, 1]], "answers": [{"text": "a"}]}, features=features
    )
    data.to_parquet(str(tmp_path / "a.parquet"))
    assert read_table(tmp_path / "a.parquet", None, {}, "a.parquet").columns == {
        "tags": [["O", "B-x"]],
        "answers": [{"text": "a"}],
    }


def test_a_label_without_a_name_is_named_by_its_row(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path / "a.parquet",
        {"label": [0, 7]},
        {"label": {"names": ["x"], "_type": "ClassLabel"}},
    )
    with pytest.raises(RequestError, match=r"a\.parquet \(row 2\): 'label' is 7"):
        read_table(path, None, {}, "a.parquet")


def test_class_names_can_be_given(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"label": [1, 0], "x": [1, 2]})
    options = {"class_names": {"label": ["no", "yes"]}, "columns": ["label"]}
    assert read_table(path, None, options, "a").columns == {"label": ["yes", "no"]}


def test_a_damaged_or_empty_parquet_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(RequestError, match=r"a\.parquet: cannot be read as Parquet"):
        read_table(path, None, {}, "a.parquet")
    write_parquet(path, {"label": pa.array([], pa.int64())})
    with pytest.raises(RequestError, match="holds no examples"):
        read_table(path, None, {}, "a.parquet")


@needs_shared
def test_cifar10_has_its_published_classes() -> None:
    table = read_table(SHARED / "cifar10/test-00000-of-00001.parquet", None, {}, "test.parquet")
    assert len(table) == 10_000
    assert all(table.column("label").count(name) == 1000 for name in ("airplane", "truck"))
    assert table.column("img")[0]["bytes"].startswith(b"\xff\xd8")  # JPEG


CONTEXT = "Ada met Bob. Bob left."


def squad(tmp_path: Path, *questions: dict[str, Any], context: str = CONTEXT) -> Table:
    path = tmp_path / "a.json"
    article = {"title": "T", "paragraphs": [{"context": context, "qas": list(questions)}]}
    path.write_text(json.dumps({"version": "2.0", "data": [article]}), encoding="utf-8")
    return read_table(path, None, {}, "a.json")


def question(key: str, *answers: tuple[str, int], **more: Any) -> dict[str, Any]:
    listed = [{"text": text, "answer_start": start} for text, start in answers]
    return {"id": key, "question": f"{key}?", "answers": listed, **more}


def test_squad_questions_carry_their_place_context_and_answers(tmp_path: Path) -> None:
    table = squad(
        tmp_path,
        question("q1", ("Bob", 8), ("Bob", 13)),
        question("q2", is_impossible=True, plausible_answers=[{"text": "x", "answer_start": 0}]),
    )
    assert table.columns == {
        "id": ["q1", "q2"],
        "title": ["T", "T"],
        "document": ["0", "0"],
        "paragraph": ["0-0", "0-0"],
        "question": ["q1?", "q2?"],
        "context": [CONTEXT, CONTEXT],
        "answers": [[{"text": "Bob", "start": 8}, {"text": "Bob", "start": 13}], []],
        "is_impossible": [False, True],
    }


def test_offsets_are_characters_not_bytes(tmp_path: Path) -> None:
    table = squad(tmp_path, question("q", ("na\u00efve", 4)), context="\u00e9t\u00e9 na\u00efve")
    assert table.columns["answers"] == [[{"text": "na\u00efve", "start": 4}]]


@pytest.mark.parametrize(
    ("answer", "place"),
    [(("Bob", 9), "it is at 8, 13"), (("Eve", 0), "it is nowhere in it"), (("Bob", -14), "8, 13")],
)
def test_an_answer_not_at_its_offset_is_named(
    tmp_path: Path, answer: tuple[str, int], place: str
) -> None:
    with pytest.raises(RequestError) as caught:
        squad(tmp_path, question("q7", answer))
    assert str(caught.value).startswith(f"a.json: q7: the answer {answer[0]!r} is not at offset")
    assert place in str(caught.value)


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        ([question("q", ("Ada", 0), is_impossible=True)], "is_impossible is True"),
        ([question("q"), question("q")], "'q' stands there twice"),
        ([question("q", ("", 0))], "an answer without text"),
        ([{"id": "q"}], "not SQuAD's layout .*question"),
        ([], "holds no examples"),
    ],
)
def test_inconsistent_squad_files_are_refused(
    tmp_path: Path, questions: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        squad(tmp_path, *questions)


@pytest.mark.parametrize("content", ["[]", '{"data": 3}', '{"other": []}', "{"])
def test_other_json_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(RequestError, match=r"a\.json"):
        read_table(tmp_path / "a.json", None, {}, "a.json")


@needs_shared
def test_xquad_has_its_published_counts() -> None:
    table = read_table(SHARED / "xquad/xquad.en.json", None, {}, "xquad.en.json")
    assert len(table) == 1190
    assert len(set(table.columns["document"])) == 48
    assert len(set(table.columns["paragraph"])) == 240
    assert not any(table.columns["is_impossible"])
