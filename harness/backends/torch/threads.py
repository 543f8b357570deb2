"""Threads, precision, determinism and devices of PyTorch in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

from harness.devices import gpu_index, is_gpu
from harness.errors import Unsupported

#: Threads that run parts of one graph side by side: `torch.jit.fork` alone asks for that, which
#: nothing here calls. Left alone, the pool has a thread for each core of the machine.
INTEROP_THREADS = 1


def set_up(device: str, threads: int) -> None:
    """Prepare this process; before anything of it computes. Raises `Unsupported`.

    What is called float32 is computed in float32: TF32, which PyTorch's convolutions take unasked,
    keeps 10 of the 23 bits.
    """
    _check_device(device)
    use_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    if is_gpu(device):
        # events are recorded on the current device, and pinned memory belongs to its context
        torch.cuda.set_device(gpu_index(device) or 0)


def use_threads(threads: int) -> None:
    """Compute with this many threads; 0 leaves PyTorch's choice (all cores).

    The inter-op pool can be sized once a process and before its first use; what it is then is
    among what a predictor observes.
    """
    if threads > 0:
        torch.set_num_threads(threads)
        if torch.get_num_interop_threads() != INTEROP_THREADS:
            with suppress(RuntimeError):
                torch.set_num_interop_threads(INTEROP_THREADS)


def _check_device(device: str) -> None:
    """`Unsupported` where the device does not exist."""
    if not is_gpu(device):
        return
    if not torch.cuda.is_available():
        raise Unsupported("no CUDA device is visible to PyTorch")
    if (gpu_index(device) or 0) >= torch.cuda.device_count():
        raise Unsupported(f"PyTorch sees {torch.cuda.device_count()} GPUs, and no {device}")


@contextmanager
def reproducible(seed: int, device: str) -> Iterator[None]:
    """Same seed, same threads: same weights, bit for bit, on a CPU.

    On CUDA some kernels add in any order: there a seed narrows results down without fixing them.
    """
    deterministic = torch.are_deterministic_algorithms_enabled()
    memory: Any = torch.utils.deterministic
    fill = memory.fill_uninitialized_memory
    with torch.random.fork_rng(devices=[device] if device != "cpu" else []):
        torch.manual_seed(seed)
        if device == "cpu":
            torch.use_deterministic_algorithms(True)
            # filling fresh memory with NaN costs 4% and only helps to find reads before writes
            memory.fill_uninitialized_memory = False
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic)
            memory.fill_uninitialized_memory = fill
