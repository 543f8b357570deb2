"""Probabilities of a checkpoint's own classifier, which LEEP starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.backends.torch.classifier import class_probabilities
from harness.backends.torch.zoo import hide_torchvision
from harness.errors import Unsupported
from harness.tasks.base import Encoded, Ragged
from tests.tiny_models import bert_config, llama_config

hide_torchvision()  # before transformers is asked for a model

#: of three lengths, so that a batch of them is padded
TEXTS = [[2, 11, 12, 13, 3], [2, 40, 3], [2, 50, 51, 3]]
ENCODED = Encoded({"input_ids": Ragged.of(TEXTS)}, {}, np.arange(3), np.zeros(3, bool))


def said(folder: Path, seconds: float | None = None) -> np.ndarray:
    return class_probabilities(folder, ENCODED, seconds=seconds, threads=1)


def saved(model_class: Any, config: Any, folder: Path) -> Any:
    torch.manual_seed(0)
    model = model_class(config).eval()
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_each_text_is_classified_as_it_is_alone(tmp_path: Path, kind: str) -> None:
    from transformers import BertForSequenceClassification, LlamaForSequenceClassification

    config = bert_config() if kind == "bert" else llama_config()
    config.num_labels = 4
    of_kind = BertForSequenceClassification if kind == "bert" else LlamaForSequenceClassification
    model = saved(of_kind, config, tmp_path)
    found = said(tmp_path)
    assert found.shape == (3, 4)
    for row, ids in zip(found, TEXTS, strict=True):
        with torch.inference_mode():
            alone = model(input_ids=torch.tensor([ids])).logits.softmax(-1)[0]
        assert row == pytest.approx(alone.numpy(), abs=1e-6)


def test_a_checkpoint_without_a_classifier_has_none(tmp_path: Path) -> None:
    from transformers import BertForMaskedLM, BertForSequenceClassification

    saved(BertForMaskedLM, bert_config(), tmp_path / "masked")
    with pytest.raises(Unsupported, match="no classifier of its own"):
        said(tmp_path / "masked")
    saved(BertForSequenceClassification, bert_config(num_labels=1), tmp_path / "regression")
    with pytest.raises(Unsupported, match="no distribution over classes"):
        said(tmp_path / "regression")


def test_it_stops_when_its_seconds_are_over(tmp_path: Path) -> None:
    from transformers import BertForSequenceClassification

    saved(BertForSequenceClassification, bert_config(num_labels=3), tmp_path)
    with pytest.raises(Unsupported, match="of 3 texts took all of 0 s"):
        said(tmp_path, seconds=0.0)
