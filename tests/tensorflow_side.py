"""What tests run in a process of TensorFlow's own: functions of plain arguments, no PyTorch."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from harness.backends.base import Batch, FitReport, FitRequest, predict_all

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)


def set_up() -> None:
    from harness.backends.tensorflow.threads import set_up

    set_up("cpu", 1)


def threads_of_a_fit_after_a_reference() -> int:
    """In a worker's process, whose environment tells the threads of all its fits."""
    import os

    from harness.backends.tensorflow import threads

    os.environ["OMP_NUM_THREADS"] = "2"
    threads.set_up("cpu", 0)  # as `hidden_states` does
    import tensorflow as tf

    assert int(tf.constant(1) + 1) == 2  # it runs now
    threads.set_up("cpu", 2)
    return threads.observed_threads()


def shown(device: str, gpus: list[str]) -> tuple[list[str], list[str]]:
    """Of these GPUs: those that TensorFlow is let see, and whose memory it takes as needed."""
    import tensorflow as tf

    from harness.backends.tensorflow import threads

    visible: list[list[str]] = []
    growing: list[str] = []
    with (
        mock.patch.object(tf.config, "list_physical_devices", lambda kind: gpus),
        mock.patch.object(tf.config, "set_visible_devices", lambda v, kind: visible.append(v)),
        mock.patch.object(
            tf.config.experimental, "set_memory_growth", lambda gpu, grows: growing.append(gpu)
        ),
    ):
        threads.set_up(device, 1)
    return visible[0], growing


def takes_tf32() -> bool:
    import tensorflow as tf

    return bool(tf.config.experimental.tensor_float_32_execution_enabled())


def fit(request: FitRequest) -> FitReport:
    """Fit in TensorFlow; scores are not of interest, for functions of tests do not travel."""
    from harness.backends.tensorflow.backend import TensorFlowBackend

    request = dataclasses.replace(
        request, validation_score=lambda _: 0.5, train_score=lambda _: 0.5
    )
    return TensorFlowBackend().fit(request, lambda *_: None)


def traced_update(request: FitRequest) -> Counter[tuple[str, str]]:
    """How often each operation stands in a traced training step, with the dtype of its result."""
    from harness.backends.tensorflow.loop import TensorFlowStepper
    from harness.backends.tensorflow.model import build

    stepper = TensorFlowStepper(build(request.info, request.model_folder), request)
    stepper.step(np.arange(4), 1.0)
    graph = stepper._traced[1].get_concrete_function().graph
    return Counter(
        (op.type, op.outputs[0].dtype.name) for op in graph.get_operations() if op.outputs
    )


def resolve_dtype(kind: str, folder: Path) -> tuple[str, dict[str, Any]]:
    from harness.backends.tensorflow.backend import TensorFlowBackend

    return TensorFlowBackend().resolve_dtype(kind, folder, "cpu", 1)


def gate(request: FitRequest, sabotage: str = "") -> float:
    """The gate's figure; ``sabotage`` undoes one of the corrections first."""
    from harness.backends import gate
    from harness.backends.tensorflow import architectures, model

    correct = architectures._correct

    def all_but_one(backbone: Any, config: dict[str, Any], dropout: float | None) -> None:
        config = dict(config)
        if sabotage == "activation":
            config["hidden_act"] = "gelu_new"
        elif sabotage == "epsilon":
            config["layer_norm_eps"] = 1e-5
        correct(backbone, config, dropout)
        if sabotage == "transposed":  # the query projection of the first layer, as if read wrong
            kernel = backbone.transformer_layers[0]._self_attention_layer.query_dense.kernel
            kernel.assign(np.transpose(kernel.numpy(), (2, 1, 0)).reshape(kernel.shape))

    architectures._correct = all_but_one
    try:
        built = model.build(request.info, request.model_folder)
        return gate.check(built.compute_hidden, request.reference)
    finally:
        architectures._correct = correct


def round_trip(request: FitRequest) -> float:
    """Largest difference between a checkpoint's tensors and what comes back from the variables."""
    from harness.backends.tensorflow import model

    checkpoint = model.build(request.info, request.model_folder).checkpoint
    back = checkpoint.back()
    assert set(back) <= set(checkpoint.tensors)
    return max(float(np.abs(back[name] - checkpoint.tensors[name]).max()) for name in back)


def predict(artifact: Path, request: FitRequest, runtime: str) -> list[np.ndarray]:
    """Logits of the validation split."""
    from harness.backends.tensorflow.runtime import TensorFlowRuntime, TensorFlowXlaRuntime

    kind = TensorFlowXlaRuntime if runtime == "tensorflow-xla" else TensorFlowRuntime
    predictor = kind().load(artifact, artifact, device="cpu", threads=1)
    return predict_all(predictor, request.validation)


def loss(name: str, logits: np.ndarray, inputs: Batch, targets: Batch, smoothing: float) -> float:
    import tensorflow as tf

    from harness.backends.tensorflow.losses import LOSSES

    tensors = {key: tf.constant(value) for key, value in targets.items()}
    total, count = LOSSES[name](tf.constant(logits), inputs, tensors, smoothing)
    return float(total) / float(count)


def adamw(
    weight: np.ndarray, bias: np.ndarray, gradients: list[tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """A head after updates with given gradients, the rate falling from step to step."""
    from types import SimpleNamespace

    import tensorflow as tf

    from harness.backends.tensorflow.loop import _AdamW

    w, b = tf.Variable(weight), tf.Variable(bias)
    model: Any = SimpleNamespace(head=[(w, b)])
    optimiser = _AdamW([w, b], model, {"learning_rate": 1e-2, "weight_decay": 0.1})
    for step, pair in enumerate(gradients):
        optimiser.apply([tf.constant(g) for g in pair], tf.constant(1.0 - 0.1 * step))
    return w.numpy(), b.numpy()


def vision_gate(request: FitRequest, sabotage: str = "") -> float:
    """The gate's figure of an image model; ``sabotage`` undoes one of the corrections."""
    import keras

    from harness.backends import gate
    from harness.backends.tensorflow import model, vision
    from harness.backends.tensorflow.architectures import layers

    correct = vision._correct

    def all_but_one(backbone: Any, *, from_tensorflow: bool) -> None:
        norms = [x for x in layers(backbone) if isinstance(x, keras.layers.BatchNormalization)]
        epsilons = [layer.epsilon for layer in norms]
        correct(backbone, from_tensorflow=from_tensorflow and sabotage != "padding")
        for layer, epsilon in zip(norms, epsilons, strict=True):
            layer.epsilon = epsilon if sabotage == "epsilon" else 1e-3

    vision._correct = all_but_one if sabotage else correct
    try:
        built = model.build(request.info, request.model_folder)
        return gate.check(built.compute_hidden, request.reference)
    finally:
        vision._correct = correct


def vision_checkpoint(
    request: FitRequest,
) -> tuple[float, float, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The gate's figure of an image model, the same for single positions of its feature map, and
    what comes back of its checkpoint: as loaded, and with every variable at twice its value plus
    one."""
    from harness.backends import gate
    from harness.backends.tensorflow import model

    built = model.build(request.info, request.model_folder)
    figure = gate.check(built.compute_hidden, request.reference)
    with np.load(request.reference) as stored:
        expected = stored["hidden"]
        got = built.compute_hidden({"pixel_values": stored["pixel_values"]})
    positions = float(np.abs(got - expected).max() / np.abs(expected).max())
    loaded = built.checkpoint.back()
    for variable in {id(v): v for v in built.checkpoint.variables()}.values():
        variable.assign(2.0 * np.asarray(variable) + 1.0)
    return figure, positions, loaded, built.checkpoint.back()


def after_training_pass(request: FitRequest, batch: Batch) -> dict[str, np.ndarray]:
    """The tensors after one batch went through in training mode, without an update."""
    from harness.backends.tensorflow import model

    built = model.build(request.info, request.model_folder)
    built.hidden(built.feed(batch), training=True)
    return built.checkpoint.back()


def _random_application(name: str) -> Any:
    """One of Keras' applications, with weights of He's spread."""
    import keras

    from harness.backends.tensorflow.applications import applications

    keras.utils.set_random_seed(0)
    model = applications()[name](weights=None, include_top=False)
    generator = np.random.default_rng(0)
    for variable in model.weights:
        if len(variable.shape) == 4:
            depthwise = variable.shape[-1] == 1
            inputs = np.prod(variable.shape[: 2 if depthwise else 3])
            drawn = generator.normal(0.0, (2.0 / inputs) ** 0.5, variable.shape)
            variable.assign(drawn.astype(np.float32))
        elif "variance" in variable.path:
            variable.assign(generator.uniform(0.5, 1.5, variable.shape).astype(np.float32))
        elif variable.path.startswith("normalization") and variable.path.endswith("mean"):
            variable.assign(IMAGENET_MEAN)
    return model


@contextmanager
def _downloads(name: str, folder: Path) -> Iterator[None]:
    """Keras finds a random model's weights file where it would download ImageNet's."""
    import h5py
    from keras.src.legacy.saving import legacy_h5_format
    from keras.src.utils import file_utils

    path = folder / f"{name}.h5"
    if not path.is_file():
        with h5py.File(path, "w") as file:
            legacy_h5_format.save_weights_to_hdf5_group(file, _random_application(name))
    with mock.patch.object(file_utils, "get_file", lambda *args, **named: str(path)):
        yield


def fetch_application(name: str, folder: Path, downloads: Path) -> None:
    from harness.backends.tensorflow.applications import fetch

    with _downloads(name, downloads):
        fetch(name, folder)


def application_features(name: str, images: np.ndarray, downloads: Path) -> np.ndarray:
    """The feature map of Keras' own model with the weights that it "downloads"; images with
    channels last."""
    from harness.backends.tensorflow.applications import applications

    with _downloads(name, downloads):
        model = applications()[name](
            weights="imagenet", include_top=False, input_shape=images.shape[1:]
        )
    return np.asarray(model(images, training=False))


def preprocessing(name: str) -> dict[str, Any]:
    from harness.backends.tensorflow.applications import preprocessing

    return preprocessing(name)


def preprocess_input(name: str, images: np.ndarray) -> np.ndarray:
    """What Keras itself feeds the application with."""
    import sys

    from harness.backends.tensorflow.applications import applications

    module = sys.modules[applications()[name].__module__]
    return np.asarray(module.preprocess_input(images.astype(np.float32)))


def hidden_states(kind: str, folder: Path, batch: Batch) -> np.ndarray:
    from harness.backends.tensorflow.backend import TensorFlowBackend

    return TensorFlowBackend().hidden_states(kind, folder, batch)


def keras_head(
    layers: list[tuple[np.ndarray, np.ndarray]],
    rows: np.ndarray,
    labels: np.ndarray,
    *,
    learning_rate: float,
    smoothing: float,
    batch_size: int,
    epochs: int,
) -> tuple[list[tuple[np.ndarray, np.ndarray]], list[float]]:
    """Weights (out, in) and losses of Keras' own `fit`, from given weights, in the rows' order."""
    import keras

    *hidden, last = layers
    dense = [keras.layers.Dense(len(bias), activation="relu") for _, bias in hidden]
    dense.append(keras.layers.Dense(len(last[1]), activation="softmax"))
    model = keras.Sequential([keras.Input(rows.shape[1:]), *dense])
    for layer, (weight, bias) in zip(dense, layers, strict=True):
        layer.set_weights([weight.T, bias])
    model.compile(
        keras.optimizers.Adam(learning_rate),
        keras.losses.CategoricalCrossentropy(label_smoothing=smoothing),
    )
    wanted = np.eye(len(last[1]), dtype=np.float32)[labels]
    history = model.fit(
        rows, wanted, batch_size=batch_size, epochs=epochs, shuffle=False, verbose=0
    )
    found = [layer.get_weights() for layer in dense]
    return [(weight.T, bias) for weight, bias in found], history.history["loss"]
