"""Matrix products of PyTorch, by whose speed a model's is judged."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from harness.measure.reference_speed import Product, flops_of

#: rows and columns: large enough for the full speed of 2 to 16 cores (21 ms at 100 GFLOP/s), and
#: of a GPU
_CPU_SIZE, _GPU_SIZE = 1024, 8192


def products(device: str) -> list[Product]:
    """In float32, bfloat16, and on a GPU float16; on the threads that PyTorch is set to."""
    dtypes = [torch.float32, torch.bfloat16]
    if device != "cpu":
        dtypes.append(torch.float16)
    return [_product(device, dtype) for dtype in dtypes]


def _product(device: str, dtype: torch.dtype) -> Product:
    size = _CPU_SIZE if device == "cpu" else _GPU_SIZE
    left = torch.randn(size, size, device=device).to(dtype)
    right, out = torch.randn(size, size, device=device).to(dtype), torch.empty_like(left)
    name = str(dtype).removeprefix("torch.")
    return Product(f"torch-{name}", name, flops_of(size), partial(_multiply, left, right, out))


def _multiply(left: Tensor, right: Tensor, out: Tensor) -> None:
    torch.mm(left, right, out=out)
    if out.is_cuda:  # a kernel's launch returns at once
        torch.cuda.synchronize(out.device)
