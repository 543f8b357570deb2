"""What makes training fast must not change what is trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from harness.backends.torch import attention, dropout, packing, rows
from harness.backends.torch.models import build
from tests.torch_toys import VOCABULARY, artifact_info, random_backbone


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5])
def test_masks_have_the_rate_and_keep_the_mean(rate):
    pool = dropout.MaskPool(rate, seed=1)
    mask = torch.cat([pool.mask(torch.Size((1000, 200))) for _ in range(5)]).flatten()
    dropped = int((mask == 0).sum())
    assert abs(pool.rate - rate) <= 2**-17
    # bits are shared between calls, so one call's spread counts, not five calls'
    spread = np.sqrt(200_000 * rate * (1 - rate)) * 5
    assert abs(dropped - len(mask) * rate) < 4 * spread
    assert set(mask.unique().tolist()) == {0.0, np.float32(1 / (1 - pool.rate))}


def test_neighbours_in_a_mask_are_independent():
    kept = (dropout.MaskPool(0.1, seed=2).mask(torch.Size((1_000_000,))) > 0).numpy()
    pairs = np.histogram2d(kept[::2], kept[1::2], bins=2)[0]
    assert stats.chi2_contingency(pairs).pvalue > 1e-4


def test_masks_of_different_calls_are_uncorrelated():
    pool = dropout.MaskPool(0.1, seed=3)
    masks = torch.stack([pool.mask(torch.Size((100_000,))) for _ in range(20)])
    correlations = np.corrcoef(masks.numpy())[np.triu_indices(20, 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(100_000)


def test_masks_depend_on_the_seed_alone():
    shape = torch.Size((64, 64))
    first, again, other = (dropout.MaskPool(0.3, seed=s) for s in (1, 1, 2))
    drawn = [[pool.mask(shape).clone() for _ in range(3)] for pool in (first, again, other)]
    assert all(torch.equal(a, b) for a, b in zip(drawn[0], drawn[1], strict=True))
    assert not torch.equal(drawn[0][0], drawn[2][0])


def test_a_mask_outlives_the_redrawing_of_its_pool():
    pool = dropout.MaskPool(0.5, seed=1)
    mask = pool.mask(torch.Size((1 << 20,)))
    before = mask.clone()
    for _ in range(40):
        pool.mask(torch.Size((1 << 20,)))
    assert torch.equal(mask, before)


def test_every_dropout_of_a_model_is_replaced(tmp_path):
    model = build(artifact_info("pooled"), random_backbone(tmp_path))
    before = sum(isinstance(m, nn.Dropout) for m in model.modules())
    dropout.install(model, seed=1)
    assert before > 0
    assert not any(isinstance(m, nn.Dropout) for m in model.modules())
    assert sum(isinstance(m, dropout.PooledDropout) for m in model.modules()) == before


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama"])
def test_the_attention_computes_what_the_librarys_own_does(tmp_path, architecture):
    folder = random_backbone(tmp_path, architecture)
    info = artifact_info("token")
    ids = torch.tensor([[5, 6, 7, 8], [9, 3, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    ours = build(info, folder, attention=attention.register()).eval()
    theirs = build(info, folder, attention="sdpa").eval()
    with torch.no_grad():
        ours_logits, theirs_logits = ours(ids, mask), theirs(ids, mask)
    real = mask.bool()
    torch.testing.assert_close(ours_logits[real], theirs_logits[real], rtol=0, atol=1e-6)


@pytest.fixture
def batch():
    """Seven sequences of 2 to 9 tokens, three of them equally long, padded on the right."""
    lengths = torch.tensor([4, 9, 2, 4, 7, 4, 3])
    mask = (torch.arange(9) < lengths[:, None]).long()
    ids = torch.randint(3, VOCABULARY, mask.shape, generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids * mask, "attention_mask": mask}


@pytest.mark.parametrize("architecture", ["bert", "roberta", "gpt2", "llama"])
def test_packed_batches_give_the_hidden_states_and_gradients_of_padded_ones(
    tmp_path, architecture, batch
):
    folder = random_backbone(tmp_path, architecture)
    real = batch["attention_mask"].bool()
    weights = torch.randn(int(real.sum()), 32, generator=torch.Generator().manual_seed(1))
    hidden, gradients = {}, {}
    for kind in ("packed", "padded"):
        name = attention.register() if kind == "packed" else "sdpa"
        model = build(artifact_info("token"), folder, dropout=0.0, attention=name).train()
        if kind == "packed":
            attention.install(model, dropout.MaskPools(0))
            model.packing = packing.fitting(model.backbone, **batch)
            assert model.packing is not None
        hidden[kind] = model.hidden(**batch)[real]
        (hidden[kind] * weights).sum().backward()
        gradients[kind] = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    torch.testing.assert_close(hidden["packed"], hidden["padded"], rtol=1e-5, atol=1e-5)
    assert gradients["packed"].keys() == gradients["padded"].keys()
    for name, gradient in gradients["padded"].items():
        torch.testing.assert_close(gradients["packed"][name], gradient, rtol=1e-4, atol=1e-4)


def test_an_attention_that_cannot_be_packed_is_found_out(tmp_path, batch):
    """DeBERTa has an attention of its own, with relative positions."""
    folder = random_backbone(tmp_path, "deberta-v2")
    model = build(artifact_info("token"), folder, dropout=0.0, attention=attention.register())
    assert packing.fitting(model.backbone, **batch) is None
    assert model.training  # as it was


def test_a_packing_at_wrong_positions_is_found_out(tmp_path, batch):
    """RoBERTa counts positions from its padding id plus one; without that try, nothing agrees."""
    folder = random_backbone(tmp_path, "roberta")
    model = build(artifact_info("token"), folder, dropout=0.0, attention=attention.register())
    right = packing.fitting(model.backbone, **batch)
    assert right is not None and right.first_position == 2  # the padding id is 1
    model.backbone.config.pad_token_id = 3
    assert packing.fitting(model.backbone, **batch) is None


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_attention_within_pieces_is_that_of_autograd(causal, rate, monkeypatch):
    """Against the textbook formula, each sequence by itself, under the same dropout masks."""
    heads, dim, scale = 2, 5, 0.7
    monkeypatch.setattr(packing, "_PIECE", heads * 16 * 2)  # two sequences of 4 a piece
    lengths = [3, 4, 4, 4, 6]
    at = packing.layout_of(lengths, heads)
    assert [(p.sequences, p.width) for p in at.pieces] == [(2, 4), (2, 4), (1, 6)]
    assert [p.padding is not None for p in at.pieces] == [True, False, False]
    generator = torch.Generator().manual_seed(0)
    tokens = sum(lengths)
    q, k, v, g = (torch.randn(1, heads, tokens, dim, generator=generator) for _ in range(4))
    for x in (q, k, v):
        x.requires_grad_()
    output = packing.attend(
        q, k, v, at, scale=scale, causal=causal, dropout=rate, pools=dropout.MaskPools(3)
    )
    output.backward(g.transpose(1, 2))
    got = [x.grad.clone() for x in (q, k, v)]
    for x in (q, k, v):
        x.grad = None
    pools, parts, start = dropout.MaskPools(3), [], 0
    sizes = [(p.sequences, p.width) for p in at.pieces]
    masks = [pools.mask(rate, torch.Size((n * heads, m, m))) for n, m in sizes]
    each = [m.view(-1, heads, *m.shape[1:])[i] for m in masks for i in range(len(m) // heads)]
    for length, keep in zip(lengths, each, strict=True):
        part = slice(start, start + length)
        scores = q[0, :, part] @ k[0, :, part].transpose(1, 2) * scale
        if causal:
            scores = scores + torch.full((length, length), -torch.inf).triu(1)
        weights = torch.softmax(scores, -1)
        kept = weights * keep[:, :length, :length] if rate else weights
        parts.append(kept @ v[0, :, part])
        start += length
    expected = torch.cat(parts, 1)
    expected.backward(g[0])
    torch.testing.assert_close(output[0].transpose(0, 1), expected)
    for mine, x in zip(got, (q, k, v), strict=True):
        torch.testing.assert_close(mine, x.grad)


def test_pieces_are_the_cheapest_way_to_group(monkeypatch):
    """Against every way to cut eight sequences into neighbours."""
    monkeypatch.setattr(packing, "_PIECE", 1500)
    monkeypatch.setattr(packing, "_PIECE_COST", 100)
    heads, lengths = 3, [2, 3, 3, 7, 8, 8, 15, 30]

    def cost(groups: list[tuple[int, int]]) -> float:
        total = 0.0
        for start, end in groups:
            weights = (end - start) * heads * lengths[end - 1] ** 2
            total += 100 + (weights if weights <= 1500 or end - start == 1 else np.inf)
        return total

    cuts = [[i + 1 for i in range(7) if bits >> i & 1] for bits in range(128)]
    every = [list(zip([0, *cut], [*cut, 8], strict=True)) for cut in cuts]
    assert cost(packing.grouped(lengths, heads)) == min(map(cost, every))


def test_training_reached_rows_only_gives_the_weights_of_training_all(tmp_path):
    """Against plain AdamW over the whole table, weight decay included."""
    folder = random_backbone(tmp_path)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, VOCABULARY // 2, (6, 4, 5), generator=generator)
    tables = []
    for limited in (False, True):
        model = build(artifact_info("pooled"), folder, dropout=0.0).train()
        reached = rows.install(model.backbone, ids.unique().numpy()) if limited else None
        trained = [p for p in model.parameters() if p.requires_grad]
        optimiser = torch.optim.AdamW(trained, lr=1e-2, weight_decay=0.1)
        for step, batch in enumerate(ids):
            model(batch, torch.ones_like(batch)).square().mean().backward()
            optimiser.step()
            optimiser.zero_grad()
            if reached:
                reached.decay(1 - 1e-2 * 0.1)
            if step == 2:  # looking at the model in between must not disturb it
                with torch.no_grad():
                    model.eval()(batch, torch.ones_like(batch))
                    model.train()
        if reached:
            rows.uninstall(model.backbone, reached)
        tables.append(model.state_dict())
    assert tables[0].keys() == tables[1].keys()
    for name, tensor in tables[0].items():
        torch.testing.assert_close(tables[1][name], tensor, rtol=1e-5, atol=1e-6)
    unreached = tables[0]["backbone.embeddings.word_embeddings.weight"][VOCABULARY - 1]
    original = build(artifact_info("pooled"), folder).state_dict()
    start = original["backbone.embeddings.word_embeddings.weight"][VOCABULARY - 1]
    torch.testing.assert_close(unreached, start * (1 - 1e-3) ** 6)
