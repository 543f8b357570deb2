"""Image models in TensorFlow: the same computation, training and artifacts as in PyTorch."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from harness.backends.base import pad, predict_all
from harness.backends.onnxruntime import OnnxRuntime
from harness.backends.parity import parity
from harness.backends.torch.backend import TorchBackend
from harness.backends.torch.export import export_onnx
from harness.backends.torch.runtime import TorchRuntime
from harness.errors import Unsupported
from tests import tensorflow_side
from tests.torch_toys import accuracy, silent
from tests.vision_toys import (
    ARCHITECTURES,
    LEARNS,
    picture_request,
    random_model,
    random_timm,
)

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("tensorflow") is None
        or importlib.util.find_spec("keras_hub") is None,
        reason="needs the extra `tensorflow`",
    ),
    pytest.mark.timeout(600),
]

SMALL = "mobilenetv3_small_050"


@pytest.fixture(scope="module")
def there():
    """Runs a function in TensorFlow's process: two frameworks never share one."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, tensorflow_side.set_up) as pool:
        yield lambda function, *arguments: pool.submit(function, *arguments).result()


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def sendable(request):
    """Functions of tests do not travel between processes."""
    return dataclasses.replace(request, validation_score=None, train_score=None)


@pytest.fixture
def request_for(tmp_path):
    """A toy fit with the reference that the gate compares with."""

    def make(architecture, recipe="fine-tune", size=48, **options):
        folder = random_timm(tmp_path, architecture)
        request = picture_request(tmp_path, folder, recipe, size=size, **options)
        batch = pad(request.train, np.arange(4))
        reference = tmp_path / f"reference-{architecture}.npz"
        hidden = TorchBackend().hidden_states("timm", folder, batch)
        np.savez(reference, hidden=hidden, framework="torch", **batch)
        info = dataclasses.replace(request.info, framework="tensorflow")
        return sendable(dataclasses.replace(request, reference=reference, info=info))

    return make


def torch_logits(artifact, encoded):
    return predict_all(TorchRuntime().load(artifact, artifact, device="cpu", threads=1), encoded)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_backbone_passes_the_gate(there, request_for, architecture):
    assert there(tensorflow_side.vision_gate, request_for(architecture)) < 1e-5


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_backbone_comes_back_whole(there, request_for, architecture):
    request = request_for(architecture)
    whole = load_file(request.model_folder / "model.safetensors")
    loaded, changed = there(tensorflow_side.vision_round_trip, request)
    TorchBackend().fit(
        dataclasses.replace(
            request, recipe="linear-probe", reference=None, validation_score=lambda _: 0.0,
            train_score=lambda _: 0.0,
        ),
        silent,
    )  # fmt: skip
    assert set(loaded) == set(load_file(request.out / "model.safetensors"))  # what PyTorch saves
    for name, tensor in loaded.items():
        assert np.array_equal(tensor, whole[name]), name
        assert np.array_equal(changed[name], 2.0 * whole[name] + 1.0), name


@pytest.mark.parametrize("sabotage", ["padding", "epsilon"])
def test_a_sabotaged_conversion_is_caught(there, request_for, sabotage):
    with pytest.raises(Unsupported, match=r"parity gate: .* differs from torch by \d"):
        there(tensorflow_side.vision_gate, request_for("tf_efficientnet_lite0"), sabotage)
