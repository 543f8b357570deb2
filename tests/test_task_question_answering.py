import collections
import itertools
import json
import re
import string
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from harness.data.table import Table
from harness.errors import RequestError
from harness.tasks.base import Examples, TextEncoder
from harness.tasks.metrics.squad import answer_scores, normalise_answer, squad_metrics
from harness.tasks.question_answering import QuestionAnswering
from harness.tasks.spans import best_spans

XQUAD = Path(__file__).parents[2] / "shared" / "data" / "xquad" / "xquad.en.json"
CONTEXT = "Ann Lee lives in Oslo near the sea"


def bert_like() -> Tokenizer:
    words = ["[UNK]", "[CLS]", "[SEP]", "who", "where", "what", *CONTEXT.split(), "?"]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    return tokenizer


def byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([CONTEXT, "who lives where ?"] * 20, trainer)
    return tokenizer


def examples_of(
    rows: list[tuple[str, str, list[str]]], **options
) -> tuple[QuestionAnswering, Examples]:
    table = Table(
        {
            "id": [f"q{i}" for i in range(len(rows))],
            "question": [question for question, _, _ in rows],
            "context": [context for _, context, _ in rows],
            "answers": [
                [{"text": a, "start": context.index(a)} for a in answers]
                for _, context, answers in rows
            ],
        },
        "qa.json",
    )
    task = QuestionAnswering(options)
    return task, task.examples(table, "test")


def text_of(frame, examples: Examples, row: int) -> str:
    span = frame["prediction"][row]
    if not span:
        return ""
    start, end = map(int, span.split(":"))
    return examples.fields["context"][row][start:end]


def logits_for(encoded, window: int, first: int, last: int) -> list[np.ndarray]:
    """All zero, but for one span of one window."""
    logits = [np.zeros((n, 2), np.float32) for n in encoded.inputs["input_ids"].lengths]
    logits[window][first, 0] = logits[window][last, 1] = 5.0
    return logits


def test_short_contexts_make_one_window_with_the_answers_tokens():
    task, examples = examples_of([("who lives ?", CONTEXT, ["Ann Lee"]), ("what ?", CONTEXT, [])])
    encoded = task.encode(examples, TextEncoder(bert_like(), 32, 4))
    assert encoded.example_index.tolist() == [0, 1]
    # [CLS] who lives ? [SEP] Ann Lee
    assert (encoded.targets["start"][0], encoded.targets["end"][0]) == (5, 6)
    assert (encoded.targets["start"][1], encoded.targets["end"][1]) == (0, 0)
    assert encoded.inputs["token_type_ids"][0].tolist() == [0] * 5 + [1] * 9
    assert not encoded.truncated.any()


def test_long_contexts_make_windows_and_only_those_that_hold_the_answer_point_to_it():
    # Room for 4 context tokens a window, 2 of them shared with the next:
    # Ann Lee lives in | lives in Oslo near | Oslo near the sea
    task, examples = examples_of([("where ?", CONTEXT, ["Oslo near"])])
    encoded = task.encode(examples, TextEncoder(bert_like(), 9, 2))
    assert encoded.example_index.tolist() == [0, 0, 0]
    assert encoded.targets["start"].tolist() == [0, 6, 4]
    assert encoded.targets["end"].tolist() == [0, 7, 5]
    assert encoded.truncated.tolist() == [False]


def test_an_answer_that_crosses_the_edge_of_a_window_is_none_there():
    task, examples = examples_of([("where ?", CONTEXT, ["lives in Oslo"])])
    encoded = task.encode(examples, TextEncoder(bert_like(), 9, 2))
    assert encoded.targets["start"].tolist() == [0, 4, 0]


def test_long_questions_are_cut_and_counted_as_truncated():
    task, examples = examples_of([("who who who who who who where", CONTEXT, ["Ann"])])
    encoded = task.encode(examples, TextEncoder(bert_like(), 13, 2))
    assert encoded.truncated.tolist() == [True]
    # (13 - 3 special tokens) // 2 words of the question stay.
    assert encoded.inputs["input_ids"][0].tolist()[:7] == [1, 3, 3, 3, 3, 3, 2]
    assert max(encoded.inputs["input_ids"].lengths) == 13


def test_a_stride_without_room_is_refused():
    task, examples = examples_of([("who ?", CONTEXT, ["Ann"])])
    with pytest.raises(RequestError, match=r"stride 3 leaves windows no room.*is 3 tokens"):
        task.encode(examples, TextEncoder(bert_like(), 8, 3))


def test_a_baseline_can_only_say_that_there_is_no_answer():
    task, examples = examples_of([("who ?", CONTEXT, ["Ann"]), ("what ?", CONTEXT, [])])
    encoded = task.encode(examples, TextEncoder(None, 8))
    assert list(encoded.inputs["text"][1]) == ["what ?", CONTEXT]
    frame = task.decode(examples, encoded, [np.zeros((1, 2), np.float32)] * 2)
    assert frame["prediction"].tolist() == ["", ""]
    assert frame["exact"].tolist() == [0.0, 1.0]


def test_byte_level_answers_round_trip_without_the_space_before_them():
    task, examples = examples_of([("where ?", CONTEXT, ["Oslo"])])
    encoded = task.encode(examples, TextEncoder(byte_level(), 64, 4))
    first, last = encoded.targets["start"][0], encoded.targets["end"][0]
    frame = task.decode(examples, encoded, logits_for(encoded, 0, first, last))
    assert frame["prediction"][0] == frame["target"][0] == "17:21"
    assert frame["f1"][0] == 1


def test_the_null_position_is_found_where_the_special_token_stands_last():
    tokenizer = bert_like()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A [SEP] [CLS]:2",
        pair="$A [SEP] $B:1 [SEP]:1 [CLS]:2",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    task, examples = examples_of([("what ?", CONTEXT, [])])
    encoded = task.encode(examples, TextEncoder(tokenizer, 32, 4))
    assert encoded.extras["null_position"].tolist() == [len(encoded.inputs["input_ids"][0]) - 1]
    assert encoded.targets["start"].tolist() == encoded.extras["null_position"].tolist()


def test_without_a_special_token_the_first_token_stands_for_no_answer():
    task, examples = examples_of([("what ?", CONTEXT, [])])
    encoded = task.encode(examples, TextEncoder(byte_level(), 64, 4))
    assert encoded.extras["null_position"].tolist() == [0]


def test_the_best_span_of_all_windows_wins():
    task, examples = examples_of([("where ?", CONTEXT, ["Oslo near", "Oslo"])])
    encoded = task.encode(examples, TextEncoder(bert_like(), 9, 2))
    frame = task.decode(examples, encoded, logits_for(encoded, 2, 4, 4))
    assert text_of(frame, examples, 0) == "Oslo"
    assert frame["target"][0] == "17:26 17:21"
    assert frame.loc[0, ["exact", "f1", "score_num", "score_den"]].tolist() == [1, 1, 1, 1]


def test_none_is_predicted_only_where_the_data_has_unanswerable_questions():
    rows = [("where ?", CONTEXT, ["Oslo"]), ("what ?", CONTEXT, [])]
    for chosen, expected in ((rows[:1], False), (rows, True)):
        task, examples = examples_of(chosen)
        encoded = task.encode(examples, TextEncoder(bert_like(), 32, 4))
        frame = task.decode(examples, encoded, logits_for(encoded, 0, 0, 0))
        assert (frame["prediction"][0] == "") is expected


def test_the_null_score_is_the_least_of_all_windows():
    task, examples = examples_of([("where ?", CONTEXT, [])])
    encoded = task.encode(examples, TextEncoder(bert_like(), 9, 2))
    logits = [np.zeros((n, 2)) for n in encoded.inputs["input_ids"].lengths]
    for window, height in enumerate((9, 1, 9)):
        logits[window][0] = height / 2
    logits[0][5] = 1.5  # best span: score 3, between the least null score and the others
    frame = task.decode(examples, encoded, logits)
    assert frame["null_margin"][0] == 1 - 3
    assert text_of(frame, examples, 0) == "Lee"


@pytest.mark.parametrize(("threshold", "expected"), [(0.0, ""), (1.0, "Lee")])
def test_none_must_exceed_the_best_span_by_the_threshold(threshold, expected):
    task, examples = examples_of([("where ?", CONTEXT, [])], null_threshold=threshold)
    encoded = task.encode(examples, TextEncoder(bert_like(), 32, 2))
    logits = [np.zeros((n, 2)) for n in encoded.inputs["input_ids"].lengths]
    logits[0][5], logits[0][0] = 1.0, 1.5
    frame = task.decode(examples, encoded, logits)
    assert frame["null_margin"][0] == 1.0
    assert text_of(frame, examples, 0) == expected


def test_spans_longer_than_the_limit_are_no_candidates():
    task, examples = examples_of([("where ?", CONTEXT, ["Oslo"])], max_answer_tokens=2)
    encoded = task.encode(examples, TextEncoder(bert_like(), 32, 2))
    logits = logits_for(encoded, 0, 4, 8)
    logits[0][5, 1] = 1.0
    assert text_of(task.decode(examples, encoded, logits), examples, 0) == "Ann Lee"


def by_loops(start, end, inside, limit):
    """The definition, one pair at a time."""
    best = (-np.inf, -1, -1)
    for i in range(len(start)):
        for j in range(i, min(i + limit, len(start))):
            if inside[i] and inside[j] and start[i] + end[j] > best[0]:
                best = (start[i] + end[j], i, j)
    return best


@settings(max_examples=100, deadline=None, database=None)
@given(st.data())
def test_vectorised_search_equals_the_definition(data):
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    owners = np.repeat(np.arange(3), generator.integers(1, 4, 3))
    lengths = generator.integers(4, 12, len(owners))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    # Few distinct values, so that ties are common.
    logits = generator.integers(0, 6, (offsets[-1], 2)).astype(np.float32)
    inside = np.ones(offsets[-1], bool)
    for a, b in itertools.pairwise(offsets):
        inside[a : a + 2] = inside[b - 1] = False
    limit = int(generator.integers(1, 6))
    found = best_spans(logits, inside, offsets, np.zeros(len(owners), int), owners, limit)
    for example in range(3):
        best = (-np.inf, -1, -1)
        for window in np.flatnonzero(owners == example):
            part = slice(offsets[window], offsets[window + 1])
            score, i, j = by_loops(*logits[part].T, inside[part], limit)
            if score > best[0]:
                best = (score, i + offsets[window], j + offsets[window])
        assert (found.score[example], found.first[example], found.last[example]) == best
        starts = offsets[:-1][owners == example]
        assert found.null_score[example] == logits[starts].sum(axis=1).min()


def test_an_example_without_any_context_token_is_answered_by_none():
    found = best_spans(
        np.ones((3, 2)), np.zeros(3, bool), np.array([0, 3]), np.zeros(1, int), np.zeros(1, int), 5
    )
    assert (found.first[0], found.last[0], found.score[0]) == (-1, -1, -np.inf)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cat, a dog's!", "cat dogs"),
        ("An area; another", "area another"),
        ("U.S.", "us"),
        ("the", ""),
        ("\u00bdth\u2014of", "\u00bdth\u2014of"),  # only ASCII punctuation goes
    ],
)
def test_answers_are_normalised_as_in_the_official_script(text, expected):
    assert normalise_answer(text) == expected


@pytest.mark.parametrize(
    ("prediction", "golds", "exact", "f1"),
    [
        ("the Oslo city", ["Oslo"], 0, 2 * 0.5 * 1 / 1.5),
        ("oslo.", ["Bergen", "Oslo"], 1, 1),
        ("in in Oslo", ["in Oslo in Oslo"], 0, 2 * 3 / (3 + 4)),  # bags, not sets
        ("", [], 1, 1),
        ("Oslo", [], 0, 0),
        ("", ["Oslo"], 0, 0),
        ("the", ["a", "Oslo"], 0, 0),  # a gold answer of articles only does not count
    ],
)
def test_answer_scores_by_hand(prediction, golds, exact, f1):
    assert answer_scores(prediction, golds) == pytest.approx((exact, f1))


def test_answerable_and_unanswerable_questions_are_reported_apart():
    metrics = squad_metrics(
        np.array([1.0, 0, 1, 0]), np.array([1.0, 0.5, 1, 0]), np.array([True, True, False, False])
    )
    assert metrics == {
        "exact_match": 0.5,
        "f1": 0.625,
        "has_answer_examples": 2,
        "no_answer_examples": 2,
        "has_answer_exact": 0.5,
        "has_answer_f1": 0.75,
        "no_answer_accuracy": 0.5,
        "no_answer_f1": 0.5,
    }
    assert "no_answer_f1" not in squad_metrics(np.ones(1), np.ones(1), np.array([True]))


def test_hub_layout_answers_read_like_squads():
    columns = {"question": ["who ?"], "context": [CONTEXT]}
    hub = Table({**columns, "answers": [{"text": ["Lee"], "answer_start": [4]}]}, "qa.parquet")
    assert QuestionAnswering({}).examples(hub, "test").fields["answers"] == [[(4, 7)]]


@pytest.mark.parametrize(
    ("answers", "impossible", "message"),
    [
        ([{"text": "Oslo", "start": 3}], False, "does not stand in the context at offset 3"),
        ([{"text": "Oslo", "start": 17}], True, r"has 1 answer\(s\) but is_impossible is true"),
        ([], False, r"has 0 answer\(s\) but is_impossible is false"),
    ],
)
def test_unfit_answers_are_refused_with_their_place(answers, impossible, message):
    columns = {"id": ["q"], "question": ["who ?"], "context": [CONTEXT]}
    table = Table({**columns, "answers": [answers], "is_impossible": [impossible]}, "qa.json", [9])
    with pytest.raises(RequestError, match=rf"qa\.json:9: .*{message}"):
        QuestionAnswering({}).examples(table, "test")


def test_questions_on_one_context_are_one_cluster():
    _, examples = examples_of([("a", "x", []), ("b", "y", []), ("c", "x", [])])
    assert examples.clusters[0] == examples.clusters[2] != examples.clusters[1]


def squad_2_by_definition(gold: list[str], prediction: str) -> tuple[float, float]:
    """SQuAD 2.0's metrics, restated apart from the code under test: precision, recall, sets."""

    def words(text: str) -> list[str]:
        kept = "".join(c for c in text.lower() if c not in set(string.punctuation))
        return [w for w in re.sub(r"\b(a|an|the)\b", " ", kept).split() if w]

    best_exact = best_f1 = 0.0
    for answer in [g for g in gold if words(g)] or [""]:
        a, b = words(answer), words(prediction)
        best_exact = max(best_exact, float(a == b))
        if not a or not b:
            best_f1 = max(best_f1, float(a == b))
            continue
        common = sum(min(n, collections.Counter(b)[w]) for w, n in collections.Counter(a).items())
        if common:
            precision, recall = common / len(b), common / len(a)
            best_f1 = max(best_f1, 2 * precision * recall / (precision + recall))
    return best_exact, best_f1


@pytest.mark.skipif(not XQUAD.exists(), reason="XQuAD is not here")
def test_scores_on_xquad_equal_the_definition_for_random_spans_and_one_for_gold():
    table = {name: [] for name in ("id", "question", "context", "answers")}
    for article in json.loads(XQUAD.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            for qa in paragraph["qas"]:
                answers = [{"text": a["text"], "start": a["answer_start"]} for a in qa["answers"]]
                values = (qa["id"], qa["question"], paragraph["context"], answers)
                for name, value in zip(table, values, strict=True):
                    table[name].append(value)
    task = QuestionAnswering({})
    examples = task.examples(Table(table, "xquad.en.json"), "test")
    assert len(examples) == 1190
    assert len(set(examples.clusters)) == 240
    # A real vocabulary of characters and frequent words, made here.
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=3000, special_tokens=["[UNK]", "[CLS]", "[SEP]"], show_progress=False
    )
    tokenizer.train_from_iterator(examples.fields["context"], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    encoded = task.encode(examples, TextEncoder(tokenizer, 192, 64))
    lengths = encoded.inputs["input_ids"].lengths
    assert len(encoded) > len(examples)

    generator = np.random.default_rng(0)
    frame = task.decode(examples, encoded, [generator.normal(size=(n, 2)) for n in lengths])
    for row, golds in enumerate(table["answers"]):
        expected = squad_2_by_definition([a["text"] for a in golds], text_of(frame, examples, row))
        assert (frame["exact"][row], frame["f1"][row]) == pytest.approx(expected)
    assert 0 < task.metrics(frame)["f1"] < 0.2

    truth = [np.zeros((n, 2)) for n in lengths]
    for window, (first, last) in enumerate(
        zip(encoded.targets["start"], encoded.targets["end"], strict=True)
    ):
        truth[window][first, 0] = truth[window][last, 1] = 9
    metrics = QuestionAnswering({"max_answer_tokens": 64}).metrics(
        QuestionAnswering({"max_answer_tokens": 64}).decode(examples, encoded, truth)
    )
    # Every answer can be said in whole tokens of this vocabulary, but for its inner cuts.
    assert metrics["exact_match"] > 0.98
    assert metrics["f1"] > 0.99
