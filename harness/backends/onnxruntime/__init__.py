"""ONNX Runtime: predictions of exported artifacts, in float32 and in int8."""
