"""Matrix products of ONNX Runtime, by whose speed a model's is judged."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.backends.onnxruntime.session import check_provider, providers
from harness.devices import gpu_index
from harness.measure.reference_speed import Product, flops_of

#: rows and columns, as in `harness.backends.torch.products`
_CPU_SIZE, _GPU_SIZE = 1024, 8192


def products(device: str, threads: int) -> list[Product]:
    """In float32, and on a CPU in int8 (8-bit values, 32-bit sums)."""
    found = [_product("float32", device, threads)]
    if device == "cpu":
        found.append(_product("int8", device, threads))
    return found


def _product(dtype: str, device: str, threads: int) -> Product:
    import onnxruntime

    size = _CPU_SIZE if device == "cpu" else _GPU_SIZE
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # its threads would spin on beside a model's own
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    chosen = providers(device)
    session = onnxruntime.InferenceSession(_model(dtype, size), options, providers=chosen)
    check_provider(chosen[0][0], session.get_providers())
    left = np.ones((size, size), np.float32 if dtype == "float32" else np.uint8)
    kind, index = device.partition(":")[0], gpu_index(device) or 0
    binding = session.io_binding()  # nothing is copied to or from a GPU
    binding.bind_ortvalue_input("left", onnxruntime.OrtValue.ortvalue_from_numpy(left, kind, index))
    binding.bind_output("product", kind, index)

    def multiply() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return Product(f"onnxruntime-{dtype}", dtype, flops_of(size), multiply)


def _model(dtype: str, size: int) -> bytes:
    """A graph of one product with a constant right side, as weights are."""
    from onnx import TensorProto, helper, numpy_helper

    shape = [size, size]
    values: Any = np.random.default_rng(0).integers(-9, 9, shape)
    if dtype == "float32":
        operator, left, out = "MatMul", TensorProto.FLOAT, TensorProto.FLOAT
        values = values.astype(np.float32)
    else:
        operator, left, out = "MatMulInteger", TensorProto.UINT8, TensorProto.INT32
        values = values.astype(np.int8)
    graph = helper.make_graph(
        [helper.make_node(operator, ["left", "right"], ["product"])],
        "product",
        [helper.make_tensor_value_info("left", left, shape)],
        [helper.make_tensor_value_info("product", out, shape)],
        [numpy_helper.from_array(values, "right")],
    )
    # an opset and a format that every ONNX Runtime of the last years reads
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())
