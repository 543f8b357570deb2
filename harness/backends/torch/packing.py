"""Batches without padding, for training on a CPU.

A batch of mixed lengths computes mostly padding (58% of CoNLL-2003's tokens at batch 32), and
batches of similar length are no way out where length goes with the label: on Reuters R8 they cost
3 to 4 points of accuracy. Here the sequences of a batch stand one after the other, so that every
layer but attention sees real tokens only, and attention works on groups of about equally long
sequences, padded to the longest of the group, in pieces that stay in the processor's cache.

Whether an architecture can be trained so (it takes positions, and its attention goes through
transformers' interface) is found out by comparing hidden states with the padded computation.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from harness.backends.torch.dropout import MaskPools

#: attention weights of one piece: 2 MiB of float32, about what a core's cache holds
_PIECE = 1 << 19
#: what a piece costs beside its attention weights, in attention weights: some 30 small operations
#: a layer, measured on two cores (MiniLM, batches of 32; half or twice of it changes little)
_PIECE_COST = 1 << 15
#: largest |difference| / |reference| of hidden states at which packing counts as right
_AGREES = 1e-4


@dataclass(frozen=True)
class Piece:
    """Some sequences of a packed batch, padded to the longest of them.

    Hidden states are seen as rows, one for each token and head; ``take`` and ``put`` say which row
    each of (sequences * heads * width) positions reads and writes. Padding reads any row, and
    writes into those of one token more than there is. ``padding``: (sequences, width), or None.
    """

    sequences: int
    width: int
    take: Tensor
    put: Tensor
    padding: Tensor | None


@dataclass(frozen=True)
class Layout:
    """Where the sequences of a packed batch stand."""

    pieces: tuple[Piece, ...]


#: the layout of the batch that is being computed; None while batches are padded
layout: ContextVar[Layout | None] = ContextVar("layout", default=None)


class Packing:
    """Computes a backbone's hidden states on packed batches."""

    def __init__(self, heads: int, first_position: int) -> None:
        """``heads`` of the attention; ``first_position``: 0, but 2 for RoBERTa's family."""
        self.heads = heads
        self.first_position = first_position

    def hidden(
        self, backbone: nn.Module, input_ids: Tensor, attention_mask: Tensor, **extra: Tensor
    ) -> Tensor:
        """As the backbone on a padded batch: (batch, length, hidden), zero at the padding."""
        batch, width = input_ids.shape
        lengths, order = attention_mask.sum(1).sort(stable=True)
        steps = torch.arange(width)
        real = steps < lengths[:, None]  # of sequences by length
        rows = (order[:, None] * width + steps)[real]
        positions = steps.expand(batch, width)[real] + self.first_position
        packed = {name: values.flatten()[rows][None] for name, values in extra.items()}
        token = layout.set(layout_of(lengths.tolist(), self.heads))
        try:
            output = backbone(
                input_ids=input_ids.flatten()[rows][None], position_ids=positions[None], **packed
            )
        finally:
            layout.reset(token)
        states = output.last_hidden_state[0]
        padded = states.new_zeros(batch * width, states.shape[1])
        return padded.index_copy(0, rows, states).view(batch, width, -1)


def layout_of(lengths: list[int], heads: int) -> Layout:
    """The layout of sequences that stand one after the other, shortest first."""
    pieces = []
    tokens, first = sum(lengths), 0
    for start, end in grouped(lengths, heads):
        sizes = torch.tensor(lengths[start:end])
        width = lengths[end - 1]
        steps = torch.arange(width)
        starts = first + sizes.cumsum(0) - sizes
        padding = steps >= sizes[:, None]
        take = torch.where(padding, starts[:, None], starts[:, None] + steps)
        put = take.masked_fill(padding, tokens)
        by_head = torch.arange(heads)[:, None]
        take, put = ((of[:, None] * heads + by_head).flatten() for of in (take, put))
        uneven = lengths[start] < width
        pieces.append(Piece(end - start, width, take, put, padding if uneven else None))
        first += int(sizes.sum())
    return Layout(tuple(pieces))


def grouped(lengths: list[int], heads: int) -> list[tuple[int, int]]:
    """Which neighbours of ascending ``lengths`` make a piece, (start, end) each, at least cost.

    A piece costs `_PIECE_COST` and its attention weights, padding included; at most `_PIECE` of
    them, unless a single sequence has more. Dynamic programming over where the last piece starts.
    """
    best: list[tuple[int, int]] = [(0, 0)]  # cost of the first n sequences, start of the last piece
    for end in range(1, len(lengths) + 1):
        square = heads * lengths[end - 1] ** 2
        least = max(0, end - max(1, _PIECE // square))
        best.append(
            min(
                (best[start][0] + _PIECE_COST + (end - start) * square, start)
                for start in range(least, end)
            )
        )
    groups = []
    end = len(lengths)
    while end:
        start = best[end][1]
        groups.append((start, end))
        end = start
    return groups[::-1]


def fitting(
    backbone: nn.Module, input_ids: Tensor, attention_mask: Tensor, **extra: Tensor
) -> Packing | None:
    """A packing under which the backbone computes what it computes on this padded batch."""
    config: Any = backbone.config
    heads = getattr(config, "num_attention_heads", None)
    if not isinstance(heads, int):
        return None
    padding = getattr(config, "pad_token_id", None)
    training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad():
            output = backbone(input_ids=input_ids, attention_mask=attention_mask, **extra)
            real = attention_mask.bool()
            expected = output.last_hidden_state[real]
            for first in dict.fromkeys((0, (padding or 0) + 1)):
                packing = Packing(heads, first)
                if _agrees(packing, backbone, input_ids, attention_mask, extra, expected):
                    return packing
    finally:
        backbone.train(training)
    return None


def _agrees(
    packing: Packing,
    backbone: nn.Module,
    input_ids: Tensor,
    attention_mask: Tensor,
    extra: dict[str, Tensor],
    expected: Tensor,
) -> bool:
    try:
        hidden = packing.hidden(backbone, input_ids, attention_mask, **extra)
    except (TypeError, RuntimeError, ValueError, IndexError):
        return False  # no positions among its arguments, another attention, or too few positions
    difference = (hidden[attention_mask.bool()] - expected).abs().max()
    return bool(difference <= _AGREES * expected.abs().max())


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    at: Layout,
    *,
    scale: float,
    causal: bool,
    dropout: float,
    pools: MaskPools | None,
) -> Tensor:
    """Attention within each sequence of a packed batch: (1, heads, tokens, dim) to the output
    (1, tokens, heads, dim)."""
    heads = query.shape[1]
    keep: list[Tensor] = []
    if dropout > 0 and pools is not None:
        keep = [
            pools.mask(dropout, torch.Size((piece.sequences * heads, piece.width, piece.width)))
            for piece in at.pieces
        ]
    flat = (x[0].transpose(0, 1) for x in (query, key, value))
    output: Tensor = _Attention.apply(*flat, at.pieces, scale, causal, keep)
    return output[None]


class _Attention(torch.autograd.Function):
    """softmax(q k^T * scale), dropped out, times v, for each piece; (tokens, heads, dim) each."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        pieces: tuple[Piece, ...],
        scale: float,
        causal: bool,
        keep: list[Tensor],
    ) -> Tensor:
        output = _rows_for(query)
        weights = []
        for i, piece in enumerate(pieces):
            q, k, v = (_by_head(x, piece) for x in (query, key, value))
            scores = torch.bmm(q, k.transpose(1, 2)).mul_(scale)
            if causal:
                later = torch.ones(piece.width, piece.width, dtype=torch.bool).triu(1)
                scores.masked_fill_(later, -torch.inf)
            if piece.padding is not None:
                each = scores.view(piece.sequences, -1, piece.width, piece.width)
                each.masked_fill_(piece.padding[:, None, None, :], -torch.inf)
            # bfloat16's exponentials are summed in float32
            soft = torch.softmax(scores, -1, dtype=torch.float32).to(q.dtype)
            weights.append(soft)
            _put(output, piece, torch.bmm(soft * keep[i].to(q.dtype) if keep else soft, v))
        ctx.save_for_backward(query, key, value, *weights)
        ctx.pieces, ctx.scale, ctx.keep = pieces, scale, keep
        return output[:-1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *weights = ctx.saved_tensors
        d_query, d_key, d_value = (_rows_for(x) for x in (query, key, value))
        for i, (piece, soft) in enumerate(zip(ctx.pieces, weights, strict=True)):
            q, k, v, g = (_by_head(x, piece) for x in (query, key, value, gradient))
            if piece.padding is not None:  # what padding yields was thrown away
                each = g.view(piece.sequences, -1, *g.shape[1:])
                each.masked_fill_(piece.padding[:, None, :, None], 0.0)
            dropped = soft
            d_soft = torch.bmm(g, v.transpose(1, 2))
            if ctx.keep:
                keep = ctx.keep[i].to(soft.dtype)
                dropped = soft * keep
                d_soft.mul_(keep)
            _put(d_value, piece, torch.bmm(dropped.transpose(1, 2), g))
            d_scores = torch._softmax_backward_data(d_soft, soft, -1, soft.dtype).mul_(ctx.scale)
            _put(d_query, piece, torch.bmm(d_scores, k))
            _put(d_key, piece, torch.bmm(d_scores.transpose(1, 2), q))
        return d_query[:-1], d_key[:-1], d_value[:-1], None, None, None, None


def _rows_for(x: Tensor) -> Tensor:
    """Room for what ``x`` (tokens, heads, dim) holds, and for a token that padding writes to."""
    return x.new_empty(x.shape[0] + 1, *x.shape[1:])


def _by_head(x: Tensor, piece: Piece) -> Tensor:
    """A piece of (tokens, heads, dim) as (sequences * heads, width, dim), contiguous."""
    heads, dim = x.shape[1:]
    rows = x.reshape(-1, dim).index_select(0, piece.take)
    return rows.view(piece.sequences * heads, piece.width, dim)


def _put(into: Tensor, piece: Piece, values: Tensor) -> None:
    """The inverse of `_by_head`."""
    dim = into.shape[-1]
    into.view(-1, dim).index_copy_(0, piece.put, values.reshape(-1, dim))
