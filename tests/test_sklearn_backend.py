"""Baselines: what they predict, that they reload exactly, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.backends.base import ArtifactInfo, FitRequest, predict_all
from harness.backends.sklearn import SklearnBackend, SklearnRuntime
from harness.backends.sklearn.features import shape, word_features
from harness.backends.sklearn.tfidf import ABSENT
from harness.data.arrays import object_array
from harness.errors import Unsupported
from harness.tasks.base import IGNORED_LABEL, Encoded, Ragged
from tests.vision_toys import pictures

TEXTS = [
    "wheat and corn prices rise", "corn harvest and wheat exports", "wheat crop is large",
    "oil barrels and crude output", "crude oil prices fall", "oil output cut by producers",
    "bank raises interest rates", "interest rates fall says bank", "the bank cut its rates",
]  # fmt: skip
CLASSES = [0, 0, 0, 1, 1, 1, 2, 2, 2]


def texts(items: list[Any], labels: list[int]) -> Encoded:
    count = len(items)
    return Encoded(
        {"text": object_array(items)},
        {"labels": np.array(labels, np.int64)},
        np.arange(count),
        np.zeros(count, bool),
    )


def sentences(items: list[list[str]], labels: list[list[int]]) -> Encoded:
    count = len(items)
    return Encoded(
        {"text": object_array(items)},
        {"labels": Ragged.of(labels, np.int64)},
        np.arange(count),
        np.zeros(count, bool),
    )


NAMES = sentences(
    [["Anna", "lives", "in", "Rome"], ["Berlin", "is", "cold"], ["Anna", "met", "Otto"],
     ["Otto", "lives", "in", "Berlin"], ["Rome", "is", "warm"]],
    [[1, 0, 0, 2], [2, 0, 0], [1, 0, 1], [1, 0, 0, 2], [2, 0, IGNORED_LABEL]],
)  # fmt: skip


def fit(
    out: Path, kind: str, train: Encoded, head: Any = "pooled", outputs: int = 3, **settings: Any
) -> Any:
    out.mkdir(parents=True, exist_ok=True)
    labels = [f"c{i}" for i in range(outputs)]
    info = ArtifactInfo(kind, "sklearn", "any", head, outputs, "mean", labels, 128)
    request = FitRequest(
        model_kind=kind,
        model_folder=None,
        recipe="baseline",
        settings={"C": 10.0, "ngrams": (1, 1)} | settings,
        loss="cross_entropy",
        info=info,
        train=train,
        validation=train,
        validation_score=lambda logits: float(len(logits)),
        train_score=lambda logits: float(len(logits)),
        device="cpu",
        threads=1,
        seed=1,
        out=out,
        features_cache=out,
        features_key="",
    )
    return SklearnBackend().fit(request, lambda *_: None)


def logits(artifact: Path, encoded: Encoded, batch_size: int = 32) -> list[np.ndarray]:
    predictor = SklearnRuntime().load(artifact, artifact, device="cpu", threads=1)
    return predict_all(predictor, encoded, batch_size)


def test_tfidf_logreg_is_the_sklearn_pipeline(tmp_path):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    train = texts(TEXTS, CLASSES)
    fit(tmp_path, "tfidf-logreg", train, C=3.0, ngrams=(1, 2))
    vectorizer = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), dtype=np.float32)
    pipeline = make_pipeline(vectorizer, LogisticRegression(C=3.0, max_iter=1000))
    pipeline.fit(TEXTS, CLASSES)
    unseen = [*TEXTS, "corn rates", "entirely unknown"]
    ours = np.stack(logits(tmp_path, texts(unseen, [0] * len(unseen))))
    np.testing.assert_array_equal(ours, pipeline.decision_function(unseen).astype(np.float32))


@pytest.mark.parametrize("kind", ["tfidf-logreg", "majority", "pixels-logreg"])
def test_a_fit_is_deterministic_to_the_byte(tmp_path, kind):
    files = []
    for name in ("a", "b"):
        train = images(30, 1, [0, 1, 2]) if kind == "pixels-logreg" else texts(TEXTS, CLASSES)
        fit(tmp_path / name, kind, train)
        folder = tmp_path / name
        with np.load(folder / "weights.npz", allow_pickle=False) as archive:
            arrays = {key: archive[key].tobytes() for key in archive}
        others = {f.name: f.read_bytes() for f in folder.iterdir() if f.suffix == ".json"}
        files.append(arrays | others)
    assert files[0] == files[1]


def test_batching_does_not_change_logits(tmp_path):
    train = texts(TEXTS, CLASSES)
    fit(tmp_path, "tfidf-logreg", train)
    np.testing.assert_array_equal(logits(tmp_path, train, 1), logits(tmp_path, train, 4))


def test_two_classes_get_two_logits_whose_softmax_is_the_probability(tmp_path):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    items, labels = TEXTS[:6], CLASSES[:6]
    fit(tmp_path, "tfidf-logreg", texts(items, labels), outputs=2)
    ours = np.stack(logits(tmp_path, texts(items, labels))).astype(np.float64)
    features = TfidfVectorizer(sublinear_tf=True, dtype=np.float32).fit(items)
    model = LogisticRegression(C=10.0).fit(features.transform(items), labels)
    softmax = np.exp(ours) / np.exp(ours).sum(1, keepdims=True)
    np.testing.assert_allclose(softmax, model.predict_proba(features.transform(items)), atol=1e-6)


def test_a_class_that_training_lacks_gets_a_finite_logit_of_no_probability(tmp_path):
    fit(tmp_path, "tfidf-logreg", texts(TEXTS, [0, 0, 0, 1, 1, 1, 3, 3, 3]), outputs=4)
    result = np.stack(logits(tmp_path, texts(TEXTS, CLASSES)))
    assert (result[:, 2] == ABSENT).all()
    assert np.exp(np.float64(ABSENT)) == 0.0
    assert result.argmax(1).tolist() == [0, 0, 0, 1, 1, 1, 3, 3, 3]


def test_words_are_tagged_with_one_row_of_logits_each(tmp_path):
    report = fit(tmp_path, "tfidf-logreg", NAMES, head="token", C=100.0)
    unseen = sentences([["Otto", "is", "in", "Rome"], ["Berlin"], []], [[0] * 4, [0], []])
    result = logits(tmp_path, unseen)
    assert [row.shape for row in result] == [(4, 3), (1, 3), (0, 3)]
    assert result[0].argmax(1).tolist() == [1, 0, 0, 2]
    assert report.notes["documents"] == 16  # 17 words less the ignored one


def test_labels_that_do_not_fit_the_words_are_an_error(tmp_path):
    with pytest.raises(ValueError, match="row 0: 2 words but 1 labels"):
        fit(tmp_path, "tfidf-logreg", sentences([["a", "b"]], [[0]]), head="token")


def images(count: int, seed: int, classes: list[int]) -> Encoded:
    """Noise with a square of a class's colour, of the given classes of red, green and blue."""
    every = pictures(count, seed, size=8)
    rows = np.flatnonzero(np.isin(every.targets["labels"], classes))
    labels = np.searchsorted(classes, every.targets["labels"][rows])
    taken = {"pixel_values": every.inputs["pixel_values"].take(rows)}
    return Encoded(taken, {"labels": labels}, np.arange(len(rows)), np.zeros(len(rows), bool))


@pytest.mark.parametrize("classes", [[0, 1, 2], [0, 2]], ids=["three classes", "two classes"])
def test_pixels_logreg_is_the_sklearn_pipeline(tmp_path, classes):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, test = images(90, 1, classes), images(60, 2, classes)
    report = fit(tmp_path, "pixels-logreg", train, outputs=len(classes), C=0.1)
    assert report.notes["converged"]
    rows, others = (
        part.inputs["pixel_values"].normalised(part.inputs["pixel_values"].values)
        for part in (train, test)
    )
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
    pipeline.fit(rows.reshape(len(rows), -1), train.targets["labels"])
    expected = pipeline.predict_proba(others.reshape(len(others), -1))
    got = np.array(logits(tmp_path, test, batch_size=7))
    powers = np.exp(got - got.max(1, keepdims=True))
    np.testing.assert_allclose(powers / powers.sum(1, keepdims=True), expected, atol=1e-4)
    assert (got.argmax(1) == test.targets["labels"]).mean() > 0.9
    assert report.params == len(classes) * (3 * 8 * 8 + 1)


def test_a_class_that_no_training_image_has_is_never_predicted(tmp_path):
    train = images(90, 1, [0, 2])
    fit(tmp_path, "pixels-logreg", train, outputs=3, C=0.1)
    got = np.array(logits(tmp_path, train))
    assert (got[:, 2] == ABSENT).all()
    assert (got.argmax(1) == train.targets["labels"]).all()


def test_pixels_logreg_reads_no_text_and_no_single_class(tmp_path):
    with pytest.raises(Unsupported, match="reads images, which this task has none of"):
        fit(tmp_path / "text", "pixels-logreg", texts(TEXTS, CLASSES))
    with pytest.raises(Unsupported, match="at least two classes"):
        fit(tmp_path / "one", "pixels-logreg", images(30, 1, [1]))


def test_majority_logits_are_the_log_shares(tmp_path):
    fit(tmp_path, "majority", texts(TEXTS[:4], [1, 1, 1, 0]))
    result = np.stack(logits(tmp_path, texts(TEXTS, CLASSES)))
    assert result.shape == (9, 3)
    np.testing.assert_allclose(result[:, :2], np.log([[0.25, 0.75]] * 9), rtol=1e-6)
    assert (result[:, 2] == ABSENT).all()


def test_majority_tags_every_word_alike_and_ignores_ignored_labels(tmp_path):
    fit(tmp_path, "majority", NAMES, head="token")
    result = logits(tmp_path, NAMES)
    assert [row.argmax(1).tolist() for row in result] == [[0] * n for n in (4, 3, 3, 4, 3)]
    np.testing.assert_allclose(np.exp(result[0][0]), [8 / 16, 4 / 16, 4 / 16], rtol=1e-6)


def test_majority_answers_no_question(tmp_path):
    pairs = texts([["who", "Anna is here"], ["where", "in Rome"]], [0, 0])
    fit(tmp_path, "majority", pairs, head="span", outputs=2)
    assert [row.tolist() for row in logits(tmp_path, pairs)] == [[[0.0, 0.0]], [[0.0, 0.0]]]


def test_the_report_counts_what_was_trained(tmp_path):
    report = fit(tmp_path, "tfidf-logreg", texts(TEXTS, CLASSES))
    words = {word for text in TEXTS for word in text.split()}
    assert report.notes["features"] == len(words)
    assert report.params == report.trained_params == 3 * len(words) + 3
    assert report.notes["converged"]
    assert report.epochs[0]["validation_score"] == 9.0
    assert SklearnRuntime().size_bytes(tmp_path, tmp_path) == sum(
        (tmp_path / name).stat().st_size for name in ("weights.npz", "vocabulary.json")
    )


def test_the_artifact_is_json_and_arrays_without_pickle(tmp_path):
    fit(tmp_path, "tfidf-logreg", texts(TEXTS, CLASSES))
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["harness.json", "vocabulary.json", "weights.npz"]
    assert json.loads((tmp_path / "harness.json").read_text())["kind"] == "tfidf-logreg"
    with np.load(tmp_path / "weights.npz", allow_pickle=False) as weights:
        assert {weights[name].dtype.kind for name in weights} <= {"f", "i"}


def test_one_class_alone_is_unsupported(tmp_path):
    with pytest.raises(Unsupported, match="at least two classes"):
        fit(tmp_path, "tfidf-logreg", texts(TEXTS, [1] * 9))


def test_spans_and_token_ids_are_unsupported(tmp_path):
    with pytest.raises(Unsupported, match="marks no spans"):
        fit(tmp_path, "tfidf-logreg", texts(TEXTS, CLASSES), head="span")
    ids = Encoded({"input_ids": Ragged.of([[1]])}, {}, np.arange(1), np.zeros(1, bool))
    with pytest.raises(Unsupported, match="reads raw text"):
        fit(tmp_path, "majority", ids)


def test_a_gpu_is_refused(tmp_path):
    fit(tmp_path, "majority", texts(TEXTS, CLASSES))
    with pytest.raises(Unsupported, match="on the CPU"):
        SklearnRuntime().load(tmp_path, tmp_path, device="cuda", threads=1)


def test_observed_threads_are_those_asked_for(tmp_path):
    fit(tmp_path, "tfidf-logreg", texts(TEXTS, CLASSES))
    predictor = SklearnRuntime().load(tmp_path, tmp_path, device="cpu", threads=1)
    assert predictor.observed() == {"device": "cpu", "dtype": "float32", "threads": 1}


@pytest.mark.parametrize(
    ("word", "expected"),
    [("U.N.", "X.X."), ("Rome", "Xx"), ("1996-08-22", "d-d-d"), ("iPad", "xXx")],
)
def test_word_shapes(word, expected):
    assert shape(word) == expected


def test_a_word_sees_two_neighbours_on_each_side_and_the_edges():
    first, second, third = word_features(["In", "Rome", "now"])
    assert "+2 lower=now" in first and "-1 outside" in first and "-2 outside" in first
    assert {"prefix=rom", "suffix=e", "-1 lower=in", "+1 lower=now"} <= set(second)
    assert "prefix=rome" not in second  # the whole word is a feature already
    assert "-2 lower=in" in third and "+1 outside" in third
