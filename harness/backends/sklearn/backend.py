"""Fits the baselines."""

from __future__ import annotations

import json
import time
from typing import Any, ClassVar

import numpy as np

from harness.backends.base import Backend, FitReport, FitRequest, Predictor, Progress, predict_all
from harness.backends.sklearn import majority, tfidf
from harness.backends.sklearn.runtime import BaselinePredictor
from harness.errors import Unsupported


class SklearnBackend(Backend):
    """TF-IDF + logistic regression, and the majority class, through scikit-learn."""

    name: ClassVar[str] = "sklearn"
    kinds: ClassVar[tuple[str, ...]] = ("tfidf-logreg", "majority")
    libraries: ClassVar[tuple[str, ...]] = ("scikit-learn", "numpy", "scipy")
    version: ClassVar[int] = 1
    runtime: ClassVar[str] = "sklearn"

    def fit(self, request: FitRequest, progress: Progress) -> FitReport:
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        if "text" not in request.train.inputs:
            raise Unsupported(f"{request.model_kind!r} reads raw text, which this task has none of")
        progress("fit", 0, 1, request.model_kind)
        with threadpool_limits(request.threads):
            report = self._fit(request)
        info = json.dumps(request.info.as_dict(), indent=2, sort_keys=True)
        (request.out / "harness.json").write_text(info)
        progress("fit", 1, 1, request.model_kind)
        return report

    def _fit(self, request: FitRequest) -> FitReport:
        info, settings = request.info, request.settings
        start = time.perf_counter()
        if request.model_kind == "majority":
            constant = majority.fit(request.train, outputs=info.outputs, head=info.head)
            seconds = time.perf_counter() - start
            majority.save(constant, request.out)
            predictor = BaselinePredictor(constant, request.threads)
            params = trained = int(constant.scores.size)
            steps, notes = 0, {}
        elif request.model_kind == "tfidf-logreg":
            if info.head == "span":
                raise Unsupported("tfidf-logreg classifies texts and words, it marks no spans")
            ngrams = (int(settings["ngrams"][0]), int(settings["ngrams"][1]))
            model, labels = tfidf.fit(
                request.train,
                outputs=info.outputs,
                token_head=info.head == "token",
                inverse_regularisation=float(settings["C"]),
                ngrams=ngrams,
            )
            seconds = time.perf_counter() - start
            tfidf.save(model, ngrams, request.out)
            predictor = BaselinePredictor(model, request.threads)
            params = trained = model.params
            steps = int(model.classifier.n_iter_.max())
            notes = {
                "features": int(model.classifier.n_features_in_),
                "documents": len(labels),
                "converged": steps < tfidf.MAX_ITERATIONS,
                "solver": "lbfgs",
            }
        else:
            raise Unsupported(
                f"the sklearn backend fits {', '.join(self.kinds)}, not {request.model_kind!r}"
            )
        return FitReport(
            seconds=seconds,
            examples_per_second=len(request.train) / max(seconds, 1e-9),
            epochs=[self._epoch(request, predictor, seconds)],
            steps=steps,
            params=params,
            trained_params=trained,
            notes=notes,
        )

    def _epoch(self, request: FitRequest, predictor: Predictor, seconds: float) -> dict[str, Any]:
        """One entry, as there is one pass: scores on validation where there is any."""
        epoch: dict[str, Any] = {"epoch": 1, "seconds": seconds}
        if len(request.validation):
            logits: list[np.ndarray] = predict_all(predictor, request.validation, 1024)
            epoch["validation_score"] = request.validation_score(logits)
        return epoch
