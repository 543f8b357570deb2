"""timm and transformers, imported so that any pair of PyTorch and torchvision builds will do."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import torch

from harness.errors import Unsupported

#: operators that torchvision describes to PyTorch without looking whether they were loaded
_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[torch.library.Library] = []


@cache
def hide_torchvision() -> None:
    """Let transformers do without torchvision, which only its image processors use.

    It imports torchvision with every model where there is one, which takes time, and fails beside
    a build of PyTorch that the torchvision was not made for. It looks once, so this comes before a
    model of it is imported.
    """
    import sys

    if "torchvision" in sys.modules:
        return
    sys.modules["torchvision"] = None  # type: ignore[assignment]  # means: there is none
    try:
        from transformers.utils import is_torchvision_available

        is_torchvision_available.cache_clear()  # its import has looked already
        is_torchvision_available()
    finally:
        del sys.modules["torchvision"]


@cache
def timm() -> Any:
    """The package; raises `Unsupported` where it cannot be imported.

    A registry's torchvision is linked to CUDA. Beside a CPU build of PyTorch its operators do not
    load, and its import fails until those it describes are declared. Its transforms then work.
    """
    _declare_operators()
    try:
        import timm as package
    except (ImportError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise Unsupported(f"timm cannot be imported: {reason}") from None
    return package


def _declare_operators() -> None:
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None:
        return
    for compiled in Path(found.origin).parent.glob("_C*.so"):
        try:
            torch.ops.load_library(compiled)
            return
        except OSError:
            continue
    library = torch.library.Library("torchvision", "DEF")
    for schema in _OPERATORS:
        library.define(schema)
    _declared.append(library)  # a library's operators vanish with it
