"""One training behind several rows: two test splits, or the same model under two names."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import Harness

SUITE = """\
suite: own
models:
  - {id: tfidf, kind: tfidf-logreg}
  - {id: twin, kind: tfidf-logreg}
tasks:
  - id: home
    type: text-classification
    data: {train: {source: "path:train.csv"}, test: {source: "path:home.csv"}}
  - id: away
    type: text-classification
    data: {train: {source: "path:train.csv"}, test: {source: "path:away.csv"}}
threads: 1
matrix:
  - {models: [tfidf, twin], tasks: [home, away], recipe: baseline, launches: 0}
"""


def table(*pairs: tuple[str, str]) -> str:
    return "text,label\n" + "".join(f"{text},{label}\n" for text, label in pairs)


def test_each_row_is_scored_on_the_test_split_of_its_own_task(
    harness: Harness, tmp_path: Path
) -> None:
    pairs = [("a fine day", "good"), ("a foul day", "bad")]
    turned = [(text, {"good": "bad", "bad": "good"}[label]) for text, label in pairs]
    (tmp_path / "train.csv").write_text(table(*pairs * 20))
    (tmp_path / "home.csv").write_text(table(*pairs * 4))
    (tmp_path / "away.csv").write_text(table(*pairs, *turned * 3))
    (tmp_path / "own.yaml").write_text(SUITE)
    answer = harness("run", "own.yaml")
    assert answer.status == 0, answer.err
    results = tmp_path / "results" / "own"
    rows = json.loads((results / "leaderboard.json").read_text())
    scores = {(row["model"], row["task"]): row["score"] for row in rows}
    assert scores == {
        ("tfidf", "home"): 1.0, ("twin", "home"): 1.0,
        ("tfidf", "away"): 0.25, ("twin", "away"): 0.25,
    }  # fmt: skip
    assert len(list((results / "fits").iterdir())) == 1
    assert len(list((tmp_path / "cache" / "fits").glob("*/timing-inputs-*.npz"))) == 2
    again = harness("run", "own.yaml")
    assert "0 fits with work left" in again.err, again.err
