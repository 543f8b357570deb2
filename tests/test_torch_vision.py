"""Image models in PyTorch against timm itself, and through every stage that their weights pass."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch.nn import functional as F

from harness.backends.base import ArtifactInfo, pad, predict_all
from harness.backends.onnxruntime import OnnxRuntime, OnnxRuntimeInt8
from harness.backends.parity import PARITY_BOUND, parity
from harness.backends.torch.backend import TorchBackend
from harness.backends.torch.convert import to_neutral
from harness.backends.torch.export import export_onnx
from harness.backends.torch.models import build, load, save
from harness.backends.torch.runtime import TorchRuntime
from harness.errors import RequestError, Unsupported
from tests.torch_toys import accuracy, silent
from tests.vision_toys import (
    ARCHITECTURES,
    LEARNS,
    keras_vgg16,
    picture_request,
    pictures,
    random_model,
    random_timm,
)

#: what lies behind the feature map
UNUSED = {
    "efficientnet_b0": ("classifier.",),
    "mobilenetv3_small_050": ("conv_head.", "norm_head.", "classifier."),
    "vgg11": ("pre_logits.", "head."),
}
SMALL = "mobilenetv3_small_050"


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def logits_of(artifact, encoded):
    return predict_all(TorchRuntime().load(artifact, artifact, device="cpu", threads=1), encoded)


def contents(artifact):
    return [(artifact / f"{name}.safetensors").read_bytes() for name in ("model", "head")]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A fine-tuned ResNet-18: its request, its report, and the logits it ended with."""
    folder = tmp_path_factory.mktemp("resnet")
    request = picture_request(folder, random_timm(folder, "resnet18"), **LEARNS)
    seen = []
    watched = dataclasses.replace(
        request,
        validation_score=lambda logits: seen.append(logits) or request.validation_score(logits),
    )
    return request, TorchBackend().fit(watched, silent), seen[-1]


@pytest.mark.parametrize("architecture", [a for a in ARCHITECTURES if not a.startswith("vit")])
def test_features_are_the_mean_of_timms_feature_map(tmp_path, architecture):
    folder = random_timm(tmp_path, architecture)
    request = picture_request(tmp_path, folder, size=48)
    images = torch.from_numpy(pad(request.train, np.arange(5))["pixel_values"])
    model = build(request.info, folder).eval()
    with torch.no_grad():
        map_ = random_model(architecture).forward_features(images)
        features, hidden = model.features(images), model.hidden(images)
    bound = 1e-6 * float(map_.abs().max())
    torch.testing.assert_close(features, map_.mean((2, 3)), rtol=1e-5, atol=bound)
    torch.testing.assert_close(hidden, map_.permute(0, 2, 3, 1), rtol=1e-5, atol=bound)
    got = TorchBackend().hidden_states("timm", folder, {"pixel_values": images.numpy()})
    np.testing.assert_allclose(got, map_.permute(0, 2, 3, 1), rtol=1e-5, atol=bound)


def test_features_of_a_vit_are_its_class_token(tmp_path):
    folder = random_timm(tmp_path, "vit_tiny_patch16_224")
    request = picture_request(tmp_path, folder, size=48)
    images = torch.from_numpy(pad(request.train, np.arange(5))["pixel_values"])
    model = build(request.info, folder).eval()
    with torch.no_grad():
        tokens = random_model("vit_tiny_patch16_224").forward_features(images)
        assert tokens.shape == (5, 10, 192)  # 3 x 3 patches of 16 pixels, and the class
        torch.testing.assert_close(model.features(images), tokens[:, 0])
        torch.testing.assert_close(model.hidden(images), tokens)


@pytest.mark.parametrize("architecture", UNUSED)
def test_what_lies_behind_the_feature_map_is_neither_saved_nor_counted(tmp_path, architecture):
    folder = random_timm(tmp_path, architecture)
    whole = load_file(folder / "model.safetensors")
    behind = {name for name in whole if name.startswith(UNUSED[architecture])}
    assert len(behind) >= 2
    counters = {name for name in whole if name.endswith("num_batches_tracked")}
    request = picture_request(tmp_path, folder, "linear-probe")
    report = TorchBackend().fit(request, silent)
    kept = load_file(request.out / "model.safetensors")
    assert set(kept) == set(whole) - behind - counters
    assert all(torch.equal(kept[name], whole[name]) for name in kept)
    parameters = dict(random_model(architecture).named_parameters())
    head = report.trained_params
    assert head % 3 == 0
    assert report.params == head + sum(p.numel() for n, p in parameters.items() if n not in behind)


def test_a_checkpoint_without_a_classifier_is_enough(tmp_path):
    folder = random_timm(tmp_path, SMALL)
    whole = load_file(folder / "model.safetensors")
    used = {name: t for name, t in whole.items() if not name.startswith(UNUSED[SMALL])}
    request = picture_request(tmp_path, folder)
    before = build(request.info, folder).state_dict()
    save_file(used, folder / "model.safetensors")
    after = build(request.info, folder).state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_state_dict_in_timms_order_under_other_names_converts(tmp_path, wrapped):
    state = random_model("resnet18").state_dict()
    counted = [n for n in state if n.endswith("num_batches_tracked")]
    assert counted  # such as PyTorch's own models have, and other ports have not
    renamed = {f"tensor{i}": t for i, (n, t) in enumerate(state.items()) if n not in counted}
    (tmp_path / "foreign").mkdir()
    torch.save({"state_dict": renamed} if wrapped else renamed, tmp_path / "foreign" / "w.pth")
    out = to_neutral(tmp_path / "foreign", tmp_path / "neutral", architecture="resnet18")
    neutral = load_file(out / "model.safetensors")
    assert set(neutral) == set(state) - set(counted) - {"fc.weight", "fc.bias"}
    assert all(torch.equal(neutral[name], state[name]) for name in neutral)
    config = json.loads((out / "config.json").read_text())
    assert (config["architecture"], config["num_classes"]) == ("resnet18", 0)
    assert config["pretrained_cfg"]["input_size"] == [3, 224, 224]
    build(picture_request(tmp_path, out).info, out)


def test_safetensors_and_weights_without_a_classifier_convert_by_name(tmp_path):
    state = {n: t for n, t in random_model("resnet18").state_dict().items() if t.ndim}
    bare = {n: t for n, t in state.items() if not n.startswith("fc.")}
    for number, tensors in enumerate((state, bare)):
        folder = tmp_path / f"foreign{number}"
        folder.mkdir()
        save_file(tensors, folder / "weights.safetensors")
        out = to_neutral(folder, tmp_path / f"neutral{number}", architecture="resnet18")
        neutral = load_file(out / "model.safetensors")
        assert set(neutral) == set(bare)
        assert all(torch.equal(neutral[name], state[name]) for name in bare)
    renamed = {f"tensor{i}": t for i, t in enumerate(state.values())}
    (tmp_path / "other").mkdir()
    save_file(renamed, tmp_path / "other" / "weights.safetensors")
    with pytest.raises(RequestError, match="by name and shape"):  # sorted names are no order
        to_neutral(tmp_path / "other", tmp_path / "never", architecture="resnet18")


def test_a_timm_folder_with_a_pickle_needs_no_tokenizer(tmp_path):
    folder = random_timm(tmp_path, "resnet18")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    out = to_neutral(folder, tmp_path / "neutral")
    assert (out / "model.safetensors").is_file() and (out / "config.json").is_file()


def test_a_last_batch_of_one_image_joins_the_one_before(tmp_path):
    request = picture_request(tmp_path, random_timm(tmp_path, "resnet18"), train=17, epochs=1)
    assert request.settings["batch_size"] == 16
    assert TorchBackend().fit(request, silent).steps == 1


def test_a_state_dict_under_timms_names_converts_in_any_order(tmp_path):
    state = random_model("resnet18").state_dict()
    fully_connected = [n for n in state if n.startswith("fc.")]
    order = [*sorted(set(state) - set(fully_connected)), *fully_connected]
    (tmp_path / "foreign").mkdir()
    torch.save({name: state[name] for name in order}, tmp_path / "foreign" / "w.pth")
    out = to_neutral(tmp_path / "foreign", tmp_path / "neutral", architecture="resnet18")
    neutral = load_file(out / "model.safetensors")
    assert all(torch.equal(neutral[name], state[name]) for name in neutral)


@pytest.mark.parametrize("change", ["one less", "one more", "another shape"])
def test_a_state_dict_of_other_tensors_is_refused(tmp_path, change):
    tensors = list(random_model("resnet18").state_dict().values())
    tensors = [t for t in tensors if t.ndim]
    if change == "one less":
        del tensors[4]
    elif change == "one more":
        tensors.insert(4, torch.zeros(64))
    else:
        tensors[0] = tensors[0][:, :, :5, :5]
    (tmp_path / "foreign").mkdir()
    torch.save({str(i): t.clone() for i, t in enumerate(tensors)}, tmp_path / "foreign" / "w.pth")
    said = rf"its {len(tensors)} tensors are not those of timm's 'resnet18'.*first: conv1\.weight"
    with pytest.raises(RequestError, match=said):
        to_neutral(tmp_path / "foreign", tmp_path / "neutral", architecture="resnet18")
    assert not (tmp_path / "neutral").exists()


@pytest.mark.parametrize("how", ["folder", "architecture"])
def test_an_unknown_architecture_is_unsupported(tmp_path, how):
    folder = random_timm(tmp_path, SMALL)
    with pytest.raises(Unsupported, match=r"timm [\d.]+ has no architecture 'resnet1800'"):
        if how == "folder":
            config = json.loads((folder / "config.json").read_text())
            config["architecture"] = "resnet1800"
            (folder / "config.json").write_text(json.dumps(config))
            TorchBackend().check("timm", folder)
        else:
            to_neutral(folder, tmp_path / "neutral", architecture="resnet1800")


def test_a_checkpoint_of_other_shapes_than_its_configuration_is_refused_by_name(tmp_path):
    folder = random_timm(tmp_path, "resnet18")
    config = json.loads((folder / "config.json").read_text())
    config["architecture"] = "resnet26"
    (folder / "config.json").write_text(json.dumps(config))
    said = (
        r"tensors do not fit .*config\.json: "
        r"layer1\.0\.conv1\.weight \(64, 64, 3, 3\) where resnet26 has \(64, 64, 1, 1\)"
    )
    with pytest.raises(RequestError, match=said):
        TorchBackend().check("timm", folder)


def test_a_checkpoint_that_lacks_tensors_is_refused_by_name(tmp_path):
    folder = random_timm(tmp_path, SMALL)
    tensors = load_file(folder / "model.safetensors")
    del tensors["blocks.0.0.bn1.running_var"]
    save_file(tensors, folder / "model.safetensors")
    said = r"1 tensors are missing: blocks\.0\.0\.bn1\.running_var"
    with pytest.raises(RequestError, match=said):
        TorchBackend().check("timm", folder)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("no configuration", r"no config\.json"),
        ("no architecture", "names no `architecture`"),
        ("half a file", "cannot be read"),
        ("no weights", "cannot be read"),
    ],
)
def test_a_damaged_folder_is_refused(tmp_path, damage, said):
    folder = random_timm(tmp_path, SMALL)
    config, weights = folder / "config.json", folder / "model.safetensors"
    if damage == "no configuration":
        config.unlink()
    elif damage == "no architecture":
        config.write_text("{}")
    elif damage == "half a file":
        weights.write_bytes(weights.read_bytes()[:1000])
    else:
        weights.unlink()
    with pytest.raises(RequestError, match=said):
        TorchBackend().check("timm", folder)


def test_a_fine_tune_learns_and_its_artifact_computes_the_same(fitted):
    request, report, logits = fitted
    assert report.epochs[-1]["validation_score"] > 0.9
    assert report.epochs[-1]["loss"] < 0.5 * report.epochs[0]["loss"]
    assert report.trained_params == report.params
    again, info = load(request.out)
    with torch.no_grad():
        batch = pad(request.validation, np.arange(len(request.validation)))
        own = again(torch.from_numpy(batch["pixel_values"])).numpy()
    assert info == request.info
    assert parity(logits, list(own))["parity_rel_diff"] < 1e-6
    np.testing.assert_array_equal(logits_of(request.out, request.validation), logits)


def test_statistics_of_batch_norms_are_trained_and_saved(fitted):
    request, _, _ = fitted
    before, after = (
        load_file(f / "model.safetensors") for f in (request.model_folder, request.out)
    )
    for name in ("bn1.running_mean", "bn1.running_var", "bn1.weight", "conv1.weight"):
        assert not torch.equal(before[name], after[name])
    assert set(after) == {
        n for n in before if not n.startswith("fc.") and not n.endswith("num_batches_tracked")
    }


@pytest.mark.parametrize("augment", [None, {"flip": True, "crop": 0.1, "randaugment": {}}])
def test_the_same_seed_gives_the_same_weights(tmp_path, augment):
    folder = random_timm(tmp_path, SMALL)
    files = []
    for out, seed in (("first", 1), ("again", 1), ("other", 2)):
        request = picture_request(
            tmp_path, folder, out=out, seed=seed, epochs=2, augment=augment, dropout=0.2
        )
        TorchBackend().fit(request, silent)
        files.append(contents(request.out))
    assert files[0] == files[1]
    assert files[0][0] != files[2][0] and files[0][1] != files[2][1]


@pytest.mark.parametrize(
    "changed",
    [
        {"label_smoothing": 0.1},
        {"augment": {"flip": True}},
        {"augment": {"crop": 0.25}},
        {"augment": {"randaugment": {"layers": 1, "magnitude": 5}}},
    ],
    ids=["label smoothing", "flip", "crop", "randaugment"],
)
def test_smoothing_and_augmentation_change_the_training_and_not_the_data(tmp_path, changed):
    folder = random_timm(tmp_path, SMALL)
    plain = picture_request(tmp_path, folder, out="plain", epochs=1)
    other = picture_request(tmp_path, folder, out="other", epochs=1, **changed)
    first = TorchBackend().fit(plain, silent).epochs[0]["loss"]
    second = TorchBackend().fit(other, silent).epochs[0]["loss"]
    assert np.isfinite(second) and first != second
    assert contents(plain.out)[0] != contents(other.out)[0]
    untouched = pictures(96, 1).inputs["pixel_values"].values
    assert np.array_equal(other.train.inputs["pixel_values"].values, untouched)


def test_scratch_draws_other_weights_than_the_checkpoint(tmp_path):
    folder = random_timm(tmp_path, "resnet18")
    request = picture_request(tmp_path, folder, "scratch", epochs=1)
    new = build(request.info, folder, recipe="scratch", seed=5).state_dict()
    old = load_file(folder / "model.safetensors")
    name = "layer1.0.conv1.weight"
    drawn, kept = new[f"backbone.{name}"].flatten(), old[name].flatten()
    assert np.corrcoef(drawn, kept)[0, 1] < 0.2
    assert torch.equal(new["backbone.bn1.running_var"], torch.ones(64))
    again = build(request.info, folder, recipe="scratch", seed=5).state_dict()
    assert all(torch.equal(new[n], again[n]) for n in new)
    TorchBackend().fit(request, silent)
    fitted = load_file(request.out / "model.safetensors")
    assert np.corrcoef(fitted[name].flatten(), kept)[0, 1] < 0.2


@pytest.mark.parametrize("C", [0.01, 1.0])
def test_a_probe_is_the_optimum_that_scikit_learn_finds(tmp_path, C):
    folder = random_timm(tmp_path, SMALL)
    request = picture_request(tmp_path, folder, "linear-probe", C=C)
    report = TorchBackend().fit(request, silent)
    model = random_model(SMALL)
    rows, logits = [], []
    for split in (request.train, request.validation):
        images = torch.from_numpy(pad(split, np.arange(len(split)))["pixel_values"])
        with torch.no_grad():
            rows.append(model.forward_features(images).mean((2, 3)).numpy())
        logits += logits_of(request.out, split)
    scaler = StandardScaler().fit(rows[0])
    theirs = LogisticRegression(C=C, tol=1e-8, max_iter=10_000)
    theirs.fit(scaler.transform(rows[0]), request.train.targets["labels"])
    expected = theirs.predict_proba(scaler.transform(np.concatenate(rows)))
    probabilities = torch.from_numpy(np.stack(logits)).softmax(-1).numpy()
    np.testing.assert_allclose(probabilities, expected, atol=1e-2)
    assert (probabilities.argmax(1) == expected.argmax(1)).mean() >= 0.99
    own = accuracy(request.validation, logits[len(request.train) :])
    assert report.epochs[0]["validation_score"] == pytest.approx(own)


@pytest.fixture(scope="module")
def exported(fitted, tmp_path_factory):
    """The fitted ResNet-18 as an ONNX model, and what its export says."""
    exports = tmp_path_factory.mktemp("onnx")
    return exports, export_onnx(fitted[0].out, exports)


def assert_onnx_computes(request, exports, logits):
    predictor = OnnxRuntime().load(request.out, exports, device="cpu", threads=1)
    for size in (1, 2, 5, len(request.validation)):
        theirs = predict_all(predictor, request.validation, size)
        assert parity(logits, theirs)["parity_rel_diff"] <= PARITY_BOUND, size


def test_onnx_runtime_computes_the_same(fitted, exported):
    request, _, logits = fitted
    exports, facts = exported
    assert facts["inputs"] == ["pixel_values"]
    assert_onnx_computes(request, exports, logits)


def test_onnx_runtime_computes_the_same_under_a_head_with_hidden_layers(tmp_path):
    folder = random_timm(tmp_path, "vgg11")
    request = picture_request(tmp_path, folder, epochs=1, hidden=(16,), learning_rate=1e-4)
    TorchBackend().fit(request, silent)
    export_onnx(request.out, tmp_path / "onnx")
    assert_onnx_computes(request, tmp_path / "onnx", logits_of(request.out, request.validation))


def test_int8_is_smaller_and_mostly_agrees(fitted, exported):
    request, _, logits = fitted
    exports, facts = exported
    runtime, asked = OnnxRuntimeInt8(), []

    def training():
        asked.append(True)
        return request.train

    runtime.prepare(request.out, exports, training)
    written = runtime.weights(exports).read_bytes()
    assert runtime.size_bytes(request.out, exports) == len(written) < 0.3 * facts["bytes"]
    predictor = runtime.load(request.out, exports, device="cpu", threads=1)
    theirs = predict_all(predictor, request.validation)
    same = np.mean([a.argmax() == b.argmax() for a, b in zip(logits, theirs, strict=True)])
    assert same > 0.9
    assert accuracy(request.validation, theirs) > 0.9
    assert not np.array_equal(np.stack(logits), np.stack(theirs))
    runtime.prepare(request.out, exports, training)
    assert asked == [True]  # what is there is not made again


def keras_info(size=32):
    extra = {"image": {"size": size}}
    labels = ["red", "green", "blue"]
    return ArtifactInfo(
        "keras-application", "torch", "toy", "pooled", 3, "mean", labels, 0, extra=extra
    )


def test_a_vgg16_of_keras_computes_what_its_definition_says_and_comes_back_whole(tmp_path):
    folder = keras_vgg16(tmp_path)
    tensors = load_file(folder / "model.safetensors")
    model = build(keras_info(), folder).eval()
    x = images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for block, convolutions in enumerate((2, 2, 3, 3, 3), 1):
        for i in range(1, convolutions + 1):
            kernel = tensors[f"block{block}_conv{i}/kernel"].permute(3, 2, 0, 1)
            x = F.relu(F.conv2d(x, kernel, tensors[f"block{block}_conv{i}/bias"], padding="same"))
        x = F.max_pool2d(x, 2)
    with torch.no_grad():
        hidden, features, logits = model.hidden(images), model.features(images), model(images)
    bound = 1e-5 * float(x.abs().max())
    torch.testing.assert_close(hidden, x.permute(0, 2, 3, 1), rtol=0, atol=bound)
    torch.testing.assert_close(features, x.mean((2, 3)), rtol=0, atol=bound)
    out = tmp_path / "artifact"
    save(model, keras_info(), out, folder)
    back = load_file(out / "model.safetensors")
    assert set(back) == set(tensors)
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)
    again, info = load(out)
    assert info == keras_info()
    with torch.no_grad():
        assert torch.equal(again(images), logits)


def test_weights_of_keras_that_do_not_fit_are_refused_by_name(tmp_path):
    folder = keras_vgg16(tmp_path)
    tensors = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    narrow = tensors | {"block3_conv2/kernel": tensors["block3_conv2/kernel"][:, :, :128].clone()}
    save_file(narrow, folder / "model.safetensors")
    said = r"block3_conv2 is \(3, 3, 128, 256\), wanted \(3, 3, 256, 256\)"
    with pytest.raises(RequestError, match=said):
        build(keras_info(), folder)
    del tensors["block5_conv3/bias"]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(RequestError, match="no kernel and bias of 'block5_conv3'"):
        build(keras_info(), folder)
    (folder / "config.json").write_text(json.dumps(config | {"application": "DenseNet121"}))
    with pytest.raises(Unsupported, match=r"no counterpart here of Keras' 'DenseNet121'.*VGG16"):
        build(keras_info(), folder)


def test_timm_can_be_had_after_transformers_without_torchvision():
    """One process may fit text and images: what hides torchvision must not stay hidden."""
    code = """
import sys
from harness.backends.torch.zoo import hide_torchvision, timm
hide_torchvision()
import transformers
assert not transformers.utils.is_torchvision_available()
assert "torchvision" not in sys.modules
package = timm()
import torch
with torch.no_grad():
    model = package.create_model("mobilenetv3_small_050", pretrained=False).eval()
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 1000)
print("fine")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "fine", done.stderr
