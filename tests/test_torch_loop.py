"""The training loop on toy tasks that a tiny random BERT learns in a second."""

from __future__ import annotations

import dataclasses
import math
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn.utils import clip_grad_norm_

from harness.backends import batches
from harness.backends.base import predict_all
from harness.backends.torch import loop
from harness.backends.torch.backend import TorchBackend
from harness.backends.torch.losses import span_cross_entropy
from harness.backends.torch.models import build, load
from harness.backends.torch.optimiser import clip
from harness.backends.torch.runtime import TorchRuntime
from harness.backends.torch.tensors import to_tensors
from harness.backends.training import schedule
from harness.errors import Diverged, RequestError, Unsupported
from tests.torch_toys import accuracy, random_backbone, silent, toy, toy_request


def weights(artifact):
    return load_file(artifact / "model.safetensors") | load_file(artifact / "head.safetensors")


@pytest.mark.parametrize("dropout", [None, 0.0])
def test_the_same_seed_gives_the_same_weights_bit_for_bit(tmp_path, dropout):
    folder = random_backbone(tmp_path)
    fits = {}
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        request = toy_request(tmp_path, folder, out=out, seed=seed, epochs=1, dropout=dropout)
        TorchBackend().fit(request, silent)
        fits[out] = weights(tmp_path / out)
    assert all(torch.equal(fits["a"][name], fits["b"][name]) for name in fits["a"])
    assert any(not torch.equal(fits["a"][name], fits["c"][name]) for name in fits["a"])


@pytest.mark.parametrize("head", ["pooled", "token", "span"])
def test_fine_tuning_learns_a_toy_task(tmp_path, head):
    request = toy_request(
        tmp_path, random_backbone(tmp_path), head, epochs=30, dropout=0.0, pooling="cls"
    )
    report = TorchBackend().fit(request, silent)
    assert report.epochs[-1]["loss"] < report.epochs[0]["loss"] / 2
    assert report.epochs[-1]["validation_score"] > 0.75  # chance: a third
    assert report.steps == 30 * 6


@pytest.mark.parametrize(("architecture", "head"), [("gpt2", "token"), ("llama", "pooled")])
def test_autoregressive_backbones_learn_too(tmp_path, architecture, head):
    request = toy_request(
        tmp_path, random_backbone(tmp_path, architecture), head, epochs=20, pooling="last"
    )
    report = TorchBackend().fit(request, silent)
    assert report.epochs[-1]["loss"] < 0.7 * report.epochs[0]["loss"]


def test_the_artifact_scores_as_the_last_epoch_did(tmp_path):
    request = toy_request(tmp_path, random_backbone(tmp_path), epochs=3)
    report = TorchBackend().fit(request, silent)
    predictor = TorchRuntime().load(request.out, request.out, device="cpu", threads=1)
    logits = predict_all(predictor, request.validation, batch_size=7)
    assert accuracy(request.validation, logits) == report.epochs[-1]["validation_score"]
    observed = predictor.observed()
    assert (observed["device"], observed["dtype"], observed["threads"]) == ("cpu", "float32", 1)


def test_the_report_counts_parameters_steps_and_fractions_of_epochs(tmp_path):
    request = toy_request(tmp_path, random_backbone(tmp_path), epochs=2.5)
    report = TorchBackend().fit(request, silent)
    model, _ = load(request.out)
    assert report.params == report.trained_params == sum(p.numel() for p in model.parameters())
    assert report.steps == 15  # 96 examples, 16 a batch: 6 steps an epoch
    assert [epoch["epoch"] for epoch in report.epochs] == [1, 2, 3]


def test_progress_ends_at_the_total(tmp_path):
    calls = []
    request = toy_request(tmp_path, random_backbone(tmp_path), epochs=2)
    TorchBackend().fit(request, lambda *call: calls.append(call))
    assert calls[-1][:3] == ("fit", 12, 12)


def test_a_huge_learning_rate_is_reported_as_divergence(tmp_path):
    request = toy_request(tmp_path, random_backbone(tmp_path), learning_rate=1e4, clip_norm=None)
    with pytest.raises(Diverged, match="loss"):
        TorchBackend().fit(request, silent)


@pytest.mark.parametrize("norm", [0.1, 1e6])
def test_clipping_within_the_update_is_clipping_before_it(norm):
    gradients = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(1))
    weights = {}
    for clips in (clip_grad_norm_, None):
        parameters = [torch.nn.Parameter(torch.ones(5, 4)) for _ in range(3)]
        groups = [{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.1}]
        optimiser = torch.optim.AdamW(groups, lr=0.01, fused=True)
        for step in (1.0, 3.0):  # the second update shows whether its moments are those of clipped
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient * step
            if clips:
                clips(parameters, norm)
            else:
                clip(optimiser, norm)
            optimiser.step()
        weights[clips] = torch.stack([p.detach() for p in parameters])
    torch.testing.assert_close(weights[None], weights[clip_grad_norm_], rtol=1e-6, atol=1e-7)


def test_early_stopping_keeps_the_best_epoch(tmp_path):
    scores = iter([0.2, 0.9, 0.5, 0.4, 0.3])
    request = dataclasses.replace(
        toy_request(tmp_path, random_backbone(tmp_path), epochs=5, patience=2, keep_best=True),
        validation_score=lambda logits: next(scores),
    )
    report = TorchBackend().fit(request, silent)
    assert len(report.epochs) == 4
    assert report.stopped.startswith("early: no better validation score than epoch 2's 0.9000")
    assert report.notes["kept_epoch"] == 2


def test_kept_weights_are_those_of_the_best_epoch(tmp_path):
    folder = random_backbone(tmp_path)
    scores = iter([0.9, 0.1, 0.1])
    request = dataclasses.replace(
        toy_request(tmp_path, folder, epochs=3, keep_best=True, out="best"),
        validation_score=lambda logits: next(scores),
    )
    TorchBackend().fit(request, silent)
    # what the score of the first epoch was computed from
    seen = []
    request = dataclasses.replace(
        toy_request(tmp_path, folder, epochs=3, out="last"),
        validation_score=lambda logits: seen.append(logits) or 0.0,
    )
    TorchBackend().fit(request, silent)
    predictor = TorchRuntime().load(tmp_path / "best", tmp_path, device="cpu", threads=1)
    kept = predict_all(predictor, request.validation)
    np.testing.assert_allclose(np.stack(kept), np.stack(seen[0]), atol=1e-5)


def test_l1_makes_weights_small(tmp_path):
    folder = random_backbone(tmp_path)
    sums = []
    for l1 in (0.0, 1e-2):
        request = toy_request(tmp_path, folder, epochs=3, l1=l1, out=f"l1-{l1}")
        TorchBackend().fit(request, silent)
        sums.append(sum(w.abs().sum() for w in weights(request.out).values() if w.ndim > 1))
    assert sums[1] < 0.8 * sums[0]


def test_float16_on_a_cpu_is_unsupported(tmp_path):
    request = toy_request(tmp_path, random_backbone(tmp_path))
    request.settings["fit_dtype"] = "float16"
    with pytest.raises(Unsupported, match="float16"):
        TorchBackend().fit(request, silent)


def test_bfloat16_trains(tmp_path):
    request = toy_request(tmp_path, random_backbone(tmp_path), epochs=3)
    request.settings["fit_dtype"] = "bfloat16"
    report = TorchBackend().fit(request, silent)
    assert report.epochs[-1]["loss"] < report.epochs[0]["loss"]
    assert {w.dtype for w in weights(request.out).values()} == {torch.float32}


def test_an_unknown_recipe_is_a_clear_error(tmp_path):
    request = toy_request(tmp_path, random_backbone(tmp_path), recipe="baseline")
    with pytest.raises(RequestError, match="baseline"):
        TorchBackend().fit(request, silent)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("count", [1, 31, 32, 1000, 1025])
def test_batches_hold_every_example_exactly_once(count, mixed):
    lengths = np.random.default_rng(0).integers(1, 100, count)
    drawn = batches.epoch_batches(lengths, 32, np.random.default_rng(1), mixed=mixed)
    assert sorted(np.concatenate(drawn).tolist()) == list(range(count))
    assert len(drawn) == batches.steps_per_epoch(count, 32)
    assert max(map(len, drawn)) <= 32


def test_batches_of_similar_length_need_little_padding():
    lengths = np.random.default_rng(0).geometric(0.05, 2000)
    drawn = batches.epoch_batches(lengths, 32, np.random.default_rng(1))
    shuffled = np.random.default_rng(1).permutation(2000)
    naive = [shuffled[i : i + 32] for i in range(0, 2000, 32)]
    padding, without = (
        sum(lengths[batch].max() * len(batch) for batch in cut) - lengths.sum()
        for cut in (drawn, naive)
    )
    assert padding < 0.06 * without


def test_mixed_batches_hold_all_lengths():
    lengths = np.sort(np.random.default_rng(0).geometric(0.05, 2048))
    drawn = batches.epoch_batches(lengths, 32, np.random.default_rng(1), mixed=True)
    means = [lengths[batch].mean() for batch in drawn]
    # 64 means of 32 draws: their spread is that of means, not that of sorted blocks
    assert 0.5 < np.std(means) / (lengths.std() / np.sqrt(32)) < 2


def test_two_epochs_have_different_batches():
    lengths = np.full(64, 9)
    generator = np.random.default_rng(1)
    first = batches.epoch_batches(lengths, 8, generator)
    second = batches.epoch_batches(lengths, 8, generator)
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))


def test_token_labels_are_padded_with_the_ignored_label():
    encoded = toy("token", 4, seed=0)
    inputs, targets = to_tensors(encoded, np.arange(4), "cpu")
    assert targets["labels"].shape == inputs["input_ids"].shape
    assert bool((targets["labels"][inputs["attention_mask"] == 0] == -100).all())


def test_the_schedule_rises_and_falls_linearly():
    shares = [schedule(step, 10, 0.4) for step in range(10)]
    np.testing.assert_allclose(shares[:4], [0.2, 0.4, 0.6, 0.8])
    np.testing.assert_allclose(shares[4:], [1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])


def test_the_span_loss_gives_padding_no_probability():
    logits = torch.tensor([[[1.0, 0.0], [2.0, 0.0], [99.0, 99.0]]])
    real = torch.tensor([[True, True, False]])
    targets = {"start": torch.tensor([1]), "end": torch.tensor([0])}
    expected = (math.log(1 + math.exp(-1)) + math.log(2)) / 2
    assert float(span_cross_entropy(logits, real, targets, 0.0)) == pytest.approx(expected)
    smoothed = float(span_cross_entropy(logits, real, targets, 0.1))
    start = math.log(1 + math.exp(-1)) + 0.05  # half of the mass of 0.1 sits one logit lower
    assert smoothed == pytest.approx((start + math.log(2)) / 2)


def test_on_a_gpu_the_library_chooses_the_attention_that_an_architecture_has(tmp_path, monkeypatch):
    """DeBERTa has no SDPA: asked for it by name, transformers refuses to build it."""
    attentions = []

    def build_and_stop(*arguments, **options):
        attentions.append(build(*arguments, **options).backbone.config._attn_implementation)
        raise InterruptedError  # what follows needs the GPU

    monkeypatch.setattr(loop, "set_up", lambda device, threads: None)
    monkeypatch.setattr(loop, "reproducible", lambda seed, device: nullcontext())
    monkeypatch.setattr(loop, "build", build_and_stop)
    for architecture in ("bert", "deberta-v2"):
        request = toy_request(tmp_path, random_backbone(tmp_path, architecture), epochs=1)
        with pytest.raises(InterruptedError):
            loop.train(dataclasses.replace(request, device="cuda"), silent)
    assert attentions == ["sdpa", "eager"]


@pytest.mark.parametrize("stage", ["fit", "load"])
def test_float32_is_not_tf32_whatever_the_process_did_before(tmp_path, stage):
    """On a CPU the flags change nothing, but are there to be seen."""
    flags = torch.backends.cuda.matmul, torch.backends.cudnn
    request = toy_request(tmp_path, random_backbone(tmp_path), epochs=1)
    if stage == "load":
        TorchBackend().fit(request, silent)
    for flag in flags:
        flag.allow_tf32 = True
    if stage == "fit":
        TorchBackend().fit(request, silent)
    else:
        TorchRuntime().load(request.out, request.out, device="cpu", threads=1)
    assert not any(flag.allow_tf32 for flag in flags)
