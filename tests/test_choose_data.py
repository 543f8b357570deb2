"""`harness choose --data`: shortlist, successive halving, an answer from a board."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from harness.backends.torch.zoo import hide_torchvision
from harness.choose.halving import duration
from harness.choose.own_data import own_data
from harness.errors import RequestError
from harness.stages.similarity import token_facts
from harness.suite import load_suite
from tests.conftest import Harness


def write_csv(path: Path, count: int, header: str = "body,queue") -> Path:
    draw = random.Random(4)
    lines = [header]
    for _ in range(count):
        queue, word = draw.choice([("refund", "bad"), ("login", "person"), ("order", "city")])
        lines.append(f'"the {word} is {draw.randrange(99)}, {draw.choice("abc")}",{queue}')
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("10m", 600), ("1h", 3600)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "ten", "-5m", "0", "5d", "1e3"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="not a duration"):
        duration(text)


def test_fertility_and_unknown_tokens_by_hand() -> None:
    """Vocabulary a, b, ##b: "ab" is a ##b, "z" is unknown; 4 tokens over 3 words, 1 unknown."""
    words = {"[UNK]": 0, "a": 1, "b": 2, "##b": 3}
    tokenizer = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()

    class Encoder:
        pass

    encoder = Encoder()
    encoder.tokenizer = tokenizer  # type: ignore[attr-defined]
    facts = token_facts(encoder, ["ab z", "b"])
    assert facts["fertility"] == pytest.approx(4 / 3)
    assert facts["unknown_share"] == pytest.approx(1 / 4)


def test_columns_are_found_or_asked_for(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "mine.csv", 200, "text,intent")
    own = own_data(load_suite("nlp"), file, "text-classification", None, None)
    assert own.loaded.suite.tasks[0].options == {"text": "text", "label": "intent"}
    assert own.train_examples == 200 - 40 - 30
    assert {arm.recipe for arm in own.arms} == {"fine-tune", "linear-probe", "baseline"}
    odd = write_csv(tmp_path / "odd.csv", 200, "a,b")
    with pytest.raises(RequestError, match="--text COLUMN"):
        own_data(load_suite("nlp"), odd, "text-classification", None, None)
    with pytest.raises(RequestError, match="has no column 'x'"):
        own_data(load_suite("nlp"), odd, "text-classification", "x", "b")


def test_too_few_rows_and_wrong_candidates_are_refused(tmp_path: Path) -> None:
    few = write_csv(tmp_path / "few.csv", 20, "text,label")
    with pytest.raises(RequestError, match="20 rows"):
        own_data(load_suite("nlp"), few, "text-classification", None, None)
    file = write_csv(tmp_path / "mine.csv", 200, "text,label")
    with pytest.raises(RequestError, match="no task of type"):
        own_data(load_suite("vision"), file, "text-classification", None, None)
    with pytest.raises(RequestError, match="no such file"):
        own_data(load_suite("nlp"), tmp_path / "gone.csv", "text-classification", None, None)


SUITE = """\
suite: candidates
models:
  - {id: own, source: "path:model", pooling: mean, licence: mine}
  - {id: tfidf, kind: tfidf-logreg}
tasks:
  - id: other
    type: text-classification
    data: {train: {source: "path:mine.csv"}}
    max_length: 32
settings:
  fine-tune: {epochs: 2, learning_rate: 3e-3, batch_size: 16, fit_dtype: float32}
threads: 1
matrix:
  - {models: [own], tasks: [other], recipe: fine-tune}
  - {models: [own], tasks: [other], recipe: linear-probe}
  - {models: [tfidf], tasks: [other], recipe: baseline}
"""


def as_classifier(folder: Path) -> None:
    """The checkpoint under a classifier of five classes, as fine-tuned ones are published."""
    hide_torchvision()
    from transformers import AutoModelForSequenceClassification

    loaded = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=5)
    loaded.save_pretrained(folder)


def test_it_shortlists_fits_and_answers_with_a_board(
    harness: Harness, tmp_path: Path, tiny_bert: Path
) -> None:
    shutil.copytree(tiny_bert, tmp_path / "model")
    as_classifier(tmp_path / "model")
    write_csv(tmp_path / "mine.csv", 300)
    (tmp_path / "candidates.yaml").write_text(SUITE)
    answer = harness(
        "choose", "--data", "mine.csv", "--candidates", "candidates.yaml", "--time", "10m",
        "--text", "body", "--label", "queue", "--json",
    )  # fmt: skip
    assert answer.status == 0, answer.err
    told = json.loads(answer.out)
    search = told["search"]
    assert search["estimates"]["own"]["logme"] is not None
    # of its own five classes none says much of the queue: near the labels' entropy, log 3
    assert -1.2 < search["estimates"]["own"]["leep"] < 0
    assert search["estimates"]["own"]["leep_classes"] == 5
    assert search["estimates"]["own"]["fertility"] > 1
    assert search["estimates"]["own"]["perplexity"] is None
    assert "no language-model head" in search["estimates"]["own"]["perplexity_reason"]
    assert search["estimates"]["own"]["seconds_per_text"] > 0
    # time enough: everything on all that there is to train on
    assert {fit["train"] for fit in search["fits"]} == {300 - 60 - 45}
    assert {fit["arm"] for fit in search["fits"]} == {
        "own fine-tune", "own linear-probe", "tfidf baseline"
    }  # fmt: skip
    assert search["train_of_board"] == 300 - 60 - 45 and not search["untried"]
    results = tmp_path / "results" / "choose-mine"
    for fit in search["fits"]:  # the search ran through the executor, into records
        assert (results / "fits" / fit["fit_id"] / "status.json").is_file()
    rows = json.loads((results / "leaderboard.json").read_text())
    assert {row["model"] for row in rows} == {"own", "tfidf"}
    assert told["recommended"] in told["candidates"]
    assert told["candidates"][told["recommended"]]["values"]["score"] > 0.9
    assert "\nharness choose --data mine.csv --cand" in (results / "leaderboard.md").read_text()
    answer = harness("board", "choose-mine", "--with-examples", "--to", "private")
    assert answer.status == 0, answer.err


def test_a_short_time_is_told_what_was_not_tried_and_why(
    harness: Harness, tmp_path: Path, tiny_bert: Path
) -> None:
    """Loading a framework alone may take longer; which fits still fit in is tested by a clock of
    our own in test_choose_search.py."""
    shutil.copytree(tiny_bert, tmp_path / "model")
    write_csv(tmp_path / "mine.csv", 300)
    dear = SUITE.replace("epochs: 2", "epochs: 200")
    (tmp_path / "candidates.yaml").write_text(dear)
    answer = harness(
        "choose", "--data", "mine.csv", "--candidates", "candidates.yaml", "--time", "12s",
        "--text", "body", "--label", "queue",
    )  # fmt: skip
    assert answer.status == 0, answer.err
    trace = json.loads((tmp_path / "results" / "choose-mine" / "search.json").read_text())
    fitted = {fit["arm"] for fit in trace["fits"]}
    untried = {what.partition(":")[0] for what in trace["untried"]}
    assert "tfidf baseline" in fitted and "own fine-tune" in untried
    assert "own linear-probe" in fitted | untried
    assert "went no further: own fine-tune: " in answer.out
    assert f"took {trace['seconds']:.0f} s of 12 s" in answer.out


def test_a_wrong_type_is_one_message(harness: Harness, tmp_path: Path) -> None:
    write_csv(tmp_path / "mine.csv", 100)
    answer = harness("choose", "--data", "mine.csv", "--type", "ner")
    assert answer.status == 2 and "Traceback" not in answer.err
    assert "text-classification" in answer.err
