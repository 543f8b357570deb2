"""The course of a training, the same for every framework: epochs, validation, early stopping.

A framework supplies a `Stepper`, which knows how to make one update and how to predict.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np

from harness.backends.base import (
    FitReport,
    FitRequest,
    Predictor,
    Progress,
    lengths_of,
    predict_all,
)
from harness.backends.batches import endless_batches, least_of, steps_per_epoch
from harness.errors import Diverged

#: an epoch's mean loss above this multiple of its start is divergence: beyond what the luck of
#: batches moves it when a model learns nothing at all
DIVERGED_FACTOR = 1.25
#: batches whose mean loss counts as the start
_START_BATCHES = 8
#: steps between two looks at the loss (on a GPU each look waits for it)
_LOOK_EVERY = 8


class Stepper(ABC):
    """One model in training."""

    params: int
    trained_params: int

    @abstractmethod
    def step(self, batch: np.ndarray, share: float) -> Any:
        """One update on the training examples ``batch`` at a ``share`` of the peak learning rate.

        Returns its loss, possibly still being computed.
        """

    @abstractmethod
    def losses(self, handles: list[Any]) -> list[float]:
        """What `step` returned, as numbers; waits for them."""

    @abstractmethod
    def predictor(self) -> Predictor:
        """Predicts with the weights as they stand, dropout off."""

    @abstractmethod
    def snapshot(self) -> Any:
        """A copy of the weights."""

    @abstractmethod
    def restore(self, state: Any) -> None:
        """Take the weights of a `snapshot`."""


def train(stepper: Stepper, request: FitRequest, progress: Progress) -> FitReport:
    """Work the request's epochs; the stepper ends with the weights to keep. Raises `Diverged`."""
    settings = request.settings
    per_epoch = steps_per_epoch(len(request.train), settings["batch_size"], least_of(request))
    total = max(1, round(settings["epochs"] * per_epoch))
    epochs: list[dict[str, float]] = []
    best_score, best_epoch, best_weights = -math.inf, 0, None
    stopped, start_loss = "finished", None
    steps = examples = 0
    for number, values, seconds, share, seen in _epochs(stepper, request, total, progress):
        if start_loss is None:
            start_loss = float(np.mean(values[:_START_BATCHES]))
        mean = float(np.mean(values))
        _check_loss(mean, start_loss, number)
        steps += len(values)
        examples += seen
        score = _validation_score(stepper, request)
        epochs.append(
            {
                "epoch": number,
                "loss": mean,
                "validation_score": score,
                "seconds": seconds,
                "learning_rate": settings["learning_rate"] * share,
            }
        )
        if score > best_score:
            best_score, best_epoch = score, number
            if settings["keep_best"]:
                best_weights = stepper.snapshot()
        patience = settings["patience"]
        if patience and number - best_epoch >= patience and steps < total:
            stopped = (
                f"early: no better validation score than epoch {best_epoch}'s "
                f"{best_score:.4f} for {patience} epochs"
            )
            break
    if best_weights is not None:
        stepper.restore(best_weights)
    seconds = sum(epoch["seconds"] for epoch in epochs)
    return FitReport(
        seconds=seconds,
        examples_per_second=examples / seconds,
        epochs=epochs,
        steps=steps,
        params=stepper.params,
        trained_params=stepper.trained_params,
        stopped=stopped,
        notes={"kept_epoch": best_epoch} if settings["keep_best"] else {},
    )


def schedule(step: int, total: int, warmup: float) -> float:
    """Share of the peak learning rate at ``step`` of ``total`` (0-based): up, then down to 0.

    Linear, as in Devlin et al. (2019), A.2; the first step is not wasted on a rate of 0.
    """
    rising = int(total * warmup)
    if step < rising:
        return (step + 1) / (rising + 1)
    return (total - step) / max(total - rising, 1)


def _epochs(
    stepper: Stepper, request: FitRequest, total: int, progress: Progress
) -> Iterator[tuple[int, list[float], float, float, int]]:
    """Train an epoch at a time: (number from 1, losses, seconds, last share of the rate, seen)."""
    settings = request.settings
    batches = endless_batches(
        lengths_of(request.train),
        settings["batch_size"],
        request.seed,
        mixed=request.mixed_batches,
        least=least_of(request),
    )
    handles: list[Any] = []
    current, seen, share = 0, 0, 0.0
    begun = time.perf_counter()
    for step, (number, batch) in zip(range(total), batches, strict=False):
        if number != current:
            values = stepper.losses(handles)
            yield current + 1, values, time.perf_counter() - begun, share, seen
            handles, current, seen = [], number, 0
            begun = time.perf_counter()
        share = schedule(step, total, settings["warmup"])
        handles.append(stepper.step(batch, share))
        seen += len(batch)
        if (step + 1) % _LOOK_EVERY == 0 or step + 1 == total:
            loss = stepper.losses(handles[-1:])[0]
            _check_loss(loss, math.inf, number + 1)
            progress("fit", step + 1, total, f"loss {loss:.4f}")
    values = stepper.losses(handles)
    yield current + 1, values, time.perf_counter() - begun, share, seen


def _validation_score(stepper: Stepper, request: FitRequest) -> float:
    """The primary metric on the validation split, NaN without one."""
    if not len(request.validation):
        return math.nan
    return request.validation_score(predict_all(stepper.predictor(), request.validation))


def _check_loss(loss: float, start: float, epoch: int) -> None:
    if not math.isfinite(loss):
        raise Diverged(f"loss {loss} in epoch {epoch}: lower the learning rate")
    if loss > DIVERGED_FACTOR * start:
        raise Diverged(
            f"mean loss {loss:.4f} of epoch {epoch} is above {DIVERGED_FACTOR} times its start, "
            f"{start:.4f}: lower the learning rate"
        )
