"""ONNX Runtime with weights quantised to int8: other weights than the fit's."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from harness.backends.base import pad
from harness.backends.onnxruntime.float32 import EXPORT, OnnxRuntime
from harness.sources.cache import sha256_of
from harness.sources.derived import reusable, sign
from harness.tasks.base import Encoded

#: training examples whose activations give the scales
_CALIBRATION = 128


class OnnxRuntimeInt8(OnnxRuntime):
    """int8 weights, and activations quantised dynamically (transformers) or statically (CNNs).

    Matrix products and embedding tables are quantised; layer norms, softmax and attention's own
    products, which have no weights, stay in float32. One scale per output channel and signed
    weights: on MiniLM with 8 Reuters classes they kept 99.75% of the float32 predictions (one
    scale per matrix 98.0%) and halved the latency, on a CPU with VNNI. Without VNNI the 16-bit
    accumulators may saturate and agreement suffer; every run's record shows it.

    ONNX Runtime has no fast kernel for convolutions with dynamically quantised activations, so
    graphs with convolutions get fixed scales, from the ranges that training images give.
    """

    name: ClassVar[str] = "onnxruntime-int8"
    dtype: ClassVar[str] = "int8"
    version: ClassVar[int] = 1
    needs: ClassVar[Literal["artifact", "onnx"]] = "onnx"
    devices: ClassVar[tuple[str, ...]] = ("cpu",)  # CUDA has no kernels for dynamic quantisation

    def prepare(self, artifact: Path, exports: Path, training: Callable[[], Encoded]) -> None:
        from harness.backends.onnxruntime.session import imported

        weights, receipt = self.weights(exports), exports / "model-int8.json"
        made_by = {
            "version": self.version,
            "source": sha256_of(exports / EXPORT),
            "onnx": version("onnx"),
            "onnxruntime": imported().__version__,  # of either build: their distributions differ
        }
        if not reusable(receipt, made_by):
            quantise(exports / EXPORT, weights, training)
            sign(receipt, made_by, [weights])

    def weights(self, exports: Path) -> Path:
        return exports / f"model-int8-{self.version}.onnx"


def quantise(source: Path, target: Path, training: Callable[[], Encoded]) -> None:
    """Write ``target``, atomically, from a float32 ONNX model."""
    import onnx

    model = onnx.load(source)
    # The exporter's notes on shapes contradict the quantiser's new tensors, and it gives up.
    del model.graph.value_info[:]
    convolutions = any(node.op_type == "Conv" for node in model.graph.node)
    handle, name = tempfile.mkstemp(prefix=".model.", suffix=".onnx", dir=target.parent)
    os.close(handle)
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # it advises, on the root logger, to run a pre-processing tool
    try:
        if convolutions:
            _statically(model, Path(name), training())
        else:
            _dynamically(model, name)
        os.chmod(name, 0o644)
        os.replace(name, target)
    finally:
        logger.setLevel(level)
        Path(name).unlink(missing_ok=True)


def _dynamically(model: Any, target: str) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        model,
        target,
        op_types_to_quantize=["MatMul", "Gather"],
        per_channel=True,
        weight_type=QuantType.QInt8,
    )


def _statically(model: Any, target: Path, training: Encoded) -> None:
    """Scales of activations from the smallest and largest values that a sample gives."""
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    chosen = np.random.default_rng(0).permutation(len(training))[:_CALIBRATION]
    batches = [pad(training, part) for part in np.array_split(chosen, max(1, len(chosen) // 16))]

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._left = iter(batches)

        def get_next(self) -> Any:
            return next(self._left, None)

    with tempfile.TemporaryDirectory() as scratch:
        plain, ready = Path(scratch) / "plain.onnx", Path(scratch) / "ready.onnx"
        onnx.save(model, plain)
        # folds batch norms into convolutions, whose scales would be wrong otherwise
        quant_pre_process(plain, ready, skip_symbolic_shape=True)
        quantize_static(
            ready,
            target,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
        )
