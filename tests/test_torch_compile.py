"""The runtime `torch-compile` computes what PyTorch computes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.backends.base import predict_all
from harness.backends.parity import parity
from harness.backends.torch.compiled import TorchCompileRuntime, compiled
from harness.backends.torch.runtime import TorchRuntime
from harness.errors import Unsupported
from tests import tiny_models

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")


def test_without_a_compiler_it_says_so_before_it_tries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(Unsupported, match="needs a C\\+\\+ compiler"):
        TorchCompileRuntime().load(tmp_path, tmp_path, device="cpu", threads=1)


def test_it_is_registered_under_its_name() -> None:
    from harness import registry

    assert registry.runtimes.get("torch-compile") is TorchCompileRuntime


def test_on_a_gpu_each_shape_is_recorded_when_it_is_met(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CUDA graph is there from the third call: a warm-up of one call a shape must suffice."""
    calls: list[str] = []

    class Counted(torch.nn.Module):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            calls.append(f"call {ids.shape[1]}")
            return ids

    monkeypatch.setattr(torch, "compile", lambda model, **_: model)
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: calls.append("step"))
    model = compiled(Counted(), "cuda")
    for length, times in ((3, 3), (5, 3), (3, 1)):
        calls.clear()
        ids = torch.ones(1, length, dtype=torch.int64)
        assert torch.equal(model(ids=ids), ids)
        assert calls == ["step", f"call {length}"] * times


@pytest.mark.slow  # Inductor compiles C++ twice: 30 s on a quiet machine
@needs_compiler
def test_single_inputs_and_batches_of_all_lengths_come_out_alike(tmp_path: Path) -> None:
    artifact = tiny_models.transformer_artifact(tmp_path, tiny_models.bert_config())
    encoded = tiny_models.tokens([3, 9, 5, 1, 9, 30, 2])
    plain = TorchRuntime().load(artifact, tmp_path, device="cpu", threads=1)
    fast = TorchCompileRuntime().load(artifact, tmp_path, device="cpu", threads=1)
    for batch_size in (1, 3):
        reference = predict_all(plain, encoded, batch_size)
        found = predict_all(fast, encoded, batch_size)
        assert parity(reference, found)["parity_rel_diff"] <= 1e-5
    observed = fast.observed()
    assert observed["dtype"] == "float32" and observed["threads"] == 1
    assert all(np.isfinite(row).all() for row in found)
