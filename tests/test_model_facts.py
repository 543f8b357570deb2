"""Operations per example against figures worked out by hand, and against published ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.backends.base import pad
from harness.backends.torch.family import family_of
from harness.backends.torch.flops import artifact_facts, count
from harness.measure.reference_speed import flops_per_second
from tests import tiny_models
from tests.vision_toys import random_model


def bert_flops(length: int, hidden: int, inner: int, layers: int, heads_out: int) -> int:
    """By hand: four projections, two feed-forward products, scores and weighted values; the head.

    Two operations per multiplication and addition.
    """
    projections = 4 * 2 * hidden * hidden * length
    feed_forward = 2 * 2 * hidden * inner * length
    attention = 2 * 2 * length * length * hidden
    return layers * (projections + feed_forward + attention) + 2 * hidden * heads_out


@pytest.mark.parametrize("length", [1, 7, 30])
def test_a_berts_operations_are_those_of_the_formula(tmp_path: Path, length: int) -> None:
    artifact = tiny_models.transformer_artifact(tmp_path, tiny_models.bert_config())
    example = pad(tiny_models.tokens([length]), np.array([0]))
    facts = artifact_facts(artifact, example)
    assert facts["flops_per_example"] == bert_flops(length, 32, 64, 2, 5)
    assert facts["family"] == "autoencoding"


def bart_config() -> Any:
    from transformers import BartConfig

    return BartConfig()


def vit_config() -> Any:
    from transformers import ViTConfig

    return ViTConfig()


@pytest.mark.parametrize(
    ("config", "family"),
    [
        (tiny_models.bert_config, "autoencoding"),
        (lambda: tiny_models.bert_config(is_decoder=True), "autoregressive"),
        (tiny_models.llama_config, "autoregressive"),
        (bart_config, "sequence-to-sequence"),  # stands in both lists of heads as well
        (vit_config, None),
    ],
)
def test_a_language_models_family_is_what_its_configuration_says(
    tmp_path: Path, config: Any, family: str | None
) -> None:
    config().save_pretrained(tmp_path)
    assert family_of(tmp_path) == family


class FromPixels(torch.nn.Module):
    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.model(pixel_values)
        return out


def test_a_resnet18_has_its_published_operations() -> None:
    """1.81 billion multiply-adds at 224 pixels (He et al., 2016, table 1: 1.8e9; torchvision's
    documentation: 1.81). Ours has 7 classes instead of 1,000: 0.5 million fewer."""
    model = FromPixels(random_model("resnet18"))
    found = count(model, {"pixel_values": torch.zeros(1, 3, 224, 224)})
    assert found / 2 == pytest.approx(1.81e9 - 512 * 993, rel=0.005)


def test_an_efficientnet_lite0_has_its_published_operations() -> None:
    """407 million multiply-adds (TensorFlow's repository, efficientnet/lite), with 1,000 classes.

    It counts one operation a multiply-add, and activations beside: ours is a few percent below.
    """
    model = FromPixels(random_model("tf_efficientnet_lite0"))
    found = count(model, {"pixel_values": torch.zeros(1, 3, 224, 224)})
    assert found / 2 == pytest.approx(407e6 - 1280 * 993, rel=0.06)


def test_a_table_of_embeddings_costs_its_head_alone(tmp_path: Path) -> None:
    artifact = tiny_models.static_artifact(tmp_path)
    example = pad(tiny_models.tokens([9]), np.array([0]))
    facts = artifact_facts(artifact, example)
    assert (facts["flops_per_example"], facts["family"]) == (2 * 16 * 5, None)


def test_pytorch_offers_products_of_its_precisions() -> None:
    from harness.backends.torch.runtime import TorchRuntime

    threads = torch.get_num_threads()
    found = TorchRuntime().products("cpu", threads)
    assert [product.dtype for product in found] == ["float32", "bfloat16"]
    assert all(flops_per_second(product, 1) > 1e7 for product in found)


def test_onnx_runtimes_products_compute_what_their_names_say() -> None:
    pytest.importorskip("onnxruntime")
    from harness.backends.onnxruntime.float32 import OnnxRuntime

    found = OnnxRuntime().products("cpu", 1)
    assert [product.name for product in found] == ["onnxruntime-float32", "onnxruntime-int8"]
    assert all(flops_per_second(product, 1) > 1e7 for product in found)
