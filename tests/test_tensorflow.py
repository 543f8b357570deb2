"""TensorFlow computes, trains and hands back the same models as PyTorch, or refuses."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torch

from harness.backends.base import pad, predict_all
from harness.backends.batches import padded_batch
from harness.backends.parity import parity
from harness.backends.torch.backend import TorchBackend
from harness.backends.torch.export import export_onnx
from harness.backends.torch.losses import LOSSES
from harness.backends.torch.optimiser import adamw
from harness.backends.torch.runtime import TorchRuntime
from harness.errors import Unsupported
from tests import tensorflow_side
from tests.conftest import NEEDS_TENSORFLOW
from tests.torch_toys import accuracy, random_backbone, silent, toy, toy_request

pytestmark = [NEEDS_TENSORFLOW, pytest.mark.timeout(600)]

ARCHITECTURES = ["albert", "bert", "distilbert", "electra", "gpt2", "llama", "roberta"]


@pytest.fixture(scope="module")
def there():
    """Runs a function in TensorFlow's process: two frameworks never share one."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, tensorflow_side.set_up) as pool:
        yield lambda function, *arguments: pool.submit(function, *arguments).result()


@pytest.fixture
def request_for(tmp_path):
    """A toy fit with the reference that the gate compares with."""

    def make(architecture="bert", head="pooled", spread=0.02, **options):
        folder = random_backbone(tmp_path, architecture, spread)
        request = toy_request(tmp_path, folder, head, **options)
        batch = pad(request.train, np.arange(8))
        hidden = TorchBackend().hidden_states("transformer", folder, batch)
        reference = tmp_path / f"reference-{architecture}.npz"
        np.savez(reference, hidden=hidden, framework="torch", **batch)
        return dataclasses.replace(
            request, reference=reference, validation_score=None, train_score=None
        )

    return make


def test_float32_is_not_tf32(there):
    """Nothing on a CPU; on a GPU that has it, no backbone would pass the gate."""
    assert not there(tensorflow_side.takes_tf32)


def test_of_the_gpus_it_takes_the_first_and_of_that_the_memory_it_needs(there):
    """Unasked, it takes nearly all memory of every GPU that it sees."""
    assert there(tensorflow_side.shown, "cuda", ["first", "second"]) == (["first"], ["first"])
    assert there(tensorflow_side.shown, "cpu", ["first", "second"]) == ([], [])
    with pytest.raises(Unsupported, match="TensorFlow sees no GPU"):
        there(tensorflow_side.shown, "cuda:0", [])
    with pytest.raises(Unsupported, match="on the first GPU here, not on cuda:1"):
        there(tensorflow_side.shown, "cuda:1", ["first", "second"])


def test_a_worker_that_computed_a_reference_fits_on_all_its_threads():
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        assert pool.submit(tensorflow_side.threads_of_a_fit_after_a_reference).result() == 2


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_backbone_passes_the_gate_and_comes_back_whole(there, request_for, architecture):
    request = request_for(architecture, spread=0.2)
    assert there(tensorflow_side.gate, request) < 1e-5
    assert there(tensorflow_side.round_trip, request) == 0.0


def test_positions_that_keras_counts_otherwise_are_caught(there, request_for):
    """RoBERTa counts from its padding id plus one; KerasHub always from 2."""
    request = request_for("roberta", spread=0.2)
    config = json.loads((request.model_folder / "config.json").read_text())
    (request.model_folder / "config.json").write_text(json.dumps(config | {"pad_token_id": 0}))
    batch = pad(request.train, np.arange(8))
    hidden = TorchBackend().hidden_states("transformer", request.model_folder, batch)
    np.savez(request.reference, hidden=hidden, framework="torch", **batch)
    with pytest.raises(Unsupported, match="parity gate"):
        there(tensorflow_side.gate, request)


@pytest.mark.parametrize("sabotage", ["activation", "epsilon", "transposed"])
def test_a_sabotaged_conversion_is_caught(there, request_for, sabotage):
    with pytest.raises(Unsupported, match=r"parity gate: .* differs from torch by \d"):
        there(tensorflow_side.gate, request_for(spread=0.5), sabotage)


def test_a_fit_stops_at_the_gate(there, request_for):
    request = request_for()
    with np.load(request.reference) as stored:
        np.savez(request.reference, **dict(stored) | {"hidden": stored["hidden"] * 1.001})
    with pytest.raises(Unsupported, match="parity gate"):
        there(tensorflow_side.fit, request)


def test_an_architecture_without_converter_is_unsupported(there, request_for):
    with pytest.raises(Unsupported, match="deberta-v2"):
        there(tensorflow_side.fit, request_for("deberta-v2"))


@pytest.mark.parametrize("head", ["pooled", "token", "span"])
def test_a_fine_tune_learns_and_scores_alike_in_every_runtime(there, request_for, tmp_path, head):
    request = request_for(head=head, epochs=12, learning_rate=3e-3, dropout=0.0)
    report = there(tensorflow_side.fit, request)
    assert report.epochs[-1]["loss"] < 0.7 * report.epochs[0]["loss"]
    assert report.notes["gate_rel_diff"] < 1e-5
    own = there(tensorflow_side.predict, request.out, request, "tensorflow")
    chance = {"pooled": 1 / 3, "token": 1 / 3, "span": 0.15}[head]
    assert accuracy(request.validation, own) > chance + 0.2
    export_onnx(request.out, tmp_path / "onnx")
    from harness.backends.onnxruntime.float32 import OnnxRuntime

    others = {
        "tensorflow-xla": there(tensorflow_side.predict, request.out, request, "tensorflow-xla"),
        "torch": predict_all(
            TorchRuntime().load(request.out, request.out, device="cpu", threads=1),
            request.validation,
        ),
        "onnxruntime": predict_all(
            OnnxRuntime().load(request.out, tmp_path / "onnx", device="cpu", threads=1),
            request.validation,
        ),
    }
    for name, logits in others.items():
        assert parity(own, logits)["parity_rel_diff"] < 1e-5, name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_weight_that_is_trained_has_a_gradient(there, request_for, architecture):
    """ALBERT's pooler has none: our heads do not see it."""
    assert there(tensorflow_side.traced_update, request_for(architecture))


@pytest.mark.parametrize(("architecture", "dense"), [("distilbert", 12), ("llama", 14)])
def test_only_products_of_dense_layers_are_traced_in_bfloat16(
    there, request_for, architecture, dense
):
    request = request_for(architecture)
    assert "bfloat16" not in {dtype for _, dtype in there(tensorflow_side.traced_update, request)}
    request.settings["fit_dtype"] = "bfloat16"
    traced = there(tensorflow_side.traced_update, request)
    low = {kind: n for (kind, dtype), n in traced.items() if dtype == "bfloat16"}
    assert set(low) <= {"MatMul", "Einsum", "Cast", "Reshape", "Transpose"}
    # each layer's product, and one for the gradient of either factor
    assert low["MatMul"] + low["Einsum"] == 3 * dense


def test_a_fine_tune_in_bfloat16_learns_and_leaves_a_float32_artifact(there, request_for):
    from safetensors.torch import load_file

    request = request_for(epochs=12, learning_rate=3e-3, dropout=0.0)
    request.settings["fit_dtype"] = "bfloat16"
    report = there(tensorflow_side.fit, request)
    assert report.epochs[-1]["loss"] < 0.7 * report.epochs[0]["loss"]
    assert {t.dtype for t in load_file(request.out / "model.safetensors").values()} == {
        torch.float32
    }
    own = there(tensorflow_side.predict, request.out, request, "tensorflow")
    runtime = TorchRuntime().load(request.out, request.out, device="cpu", threads=1)
    theirs = predict_all(runtime, request.validation)
    assert parity(own, theirs)["parity_rel_diff"] < 1e-5
    assert accuracy(request.validation, own) > 1 / 3 + 0.2


def test_float16_is_refused(there, request_for):
    request = request_for()
    request.settings["fit_dtype"] = "float16"
    with pytest.raises(Unsupported, match="float32 or bfloat16"):
        there(tensorflow_side.fit, request)


def test_auto_is_the_dtype_whose_steps_or_products_were_faster(there, request_for):
    dtype, figures = there(tensorflow_side.resolve_dtype, "transformer", request_for().model_folder)
    seconds = [figures.get(f"{dtype}_step_seconds", 0.0) for dtype in ("float32", "bfloat16")]
    lowered = figures["product_speedup"] >= 1.0 and seconds[1] < seconds[0]
    assert dtype == ("bfloat16" if lowered else "float32")
    assert figures["reason"]


def test_a_fit_in_pytorch_scores_alike_in_tensorflow(there, request_for, tmp_path):
    request = request_for("roberta")
    scored = dataclasses.replace(request, validation_score=lambda _: 0.5)
    TorchBackend().fit(dataclasses.replace(scored, train_score=lambda _: 0.5), silent)
    runtime = TorchRuntime().load(request.out, request.out, device="cpu", threads=1)
    own = predict_all(runtime, request.validation)
    theirs = there(tensorflow_side.predict, request.out, request, "tensorflow")
    assert parity(own, theirs)["parity_rel_diff"] < 1e-5


@pytest.mark.parametrize("head", ["pooled", "token", "span"])
def test_without_dropout_training_in_both_frameworks_is_one(there, request_for, tmp_path, head):
    """Same start, batches, losses and updates: what differs is rounding alone."""
    request = request_for(head=head, epochs=2, dropout=0.0, fit_dtype="float32")
    there(tensorflow_side.fit, request)
    theirs = there(tensorflow_side.predict, request.out, request, "tensorflow")
    out = tmp_path / "torch"
    out.mkdir()
    mine = dataclasses.replace(
        request, out=out, validation_score=lambda _: 0.5, train_score=lambda _: 0.5
    )
    TorchBackend().fit(mine, silent)
    runtime = TorchRuntime().load(out, out, device="cpu", threads=1)
    own = predict_all(runtime, request.validation)
    assert parity(own, theirs)["parity_rel_diff"] < 1e-2


@pytest.mark.parametrize("fit_dtype", ["float32", "bfloat16"])
def test_the_same_seed_gives_the_same_weights(there, request_for, fit_dtype):
    request = request_for(epochs=2)
    request.settings["fit_dtype"] = fit_dtype
    files = []
    for name in ("first", "again"):
        out = request.out.with_name(name)
        out.mkdir()
        there(tensorflow_side.fit, dataclasses.replace(request, out=out))
        files.append([(out / f).read_bytes() for f in ("model.safetensors", "head.safetensors")])
    assert files[0] == files[1]


def test_probes_of_both_frameworks_are_one(there, request_for, tmp_path):
    request = request_for(head="token", recipe="linear-probe", C=0.5)
    report = there(tensorflow_side.fit, request)
    assert report.trained_params == 3 * 32 + 3
    theirs = there(tensorflow_side.predict, request.out, request, "tensorflow")
    out = tmp_path / "torch"
    out.mkdir()
    mine = dataclasses.replace(
        request, out=out, features_cache=tmp_path / "other", validation_score=lambda _: 0.5,
        train_score=lambda _: 0.5,
    )  # fmt: skip
    TorchBackend().fit(mine, silent)
    runtime = TorchRuntime().load(out, out, device="cpu", threads=1)
    own = predict_all(runtime, request.validation)
    # both stop within the solver's tolerance of one optimum
    assert parity(own, theirs)["parity_rel_diff"] < 1e-2


def test_scratch_draws_other_weights_than_the_checkpoint(there, request_for):
    from safetensors.torch import load_file

    request = request_for(recipe="scratch", epochs=1)
    there(tensorflow_side.fit, request)
    old = load_file(request.model_folder / "model.safetensors")
    new = load_file(request.out / "model.safetensors")
    name = "encoder.layer.0.attention.self.query.weight"
    assert np.corrcoef(old[name].flatten(), new[name].flatten())[0, 1] < 0.2


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("head", ["pooled", "token", "span"])
def test_losses_are_those_of_pytorch(there, head, smoothing):
    name = {"pooled": "cross_entropy", "token": "token_cross_entropy", "span": "span"}[head]
    inputs, targets = padded_batch(toy(head, 6, seed=3), np.arange(6))
    shape = (
        (6, 3) if head == "pooled" else (*inputs["input_ids"].shape, 3 if head == "token" else 2)
    )
    logits = np.random.default_rng(0).normal(0, 3, shape).astype(np.float32)

    class Fixed(torch.nn.Module):
        """A model whose features are the logits."""

        def forward(self, **_):
            return torch.from_numpy(logits)

        features = forward

        def logits(self, features):
            return features

    tensors = ({n: torch.from_numpy(a) for n, a in part.items()} for part in (inputs, targets))
    expected = float(LOSSES[name](Fixed(), *tensors, smoothing))
    got = there(tensorflow_side.loss, name, logits, inputs, targets, smoothing)
    assert got == pytest.approx(expected, rel=1e-5)


def test_updates_are_those_of_pytorch(there):
    generator = np.random.default_rng(0)
    weight = generator.normal(size=(4, 3)).astype(np.float32)
    bias = generator.normal(size=3).astype(np.float32)
    gradients = [
        (generator.normal(size=(4, 3)).astype(np.float32), generator.normal(size=3).astype("f4"))
        for _ in range(5)
    ]

    class Head(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(3, 4)

    model = Head()
    with torch.no_grad():
        model.head.weight.copy_(torch.from_numpy(weight))
        model.head.bias = torch.nn.Parameter(torch.from_numpy(bias.copy()))
    optimiser = adamw(model, {"learning_rate": 1e-2, "weight_decay": 0.1})
    for step, (by_weight, by_bias) in enumerate(gradients):
        for group in optimiser.param_groups:
            group["lr"] = 1e-2 * (1.0 - 0.1 * step)
        model.head.weight.grad = torch.from_numpy(by_weight)
        model.head.bias.grad = torch.from_numpy(by_bias)
        optimiser.step()
    got = there(tensorflow_side.adamw, weight, bias, gradients)
    np.testing.assert_allclose(got[0], model.head.weight.detach(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got[1], model.head.bias.detach(), rtol=1e-5, atol=1e-6)
