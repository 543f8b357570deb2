"""Fits the baselines."""

from __future__ import annotations

import json
import time
from typing import Any, ClassVar

import numpy as np

from harness.backends.base import Backend, FitReport, FitRequest, Predictor, Progress, predict_all
from harness.backends.sklearn.baseline import KINDS, train
from harness.backends.sklearn.runtime import BaselinePredictor
from harness.errors import Unsupported


class SklearnBackend(Backend):
    """TF-IDF or pixels with logistic regression, and the majority class, through scikit-learn."""

    name: ClassVar[str] = "sklearn"
    kinds: ClassVar[tuple[str, ...]] = tuple(KINDS)
    libraries: ClassVar[tuple[str, ...]] = ("scikit-learn", "numpy", "scipy")
    version: ClassVar[int] = 1
    runtime: ClassVar[str] = "sklearn"

    def fit(self, request: FitRequest, progress: Progress) -> FitReport:
        from threadpoolctl import threadpool_limits

        if "input_ids" in request.train.inputs:
            raise Unsupported(f"{request.model_kind!r} reads raw text or pixels, not token ids")
        progress("fit", 0, 1, request.model_kind)
        with threadpool_limits(request.threads):
            report = self._fit(request)
        info = json.dumps(request.info.as_dict(), indent=2, sort_keys=True)
        (request.out / "harness.json").write_text(info)
        progress("fit", 1, 1, request.model_kind)
        return report

    def _fit(self, request: FitRequest) -> FitReport:
        start = time.perf_counter()
        trained = train(request)
        seconds = time.perf_counter() - start
        trained.save(request.out)
        predictor = BaselinePredictor(trained.model, request.threads)
        return FitReport(
            seconds=seconds,
            examples_per_second=len(request.train) / max(seconds, 1e-9),
            epochs=[self._epoch(request, predictor, seconds)],
            steps=trained.steps,
            params=trained.model.params,
            trained_params=trained.model.params,
            notes=trained.notes,
        )

    def _epoch(self, request: FitRequest, predictor: Predictor, seconds: float) -> dict[str, Any]:
        """One entry, as there is one pass: scores on validation where there is any."""
        epoch: dict[str, Any] = {"epoch": 1, "seconds": seconds}
        if len(request.validation):
            logits: list[np.ndarray] = predict_all(predictor, request.validation, 1024)
            epoch["validation_score"] = request.validation_score(logits)
        return epoch
