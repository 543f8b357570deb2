"""Metrics as plain functions: arrays or lists in, numbers in [0, 1] (or named) out."""
