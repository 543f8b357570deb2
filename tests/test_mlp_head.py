"""Heads with hidden layers against autograd, Adam's formula and Keras; the features they share."""

from __future__ import annotations

import dataclasses
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch.nn import functional as F

from harness.backends import heads
from harness.backends.base import predict_all
from harness.backends.heads import initial_head
from harness.backends.mlp import Adam, MlpTrainer, cross_entropy
from harness.backends.probe import check, probe
from harness.backends.torch.backend import TorchBackend
from harness.backends.torch.runtime import TorchRuntime
from harness.errors import Diverged, RequestError
from tests import tensorflow_side
from tests.conftest import NEEDS_TENSORFLOW
from tests.torch_toys import accuracy, silent, toy_request
from tests.vision_toys import picture_request, random_timm


@pytest.fixture(scope="module")
def there():
    """Runs a function in TensorFlow's process: two frameworks never share one."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, tensorflow_side.set_up) as pool:
        yield lambda function, *args, **named: pool.submit(function, *args, **named).result()


@pytest.fixture
def generator():
    return np.random.default_rng(0)


def examples(generator, count=50, width=7, outputs=3):
    """Features of which the largest of the first three says the class."""
    rows = generator.normal(size=(count, width)).astype(np.float32)
    return rows, rows[:, :outputs].argmax(1)


class Recorder:
    """Stands where the optimiser is, and keeps the gradients."""

    def step(self, gradients):
        self.gradients = gradients


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("hidden", [(), (16,), (8, 5)], ids=str)
def test_gradients_are_those_of_autograd(generator, hidden, smoothing):
    rows, labels = examples(generator)
    layers = [(w, b + np.float32(0.1)) for w, b in initial_head(7, hidden, 3, seed=3)]
    trainer = MlpTrainer(layers, 1e-3, smoothing)
    trainer._adam = recorder = Recorder()
    loss = trainer.step(rows, labels)
    tensors = [torch.tensor(a, dtype=torch.float64, requires_grad=True) for x in layers for a in x]
    x = torch.from_numpy(rows).double()
    for weight, bias in zip(tensors[:-2:2], tensors[1:-2:2], strict=True):
        x = torch.relu(x @ weight.T + bias)
    expected = F.cross_entropy(
        x @ tensors[-2].T + tensors[-1], torch.from_numpy(labels), label_smoothing=smoothing
    )
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-6)
    for got, tensor in zip(recorder.gradients, tensors, strict=True):
        np.testing.assert_allclose(got, tensor.grad, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        trainer(rows), (x @ tensors[-2].T + tensors[-1]).detach(), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_gradient_of_cross_entropy_is_its_slope(generator, smoothing):
    logits, labels = generator.normal(0, 3, (4, 5)), np.array([0, 4, 2, 2])
    _, gradient = cross_entropy(logits, labels, np.float64(smoothing))
    step = 1e-6
    for place in np.ndindex(logits.shape):
        up, down = logits.copy(), logits.copy()
        up[place] += step
        down[place] -= step
        slope = cross_entropy(up, labels, np.float64(smoothing))[0]
        slope = (slope - cross_entropy(down, labels, np.float64(smoothing))[0]) / (2 * step)
        assert gradient[place] == pytest.approx(slope, abs=1e-7)


def test_cross_entropy_survives_huge_logits():
    logits = np.array([[1e4, 0.0, -1e4], [0.0, 1e4, 0.0]], np.float32)
    loss, gradient = cross_entropy(logits, np.array([0, 0]), np.float32(0))
    assert loss == pytest.approx(5000.0)
    np.testing.assert_allclose(gradient, [[0, 0, 0], [-0.5, 0.5, 0]], atol=1e-7)


def adam_of_keras(start, gradients, rate):
    """Kingma and Ba (2015), the reordered form at the end of section 2, in float64."""
    weights, first, second = start.astype(np.float64), 0.0, 0.0
    for count, gradient in enumerate(gradients, 1):
        gradient = gradient.astype(np.float64)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        alpha = rate * np.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        weights = weights - alpha * first / (np.sqrt(second) + 1e-7)
    return weights


@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_updates_are_those_of_keras_formula(generator, scale):
    """Small gradients tell where epsilon is added: PyTorch's form moves otherwise."""
    start = generator.normal(size=(4, 3)).astype(np.float32)
    gradients = [(scale * generator.normal(size=(4, 3))).astype(np.float32) for _ in range(20)]
    mine, other = start.copy(), torch.nn.Parameter(torch.from_numpy(start.copy()))
    untouched = np.ones(2, np.float32)
    optimiser = Adam([mine, untouched], 1e-2)
    theirs = torch.optim.Adam([other], lr=1e-2, eps=1e-7)
    for gradient in gradients:
        kept = gradient.copy()
        optimiser.step([gradient, np.zeros(2, np.float32)])
        assert np.array_equal(gradient, kept)
        other.grad = torch.from_numpy(gradient)
        theirs.step()
    expected = adam_of_keras(start, gradients, 1e-2)
    moved = np.abs(expected - start).max()
    np.testing.assert_allclose(mine, expected, rtol=0, atol=1e-5 * moved + 5e-7)
    assert np.array_equal(untouched, np.ones(2, np.float32))
    if scale < 1:
        assert np.abs(mine - other.detach().numpy()).max() > 0.05 * moved


def test_initial_weights_are_glorots_draw():
    layers = initial_head(300, [200, 100], 10, seed=1)
    assert [(w.shape, b.shape) for w, b in layers] == [
        ((200, 300), (200,)),
        ((100, 200), (100,)),
        ((10, 100), (10,)),
    ]
    for weight, bias in layers:
        limit = np.sqrt(6 / sum(weight.shape))
        assert not bias.any() and weight.dtype == bias.dtype == np.float32
        assert 0.98 * limit < np.abs(weight).max() <= limit * (1 + 1e-6)
        assert weight.std() == pytest.approx(limit / np.sqrt(3), rel=0.05)
    again, other = (
        initial_head(300, [200, 100], 10, seed=1),
        initial_head(300, [200, 100], 10, seed=2),
    )
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(layers, again, strict=True))
    assert not any(np.array_equal(a[0], b[0]) for a, b in zip(layers, other, strict=True))


@NEEDS_TENSORFLOW
@pytest.mark.parametrize(
    ("hidden", "smoothing"), [((16,), 0.0), ((16,), 0.1), ((8, 5), 0.0)], ids=str
)
def test_a_head_trains_as_keras_fit_does(there, generator, hidden, smoothing):
    rows, labels = examples(generator, count=100)
    start = initial_head(7, hidden, 3, seed=5)
    trainer = MlpTrainer(start, 1e-2, smoothing)
    losses = []
    for _ in range(10):
        parts = [np.arange(i, min(i + 32, 100)) for i in range(0, 100, 32)]
        values = [trainer.step(rows[part], labels[part]) for part in parts]
        losses.append(np.average(values, weights=[len(part) for part in parts]))
    theirs, their_losses = there(
        tensorflow_side.keras_head, start, rows, labels,
        learning_rate=1e-2, smoothing=smoothing, batch_size=32, epochs=10,
    )  # fmt: skip
    np.testing.assert_allclose(losses, their_losses, rtol=1e-5)
    assert losses[-1] < 0.8 * losses[0]
    for own, other in zip(trainer.layers, theirs, strict=True):
        for a, b in zip(own, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@NEEDS_TENSORFLOW
def test_a_head_of_real_width_trains_as_keras_fit_does(there, generator):
    """As wide as EfficientNet's features, 60 updates. Adam divides small gradients by their own
    size, rounding included: the few weights whose gradients nearly cancel differ most."""
    rows = np.maximum(generator.normal(size=(640, 1280)), 0).astype(np.float32)
    labels = ((rows - rows.mean(0)) @ generator.normal(size=(1280, 10))).argmax(1)
    start = initial_head(1280, (64,), 10, seed=5)
    trainer = MlpTrainer(start, 1e-3)
    losses = [
        np.mean([trainer.step(rows[i : i + 32], labels[i : i + 32]) for i in range(0, 640, 32)])
        for _ in range(3)
    ]
    theirs, their_losses = there(
        tensorflow_side.keras_head, start, rows, labels,
        learning_rate=1e-3, smoothing=0.0, batch_size=32, epochs=3,
    )  # fmt: skip
    np.testing.assert_allclose(losses, their_losses, rtol=1e-5)
    assert losses[-1] < 0.8 * losses[0]
    for own, other in zip(trainer.layers, theirs, strict=True):
        for a, b in zip(own, other, strict=True):
            # up to 2e-5 over several draws of features
            assert np.abs(a - b).max() < 1e-4 * np.abs(b).max()


class Counter:
    """The features of a picture: means of its 8 x 8 patches. Counts calls and pictures."""

    width = 48

    def __init__(self):
        self.calls = self.pictures = 0

    def __call__(self, batch):
        pixels = batch["pixel_values"]
        self.calls += 1
        self.pictures += len(pixels)
        return pixels.reshape(len(pixels), 3, 4, 8, 4, 8).mean((3, 5)).reshape(len(pixels), -1)


@pytest.fixture
def request_for(tmp_path):
    """A probe of the toy pictures; there is no model, for `Counter` computes the features."""
    libraries = {"numpy": version("numpy"), "timm": version("timm")}

    def make(framework="torch", key="key", installed=libraries, recipe="linear-probe", **options):
        options = {"hidden": (16,), "epochs": 3, "learning_rate": 1e-2, **options}
        request = picture_request(tmp_path, tmp_path / "none", recipe, **options)
        info = dataclasses.replace(request.info, framework=framework)
        return dataclasses.replace(request, info=info, features_key=key, libraries=installed)

    return make


def fit(request, compute):
    return probe(request, compute, compute.width, 1000, silent)


def test_a_head_with_hidden_layers_learns_and_is_reported(request_for):
    request, compute = request_for(epochs=20), Counter()
    layers, report = fit(request, compute)
    assert [w.shape for w, _ in layers] == [(16, 48), (3, 16)]
    assert report.trained_params == 16 * 48 + 16 + 3 * 16 + 3
    assert report.params == 1000 + report.trained_params
    assert report.steps == 20 * 6 and [e["epoch"] for e in report.epochs] == [*range(1, 21)]
    assert report.epochs[-1]["loss"] < 0.5 * report.epochs[0]["loss"]
    assert report.epochs[-1]["validation_score"] > 0.9
    assert report.train_score > 0.9
    assert {e["learning_rate"] for e in report.epochs} == {1e-2}
    rows = compute({"pixel_values": pixels_of(request.validation)})
    logits = heads.apply(layers, rows)
    assert report.epochs[-1]["validation_score"] == accuracy(request.validation, list(logits))


def pixels_of(encoded):
    images = encoded.inputs["pixel_values"]
    return images.normalised(images.values)


def test_the_head_is_trained_on_the_batches_that_every_framework_gets(request_for):
    """Each epoch sees every example once, the last batch is smaller, and the seed decides."""
    request, compute = request_for(batch_size=40, epochs=2, seed=7), Counter()
    layers, report = fit(request, compute)
    assert report.steps == 2 * 3
    rows, labels = compute({"pixel_values": pixels_of(request.train)}), request.train.targets
    trainer = MlpTrainer(initial_head(48, [16], 3, seed=7), 1e-2)
    order = np.random.default_rng(7)
    for _ in range(2):
        shuffled = order.permutation(96)
        parts = [shuffled[:40], shuffled[40:80], shuffled[80:]]
        for i in order.permutation(3):
            trainer.step(rows[parts[i]], labels["labels"][parts[i]])
    for own, other in zip(trainer.layers, layers, strict=True):
        assert np.array_equal(own[0], other[0]) and np.array_equal(own[1], other[1])


def test_half_an_epoch_is_half_the_steps(request_for):
    _, report = fit(request_for(epochs=1.5), Counter())
    assert report.steps == 9 and [e["epoch"] for e in report.epochs] == [1, 2]


def test_a_rate_that_is_too_high_is_divergence(request_for):
    with pytest.raises(Diverged, match="of the head in epoch"), np.errstate(all="ignore"):
        fit(request_for(learning_rate=1e30), Counter())


def test_hidden_layers_need_one_label_an_example(tmp_path):
    request = toy_request(tmp_path, tmp_path, "token", "linear-probe", hidden=(16,))
    with pytest.raises(RequestError, match="`hidden` layers need a task with one label"):
        check(request)


def test_features_are_computed_once_for_seeds_and_heads_and_frameworks(request_for):
    compute = Counter()
    first = fit(request_for(), compute)
    assert (compute.calls, compute.pictures) == (3 + 2, 96 + 48)  # in batches of 32
    others = {
        "seed": request_for(seed=2),
        "head": request_for(hidden=(8, 8)),
        "linear": request_for(hidden=(), C=0.1),
        "settings": request_for(batch_size=8, label_smoothing=0.1, epochs=1),
        "framework": request_for("tensorflow"),
    }
    reports = {name: fit(request, compute) for name, request in others.items()}
    assert compute.calls == 5
    assert not np.array_equal(reports["seed"][0][0][0], first[0][0][0])
    for (weight, bias), (w, b) in zip(first[0], reports["framework"][0], strict=True):
        assert np.array_equal(weight, w) and np.array_equal(bias, b)
    spent = first[1].notes["features_seconds"]
    for name, (_, report) in reports.items():
        assert report.notes["features_framework"] == "torch"
        assert report.notes["features_seconds"] == spent
        own = None if name == "framework" else spent + report.notes["head_seconds"]
        assert report.seconds == own
    fit(request_for(key="another model or draw"), compute)
    assert compute.calls == 10


@pytest.mark.parametrize("release", ["0.0.1", None], ids=["another release", "not installed"])
def test_features_of_another_release_are_computed_again(request_for, release):
    compute = Counter()
    old = {"numpy": release} if release else {"no-such-library": "1.0"}
    fit(request_for(installed=old), compute)
    fit(request_for("tensorflow"), compute)
    assert compute.calls == 10
    _, report = fit(request_for(), compute)
    assert compute.calls == 10
    assert report.notes["features_framework"] == "tensorflow"  # who computed them the second time


@pytest.mark.parametrize(
    "settings",
    [{"hidden": ()}, {"hidden": (), "augment": {"flip": True}}, {"hidden": (8,)}],
    ids=["linear", "augmented", "hidden"],
)
def test_a_probe_depends_on_its_seed_where_it_draws(request_for, settings):
    requests = [request_for(key=str(seed), seed=seed, **settings) for seed in (1, 2)]
    one, two = (fit(request, Counter())[0] for request in requests)
    same = all(np.array_equal(a[0], b[0]) for a, b in zip(one, two, strict=True))
    assert same != TorchBackend.draws("linear-probe", requests[0].settings)


def test_seconds_of_another_framework_are_none_of_a_fits_own(request_for):
    compute = Counter()
    fit(request_for(augment={"flip": True}, epochs=1), compute)
    for settings in ({"hidden": ()}, {"hidden": (16,)}, {"augment": {"flip": True}}):
        _, report = fit(request_for("tensorflow", **settings), compute)
        assert (report.seconds, report.examples_per_second) == (None, None)
        assert report.seconds_reason == "features computed by torch"
        assert sum(epoch["seconds"] for epoch in report.epochs) <= report.notes["head_seconds"]
    _, report = fit(request_for("tensorflow", key="its own"), compute)
    assert report.seconds > 0 and report.examples_per_second == 96 / report.seconds
    assert report.seconds_reason is None


def cached(request):
    return {path.name for path in request.features_cache.iterdir()}


def test_augmented_copies_are_entries_of_their_own(request_for):
    compute = Counter()
    plain = request_for()
    fit(plain, compute)
    before = cached(plain)
    assert compute.calls == 5 and len(before) == 2
    flipped = request_for(augment={"flip": True})
    fit(flipped, compute)
    assert compute.calls == 5 + 3 * 3  # one copy of the training split an epoch
    copies = cached(flipped) - before
    assert len(copies) == 3
    rows = [load_file(plain.features_cache / name)["rows"] for name in sorted(copies)]
    original = compute({"pixel_values": pixels_of(plain.train)})
    mirrored = compute({"pixel_values": pixels_of(plain.train)[..., ::-1]})
    compute.calls -= 2
    shares = []
    for copy in rows:
        kept = np.isclose(copy, original, atol=1e-5).all(1)
        assert np.isclose(copy[~kept], mirrored[~kept], atol=1e-5).all()
        shares.append(kept.mean())
    assert all(0.3 < share < 0.7 for share in shares)
    assert not np.array_equal(rows[0], rows[1])
    fit(request_for(augment={"flip": True}, seed=2, hidden=(8,)), compute)
    assert compute.calls == 5 + 3 * 3
    fit(request_for(augment={"flip": True}, epochs=4), compute)
    assert compute.calls == 5 + 4 * 3
    fit(request_for(augment={"flip": True, "crop": 0.1}), compute)
    assert compute.calls == 5 + 4 * 3 + 3 * 3
    assert before < cached(plain) and len(cached(plain)) == 2 + 4 + 3


def test_each_epoch_trains_on_a_copy_of_its_own(request_for):
    request, compute = request_for(augment={"flip": True}, epochs=2, batch_size=96), Counter()
    layers, _ = fit(request, compute)
    names = sorted(n for n in cached(request) if "pooled-train-" in n)
    copies = [load_file(request.features_cache / name)["rows"] for name in names]
    trainer = MlpTrainer(initial_head(48, [16], 3, seed=1), 1e-2)
    order = np.random.default_rng(1)
    for copy in copies:
        shuffled = order.permutation(96)
        order.permutation(1)
        trainer.step(copy[shuffled], request.train.targets["labels"][shuffled])
    for own, other in zip(trainer.layers, layers, strict=True):
        assert np.array_equal(own[0], other[0]) and np.array_equal(own[1], other[1])


@NEEDS_TENSORFLOW
def test_tensorflow_takes_the_features_that_pytorch_computed(there, tmp_path):
    folder = random_timm(tmp_path, "vgg11")
    settings = {"hidden": (16,), "epochs": 20, "learning_rate": 1e-2}
    request = picture_request(tmp_path, folder, "linear-probe", **settings)
    request = dataclasses.replace(request, libraries={"torch": version("torch")})
    report = TorchBackend().fit(request, silent)
    assert report.epochs[-1]["validation_score"] > 0.9
    predictor = TorchRuntime().load(request.out, request.out, device="cpu", threads=1)
    logits = predict_all(predictor, request.validation)
    assert accuracy(request.validation, logits) == report.epochs[-1]["validation_score"]
    entries = {path: path.stat().st_ino for path in request.features_cache.iterdir()}
    other = dataclasses.replace(
        request, out=tmp_path / "other", validation_score=None, train_score=None,
        info=dataclasses.replace(request.info, framework="tensorflow"),
        libraries={"tensorflow": version("tensorflow")},
    )  # fmt: skip
    again = there(tensorflow_side.fit, other)
    assert again.notes["features_framework"] == "torch"
    # not written again, which would be under another inode
    assert entries == {path: path.stat().st_ino for path in request.features_cache.iterdir()}
    mine, theirs = (load_file(out / "head.safetensors") for out in (request.out, other.out))
    assert all(np.array_equal(mine[name], theirs[name]) for name in mine)
    assert set(mine) == set(theirs) == {"weight", "bias", "hidden.0.weight", "hidden.0.bias"}
