"""The course of a training, whatever the framework: when it counts as diverged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.backends.base import Batch, Predictor
from harness.backends.training import Stepper, train
from harness.errors import Diverged
from tests.torch_toys import silent, toy_request

#: steps an epoch of 96 examples in batches of 8
STEPS = 12


class Zeros(Predictor):
    def predict(self, batch: Batch) -> np.ndarray:
        return np.zeros((len(batch["input_ids"]), 3), np.float32)

    def observed(self) -> dict[str, Any]:
        return {}


class Scripted(Stepper):
    """Trains nothing: its losses are given."""

    params = trained_params = 0

    def __init__(self, losses: Sequence[float]) -> None:
        self._losses = iter(losses)

    def step(self, batch: np.ndarray, share: float) -> float:
        return next(self._losses)

    def losses(self, handles: list[float]) -> list[float]:
        return list(handles)

    def predictor(self) -> Predictor:
        return Zeros()

    def snapshot(self) -> None: ...

    def restore(self, state: Any) -> None: ...


def epochs_of(tmp_path: Path, losses: Sequence[float]) -> list[float]:
    """Mean losses of the epochs of a training with such losses."""
    epochs = len(losses) // STEPS
    request = toy_request(tmp_path, tmp_path, batch_size=8, epochs=epochs)
    return [epoch["loss"] for epoch in train(Scripted(losses), request, silent).epochs]


def test_an_epoch_above_its_start_is_divergence(tmp_path: Path) -> None:
    """The start is the mean of the first eight batches; the limit is 1.25 times that."""
    losses = [1.0] * STEPS + [1.2] * STEPS + [1.26] * STEPS
    with pytest.raises(Diverged, match=r"mean loss 1\.2600 of epoch 3 .* its start, 1\.0000"):
        epochs_of(tmp_path, losses)
    with pytest.raises(Diverged, match=r"mean loss 1\.3333 of epoch 1"):
        epochs_of(tmp_path, [1.0] * 8 + [2.0] * 4)


@pytest.mark.parametrize(
    ("losses", "means"),
    [
        ([1.0] * STEPS + [1.25] * STEPS, [1.0, 1.25]),
        ([1.0] * STEPS + [1.0] * 11 + [3.0], [1.0, 14 / 12]),  # the bad luck of one batch
        ([0.5, 1.5] * 4 + [1.0] * 4 + [1.2] * STEPS, [1.0, 1.2]),
        ([2.0] * STEPS + [0.1] * STEPS + [2.4] * STEPS, [2.0, 0.1, 2.4]),
    ],
    ids=["at the limit", "one batch", "a noisy start", "back up again"],
)
def test_what_stays_near_its_start_goes_on(
    tmp_path: Path, losses: list[float], means: list[float]
) -> None:
    assert epochs_of(tmp_path, losses) == pytest.approx(means)


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_a_training_within_the_epoch(
    tmp_path: Path, loss: float
) -> None:
    stepper = Scripted([1.0] * 3 + [loss] * 6)  # and no more: nobody asks for a tenth
    request = toy_request(tmp_path, tmp_path, batch_size=8, epochs=1)
    with pytest.raises(Diverged, match="in epoch 1: lower the learning rate"):
        train(stepper, request, silent)
