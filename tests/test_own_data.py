"""A user's own suite, data and checkpoint, outside the repository."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from tests.conftest import SHARED_DATA, Harness

MODEL = """\
  - {id: own, source: "path:model", pooling: mean, licence: mine}
"""


def suite(task: str, recipes: str, launches: int = 0) -> str:
    return f"""\
suite: own
models:
{MODEL}  - {{id: majority, kind: majority}}
  - {{id: tfidf, kind: tfidf-logreg}}
tasks:
{task}
timing: {{launches: {launches}, min_samples: 64, max_samples: 64, max_seconds: 2,
  batch_sizes: [4], sweep_seconds: 0.2}}
settings:
  fine-tune: {{epochs: 3, learning_rate: 3e-3, batch_size: 8, fit_dtype: float32}}
threads: 1
matrix:
{recipes}
"""


def board(folder: Path) -> dict[tuple[str, str], dict]:
    rows = json.loads((folder / "results" / "own" / "leaderboard.json").read_text())
    return {(f"{row['model']} {row['recipe']}", row["runtime"]): row for row in rows}


def test_csv_with_named_columns(harness: Harness, tmp_path: Path, tiny_bert: Path) -> None:
    shutil.copytree(tiny_bert, tmp_path / "model")
    draw = random.Random(1)
    for name, count in (("train", 120), ("test", 40)):
        lines = ["id,body,queue"]
        for i in range(count):
            queue = draw.choice(["refund", "login"])
            word = {"refund": "money", "login": "password"}[queue]
            lines.append(f'{i},"a {word}, please ""{draw.randrange(99)}""",{queue}')
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "own.yaml").write_text(
        suite(
            """\
  - id: tickets
    type: text-classification
    data: {train: {source: "path:train.csv"}, test: {source: "path:test.csv"}}
    options: {text: body, label: queue}
    max_length: 32""",
            """\
  - {models: [own], tasks: [tickets], recipe: fine-tune, runtimes: [onnxruntime]}
  - {models: [own], tasks: [tickets], recipe: linear-probe}
  - {models: [own], tasks: [tickets], recipe: scratch}
  - {models: [tfidf, majority], tasks: [tickets], recipe: baseline}""",
            launches=1,
        )
    )
    answer = harness("run", "own.yaml")
    assert answer.status == 0, answer.err
    rows = board(tmp_path)
    assert len(rows) == 6
    assert rows["own fine-tune", "torch"]["accuracy"] > 0.9
    assert rows["tfidf baseline", "sklearn"]["accuracy"] == 1.0
    assert rows["own fine-tune", "onnxruntime"]["prediction_agreement"] == 1.0


def test_conll_columns_in_iob1(harness: Harness, tmp_path: Path, tiny_bert: Path) -> None:
    shutil.copytree(tiny_bert, tmp_path / "model")
    draw = random.Random(2)
    for name, count in (("train", 100), ("test", 30)):
        sentences = []
        for _ in range(count):
            person, city = draw.choice(["ann", "bob"]), draw.choice(["oslo", "rome"])
            # IOB1: an entity begins with I- unless it follows one of its own type.
            sentences.append(f"{person} NN I-PER\nis VB O\nin IN O\n{city} NN I-LOC\n")
        (tmp_path / f"{name}.conll").write_text("-DOCSTART- -X- O\n\n" + "\n".join(sentences))
    (tmp_path / "own.yaml").write_text(
        suite(
            """\
  - id: names
    type: token-classification
    data: {train: {source: "path:train.conll"}, test: {source: "path:test.conll"}}
    max_length: 32""",
            """\
  - {models: [own], tasks: [names], recipe: fine-tune, runtimes: [onnxruntime]}
  - {models: [tfidf, majority], tasks: [names], recipe: baseline}""",
        )
    )
    answer = harness("run", "own.yaml")
    assert answer.status == 0, answer.err
    rows = board(tmp_path)
    assert rows["own fine-tune", "torch"]["f1_entity"] > 0.9
    assert rows["tfidf baseline", "sklearn"]["f1_entity"] == 1.0
    assert rows["majority baseline", "sklearn"]["f1_entity"] == 0.0


def test_squad_json(harness: Harness, tmp_path: Path, tiny_bert: Path) -> None:
    shutil.copytree(tiny_bert, tmp_path / "model")
    draw = random.Random(3)
    for name, count in (("train", 120), ("test", 30)):
        paragraphs = []
        for i in range(count):
            city = draw.choice(["oslo", "rome", "bonn"])
            context = f"{draw.choice(['ann', 'bob'])} is in {city}."
            known = i % 3 != 0
            question = {
                "id": f"{name}-{i}",
                "question": "which city?" if known else "which person was bad?",
                "is_impossible": not known,
                "answers": [{"text": city, "answer_start": context.index(city)}] if known else [],
            }
            paragraphs.append({"context": context, "qas": [question]})
        data = {"version": "v2.0", "data": [{"title": "t", "paragraphs": paragraphs}]}
        (tmp_path / f"{name}.json").write_text(json.dumps(data))
    (tmp_path / "own.yaml").write_text(
        suite(
            """\
  - id: cities
    type: question-answering
    data: {train: {source: "path:train.json"}, test: {source: "path:test.json"}}
    max_length: 48
    stride: 8""",
            """\
  - {models: [own], tasks: [cities], recipe: fine-tune, runtimes: [onnxruntime]}
  - {models: [own], tasks: [cities], recipe: linear-probe}
  - {models: [majority], tasks: [cities], recipe: baseline}""",
        )
    )
    answer = harness("run", "own.yaml")
    assert answer.status == 0, answer.err
    rows = board(tmp_path)
    # A third of the questions has no answer, and that is all the baseline ever says.
    assert rows["majority baseline", "sklearn"]["exact_match"] == pytest.approx(1 / 3)
    assert rows["own fine-tune", "torch"]["exact_match"] > 0.6


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="no shared data here")
def test_real_files_of_other_people(harness: Harness, tmp_path: Path) -> None:
    """Banking77 as CSV and WNUT-17 as CoNLL, with a baseline each."""
    (tmp_path / "own.yaml").write_text(f"""\
suite: own
models: [{{id: tfidf, kind: tfidf-logreg}}]
tasks:
  - id: banking77
    type: text-classification
    data:
      train: {{source: "path:{SHARED_DATA}/banking77/train.csv"}}
      test: {{source: "path:{SHARED_DATA}/banking77/test.csv"}}
    options: {{text: text, label: category}}
    budget: {{train: 2000, test: 500}}
  - id: wnut17
    type: token-classification
    data:
      format: conll
      train: {{source: "path:{SHARED_DATA}/wnut17/wnut17train.conll"}}
      validation: {{source: "path:{SHARED_DATA}/wnut17/emerging.dev.conll"}}
      test: {{source: "path:{SHARED_DATA}/wnut17/emerging.test.annotated"}}
    budget: {{train: 500, validation: 100, test: 200}}
timing: {{launches: 0}}
threads: 1
settings: {{baseline: {{C: 10.0}}}}
matrix:
  - {{models: [tfidf], tasks: [banking77, wnut17], recipe: baseline}}
""")
    answer = harness("run", "own.yaml")
    assert answer.status == 0, answer.err
    by_task = {
        row["task"]: row
        for row in json.loads((tmp_path / "results/own/leaderboard.json").read_text())
    }
    assert by_task["banking77"]["accuracy"] > 0.6
    assert by_task["wnut17"]["status"] == "ok"
