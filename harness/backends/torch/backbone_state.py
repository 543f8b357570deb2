"""Tensors of a foreign file, matched by name and shape with what a backbone is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from harness.backends.torch.models import read_config, untrained
from harness.errors import Unsupported

#: how many tensors an error names
_NAMED = 4


@dataclass(frozen=True)
class Stored:
    """A tensor of a file, read when it is asked for: a shape that does not fit costs nothing.

    ``input_first``: a matrix (inputs, outputs), as products use it; `nn.Linear` holds its
    transpose.
    """

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]
    input_first: bool = False


def backbone_state(stored: Mapping[str, Stored], folder: Path, origin: Path) -> dict[str, Tensor]:
    """The state dict of the backbone that ``folder/config.json`` describes, from ``stored``.

    Names may carry one prefix more than the backbone's (``bert.``, ``0.auto_model.``). What only
    heads use, poolers among it, is left out. Raises `Unsupported` unless every tensor is there,
    float32 and in its exact shape; ``origin`` is the file to name.
    """
    backbone = untrained(folder, read_config(folder))
    modules = dict(backbone.named_modules())
    state = backbone.state_dict()
    prefix = _prefix(state, stored)
    missing: list[str] = []
    filled: set[int] = set()
    for name, tensor in state.items():
        found = stored.get(prefix + name)
        if found is None:
            missing.append(name)
            continue
        flip = found.input_first and isinstance(modules[name.rpartition(".")[0]], nn.Linear)
        _copy(tensor, found, flip, f"{origin}: {prefix}{name}")
        filled.add(tensor.data_ptr())
    # the second name of tied weights need not be there
    missing = [name for name in missing if state[name].data_ptr() not in filled]
    if missing:
        more = ", ..." if len(missing) > _NAMED else ""
        raise Unsupported(
            f"{origin}: {len(missing)} of {len(state)} tensors of {type(backbone).__name__} are "
            f"not to be found: {', '.join(missing[:_NAMED])}{more}"
        )
    return state


def _copy(tensor: Tensor, stored: Stored, flip: bool, what: str) -> None:
    """Fill ``tensor``, turned over where ``flip``."""
    shape = stored.shape[::-1] if flip else stored.shape
    if shape != tuple(tensor.shape):
        raise Unsupported(f"{what} has the shape {shape}, by config.json {tuple(tensor.shape)}")
    values, into = stored.read(), tensor.numpy()
    if values.dtype != into.dtype:
        raise Unsupported(f"{what} is {values.dtype}, not {into.dtype}")
    into[...] = values.T if flip else values


def _prefix(wanted: Collection[str], found: Collection[str]) -> str:
    """What stands before most of the wanted names among the found ones; the shortest of equals."""
    counts = Counter({"": 0})
    for name in found:
        start = 0
        while True:
            if name[start:] in wanted:
                counts[name[:start]] += 1
            dot = name.find(".", start)
            if dot < 0:
                break
            start = dot + 1
    return max(counts, key=lambda prefix: (counts[prefix], -len(prefix)))
