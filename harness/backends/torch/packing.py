"""Batches without padding, for training on a CPU.

A batch of mixed lengths computes mostly padding (58% of CoNLL-2003's tokens at batch 32), and
batches of similar length are no way out where length goes with the label: on Reuters R8 they cost
3 to 4 points of accuracy. Here the sequences of a batch stand one after the other, so that every
layer but attention sees real tokens only, and attention works on each group of equally long
sequences by itself, in pieces that stay in the processor's cache.

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
#: largest |difference| / |reference| of hidden states at which packing counts as right
_AGREES = 1e-4


@dataclass(frozen=True)
class Layout:
    """Where the sequences of a packed batch stand: (first token, sequences, length) of pieces."""

    pieces: tuple[tuple[int, int, int], ...]


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
        token = layout.set(Layout(tuple(self._pieces(lengths.tolist()))))
        try:
            output = backbone(
                input_ids=input_ids.flatten()[rows][None], position_ids=positions[None], **packed
            )
        finally:
            layout.reset(token)
        states = output.last_hidden_state[0]
        padded = states.new_zeros(batch * width, states.shape[1])
        return padded.index_copy(0, rows, states).view(batch, width, -1)

    def _pieces(self, lengths: list[int]) -> list[tuple[int, int, int]]:
        pieces: list[tuple[int, int, int]] = []
        start = 0
        for length in lengths:
            if pieces and pieces[-1][2] == length:
                first, count, _ = pieces[-1]
                if (count + 1) * self.heads * length * length <= _PIECE:
                    pieces[-1] = (first, count + 1, length)
                    start += length
                    continue
            pieces.append((start, 1, length))
            start += length
        return pieces


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
            pools.mask(dropout, torch.Size((count * heads, length, length)))
            for _, count, length in at.pieces
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
        pieces: tuple[tuple[int, int, int], ...],
        scale: float,
        causal: bool,
        keep: list[Tensor],
    ) -> Tensor:
        output = torch.empty_like(query, memory_format=torch.contiguous_format)
        weights = []
        for i, piece in enumerate(pieces):
            q, k, v = (_by_head(x, piece) for x in (query, key, value))
            scores = torch.bmm(q, k.transpose(1, 2)).mul_(scale)
            if causal:
                length = piece[2]
                later = torch.ones(length, length, dtype=torch.bool).triu(1)
                scores.masked_fill_(later, -torch.inf)
            # bfloat16's exponentials are summed in float32
            soft = torch.softmax(scores, -1, dtype=torch.float32).to(q.dtype)
            weights.append(soft)
            _put(output, piece, torch.bmm(soft * keep[i].to(q.dtype) if keep else soft, v))
        ctx.save_for_backward(query, key, value, *weights)
        ctx.pieces, ctx.scale, ctx.keep = pieces, scale, keep
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *weights = ctx.saved_tensors
        d_query, d_key, d_value = (
            torch.empty_like(x, memory_format=torch.contiguous_format) for x in (query, key, value)
        )
        for i, (piece, soft) in enumerate(zip(ctx.pieces, weights, strict=True)):
            q, k, v, g = (_by_head(x, piece) for x in (query, key, value, gradient))
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
        return d_query, d_key, d_value, None, None, None, None


def _by_head(x: Tensor, piece: tuple[int, int, int]) -> Tensor:
    """A piece of (tokens, heads, dim) as (sequences * heads, length, dim), contiguous."""
    first, count, length = piece
    heads, dim = x.shape[1:]
    part = x[first : first + count * length].reshape(count, length, heads, dim)
    return part.transpose(1, 2).reshape(count * heads, length, dim)


def _put(into: Tensor, piece: tuple[int, int, int], values: Tensor) -> None:
    """The inverse of `_by_head`."""
    first, count, length = piece
    heads, dim = into.shape[1:]
    part = into[first : first + count * length].view(count, length, heads, dim)
    part.copy_(values.view(count, heads, length, dim).transpose(1, 2))
