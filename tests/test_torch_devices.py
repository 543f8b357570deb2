"""What PyTorch is told of a GPU, on a machine that has none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.backends.torch.backend import TorchBackend
from harness.backends.torch.threads import set_up
from harness.errors import Unsupported


@pytest.fixture
def current(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The devices that were made current, where PyTorch sees two GPUs."""
    made: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", made.append)
    return made


def test_the_gpu_that_computes_is_the_one_whose_events_are_recorded(current: list[int]) -> None:
    for device in ("cpu", "cuda", "cuda:1"):
        set_up(device, 1)
    assert current == [0, 1]
    with pytest.raises(Unsupported, match="PyTorch sees 2 GPUs, and no cuda:2"):
        set_up("cuda:2", 1)


@pytest.mark.parametrize(("native", "dtype"), [(True, "bfloat16"), (False, "float32")])
def test_auto_is_bfloat16_where_the_gpu_computes_it_and_does_not_emulate_it(
    native: bool, dtype: str, current: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def supported(including_emulation: bool = True) -> bool:
        return native or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    found, figures = TorchBackend().resolve_dtype("transformer", tmp_path, "cuda:1", 1)
    assert (found, current) == (dtype, [1])
    assert "bfloat16 is" in figures["reason"]
