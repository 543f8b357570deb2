"""Image models in TensorFlow: the same computation, training and artifacts as in PyTorch."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import shutil
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
from harness.backends.torch.models import build
from harness.backends.torch.runtime import TorchRuntime
from harness.errors import Unsupported
from harness.tasks.base import Pixels
from harness.tasks.images import image_encoder, resize
from tests import tensorflow_side
from tests.conftest import NEEDS_TENSORFLOW
from tests.torch_toys import accuracy, silent
from tests.vision_toys import ARCHITECTURES, LEARNS, picture_request, random_model, random_timm

pytestmark = [NEEDS_TENSORFLOW, pytest.mark.timeout(600)]

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
def test_a_backbone_passes_the_gate_and_comes_back_whole(there, request_for, architecture):
    request = request_for(architecture)
    figure, positions, loaded, changed = there(tensorflow_side.vision_checkpoint, request)
    assert figure < 1e-5
    assert positions < 1e-5  # the gate looks at means over them
    whole = load_file(request.model_folder / "model.safetensors")
    kept = build(request.info, request.model_folder).backbone.state_dict()
    assert set(loaded) == {n for n in kept if not n.endswith("num_batches_tracked")}
    for name, tensor in loaded.items():
        assert np.array_equal(tensor, whole[name]), name
        assert np.array_equal(changed[name], 2.0 * whole[name] + 1.0), name


@pytest.mark.parametrize("sabotage", ["padding", "epsilon"])
def test_a_sabotaged_conversion_is_caught(there, request_for, sabotage):
    with pytest.raises(Unsupported, match=r"parity gate: .* differs from torch by \d"):
        there(tensorflow_side.vision_gate, request_for("tf_efficientnet_lite0"), sabotage)


@pytest.mark.parametrize("architecture", ["convnext_atto", "resnet50d", "vgg11_bn"])
def test_an_architecture_without_converter_is_unsupported(there, request_for, architecture):
    request = request_for(SMALL)
    config = json.loads((request.model_folder / "config.json").read_text())
    config["architecture"] = architecture
    (request.model_folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(Unsupported, match=f"KerasHub.* timm's '{architecture}'"):
        there(tensorflow_side.vision_gate, request)


def test_a_fit_stops_at_the_gate(there, request_for):
    request = request_for(SMALL)
    with np.load(request.reference) as stored:
        np.savez(request.reference, **dict(stored) | {"hidden": stored["hidden"] * 1.001})
    with pytest.raises(Unsupported, match="parity gate"):
        there(tensorflow_side.fit, request)
    assert not (request.out / "model.safetensors").exists()


def test_a_fine_tune_learns_and_scores_alike_in_every_runtime(there, request_for, tmp_path):
    request = request_for("resnet18", size=32, **LEARNS)
    report = there(tensorflow_side.fit, request)
    assert report.notes["gate_rel_diff"] < 1e-5
    assert report.epochs[-1]["loss"] < 0.5 * report.epochs[0]["loss"]
    own = there(tensorflow_side.predict, request.out, request, "tensorflow")
    assert accuracy(request.validation, own) > 0.9
    export_onnx(request.out, tmp_path / "onnx")
    onnx = OnnxRuntime().load(request.out, tmp_path / "onnx", device="cpu", threads=1)
    others = {
        "onnxruntime": predict_all(onnx, request.validation),
        "tensorflow-xla": there(tensorflow_side.predict, request.out, request, "tensorflow-xla"),
        "torch": torch_logits(request.out, request.validation),
    }
    for name, logits in others.items():
        assert parity(own, logits)["parity_rel_diff"] < 1e-5, name
        assert [row.argmax() for row in logits] == [row.argmax() for row in own], name
    before, after = (
        load_file(f / "model.safetensors") for f in (request.model_folder, request.out)
    )
    for name in ("bn1.running_mean", "layer4.1.bn2.running_var", "layer1.0.conv1.weight"):
        assert not np.array_equal(before[name], after[name])


def test_a_fit_in_pytorch_scores_alike_in_tensorflow(there, request_for):
    request = request_for(SMALL, size=32, hidden=(16,), augment={"flip": True})
    scored = {"validation_score": lambda _: 0.5, "train_score": lambda _: 0.5}
    TorchBackend().fit(dataclasses.replace(request, reference=None, **scored), silent)
    own = torch_logits(request.out, request.validation)
    theirs = there(tensorflow_side.predict, request.out, request, "tensorflow")
    assert parity(own, theirs)["parity_rel_diff"] < 1e-5


@pytest.mark.parametrize("architecture", [SMALL, "tf_efficientnet_lite0"])
def test_batches_move_the_statistics_of_batch_norms_as_in_pytorch(there, request_for, architecture):
    """Of all of them: one that stays in evaluation mode, or has Keras' momentum, stands out."""
    request = request_for(architecture)
    batch = pad(request.train, np.arange(16))
    after = there(tensorflow_side.after_training_pass, request, batch)
    model = random_model(architecture).train()
    before = {name: t.clone() for name, t in model.named_buffers()}
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_hook(uncorrected_variance)
    with torch.no_grad():
        model.forward_features(torch.from_numpy(batch["pixel_values"]))
    compared = 0
    for name, expected in model.named_buffers():
        if name in after and name.endswith(("running_mean", "running_var")):
            assert not torch.equal(before[name], expected)
            scale = float(expected.abs().max())
            np.testing.assert_allclose(after[name], expected, rtol=1e-3, atol=1e-4 * scale)
            compared += 1
    assert compared == sum(name.endswith(("running_mean", "running_var")) for name in after) > 60


def uncorrected_variance(norm, inputs, _):
    """Take Bessel's correction, which Keras does not make, out of PyTorch's running variance."""
    (x,) = inputs
    count = x.numel() / x.shape[1]
    norm.running_var.sub_(x.var((0, 2, 3), unbiased=True) * norm.momentum / count)


def test_the_same_seed_gives_the_same_weights(there, request_for):
    augment = {"flip": True, "crop": 0.1, "randaugment": {}}
    request = request_for("vgg11", size=32, epochs=1, augment=augment, label_smoothing=0.1)
    files = []
    for name in ("first", "again"):
        out = request.out.with_name(name)
        there(tensorflow_side.fit, dataclasses.replace(request, out=out))
        files.append([(out / f).read_bytes() for f in ("model.safetensors", "head.safetensors")])
    assert files[0] == files[1]


def test_scratch_draws_other_weights_than_the_checkpoint(there, request_for):
    request = request_for("vgg11", "scratch", size=32, epochs=1, learning_rate=1e-4)
    report = there(tensorflow_side.fit, request)
    assert report.notes["gate_rel_diff"] < 1e-5
    old, new = (load_file(f / "model.safetensors") for f in (request.model_folder, request.out))
    name = "features.3.weight"
    assert np.corrcoef(old[name].flatten(), new[name].flatten())[0, 1] < 0.2


def test_probes_of_both_frameworks_are_one(there, request_for, tmp_path):
    request = request_for("vgg11", "linear-probe", size=32, C=0.1)
    report = there(tensorflow_side.fit, request)
    theirs = there(tensorflow_side.predict, request.out, request, "tensorflow")
    scored = {"validation_score": lambda _: 0.5, "train_score": lambda _: 0.5}
    mine = dataclasses.replace(
        request, out=tmp_path / "torch", features_cache=tmp_path / "other", **scored
    )
    own_report = TorchBackend().fit(dataclasses.replace(mine, reference=None), silent)
    own = torch_logits(mine.out, request.validation)
    # both stop within the solver's tolerance of one optimum
    assert parity(own, theirs)["parity_rel_diff"] < 1e-2
    assert [row.argmax() for row in own] == [row.argmax() for row in theirs]
    assert report.trained_params == own_report.trained_params
    assert report.params == own_report.params


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    """Where files lie that Keras would download: of its own layout, and of random weights."""
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def applications(there, tmp_path_factory, downloads):
    """Neutral folders of Keras' applications, fetched from `downloads`."""
    made = {}

    def folder(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            there(tensorflow_side.fetch_application, name, made[name], downloads)
        return made[name]

    return folder


def test_a_vgg16_of_keras_is_the_same_in_pytorch(there, applications, downloads, tmp_path):
    folder = applications("VGG16")
    request = picture_request(tmp_path, folder, "linear-probe", "keras-application", hidden=(8,))
    batch = pad(request.train, np.arange(4))
    images = np.ascontiguousarray(batch["pixel_values"].transpose(0, 2, 3, 1))
    expected = there(tensorflow_side.application_features, "VGG16", images, downloads)
    np.savez(tmp_path / "reference.npz", hidden=expected, framework="tensorflow", **batch)
    gated = dataclasses.replace(request, reference=tmp_path / "reference.npz")
    assert TorchBackend().fit(gated, silent).notes["gate_rel_diff"] < 1e-5
    own = torch_logits(request.out, request.validation)
    theirs = there(tensorflow_side.predict, request.out, sendable(request), "tensorflow")
    assert parity(own, theirs)["parity_rel_diff"] < 1e-5


@pytest.mark.parametrize(
    ("name", "size"),
    [("MobileNet", 32), ("EfficientNetB0", 48), ("Xception", 71), ("ConvNeXtTiny", 32)],
)
def test_an_application_computes_what_it_does_in_keras_and_so_it_does_the_second_time(
    there, applications, downloads, tmp_path, name, size
):
    """EfficientNet has a layer with ImageNet's weights alone; the others number their layers, or
    variables, on from model to model."""
    folder = applications(name)
    request = picture_request(tmp_path, folder, "linear-probe", "keras-application", size=size)
    batch = pad(request.train, np.arange(2))
    images = np.ascontiguousarray(batch["pixel_values"].transpose(0, 2, 3, 1))
    expected = there(tensorflow_side.application_features, name, images, downloads)
    for _ in range(2):
        found = there(tensorflow_side.hidden_states, "keras-application", folder, batch)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_a_fitted_application_scores_the_same_each_time_it_is_loaded(there, applications, tmp_path):
    folder = applications("Xception")
    request = picture_request(
        tmp_path, folder, "linear-probe", "keras-application", size=71, train=24
    )
    there(tensorflow_side.fit, sendable(request))
    first, second = (
        there(tensorflow_side.predict, request.out, sendable(request), "tensorflow")
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


def test_an_application_of_an_earlier_layout_is_refused(there, applications, tmp_path):
    old = tmp_path / "MobileNet"
    shutil.copytree(applications("MobileNet"), old)
    config = json.loads((old / "config.json").read_text())
    del config["weights"]
    (old / "config.json").write_text(json.dumps(config))
    request = picture_request(tmp_path, old, "linear-probe", "keras-application")
    batch = pad(request.train, np.arange(1))
    with pytest.raises(Unsupported, match="fetched by an earlier version; fetch and fit it again"):
        there(tensorflow_side.hidden_states, "keras-application", old, batch)


def test_pytorch_says_which_applications_it_has_no_counterpart_of(applications, tmp_path):
    folder = applications("MobileNet")
    request = picture_request(tmp_path, folder, "linear-probe", "keras-application")
    with pytest.raises(Unsupported, match=r"no counterpart here of Keras' 'MobileNet'"):
        TorchBackend().fit(request, silent)


@pytest.mark.parametrize(
    ("name", "width", "rate", "enough"),
    [("VGG16", 512, 3e-3, 0.9), ("MobileNet", 1024, 1e-2, 0.55)],  # guessing gets 0.38
)
def test_an_application_trains_a_head_with_hidden_layers(
    there, applications, tmp_path, name, width, rate, enough
):
    folder = applications(name)
    settings = {"hidden": (16,), "epochs": 60, "learning_rate": rate}
    request = picture_request(tmp_path, folder, "linear-probe", "keras-application", **settings)
    report = there(tensorflow_side.fit, sendable(request))
    assert report.epochs[-1]["loss"] < 0.5 * report.epochs[0]["loss"]
    logits = there(tensorflow_side.predict, request.out, sendable(request), "tensorflow")
    assert accuracy(request.validation, logits) > enough
    kept, before = (load_file(f / "model.safetensors") for f in (request.out, folder))
    assert set(kept) == set(before)
    assert all(np.array_equal(kept[n], before[n]) for n in before)
    assert report.trained_params == 16 * width + 16 + 3 * 16 + 3
    head = load_file(request.out / "head.safetensors")
    assert head["hidden.0.weight"].shape == (16, width) and head["weight"].shape == (3, 16)


IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "channels": "rgb"}
CAFFE_MEANS = tuple(m / 255 for m in (103.939, 116.779, 123.68))  # of blue, green and red


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("VGG16", {"mean": CAFFE_MEANS, "std": (1 / 255,) * 3, "channels": "bgr"}),
        ("MobileNet", {"mean": (0.5,) * 3, "std": (0.5,) * 3, "channels": "rgb"}),
        ("DenseNet121", IMAGENET),
        ("EfficientNetB0", {"mean": (0.0,) * 3, "std": (1 / 255,) * 3, "channels": "rgb"}),
    ],
)
def test_preprocessing_is_what_keras_does(there, tmp_path, name, expected):
    found = there(tensorflow_side.preprocessing, name)
    assert found["channels"] == expected["channels"]
    assert found["mean"] == pytest.approx(expected["mean"], abs=1e-6)
    assert found["std"] == pytest.approx(expected["std"], rel=1e-5)
    assert found["input_size"] == [3, 224, 224]
    # and the pixels that a model is fed with are those that Keras would feed it with
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": found}))
    picture = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    encoder = image_encoder(tmp_path, None, tmp_path)
    stored = resize(picture, encoder)[None]
    fed = Pixels(stored, encoder.mean, encoder.std).normalised(stored).transpose(0, 2, 3, 1)
    theirs = there(tensorflow_side.preprocess_input, name, picture[None])
    np.testing.assert_allclose(fed, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())


def test_the_size_of_an_application_is_the_one_it_was_trained_on(there):
    assert there(tensorflow_side.preprocessing, "InceptionV3")["input_size"] == [3, 299, 299]
    assert there(tensorflow_side.preprocessing, "EfficientNetB3")["input_size"] == [3, 300, 300]


def test_only_convolutions_are_traced_in_bfloat16(there, request_for):
    request = request_for("resnet18")
    request.settings["fit_dtype"] = "bfloat16"
    traced = there(tensorflow_side.traced_update, request)
    low = {kind: n for (kind, dtype), n in traced.items() if dtype == "bfloat16"}
    assert set(low) == {"Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter", "Cast"}
    assert low["Conv2D"] == low["Conv2DBackpropInput"] == low["Conv2DBackpropFilter"] == 20


def test_auto_times_the_steps_of_an_image_model(there, tmp_path):
    dtype, figures = there(tensorflow_side.resolve_dtype, "timm", random_timm(tmp_path, SMALL))
    if figures["product_speedup"] >= 1.0:
        assert figures["bfloat16_step_seconds"] > 0.0 < figures["float32_step_seconds"]
    else:
        assert dtype == "float32"
