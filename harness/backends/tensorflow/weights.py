"""A checkpoint's tensors into Keras variables and back, by KerasHub's own converters.

A converter says, variable by variable, which tensor it comes from and how it is rearranged. That
is written down here while it loads; run on the *positions* of a tensor's elements instead of their
values, the same rearrangement tells where each element went, and so the way back. No second,
hand-written mapping can disagree with the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import Unsupported

#: tensors that only another head would use: not read, not trained, not written
_OPTIONAL = ("pooler.", "lm_head.", "classifier.")


class Checkpoint:
    """The tensors of a folder; passes for KerasHub's loader, and remembers what went where."""

    def __init__(self, tensors: Mapping[str, np.ndarray], prefix: str) -> None:
        """``prefix``: what a checkpoint of a whole model puts before its backbone's names."""
        self.tensors = dict(tensors)
        self.prefix = prefix + "."
        #: names of tensors that no variable holds and that go along as they are
        self.kept: list[str] = []
        self.ported: list[tuple[Any, str, Callable[..., np.ndarray] | None]] = []

    @classmethod
    def read(cls, folder: Path, prefix: str) -> Checkpoint:
        """All safetensors of a model folder as float32."""
        from safetensors import safe_open

        files = sorted(folder.glob("*.safetensors"))
        tensors: dict[str, np.ndarray] = {}
        for file in files:
            if file.name == "head.safetensors":
                continue
            with safe_open(file, "tf") as opened:  # numpy itself knows no bfloat16
                for name in opened.keys():  # noqa: SIM118
                    tensors[name] = opened.get_tensor(name).numpy()
        if not tensors:
            raise Unsupported(f"{folder}: no safetensors")
        return cls(tensors, prefix)

    def name_of(self, key: str) -> str | None:
        """The tensor that a converter means by ``key``: with or without the model's prefix."""
        candidates = (key, self.prefix + key, key.removeprefix(self.prefix))
        return next((name for name in candidates if name in self.tensors), None)

    def get_tensor(self, hf_weight_key: str) -> np.ndarray:
        name = self.name_of(hf_weight_key)
        if name is None:
            raise KeyError(hf_weight_key)
        return np.asarray(self.tensors[name], np.float32)

    def get_prefixed_key(self, hf_weight_key: str, dict_like: Any) -> str:
        return self.name_of(hf_weight_key) or hf_weight_key

    def port_weight(
        self,
        keras_variable: Any,
        hf_weight_key: str,
        hook_fn: Callable[..., np.ndarray] | None = None,
    ) -> None:
        if hf_weight_key.removeprefix(self.prefix).startswith(_OPTIONAL):
            return
        name = self.name_of(hf_weight_key)
        if name is None:
            raise Unsupported(f"the checkpoint has no tensor {hf_weight_key!r}")
        values = self.get_tensor(hf_weight_key)
        if hook_fn:
            values = hook_fn(values, list(keras_variable.shape))
        keras_variable.assign(values)
        self.ported.append((keras_variable, name, hook_fn))

    def variables(self) -> Iterable[Any]:
        """The variables that were filled."""
        return [variable for variable, *_ in self.ported]

    def back(self) -> dict[str, np.ndarray]:
        """The tensors as the variables now stand, float32, under the backbone's own names.

        Elements that no variable holds (RoBERTa's two spare positions) keep their value.
        """
        tensors = {name: np.array(self.tensors[name], np.float32) for name in self.kept}
        for variable, name, hook in self.ported:
            if name not in tensors:
                tensors[name] = np.array(self.tensors[name], np.float32)
            flat = tensors[name].reshape(-1)
            places = np.arange(flat.size).reshape(tensors[name].shape)
            if hook:
                places = hook(places, list(variable.shape))
            flat[np.asarray(places).reshape(-1)] = np.asarray(variable, np.float32).reshape(-1)
        return {self._own_name(name): tensor for name, tensor in tensors.items()}

    def _own_name(self, name: str) -> str:
        """A tensor's name in the backbone alone, today's spelling."""
        name = name.removeprefix(self.prefix)
        for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
            if name.endswith("LayerNorm" + old):
                name = name.removesuffix(old) + new
        return name
