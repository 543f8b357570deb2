"""ONNX Runtime: predictions of exported artifacts, in float32 and in int8."""

from harness.backends.onnxruntime.float32 import OnnxRuntime
from harness.backends.onnxruntime.int8 import OnnxRuntimeInt8

__all__ = ["OnnxRuntime", "OnnxRuntimeInt8"]
