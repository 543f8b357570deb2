"""TensorFlow weights of the Hugging Face library (``tf_model.h5``) as a PyTorch state dict.

Only arrays are read, and only from the file itself: links and data that lie elsewhere are refused.
"""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
from torch import Tensor

from harness.backends.torch.backbone_state import Stored, backbone_state
from harness.errors import Unsupported

#: Keras' last part of a name to PyTorch's; its kernels are (inputs, outputs)
_LAST = {"kernel": "weight", "gamma": "weight", "embeddings": "weight", "beta": "bias"}


def read_h5(source: Path, folder: Path) -> dict[str, Tensor]:
    """The backbone's state dict; ``folder`` holds its ``config.json``.

    Raises `Unsupported` for files of another layout (Keras 3's ``.weights.h5`` has no names of
    variables) and where a tensor of the backbone is missing or has another shape.
    """
    try:
        opened = h5py.File(source, "r")
    except OSError as error:
        raise Unsupported(f"{source}: cannot be read as HDF5: {error}") from None
    with opened as file:
        return backbone_state(_stored(file, source), folder, source)


def torch_name(name: str) -> str:
    """``bert/encoder/layer_._0/output/kernel:0`` to ``bert.encoder.layer.0.output.weight``.

    ``_._`` stands where PyTorch has a list, and ``mlm___cls`` for ``cls`` under another head.
    """
    parts = re.sub(r"[^/]*___", "", name.removesuffix(":0")).replace("_._", "/").split("/")
    return ".".join([*parts[:-1], _LAST.get(parts[-1], parts[-1])])


def _stored(file: h5py.File, source: Path) -> dict[str, Stored]:
    """Every array of the file by PyTorch's name, under whatever prefix."""
    # callbacks only collect: an exception in one comes out of h5py as a SystemError
    links: list[tuple[str, object]] = []
    items: list[tuple[str, object]] = []
    file.visititems_links(lambda name, link: links.append((name, link)))
    file.visititems(lambda name, item: items.append((name, item)))
    for name, link in links:
        if not isinstance(link, h5py.HardLink):
            raise Unsupported(f"{source}: {name} is a link ({type(link).__name__}); not followed")
    found: dict[str, Stored] = {}
    for name, item in items:
        if isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise Unsupported(f"{source}: {name} lies in other files; not read")
            found[torch_name(name)] = _array(item, name)
    return found


def _array(item: h5py.Dataset, name: str) -> Stored:
    # GPT-2 keeps its biases as (1, outputs)
    flat = item.ndim == 2 and item.shape[0] == 1 and name.endswith("/bias:0")
    shape = item.shape[1:] if flat else item.shape

    def read() -> np.ndarray:
        return np.asarray(item[()]).reshape(shape)

    return Stored(shape, read, input_first=name.endswith("/kernel:0") and len(shape) == 2)
