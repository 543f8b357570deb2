"""Fine-tuning MiniLM in TensorFlow here and with plain Keras `model.fit`: same work, less time.

Same documents, epochs, batch size, learning rates and dropout; ours in the dtype that `auto` finds,
`model.fit` in its float32. The arms take turns, each training in a fresh process, its first,
tracing step included. Run with `make bench-speed`.
"""

from __future__ import annotations

import os
import statistics
import time
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.backends.base import lengths_of, pad
from harness.backends.training import schedule
from harness.execute.environment import thread_environment, worker_environment
from harness.suite import Settings
from tests.benchmarks.conftest import Prepared
from tests.benchmarks.processes import THREADS, in_fresh_process

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "2"))


def train_here(prepared: Prepared, settings: dict[str, Any], out: Path) -> tuple[float, list[Any]]:
    """Seconds of training; no logits."""
    from harness.backends.tensorflow.threads import set_up

    set_up("cpu", THREADS)
    from harness.backends.tensorflow.backend import TensorFlowBackend
    from harness.backends.tensorflow.loop import train
    from harness.backends.tensorflow.model import build

    # once a model and host, and stored: no part of a fit
    dtype, _ = TensorFlowBackend().resolve_dtype("transformer", prepared.folder, "cpu", THREADS)
    settings = settings | {"fit_dtype": dtype}
    request = prepared.fine_tune("tensorflow", settings, out, THREADS)
    report = train(build(request.info, prepared.folder, seed=1), request, lambda *_: None)
    return report.seconds, [report.epochs[-1]["loss"]]


def train_with_keras(
    prepared: Prepared, settings: dict[str, Any], out: Path
) -> tuple[float, list[Any]]:
    """KerasHub's backbone, mean pooling and a dense layer, padded as its preprocessors pad."""
    from harness.backends.tensorflow.threads import set_up

    set_up("cpu", THREADS)
    import keras
    import keras_hub

    keras.utils.set_random_seed(1)
    backbone = keras_hub.models.BertBackbone.from_preset(str(prepared.folder), dropout=0.1)
    hidden = backbone.output["sequence_output"]
    (padding_mask,) = (x for x in backbone.inputs if x.name == "padding_mask")
    mask = keras.ops.cast(padding_mask, "bool")
    pooled = keras.layers.GlobalAveragePooling1D()(hidden, mask=mask)
    logits = keras.layers.Dense(prepared.task.head.outputs)(keras.layers.Dropout(0.1)(pooled))
    model = keras.Model(backbone.inputs, logits)
    model.compile(
        keras.optimizers.AdamW(settings["learning_rate"], weight_decay=0.01, global_clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    encoded = prepared.encoded["train"]
    batch = pad(encoded, np.arange(len(encoded)))
    room = ((0, 0), (0, prepared.max_length - int(lengths_of(encoded).max())))
    arrays = {
        "token_ids": np.pad(batch["input_ids"], room),
        "padding_mask": np.pad(batch["attention_mask"], room),
        "segment_ids": np.pad(np.zeros_like(batch["input_ids"]), room),
    }
    size, epochs = settings["batch_size"], int(settings["epochs"])
    total = epochs * -(-len(encoded) // size)
    steps = count()

    def set_rate(batch: int, logs: dict[str, Any] | None) -> None:
        share = schedule(next(steps), total, settings["warmup"])
        model.optimizer.learning_rate = settings["learning_rate"] * share

    begun = time.perf_counter()
    history = model.fit(
        arrays,
        encoded.targets["labels"],
        batch_size=size,
        epochs=epochs,
        callbacks=[keras.callbacks.LambdaCallback(on_train_batch_begin=set_rate)],
        verbose=0,
    )
    return time.perf_counter() - begun, [history.history["loss"][-1]]


@pytest.mark.benchmark_speed
def test_training_in_tensorflow_is_no_slower_than_model_fit(topics, tmp_path, benchmark, capsys):
    pytest.importorskip("tensorflow")
    settings = Settings(epochs=2, learning_rate=2e-4, batch_size=16).model_dump()
    seconds: dict[str, list[float]] = {"here": [], "keras": []}
    losses: dict[str, float] = {}

    def rounds() -> None:
        for number in range(ROUNDS):
            for arm in ("here", "keras") if number % 2 == 0 else ("keras", "here"):
                environment = (worker_environment if arm == "here" else thread_environment)(THREADS)
                work = train_here if arm == "here" else train_with_keras
                out = tmp_path / f"{arm}-{number}"
                out.mkdir()
                taken, (losses[arm],), _ = in_fresh_process(
                    environment, work, topics, settings, out
                )
                seconds[arm].append(taken)

    benchmark.pedantic(rounds, rounds=1, iterations=1)
    medians = {arm: statistics.median(values) for arm, values in seconds.items()}
    work_done = len(topics.encoded["train"]) * settings["epochs"]
    ratio = medians["keras"] / medians["here"]
    benchmark.extra_info.update({"ratio": ratio, "seconds": seconds, "losses": losses})
    with capsys.disabled():
        print(
            f"\nTensorFlow: here {work_done / medians['here']:.1f} examples/s, model.fit "
            f"{work_done / medians['keras']:.1f}, ratio {ratio:.2f} (wanted 1.0); last epoch's "
            f"loss {losses['here']:.3f} and {losses['keras']:.3f}"
        )
    assert ratio >= 1.0
    assert losses["here"] < 2 * losses["keras"]
