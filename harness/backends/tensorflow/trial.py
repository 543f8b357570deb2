"""Training steps in TensorFlow for `harness.backends.dtype_trial` to time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from harness.backends.base import ArtifactInfo, FitRequest
from harness.backends.dtype_trial import BATCH, DTYPES, TOKENS, Timed
from harness.backends.tensorflow.loop import TensorFlowStepper
from harness.backends.tensorflow.model import TensorFlowModel, build
from harness.backends.tensorflow.text import TextModel
from harness.suite import Settings
from harness.tasks.base import Column, Encoded, Pixels, Ragged

#: side of images where the backbone takes any, as in PyTorch's trial
_SIDE = 64


def steps(kind: str, folder: Path, threads: int) -> Timed:
    """Trains a model on one batch again and again, by an update traced in each dtype."""
    info = ArtifactInfo(kind, "tensorflow", "", "pooled", 2, "mean", ["0", "1"], TOKENS)
    model = build(info, folder)
    train = _inputs(model)
    batch = np.arange(BATCH)
    steppers = {}
    for dtype in DTYPES:
        settings = Settings(batch_size=BATCH, fit_dtype=dtype).model_dump(mode="json")
        steppers[dtype] = TensorFlowStepper(model, _request(info, folder, settings, train, threads))
        steppers[dtype].step(batch, 1.0)  # is traced before the next one changes the model
    return lambda dtype: steppers[dtype].losses([steppers[dtype].step(batch, 1.0)])


def _inputs(model: TensorFlowModel) -> Encoded:
    """Random inputs of an ordinary size under labels 0 and 1."""
    generator = np.random.default_rng(0)
    backbone = model.backbone
    inputs: dict[str, Column]
    if isinstance(model, TextModel):
        length = min(TOKENS, getattr(backbone, "max_sequence_length", TOKENS))
        ids = generator.integers(1, backbone.vocabulary_size, (BATCH, length), np.int32)
        inputs = {"input_ids": Ragged.of(list(ids))}
    else:
        side = backbone.input.shape[1] or _SIDE
        pixels = generator.integers(0, 256, (BATCH, side, side, 3), np.uint8)
        inputs = {"pixel_values": Pixels(pixels, mean=(0.5,) * 3, std=(0.5,) * 3)}
    rows = np.arange(BATCH)
    return Encoded(inputs, {"labels": rows % 2}, rows, np.zeros(BATCH, bool))


def _request(
    info: ArtifactInfo, folder: Path, settings: dict[str, Any], train: Encoded, threads: int
) -> FitRequest:
    """A fit of which only single steps are made: nothing is scored or written."""
    return FitRequest(
        model_kind=info.kind,
        model_folder=folder,
        recipe="fine-tune",
        settings=settings,
        loss="cross_entropy",
        info=info,
        train=train,
        validation=train,
        validation_score=lambda _: 0.0,
        train_score=lambda _: 0.0,
        device="cpu",
        threads=threads,
        seed=0,
        out=folder,
        features_cache=folder,
        features_key="",
    )
