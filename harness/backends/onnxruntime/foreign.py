"""What a graph that others exported computes, to compare with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from harness.backends.base import Batch
from harness.backends.onnxruntime.session import imported
from harness.errors import Unsupported

#: what exporters call hidden states; else the first output of their shape counts
_NAMES = ("last_hidden_state", "token_embeddings")


def hidden_states(model: Path, batch: Batch, width: int) -> np.ndarray | None:
    """The output (batch, length, width) of a graph of ``input_ids`` and ``attention_mask``.

    All segments are the first, positions count from 0. None where the graph has no such output, or
    other inputs. Raises `Unsupported` where ONNX Runtime cannot load or run it.
    """
    onnxruntime = imported()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # the graph as it stands, without kernels fused from several nodes
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    shape = batch["input_ids"].shape
    known: dict[str, np.ndarray] = {
        "input_ids": batch["input_ids"],
        "attention_mask": batch["attention_mask"],
        "token_type_ids": np.zeros(shape, np.int64),
        "position_ids": np.broadcast_to(np.arange(shape[1]), shape),
    }
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        inputs = session.get_inputs()
        if not all(one.name in known for one in inputs):
            return None
        feed: dict[str, np.ndarray] = {
            one.name: known[one.name].astype(_dtype(one.type)) for one in inputs
        }
        outputs: list[Any] = session.run(None, feed)
    except Exception as error:  # its exceptions share no public base class
        first = str(error).strip().splitlines()[0]
        raise Unsupported(f"ONNX Runtime cannot run {model.name}: {first}") from error
    named = dict(zip((one.name for one in session.get_outputs()), outputs, strict=True))
    fitting = [n for n, a in named.items() if getattr(a, "shape", None) == (*shape, width)]
    chosen = next((n for n in _NAMES if n in fitting), fitting[0] if fitting else None)
    return None if chosen is None else np.asarray(named[chosen])


def _dtype(kind: str) -> type:
    return np.int32 if kind == "tensor(int32)" else np.int64
