"""Backbones, heads and artifacts, on tiny random models of three architectures."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from harness.backends.torch import models
from harness.backends.torch.zoo import hide_torchvision
from harness.errors import RequestError, Unsupported
from tests.torch_toys import artifact_info, random_backbone

IDS = torch.tensor([[5, 6, 7, 8], [9, 3, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_padding_does_not_change_pooled_logits(tmp_path, architecture, pooling):
    folder = random_backbone(tmp_path, architecture)
    model = models.build(artifact_info("pooled", pooling=pooling), folder).eval()
    with torch.no_grad():
        batched = model(IDS, MASK)
        alone = model(IDS[1:, :2], MASK[1:, :2])
    torch.testing.assert_close(batched[1:], alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama"])
def test_token_heads_give_one_row_of_logits_a_token(tmp_path, architecture):
    model = models.build(artifact_info("token", outputs=5), random_backbone(tmp_path, architecture))
    assert model(IDS, MASK).shape == (2, 4, 5)


def test_pooling_by_hand():
    hidden = torch.tensor([[[1.0], [3.0], [50.0]], [[2.0], [4.0], [9.0]]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert models.pool(hidden, mask, "mean").flatten().tolist() == [2.0, 5.0]
    assert models.pool(hidden, mask, "cls").flatten().tolist() == [1.0, 2.0]
    assert models.pool(hidden, mask, "last").flatten().tolist() == [3.0, 9.0]


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama"])
def test_an_artifact_loads_with_the_same_logits(tmp_path, architecture):
    folder = random_backbone(tmp_path, architecture)
    info = artifact_info("pooled")
    model = models.build(info, folder, seed=3).eval()
    models.save(model, info, tmp_path / "artifact", folder)
    loaded, read = models.load(tmp_path / "artifact")
    assert read == info
    with torch.no_grad():
        assert torch.equal(loaded(IDS, MASK), model(IDS, MASK))


def test_an_artifact_is_a_checkpoint_that_transformers_reads(tmp_path):
    hide_torchvision()
    from transformers import AutoModel

    folder = random_backbone(tmp_path, "bert")
    info = artifact_info("token")
    model = models.build(info, folder).eval()
    models.save(model, info, tmp_path / "artifact", folder)
    theirs = AutoModel.from_pretrained(tmp_path / "artifact", add_pooling_layer=False).eval()
    with torch.no_grad():
        hidden = theirs(input_ids=IDS, attention_mask=MASK).last_hidden_state
        assert torch.equal(hidden, model.features(IDS, MASK))
    assert (tmp_path / "artifact" / "tokenizer.json").is_file()


def test_scratch_keeps_the_architecture_and_draws_the_weights(tmp_path):
    folder = random_backbone(tmp_path, "bert")
    info = artifact_info("pooled")
    pretrained = models.build(info, folder, seed=1).state_dict()
    scratch = models.build(info, folder, recipe="scratch", seed=1).state_dict()
    again = models.build(info, folder, recipe="scratch", seed=1).state_dict()
    name = "backbone.encoder.layer.0.attention.self.query.weight"
    assert scratch.keys() == pretrained.keys()
    assert not torch.equal(scratch[name], pretrained[name])
    assert all(torch.equal(scratch[key], again[key]) for key in scratch)


def test_a_dropout_setting_overrides_every_rate_of_the_checkpoint(tmp_path):
    folder = random_backbone(tmp_path, "bert")
    model = models.build(artifact_info("pooled"), folder, dropout=0.3)
    rates = {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)}
    assert rates == {0.3}


@pytest.mark.parametrize(
    "architecture",
    ["albert", "bert", "deberta-v2", "distilbert", "electra", "gpt2", "llama", "roberta"],
)
def test_a_dropout_setting_reaches_the_head_of_every_architecture(tmp_path, architecture):
    folder = random_backbone(tmp_path, architecture)
    model = models.build(artifact_info("pooled"), folder, dropout=0.3)
    assert model.dropout.p == 0.3
    assert {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)} == {0.3}


@pytest.mark.parametrize(
    "architecture, key, library",
    [
        ("albert", "classifier_dropout_prob", "AlbertForSequenceClassification"),
        ("bert", "classifier_dropout", "BertForSequenceClassification"),
        ("bert", "hidden_dropout_prob", "BertForSequenceClassification"),
        ("deberta-v2", "cls_dropout", "DebertaV2ForSequenceClassification"),
        ("distilbert", "seq_classif_dropout", "DistilBertForSequenceClassification"),
        ("electra", "classifier_dropout", "ElectraForTokenClassification"),
        ("roberta", "hidden_dropout_prob", "RobertaForTokenClassification"),
    ],
)
def test_a_heads_dropout_is_what_the_librarys_own_classifier_has(
    tmp_path, architecture, key, library
):
    import transformers

    folder = random_backbone(tmp_path, architecture)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {key: 0.15}))
    theirs = getattr(transformers, library)(transformers.AutoConfig.from_pretrained(folder))
    assert models.build(artifact_info("pooled"), folder).dropout.p == theirs.dropout.p == 0.15


def test_a_checkpoint_with_a_missing_tensor_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = random_backbone(tmp_path, "bert")
    tensors = load_file(folder / "model.safetensors")
    del tensors["encoder.layer.1.output.dense.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(Unsupported, match=r"encoder\.layer\.1\.output\.dense\.weight"):
        models.build(artifact_info("pooled"), folder)


def test_a_checkpoint_of_another_shape_is_refused(tmp_path):
    folder = random_backbone(tmp_path, "bert")
    config = json.loads((folder / "config.json").read_text())
    config["intermediate_size"] = 48
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(RequestError, match=r"do not fit config\.json.*\(64,\).*\(48,\)"):
        models.build(artifact_info("pooled"), folder)


def test_a_folder_without_a_configuration_is_a_clear_error(tmp_path):
    with pytest.raises(RequestError, match=r"config\.json"):
        models.build(artifact_info("pooled"), tmp_path)


def test_static_embeddings_average_over_real_tokens(tmp_path):
    from safetensors.numpy import save_file

    table = np.arange(20, dtype=np.float16).reshape(10, 2)
    save_file({"any.name": table}, tmp_path / "embeddings.safetensors")
    info = artifact_info("pooled", kind="static-embeddings")
    model = models.build(info, tmp_path)
    features = model.features(torch.tensor([[1, 3, 0]]), torch.tensor([[1, 1, 0]]))
    assert features.tolist() == [[4.0, 5.0]]  # the mean of (2, 3) and (6, 7)
    models.save(model, info, tmp_path / "artifact", tmp_path)
    loaded, _ = models.load(tmp_path / "artifact")
    ids = torch.tensor([[1, 9]])
    with torch.no_grad():
        assert torch.equal(loaded(ids, torch.ones_like(ids)), model(ids, torch.ones_like(ids)))
