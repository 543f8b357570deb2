"""A fitted artifact as an ONNX model."""

from __future__ import annotations

import logging
import os
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from harness.backends.torch.models import load
from harness.errors import Unsupported

#: From 23 on there is ``Attention``: scaled dot-product attention stays one node (a dozen a layer
#: before), which makes the graph smaller and the export faster. At 23 itself the exporter fuses
#: rotary embeddings into a node whose broadcast tables ONNX Runtime refuses: no Llama would run.
OPSET = 24
#: Protocol buffers hold at most 2 GiB, so that larger weights cannot stand in one file.
_SINGLE_FILE_LIMIT = 2**31 - 2**24


def export_onnx(artifact: Path, out: Path) -> dict[str, Any]:
    """Write ``out/model.onnx``, atomically and with all weights in it.

    Inputs are int64 (batch, sequence), both dynamic: ``input_ids``, ``attention_mask``, and
    ``token_type_ids`` where the architecture knows them; or float32 ``pixel_values`` (batch, 3,
    height, width), the batch dynamic. The output is ``logits``, float32.
    Returns ``opset``, ``bytes``, ``seconds`` and ``inputs``. Whether the model computes the same,
    only loading and running it can tell (see `harness.backends.parity`).

    Raises `Unsupported` for weights over 2 GB and for architectures that the exporter cannot
    trace.
    """
    start = time.perf_counter()
    model, _ = load(artifact)
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    if size > _SINGLE_FILE_LIMIT:
        raise Unsupported(f"{size / 1e9:.1f} GB of weights; one ONNX file holds at most 2 GB")
    inputs = model.example_inputs()
    axes = model.dynamic_axes()
    with _silence(), torch.no_grad():
        try:
            program = torch.onnx.export(
                model,
                kwargs=inputs,
                dynamo=True,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=["logits"],
                dynamic_shapes={name: axes for name in inputs},
                external_data=False,
                verify=False,  # with its own example only; parity is checked on real inputs
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise Unsupported(f"ONNX export failed: {_first_cause(error)}") from error
        assert program is not None
        out.mkdir(parents=True, exist_ok=True)
        target = out / "model.onnx"
        handle, name = tempfile.mkstemp(prefix=".model.", suffix=".onnx", dir=out)
        os.close(handle)
        try:
            program.save(name, external_data=False)
            os.chmod(name, 0o644)
            os.replace(name, target)
        finally:
            Path(name).unlink(missing_ok=True)
    return {
        "opset": OPSET,
        "bytes": target.stat().st_size,
        "seconds": time.perf_counter() - start,
        "inputs": list(inputs),
    }


@contextmanager
def _silence() -> Iterator[None]:
    """No notices of what the exporter skips; they concern packages and names, not the result."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _first_cause(error: BaseException) -> str:
    """The line that started it, from beneath the exporter's report."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
