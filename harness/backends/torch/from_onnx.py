"""An ONNX graph's weights as a PyTorch state dict, and the proof that they are the same model.

Exporters keep PyTorch's names of embeddings, norms and biases; the matrices of products they
transpose and number. What those were called is read from the graph, by the first of

1. the bias that is added to the product (``X.bias`` stands beside ``X.weight``);
2. the module that the product came from, in the node's name (``/encoder/layer.0/dense/MatMul``) or
   in its metadata, as PyTorch's two exporters write them.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message
from tokenizers import Tokenizer
from torch import Tensor

from harness.backends.base import Batch, pad
from harness.backends.parity import PARITY_BOUND, parity
from harness.backends.torch.backbone_state import Stored, backbone_state
from harness.errors import Unsupported
from harness.tasks.base import Encoded, Ragged

#: operators on integers, of ONNX and of ONNX Runtime: QLinearMatMul, MatMulInteger, MatMulNBits,
#: DequantizeLinear, QAttention ...
_QUANTISED = re.compile(r"Integer|Quantiz|NBits|Bnb4|^Q[A-Z]")
#: where PyTorch's newer exporter notes the modules that a node came from, the outermost first
_SCOPES = "pkg.torch.onnx.name_scopes"
#: what the graph and the rebuilt backbone are compared on, cut at so many tokens
_TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "Shares fell by 3.5% on Monday, after the bank had warned of losses in its third quarter.",
    "Why?",
)
_TOKENS = 24


def read_onnx(source: Path, folder: Path) -> dict[str, Tensor]:
    """The backbone's state dict; ``folder`` holds its ``config.json``.

    Raises `Unsupported` for quantised graphs, for data outside the folder of ``source``, and where
    a tensor of the backbone is missing, has another shape, or is not float32.
    """
    try:
        model = onnx.load(source, load_external_data=False)
    except (DecodeError, OSError) as error:
        raise Unsupported(f"{source}: cannot be read as ONNX: {error}") from None
    # of all tensors, the used and the unused: ONNX Runtime will open this file as well
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _External.of(tensor, source)
    if quantised := {n.op_type for n in model.graph.node if _QUANTISED.search(n.op_type)}:
        raise Unsupported(
            f"{source}: a quantised graph ({', '.join(sorted(quantised))}), whose weights are "
            "rounded already; use the float32 one"
        )
    return backbone_state(_stored(model.graph, source), folder, source)


def prove(source: Path, neutral: Path) -> float | None:
    """How far the backbone in ``neutral`` is from the graph it was made of, on real tokens.

    max|difference| / max|reference| of the last hidden states, float32; raises `Unsupported` above
    `PARITY_BOUND`. None, with nothing checked but names and shapes: without ONNX Runtime, for
    graphs that yield no (batch, length, hidden) but a head's logits, say, and for those that ask
    for more than tokens, mask, segments and positions (keys and values of past tokens).
    """
    if find_spec("onnxruntime") is None:
        return None
    from harness.backends.onnxruntime.foreign import hidden_states
    from harness.backends.torch.backend import TorchBackend

    batch = _batch(neutral / "tokenizer.json")
    rebuilt = TorchBackend().hidden_states("transformer", neutral, batch)
    reference = hidden_states(source, batch, rebuilt.shape[-1])
    if reference is None:
        return None
    real = batch["attention_mask"].astype(bool)
    difference: float = parity(list(reference[real]), list(rebuilt[real]))["parity_rel_diff"]
    if not difference <= PARITY_BOUND:
        raise Unsupported(
            f"{source}: what the graph computes differs from config.json's architecture with its "
            f"weights by {difference:.1e} of the largest (allowed {PARITY_BOUND:.0e})"
        )
    return difference


def _batch(tokenizer_file: Path) -> Batch:
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.no_padding()
    tokenizer.enable_truncation(_TOKENS)
    rows = [encoding.ids for encoding in tokenizer.encode_batch(list(_TEXTS))]
    count = np.arange(len(rows))
    return pad(Encoded({"input_ids": Ragged.of(rows)}, {}, count, np.zeros(len(rows), bool)), count)


def _stored(graph: onnx.GraphProto, source: Path) -> dict[str, Stored]:
    """Every initialiser by its own name, and matrices of products by those recovered, too."""
    found = {tensor.name: _as_stored(tensor, source) for tensor in graph.initializer}
    for node in graph.node:  # equal tensors are stored once; the others' names are copies of it
        if node.op_type == "Identity" and found.keys() & set(node.input):
            found[node.output[0]] = found[node.input[0]]
    claims: defaultdict[str, dict[str, Stored]] = defaultdict(dict)
    for node, name in _products(graph, found):
        matrix = node.input[1]
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        used = replace(found[matrix], input_first=not transposed)
        claims[matrix][matrix] = used
        if name and name not in found:
            claims[name][matrix] = used
    # what two matrices claim is the name of neither
    return found | {n: next(iter(c.values())) for n, c in claims.items() if len(c) == 1}


def _products(
    graph: onnx.GraphProto, found: Mapping[str, Stored]
) -> Iterator[tuple[onnx.NodeProto, str | None]]:
    """The products with an initialiser, and the name that PyTorch gave it, where it can be told."""
    added: dict[str, str] = {}
    for node in graph.node:
        if node.op_type == "Add" and len(node.input) == 2:
            one, other = node.input
            added |= {one: other, other: one}
    for node in graph.node:
        if node.op_type not in ("MatMul", "Gemm") or not found.keys() & set(node.input[1:2]):
            continue
        bias = node.input[2] if len(node.input) > 2 else added.get(node.output[0], "")
        if bias in found and bias.endswith(".bias"):
            yield node, bias.removesuffix("bias") + "weight"
        else:
            module = _module(node)
            yield node, f"{module}.weight" if module else None


def _module(node: onnx.NodeProto) -> str | None:
    """The PyTorch module that a node came from."""
    if node.name.startswith("/"):
        return ".".join(node.name.split("/")[1:-1])
    noted = next((p.value for p in node.metadata_props if p.key == _SCOPES), "")
    scopes = re.findall("'([^']*)'", noted)  # a list as Python writes it, the node's own name last
    return scopes[-2] if len(scopes) > 1 else None


def _tensors(message: Message) -> Iterator[onnx.TensorProto]:
    """All tensors of a model, also those in attributes, branches and functions."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if isinstance(value, Message) else value:
                yield from _tensors(part)


@dataclass(frozen=True)
class _External:
    """Where a tensor's bytes lie outside the model's own file."""

    path: Path
    offset: int
    count: int
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, tensor: onnx.TensorProto, source: Path) -> _External:
        """`Unsupported` unless it is a part of a file within the folder of ``source``."""
        said = {entry.key: entry.value for entry in tensor.external_data}
        what = f"{source}: the data of {tensor.name!r}"
        folder = source.parent.resolve()
        location = said.get("location", "")
        path = (folder / location).resolve()
        if not path.is_relative_to(folder) or not path.is_file():
            raise Unsupported(f"{what}: no file {location!r} in the model's own folder")
        try:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        except KeyError:
            raise Unsupported(f"{what}: no known type of numbers") from None
        count = math.prod(tensor.dims)
        size = count * dtype.itemsize
        try:
            offset, length = int(said.get("offset", 0)), int(said.get("length", size))
        except ValueError:
            raise Unsupported(f"{what}: offset and length are no numbers") from None
        if length != size or not 0 <= offset <= path.stat().st_size - size:
            raise Unsupported(
                f"{what}: {length} bytes from {offset} of {location!r} do not hold its {size}"
            )
        return cls(path, offset, count, dtype)

    def read(self) -> np.ndarray:
        return np.fromfile(self.path, self.dtype, self.count, offset=self.offset)


def _as_stored(tensor: onnx.TensorProto, source: Path) -> Stored:
    return Stored(tuple(tensor.dims), partial(_values, tensor, source))


def _values(tensor: onnx.TensorProto, source: Path) -> np.ndarray:
    try:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            return _External.of(tensor, source).read().reshape(tensor.dims)
        return onnx.numpy_helper.to_array(tensor)
    except (OSError, TypeError, ValueError) as error:
        raise Unsupported(f"{source}: {tensor.name!r} is damaged: {error}") from None
