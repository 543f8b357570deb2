"""TF-IDF with logistic regression: fit, logits, and files without pickle."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.backends.base import ArtifactInfo, FitRequest
from harness.backends.sklearn.baseline import Trained
from harness.backends.sklearn.features import word_features
from harness.errors import Unsupported
from harness.tasks.base import IGNORED_LABEL, Encoded, Ragged

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

VOCABULARY_FILE = "vocabulary.json"
WEIGHTS_FILE = "weights.npz"

#: Logit of a class that training did not hold: its probability is 0 in floating point, but the
#: logit is finite, which scoring insists on.
ABSENT = -1e4
#: A word's feature that was seen once cannot help a word elsewhere; dropping them takes seven
#: tenths of the columns and three quarters of the time, at no cost in F1 (CoNLL-2003).
TOKEN_MIN_DOCUMENTS = 2
#: lbfgs needs 40 to 100 iterations on the tasks at hand; the limit is there so that it ends.
MAX_ITERATIONS = 1000


@dataclass(frozen=True)
class TfidfLogreg:
    """A fitted vectoriser and classifier; float32 throughout."""

    vectorizer: TfidfVectorizer
    classifier: LogisticRegression
    outputs: int
    token_head: bool

    def logits(self, inputs: np.ndarray) -> np.ndarray:
        """``inputs``: object array of texts, giving (texts, outputs); or, for a token head, of
        lists of words, giving an object array of one (words, outputs) array per list."""
        if not self.token_head:
            return self._logits([as_text(item) for item in inputs])
        documents = [document for words in inputs for document in word_features(words)]
        flat = self._logits(documents) if documents else np.empty((0, self.outputs), np.float32)
        return split_rows(flat, [len(words) for words in inputs])

    def _logits(self, documents: Sequence[Any]) -> np.ndarray:
        scores = self.classifier.decision_function(self.vectorizer.transform(documents))
        if scores.ndim == 1:  # two classes: one score, the log odds of the second
            scores = np.stack([np.zeros_like(scores), scores], axis=1)
        logits = np.full((len(scores), self.outputs), ABSENT, np.float32)
        logits[:, self.classifier.classes_] = scores
        return logits

    @property
    def params(self) -> int:
        return int(self.classifier.coef_.size + self.classifier.intercept_.size)


def fit(
    train: Encoded,
    *,
    outputs: int,
    token_head: bool,
    inverse_regularisation: float,
    ngrams: tuple[int, int],
) -> tuple[TfidfLogreg, np.ndarray]:
    """Fit on ``inputs["text"]`` and ``targets["labels"]``; deterministic.

    Also returns the (documents,) labels that were used. Raises `Unsupported` where training holds
    fewer than two classes, which logistic regression cannot part.
    """
    from sklearn.linear_model import LogisticRegression

    documents, labels = _documents(train, token_head)
    if len(np.unique(labels)) < 2:
        raise Unsupported("logistic regression needs at least two classes in the training split")
    vectorizer = _vectorizer(token_head, ngrams)
    features = vectorizer.fit_transform(documents)
    classifier = LogisticRegression(C=inverse_regularisation, max_iter=MAX_ITERATIONS)
    classifier.fit(features, labels)
    return TfidfLogreg(vectorizer, classifier, outputs, token_head), labels


def train(request: FitRequest) -> Trained:
    """`fit` as the request asks; `Unsupported` for inputs without text and for spans."""
    info, settings = request.info, request.settings
    if "text" not in request.train.inputs:
        raise Unsupported("tfidf-logreg reads raw text, which this task has none of")
    if info.head == "span":
        raise Unsupported("tfidf-logreg classifies texts and words, it marks no spans")
    ngrams = (int(settings["ngrams"][0]), int(settings["ngrams"][1]))
    model, labels = fit(
        request.train,
        outputs=info.outputs,
        token_head=info.head == "token",
        inverse_regularisation=float(settings["C"]),
        ngrams=ngrams,
    )
    steps = int(model.classifier.n_iter_.max())
    notes = {
        "features": int(model.classifier.n_features_in_),
        "documents": len(labels),
        "converged": steps < MAX_ITERATIONS,
        "solver": "lbfgs",
    }
    return Trained(model, lambda out: save(model, ngrams, out), steps, notes)


def restore(folder: Path, info: ArtifactInfo) -> TfidfLogreg:
    return load(folder)


def save(model: TfidfLogreg, ngrams: tuple[int, int], out: Path) -> None:
    """Write the vocabulary in the order of the columns, and the weights."""
    vocabulary = model.vectorizer.vocabulary_
    terms = sorted(vocabulary, key=vocabulary.__getitem__)
    settings = {
        "ngrams": list(ngrams),
        "outputs": model.outputs,
        "token_head": model.token_head,
        "terms": terms,
    }
    text = json.dumps(settings, ensure_ascii=False)
    (out / VOCABULARY_FILE).write_bytes(text.encode("utf-8", "surrogatepass"))
    np.savez(
        out / WEIGHTS_FILE,
        allow_pickle=False,
        idf=model.vectorizer.idf_,
        coef=model.classifier.coef_,
        intercept=model.classifier.intercept_,
        classes=model.classifier.classes_,
    )


def load(folder: Path) -> TfidfLogreg:
    """What `save` wrote, as the estimators it came from."""
    from sklearn.linear_model import LogisticRegression

    settings = json.loads((folder / VOCABULARY_FILE).read_bytes().decode("utf-8", "surrogatepass"))
    first, last = settings["ngrams"]
    vectorizer = _vectorizer(settings["token_head"], (first, last), settings["terms"])
    classifier = LogisticRegression()
    with np.load(folder / WEIGHTS_FILE, allow_pickle=False) as weights:
        vectorizer.idf_ = weights["idf"]
        classifier.coef_ = weights["coef"]
        classifier.intercept_ = weights["intercept"]
        classifier.classes_ = weights["classes"]
    classifier.n_features_in_ = classifier.coef_.shape[1]
    return TfidfLogreg(vectorizer, classifier, settings["outputs"], settings["token_head"])


def as_text(item: Any) -> str:
    """A document: a string, or several joined by a space."""
    return item if isinstance(item, str) else " ".join(item)


def split_rows(rows: np.ndarray, lengths: Iterable[int]) -> np.ndarray:
    """(total, outputs) to an object array of (length, outputs) arrays."""
    lengths = list(lengths)
    parts = np.empty(len(lengths), object)
    start = 0
    for i, length in enumerate(lengths):
        parts[i] = rows[start : start + length]
        start += length
    return parts


def _vectorizer(
    token_head: bool, ngrams: tuple[int, int], terms: Sequence[str] | None = None
) -> TfidfVectorizer:
    from sklearn.feature_extraction.text import TfidfVectorizer

    vocabulary = None if terms is None else {term: i for i, term in enumerate(terms)}
    common = {"sublinear_tf": True, "dtype": np.float32, "vocabulary": vocabulary}
    if token_head:
        # features come as lists, not as text to be cut
        return TfidfVectorizer(analyzer=list, min_df=TOKEN_MIN_DOCUMENTS, **common)
    return TfidfVectorizer(ngram_range=ngrams, **common)


def _documents(train: Encoded, token_head: bool) -> tuple[list[Any], np.ndarray]:
    texts, labels = train.inputs["text"], train.targets["labels"]
    assert isinstance(texts, np.ndarray)
    if not token_head:
        return [as_text(item) for item in texts], np.asarray(labels)
    assert isinstance(labels, Ragged)
    documents: list[Any] = []
    kept = []
    for row, words in enumerate(texts):
        tags = labels[row]
        if len(tags) != len(words):
            raise ValueError(f"row {row}: {len(words)} words but {len(tags)} labels")
        for document, tag in zip(word_features(words), tags, strict=True):
            if tag != IGNORED_LABEL:
                documents.append(document)
                kept.append(tag)
    return documents, np.array(kept, np.int64)
