"""A benchmark and evaluation harness for comparing pretrained models."""

__version__ = "0.1.0"
