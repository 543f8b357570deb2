"""Perplexity by a checkpoint's own head, against values worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.backends.base import LanguageModelScore
from harness.backends.torch.perplexity import language_model_score
from harness.errors import Unsupported
from tests.tiny_models import VOCABULARY, bert_config, llama_config

MASK = 7
#: two texts between a first and a last token that the tokenizer added
TEXTS = [
    (np.array([2, 11, 12, 13, 3]), np.array([1, 0, 0, 0, 1])),
    (np.array([2, 40, 3]), np.array([1, 0, 1])),
]


def score(folder: Path, texts: Any = TEXTS, mask: int | None = MASK, seconds: float = 60.0) -> Any:
    return language_model_score(folder, texts, mask, seconds=seconds, threads=1)


def saved(model: Any, folder: Path) -> Any:
    model.eval().save_pretrained(folder)
    return model


def masked_model(config: Any) -> Any:
    from transformers import BertForMaskedLM

    torch.manual_seed(0)
    return BertForMaskedLM(config)


def test_a_head_that_knows_nothing_is_as_perplexed_as_its_vocabulary_is_large(
    tmp_path: Path,
) -> None:
    model = masked_model(bert_config(tie_word_embeddings=False))
    torch.nn.init.zeros_(model.cls.predictions.decoder.weight)
    torch.nn.init.zeros_(model.cls.predictions.decoder.bias)
    saved(model, tmp_path)
    assert score(tmp_path) == LanguageModelScore("pseudo-perplexity", pytest.approx(VOCABULARY), 4)


def test_one_masked_token_at_a_time_by_hand(tmp_path: Path) -> None:
    model = saved(masked_model(bert_config()), tmp_path)
    total = 0.0
    for ids, places in (([2, 11, 12, 13, 3], (1, 2, 3)), ([2, 40, 3], (1,))):
        for place in places:
            hidden = list(ids)
            hidden[place] = MASK
            logits = model(input_ids=torch.tensor([hidden])).logits[0, place].detach().double()
            total -= float(logits[ids[place]] - torch.logsumexp(logits, 0))
    assert score(tmp_path).perplexity == pytest.approx(math.exp(total / 4), rel=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_an_autoregressive_model_predicts_from_what_came_before(tmp_path: Path, tied: bool) -> None:
    from transformers import LlamaForCausalLM

    config = llama_config()
    config.tie_word_embeddings = tied
    torch.manual_seed(0)
    model = saved(LlamaForCausalLM(config), tmp_path)
    ids = [5, 11, 12]
    total = 0.0
    for end in (1, 2):
        logits = model(input_ids=torch.tensor([ids[:end]])).logits[0, -1].detach().double()
        total -= float(logits[ids[end]] - torch.logsumexp(logits, 0))
    found = score(tmp_path, [(np.array(ids), np.zeros(3))], None)
    assert (found.kind, found.tokens) == ("perplexity", 2), "nothing precedes the first"
    assert found.perplexity == pytest.approx(math.exp(total / 2), rel=1e-5)


def test_a_checkpoint_without_its_head_has_no_number(tmp_path: Path) -> None:
    from transformers import BertModel, LlamaModel

    saved(BertModel(bert_config()), tmp_path / "bert")
    config = llama_config()
    config.tie_word_embeddings = False
    saved(LlamaModel(config), tmp_path / "llama")
    for name in ("bert", "llama"):
        with pytest.raises(Unsupported, match="no language-model head"):
            score(tmp_path / name)


def test_without_a_mask_token_or_a_token_to_score_there_is_no_number(tmp_path: Path) -> None:
    saved(masked_model(bert_config()), tmp_path)
    with pytest.raises(Unsupported, match="no mask token"):
        score(tmp_path, mask=None)
    with pytest.raises(Unsupported, match="no text has a token"):
        score(tmp_path, [(np.array([2, 3]), np.array([1, 1]))])


def test_no_text_is_begun_after_its_seconds(tmp_path: Path) -> None:
    saved(masked_model(bert_config()), tmp_path)
    assert score(tmp_path, seconds=0.0).tokens == 3, "the first text alone"
