"""The runtime `torch-compile`: the model compiled by PyTorch's Inductor.

On a CPU it writes C++ and needs a compiler; on a GPU it writes Triton and replays CUDA graphs
(``reduce-overhead``), which takes the launch of every kernel off the latency. (The GPU part has not
been run by its authors yet.)
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.backends.base import Predictor
from harness.backends.torch.runtime import TorchRuntime
from harness.errors import Unsupported

if TYPE_CHECKING:
    from torch import nn

#: what Inductor looks for, unless ``CXX`` names another
_COMPILERS = ("g++", "clang++", "c++")
#: calls of a shape before its CUDA graph is replayed: one without it, one that records it
RECORDING_CALLS = 2


class TorchCompileRuntime(TorchRuntime):
    name = "torch-compile"
    version = 1

    def load(self, artifact: Path, exports: Path, *, device: str, threads: int) -> Predictor:
        from harness.backends.torch.models import load as load_model
        from harness.backends.torch.predictor import TorchPredictor
        from harness.backends.torch.threads import set_up

        set_up(device, threads)
        if device == "cpu":
            check_compiler()
        model, _ = load_model(artifact, device)
        return TorchPredictor(compiled(model, device), device)


def compiled(model: nn.Module, device: str) -> nn.Module:
    """The model, to be compiled at its first calls: once for single inputs, once for batches.

    Sizes are dynamic from the start: texts come in as many lengths as there are, and one program a
    length would be compiled until PyTorch gives up and runs the rest uncompiled.
    """
    import torch

    mode = None if device == "cpu" else "reduce-overhead"
    optimised: Any = torch.compile(model, dynamic=True, mode=mode)
    if device == "cpu":
        return optimised

    class Stepped(torch.nn.Module):
        """Tells CUDA graphs that a call's outputs are not needed once the next one begins.

        There is a graph for each shape: the first call of one runs without, the second records it.
        Both happen when a shape is met, so that a warm-up of one call a shape leaves none to do.
        """

        def __init__(self) -> None:
            super().__init__()
            self.optimised = optimised
            self.met: set[tuple[torch.Size, ...]] = set()

        def forward(self, **inputs: Any) -> Any:
            shapes = tuple(tensor.shape for tensor in inputs.values())
            if shapes not in self.met:
                self.met.add(shapes)
                for _ in range(RECORDING_CALLS):
                    torch.compiler.cudagraph_mark_step_begin()
                    self.optimised(**inputs)
            torch.compiler.cudagraph_mark_step_begin()
            return self.optimised(**inputs)

    return Stepped().eval()


def check_compiler() -> None:
    """`Unsupported` where Inductor would find no C++ compiler, said before it tries."""
    asked = os.environ.get("CXX")
    if not any(shutil.which(name) for name in ((asked,) if asked else _COMPILERS)):
        raise Unsupported(
            f"torch-compile needs a C++ compiler on a CPU: {asked or ', '.join(_COMPILERS)} "
            "is not on the PATH; install one, or leave this runtime out"
        )
