"""Linear probes against scikit-learn's logistic regression on the same features."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from harness.backends.base import predict_all
from harness.backends.torch.backend import TorchBackend
from harness.backends.torch.models import build
from harness.backends.torch.runtime import TorchRuntime
from harness.errors import RequestError
from tests.torch_toys import accuracy, random_backbone, silent, toy_request


def frozen_features(request):
    """One row a label: the head's inputs, feature by feature, without batching."""
    model = build(request.info, request.model_folder).eval()
    rows = []
    with torch.no_grad():
        for i in range(len(request.train)):
            ids = torch.from_numpy(request.train.inputs["input_ids"][i])[None].long()
            rows.append(model.features(ids, torch.ones_like(ids))[0].numpy())
    return rows


@pytest.mark.parametrize("head", ["pooled", "token"])
@pytest.mark.parametrize("C", [0.01, 1.0])
def test_a_probe_is_the_optimum_that_scikit_learn_finds(tmp_path, head, C):
    request = toy_request(tmp_path, random_backbone(tmp_path), head, "linear-probe", C=C)
    TorchBackend().fit(request, silent)
    rows = frozen_features(request)
    if head == "pooled":
        features, labels = np.stack(rows), request.train.targets["labels"]
    else:
        features, labels = np.concatenate(rows), request.train.targets["labels"].values
        features, labels = features[labels != -100], labels[labels != -100]
    scaler = StandardScaler().fit(features)
    theirs = LogisticRegression(C=C, tol=1e-8, max_iter=10_000)
    expected = theirs.fit(scaler.transform(features), labels).predict_proba(
        scaler.transform(features)
    )
    tensors = load_file(request.out / "head.safetensors")
    logits = torch.from_numpy(features) @ tensors["weight"].T + tensors["bias"]
    np.testing.assert_allclose(logits.softmax(-1).numpy(), expected, atol=5e-3)


def test_a_span_probe_beats_chance(tmp_path):
    request = toy_request(tmp_path, random_backbone(tmp_path), "span", "linear-probe", C=0.1)
    report = TorchBackend().fit(request, silent)
    assert report.epochs[0]["validation_score"] > 0.3  # chance: 0.15
    assert report.trained_params == 2 * 32 + 2


def test_a_probe_leaves_the_backbone_alone(tmp_path):
    folder = random_backbone(tmp_path)
    request = toy_request(tmp_path, folder, recipe="linear-probe")
    TorchBackend().fit(request, silent)
    before, after = (load_file(f / "model.safetensors") for f in (folder, request.out))
    assert all(torch.equal(after[name], before[name]) for name in after)


def test_the_reported_score_is_the_artifacts(tmp_path):
    request = toy_request(tmp_path, random_backbone(tmp_path), "token", "linear-probe")
    report = TorchBackend().fit(request, silent)
    predictor = TorchRuntime().load(request.out, request.out, device="cpu", threads=1)
    score = accuracy(request.validation, predict_all(predictor, request.validation))
    assert report.epochs[0]["validation_score"] == pytest.approx(score)


def test_features_are_computed_once(tmp_path):
    folder = random_backbone(tmp_path)
    stages = []
    request = toy_request(tmp_path, folder, recipe="linear-probe", out="a")
    first = TorchBackend().fit(request, lambda stage, *_: stages.append(stage))
    assert set(stages) == {"features of train", "features of validation"}
    stages.clear()
    again = dataclasses.replace(request, out=tmp_path / "b")
    second = TorchBackend().fit(again, lambda stage, *_: stages.append(stage))
    assert stages == []
    assert second.notes["features_seconds"] == first.notes["features_seconds"]
    a, b = (load_file(tmp_path / out / "head.safetensors") for out in "ab")
    assert torch.equal(a["weight"], b["weight"]) and torch.equal(a["bias"], b["bias"])


def test_a_damaged_cache_is_computed_again(tmp_path):
    request = toy_request(tmp_path, random_backbone(tmp_path), recipe="linear-probe")
    TorchBackend().fit(request, silent)
    for file in request.features_cache.iterdir():
        file.write_bytes(file.read_bytes()[:100])
    TorchBackend().fit(request, silent)


def test_static_embeddings_are_probed_frozen(tmp_path):
    from safetensors.numpy import save_file

    folder = tmp_path / "static"
    folder.mkdir()
    table = np.random.default_rng(0).normal(size=(40, 64)).astype(np.float32)
    save_file({"table": table}, folder / "embeddings.safetensors")
    request = toy_request(
        tmp_path, folder, "token", "linear-probe", kind="static-embeddings", C=10.0
    )
    report = TorchBackend().fit(request, silent)
    kept = load_file(request.out / "embeddings.safetensors")["embeddings"].numpy()
    assert np.array_equal(kept, table)
    assert report.epochs[0]["validation_score"] > 0.95


def test_l1_is_refused(tmp_path):
    request = toy_request(tmp_path, random_backbone(tmp_path), recipe="linear-probe", l1=0.1)
    with pytest.raises(RequestError, match="`l1`"):
        TorchBackend().fit(request, silent)
