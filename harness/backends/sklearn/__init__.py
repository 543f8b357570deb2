"""Baselines without a neural network: linear models on words or pixels, and the majority class."""

from harness.backends.sklearn.backend import SklearnBackend
from harness.backends.sklearn.runtime import SklearnRuntime

__all__ = ["SklearnBackend", "SklearnRuntime"]
