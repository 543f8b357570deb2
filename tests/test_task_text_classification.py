import numpy as np
import pytest
from sklearn.metrics import f1_score, log_loss, precision_recall_fscore_support
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from harness.data.table import Table
from harness.errors import RequestError
from harness.tasks.base import TextEncoder
from harness.tasks.metrics.classification import (
    classification_metrics,
    expected_calibration_error,
)
from harness.tasks.overlap import overlap
from harness.tasks.text_classification import TextClassification

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "very"]


def bert_like() -> Tokenizer:
    vocabulary = {word: i for i, word in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    # What a tokenizer.json may carry, and what must not leak into features:
    tokenizer.enable_padding(length=16)
    tokenizer.enable_truncation(3)
    return tokenizer


def table(**columns: list) -> Table:
    rows = len(next(iter(columns.values())))
    return Table(columns, "data.csv", list(range(2, rows + 2)))


def task_with(options: dict, data: Table) -> tuple[TextClassification, object]:
    examples = TextClassification(options).examples(data, "train")
    labels = TextClassification(options).find_labels(examples)
    return TextClassification(options, labels), examples


def test_single_texts_have_ids_only_and_keep_the_callers_tokenizer_as_it_was():
    task, examples = task_with({}, table(text=["good film", "very very bad film"], label=[1, 0]))
    tokenizer = bert_like()
    encoded = task.encode(examples, TextEncoder(tokenizer, 5))
    assert set(encoded.inputs) == {"input_ids"}
    assert encoded.inputs["input_ids"][0].tolist() == [2, 4, 6, 3]
    assert encoded.inputs["input_ids"][1].tolist() == [2, 7, 7, 5, 3]
    assert encoded.truncated.tolist() == [False, True]
    assert encoded.targets["labels"].tolist() == [1, 0]
    assert tokenizer.truncation["max_length"] == 3
    assert tokenizer.padding["length"] == 16


def test_pairs_have_segment_ids_and_lose_tokens_from_the_longer_text_first():
    data = table(text=["good", "bad"], other=["bad film bad film", "film"], label=["x", "y"])
    task, examples = task_with({"pair": "other"}, data)
    encoded = task.encode(examples, TextEncoder(bert_like(), 6))
    assert encoded.inputs["input_ids"][0].tolist() == [2, 4, 3, 5, 6, 3]
    assert encoded.inputs["token_type_ids"][0].tolist() == [0, 0, 0, 1, 1, 1]
    assert encoded.inputs["token_type_ids"][1].tolist() == [0, 0, 0, 1, 1]
    assert encoded.truncated.tolist() == [True, False]


def test_pairs_have_no_segment_ids_where_the_tokenizers_template_makes_none():
    task, examples = task_with({"pair": "other"}, table(text=["good"], other=["bad"], label=["x"]))
    tokenizer = bert_like()
    tokenizer.post_processor = processors.RobertaProcessing(("[SEP]", 3), ("[CLS]", 2))
    assert set(task.encode(examples, TextEncoder(tokenizer, 8)).inputs) == {"input_ids"}


def test_an_empty_text_still_has_one_token_to_pool():
    task, examples = task_with({}, table(text=["", "good"], label=["x", "y"]))
    tokenizer = bert_like()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A", pair="$A $B:1", special_tokens=[]
    )
    encoded = task.encode(examples, TextEncoder(tokenizer, 8))
    assert encoded.inputs["input_ids"].lengths.tolist() == [1, 1]


def test_baselines_get_one_string_per_pair():
    task, examples = task_with({"pair": "other"}, table(text=["good"], other=["bad"], label=["x"]))
    encoded = task.encode(examples, TextEncoder(None, 8))
    assert encoded.inputs["text"].tolist() == ["good\nbad"]


def test_labels_are_the_same_as_numbers_and_as_strings():
    task, _ = task_with({}, table(text=["a", "b", "c"], label=[3, 3.0, "3"]))
    assert task.labels == ["3"]


def test_ids_are_row_numbers_or_a_column_and_do_not_change_with_a_draw():
    data = table(text=["a", "b", "c"], label=[0, 1, 0], key=["x", "y", "z"])
    assert TextClassification({}).examples(data, "test").take([2]).ids == ["test-000002"]
    assert TextClassification({"id": "key"}).examples(data, "test").ids == ["x", "y", "z"]


@pytest.mark.parametrize(
    ("options", "columns", "message"),
    [
        ({}, {"text": ["a", None], "label": [0, 1]}, r"data\.csv:3: column 'text' holds None"),
        ({}, {"text": ["a", "b"], "label": [0, float("nan")]}, r"data\.csv:3: column 'label'"),
        ({}, {"text": ["a", "b"], "label": [0, " "]}, r"data\.csv:3: column 'label'"),
        ({"id": "k"}, {"text": ["a", "b"], "label": [0, 1], "k": [7, 7]}, r"'7' stands twice.*:2"),
        ({"label": "category"}, {"text": ["a"], "label": [0]}, "no column 'category'"),
    ],
)  # fmt: skip
def test_unfit_rows_are_refused_with_file_and_line(options, columns, message):
    with pytest.raises(RequestError, match=message):
        TextClassification(options).examples(table(**columns), "train")


def test_an_unknown_option_is_refused_with_a_guess():
    with pytest.raises(RequestError, match="unknown option 'lable'; did you mean 'label'"):
        TextClassification({"lable": "category"})


def test_labels_unknown_to_training_are_refused():
    task, _ = task_with({}, table(text=["a"], label=["x"]))
    test = task.examples(table(text=["a"], label=["z"]), "test")
    with pytest.raises(RequestError, match=r"test\.csv: 1 label.*'z'"):
        task.check_labels(test, "test.csv")


def test_decoded_scores_sum_to_the_primary_metric_and_hold_no_text():
    task, examples = task_with({}, table(text=["secret one", "secret two"], label=["x", "y"]))
    encoded = task.encode(examples, TextEncoder(None, 8))
    frame = task.decode(examples, encoded, [np.array([2.0, 0.0]), np.array([1000.0, -1000.0])])
    assert frame["prediction"].tolist() == ["x", "x"]
    assert frame["prob_x"].dtype == np.float32
    assert frame["prob_x"][0] == pytest.approx(1 / (1 + np.exp(-2)))
    assert frame["prob_y"][1] == 0
    metrics = task.metrics(frame)
    assert metrics["accuracy"] == frame["score_num"].sum() / frame["score_den"].sum() == 0.5
    assert "secret" not in frame.to_csv()


def test_metrics_by_hand():
    # Three classes, c never predicted, d neither: averages run over a, b, c.
    target, prediction = ["a", "a", "b", "c"], ["a", "b", "b", "a"]
    probabilities = np.full((4, 4), 0.25)
    metrics = classification_metrics(target, prediction, probabilities, ["a", "b", "c", "d"])
    assert metrics["accuracy"] == metrics["f1_micro"] == 0.5
    assert metrics["per_class"]["a"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}
    assert metrics["per_class"]["d"] == {"precision": 0, "recall": 0, "f1": 0, "support": 0}
    assert metrics["f1_macro"] == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)
    assert metrics["recall_weighted"] == pytest.approx((2 * 0.5 + 1 * 1 + 0) / 4)
    assert metrics["confusion"] == [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert metrics["log_loss"] == pytest.approx(np.log(4))


def test_metrics_agree_with_scikit_learn_on_random_predictions():
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(5), 300).astype(np.float32)
    labels = list("abcde")
    truth = generator.integers(0, 5, 300)
    target = [labels[i] for i in truth]
    prediction = [labels[i] for i in probabilities.argmax(axis=1)]
    metrics = classification_metrics(target, prediction, probabilities, labels)
    expected = log_loss(target, probabilities, labels=labels)
    assert metrics["log_loss"] == pytest.approx(expected, rel=1e-5)
    assert metrics["f1_macro"] == f1_score(target, prediction, average="macro")
    expected = precision_recall_fscore_support(target, prediction, average="weighted")[:3]
    found = [metrics[f"{name}_weighted"] for name in ("precision", "recall", "f1")]
    assert found == pytest.approx(expected)


def test_a_probability_of_zero_has_a_finite_loss():
    metrics = classification_metrics(["b"], ["a"], np.array([[1.0, 0.0]], np.float32), ["a", "b"])
    assert metrics["log_loss"] == pytest.approx(-np.log(np.finfo(np.float32).eps))


def test_expected_calibration_error_by_hand():
    # Bins of width 1/15: 0.95 and 0.96 share one, 0.6 = 9/15 is the upper edge of its own.
    confidence = np.array([0.95, 0.96, 0.6])
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    error = expected_calibration_error(np.array([0, 1, 0]), probabilities)
    assert error == pytest.approx((abs(1 - 1.91) + abs(1 - 0.6)) / 3)


def test_a_certain_and_right_model_is_calibrated():
    assert expected_calibration_error(np.array([0, 1]), np.eye(2)) == 0


def test_overlap_ignores_case_and_spacing():
    assert overlap(["A  b"], ["a b", "c", "a\tB "]) == {"test_in_train": 2, "share": 2 / 3}
    assert overlap(["a"], []) == {"test_in_train": 0, "share": 0.0}
    task, examples = task_with({}, table(text=["Good  Film"], label=[0]))
    assert task.overlap_keys(examples) == ["good film"]
