"""What `fit_dtype: auto` comes to in TensorFlow on a CPU, by timing products and training steps."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends.base import ArtifactInfo, FitRequest
from harness.backends.tensorflow.loop import TensorFlowStepper
from harness.backends.tensorflow.model import TensorFlowModel, build
from harness.backends.tensorflow.text import TextModel
from harness.suite import Settings
from harness.tasks.base import Column, Encoded, Pixels, Ragged

#: examples of a step, and tokens of each, as in PyTorch's trial
_BATCH, _TOKENS = 16, 64
#: side of images where the backbone takes any, as in PyTorch's trial
_SIDE = 64
#: seconds that the timed steps of both arms may take together, as in PyTorch's trial
_SECONDS = 3.0
#: rows and columns of the matrices whose product decides whether bfloat16 is worth a trial at all
_PRODUCT = 512


def product_speedup() -> float:
    """Time of a float32 matrix product over that of a bfloat16 one."""
    import tensorflow as tf

    fastest = {}
    for dtype in ("float32", "bfloat16"):
        matrix = tf.ones((_PRODUCT, _PRODUCT), dtype)
        times = []
        for _ in range(5):
            begun = time.perf_counter()
            tf.linalg.matmul(matrix, matrix)
            times.append(time.perf_counter() - begun)
        fastest[dtype] = min(times)
    return fastest["float32"] / fastest["bfloat16"]


def step_seconds(kind: str, folder: Path, threads: int) -> dict[str, float]:
    """Fastest training step in each dtype, taken in turns."""
    info = ArtifactInfo(kind, "tensorflow", "", "pooled", 2, "mean", ["0", "1"], _TOKENS)
    model = build(info, folder)
    train = _inputs(model)
    batch = np.arange(_BATCH)
    steppers = {}
    for dtype in ("float32", "bfloat16"):
        settings = Settings(batch_size=_BATCH, fit_dtype=dtype).model_dump(mode="json")
        steppers[dtype] = TensorFlowStepper(model, _request(info, folder, settings, train, threads))
        steppers[dtype].step(batch, 1.0)  # is traced before the next one changes the model
    fastest = dict.fromkeys(steppers, float("inf"))
    deadline = time.perf_counter() + _SECONDS
    rounds = 0
    while rounds < 2 or (time.perf_counter() < deadline and rounds < 6):
        for dtype, stepper in steppers.items():
            begun = time.perf_counter()
            stepper.losses([stepper.step(batch, 1.0)])
            fastest[dtype] = min(fastest[dtype], time.perf_counter() - begun)
        rounds += 1
    return {f"{dtype}_step_seconds": seconds for dtype, seconds in fastest.items()}


def _inputs(model: TensorFlowModel) -> Encoded:
    """Random inputs of an ordinary size under labels 0 and 1."""
    generator = np.random.default_rng(0)
    backbone = model.backbone
    inputs: dict[str, Column]
    if isinstance(model, TextModel):
        length = min(_TOKENS, getattr(backbone, "max_sequence_length", _TOKENS))
        ids = generator.integers(1, backbone.vocabulary_size, (_BATCH, length), np.int32)
        inputs = {"input_ids": Ragged.of(list(ids))}
    else:
        side = backbone.input.shape[1] or _SIDE
        pixels = generator.integers(0, 256, (_BATCH, side, side, 3), np.uint8)
        inputs = {"pixel_values": Pixels(pixels, mean=(0.5,) * 3, std=(0.5,) * 3)}
    rows = np.arange(_BATCH)
    return Encoded(inputs, {"labels": rows % 2}, rows, np.zeros(_BATCH, bool))


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
