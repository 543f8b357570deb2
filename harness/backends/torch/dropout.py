"""Dropout whose masks cost next to nothing on a CPU.

PyTorch draws a CPU mask with one Bernoulli trial after the other: 25.7 ms for the attention
probabilities of one MiniLM layer (32 x 12 x 64 x 64), where the multiplication takes 0.5 ms. Here
factors are drawn in bulk (1.3 ms, see `harness.backends.masks`) and kept as a pool from which each
call takes a slice at a random offset. A mask is then a view: it costs no memory for the backward
pass either. A pool is redrawn after each of its elements has served `REUSE` times on average;
until then masks at different offsets are shifted windows of the same bits.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.backends.masks import POOL, REUSE, MaskSource


class MaskPool:
    """Random dropout factors for one rate, drawn from ``seed`` alone."""

    def __init__(self, rate: float, seed: int) -> None:
        self._source = MaskSource(rate, seed)
        self._factors = torch.empty(0)
        self._left = 0

    @property
    def rate(self) -> float:
        """The realised rate: the asked one, rounded to 1/65536."""
        return self._source.rate

    def mask(self, shape: torch.Size) -> Tensor:
        """Factors of the given shape, each 0 with probability `rate`, else 1 / (1 - rate)."""
        count = shape.numel()
        if self._left < count or len(self._factors) < 2 * count:
            # a new tensor, never in place: earlier masks still wait for their backward pass
            self._factors = torch.from_numpy(self._source.draw(max(POOL, 2 * count)))
            self._left = len(self._factors) * REUSE
        self._left -= count
        offset = self._source.offset(len(self._factors) - count + 1)
        return self._factors[offset : offset + count].view(shape)


class MaskPools:
    """One pool for each rate that a model asks for, all drawn from one seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._pools: dict[float, MaskPool] = {}

    def mask(self, rate: float, shape: torch.Size) -> Tensor:
        """Factors for dropout at ``rate``, see `MaskPool.mask`."""
        if rate not in self._pools:
            self._pools[rate] = MaskPool(rate, self._seed + len(self._pools))
        return self._pools[rate].mask(shape)


class PooledDropout(nn.Module):
    """Drop-in for `nn.Dropout` with masks from `MaskPools`."""

    def __init__(self, rate: float, pools: MaskPools) -> None:
        super().__init__()
        self.p = rate  # the name that attention layers of transformers read
        self.pools = pools

    def forward(self, x: Tensor) -> Tensor:
        return x * self.pools.mask(self.p, x.shape).to(x.dtype) if self.training else x


def install(model: nn.Module, seed: int) -> MaskPools:
    """Replace every `nn.Dropout` in ``model`` that has a rate; returns the pools they share."""
    pools = MaskPools(seed)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout and child.p > 0:
                setattr(module, name, PooledDropout(child.p, pools))
    return pools
