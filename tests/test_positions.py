"""Inputs may be no longer than a model has positions for, where it has a table of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import Unsupported
from harness.records.files import read_json
from harness.stages.positions import check_length, positions
from tests.conftest import MAJORITY_SUITE, Harness


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512}, 512),
        ({"model_type": "gpt2", "n_positions": 1024}, 1024),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "bart", "max_position_embeddings": 1024, "pad_token_id": 1}, 1024),
        ({"model_type": "llama", "max_position_embeddings": 64, "rope_theta": 1e4}, None),
        ({"max_position_embeddings": 64, "rope_parameters": {"rope_theta": 1e4}}, None),
        ({"max_position_embeddings": 64, "position_embedding_type": "alibi"}, None),
        ({"max_position_embeddings": 64, "position_embedding_type": "absolute"}, 64),
        ({"model_type": "deberta-v2", "max_position_embeddings": 512,
          "position_biased_input": False}, None),
        ({"model_type": "t5", "relative_attention_num_buckets": 32}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_positions_of_a_configuration(config: dict[str, Any], limit: int | None) -> None:
    assert positions(config) == limit


@pytest.mark.parametrize(
    ("kind", "limit"), [("BertConfig", 512), ("RobertaConfig", 512), ("LlamaConfig", None)]
)
def test_what_the_library_writes_is_understood(kind: str, limit: int | None) -> None:
    from harness.backends.torch.zoo import hide_torchvision

    hide_torchvision()
    import transformers

    sizes = {"max_position_embeddings": 514} if kind == "RobertaConfig" else {}
    assert positions(getattr(transformers, kind)(**sizes).to_dict()) == limit


def test_both_numbers_are_named(tiny_bert: Path, tmp_path: Path) -> None:
    check_length(tiny_bert, 128)
    with pytest.raises(Unsupported, match=r"max_length is 129 tokens.*positions for 128"):
        check_length(tiny_bert, 129)
    check_length(tmp_path, 129)  # a folder without a configuration tells no limit


def test_a_model_with_too_few_positions_is_unsupported_before_it_trains(
    harness: Harness, tmp_path: Path, tiny_bert: Path
) -> None:
    text = MAJORITY_SUITE.replace(
        "tasks:\n", f"  - {{id: m, source: 'path:{tiny_bert}'}}\ntasks:\n", 1
    )
    text = text.replace("    data:\n", "    max_length: 1024\n    data:\n")
    text += "  - {models: [m], tasks: [toy], recipe: linear-probe, launches: 0}\nthreads: 1\n"
    (tmp_path / "mine.yaml").write_text(text)
    for split in ("train", "test"):
        rows = [f"{'good city ' * 99}{i},yes\nbad,no" for i in range(10)]
        (tmp_path / f"{split}.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    answer = harness("run", "mine.yaml", "--only", "m")
    assert answer.status == 0, answer.err  # an answer, and no failure
    (record,) = (tmp_path / "results/mine/fits").iterdir()
    status = read_json(record / "status.json")
    assert status is not None and status["status"] == "unsupported"
    assert "max_length is 1024 tokens, and the model has positions for 128" in status["reason"]
