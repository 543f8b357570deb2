"""What only a CUDA device can show: ``pytest -m gpu``. Without one, every test is skipped.

Not yet run by the authors on a GPU; each claim here is one to check first on a new machine.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.backends.base import pad, predict_all
from harness.backends.parity import parity
from harness.measure import gpu_state
from harness.measure.reference_speed import peak_flops_per_second
from tests import tiny_models

pytestmark = pytest.mark.gpu

LENGTHS = [3, 9, 5, 1, 9, 30, 2]


@pytest.fixture(autouse=True)
def cuda() -> Any:
    import torch

    if not torch.cuda.is_available():
        pytest.skip(f"PyTorch {torch.__version__} sees no CUDA device")
    return torch


@pytest.fixture
def artifact(tmp_path: Path, cuda: Any) -> Path:
    return tiny_models.transformer_artifact(tmp_path, tiny_models.bert_config())


def on(device: str, artifact: Path, runtime: str = "torch") -> Any:
    from harness.backends.torch.compiled import TorchCompileRuntime
    from harness.backends.torch.runtime import TorchRuntime

    made = {"torch": TorchRuntime, "torch-compile": TorchCompileRuntime}[runtime]()
    return made.load(artifact, artifact, device=device, threads=1)


@pytest.mark.parametrize("runtime", ["torch", "torch-compile"])
def test_a_gpu_computes_what_the_cpu_computes(artifact: Path, runtime: str) -> None:
    encoded = tiny_models.tokens(LENGTHS)
    predictor = on("cuda", artifact, runtime)
    for batch_size in (1, 3):  # twice each: CUDA graphs are recorded first and replayed later
        for _ in range(2):
            found = predict_all(predictor, encoded, batch_size)
            reference = predict_all(on("cpu", artifact), encoded, batch_size)
            # sums in another order; no TF32
            assert parity(reference, found)["parity_rel_diff"] <= 1e-4
    assert predictor.observed()["device"].startswith("cuda")


def test_a_replayed_graph_answers_the_new_input_and_not_the_old(artifact: Path) -> None:
    encoded = tiny_models.tokens([9, 9], seed=3)
    predictor = on("cuda", artifact, "torch-compile")
    first, second = (pad(encoded, np.array([i])) for i in (0, 1))
    for _ in range(4):
        one = predictor.predict(first).copy()
        two = predictor.predict(second)
        assert not np.allclose(one, two)
        assert np.allclose(one, predictor.predict(first))


def test_the_gpus_own_time_is_part_of_the_whole(artifact: Path) -> None:
    predictor = on("cuda", artifact)
    batch = pad(tiny_models.tokens([30]), np.array([0]))
    times = predictor.device_times_ms(batch, 20)
    whole = []
    for _ in range(20):
        start = time.perf_counter()
        predictor.predict(batch)
        whole.append((time.perf_counter() - start) * 1e3)
    assert len(times) == 20 and min(times) > 0
    assert np.median(times) <= np.median(whole) * 1.2


def test_a_gpus_own_time_is_taken_on_the_gpu_that_computes(artifact: Path, cuda: Any) -> None:
    if cuda.cuda.device_count() < 2:
        pytest.skip("needs a second GPU")
    batch = pad(tiny_models.tokens([30]), np.array([0]))
    first, second = (
        np.median(on(device, artifact).device_times_ms(batch, 20))
        for device in ("cuda:0", "cuda:1")
    )
    assert first / 4 < second < first * 4


def test_memory_on_the_gpu_is_allocated_within_reserved(artifact: Path) -> None:
    predictor = on("cuda", artifact)
    predict_all(predictor, tiny_models.tokens(LENGTHS))
    memory = predictor.device_memory()
    assert 0 < memory["allocated_mb"] <= memory["reserved_mb"]


def test_float32_is_float32_where_a_gpu_has_tf32(cuda: Any) -> None:
    from harness.backends.torch.threads import set_up

    set_up("cuda", 1)
    generator = cuda.Generator().manual_seed(0)
    left = cuda.randn(512, 512, generator=generator)
    images = cuda.randn(8, 32, 16, 16, generator=generator)
    filters = cuda.randn(32, 32, 3, 3, generator=generator)
    for compute in (lambda to: to(left) @ to(left),
                    lambda to: cuda.nn.functional.conv2d(to(images), to(filters))):  # fmt: skip
        exact = compute(lambda tensor: tensor.double())
        found = compute(lambda tensor: tensor.cuda()).cpu().double()
        assert (found - exact).abs().max() <= 1e-5 * exact.abs().max()  # TF32: 1e-3


def test_half_precision_multiplies_faster_on_a_gpu(cuda: Any) -> None:
    from harness.backends.torch.products import products

    found = peak_flops_per_second({p.dtype: p for p in products("cuda")}, 0.3)
    assert set(found) == {"float32", "bfloat16", "float16"}
    if cuda.cuda.get_device_capability()[0] >= 8:
        # on paper 2 times on a GeForce, 15 on an H100
        assert found["bfloat16"] > 1.4 * found["float32"]


def test_the_driver_tells_the_gpus_state_and_its_energy_rises(cuda: Any) -> None:
    pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    before = gpu_state.gpu_level()
    if before is None:
        pytest.skip("NVML does not answer here")
    assert before.temperature_c is None or 0 < before.temperature_c < 120
    if before.energy_j is None:
        pytest.skip("this card does not tell its energy")
    matrix = cuda.randn(4096, 4096, device="cuda")
    end = time.perf_counter() + 1
    while time.perf_counter() < end:
        matrix @ matrix
        cuda.cuda.synchronize()
    after = gpu_state.gpu_level()
    assert after is not None and after.energy_j is not None
    assert 5 < after.energy_j - before.energy_j < 1500  # W of one GPU over about a second


def test_a_launch_on_a_gpu_records_the_gpu(tmp_path: Path, artifact: Path) -> None:
    pytest.importorskip("mlperf_loadgen", reason="mlcommons-loadgen is not installed")
    from harness.data.arrays import save_encoded
    from tests.test_measure_launch import launch

    save_encoded(tmp_path / "inputs.npz", tiny_models.tokens(LENGTHS * 40))
    done = launch(tmp_path, runtime="torch", device="cuda")
    assert done.returncode == 0, done.stderr
    timing = json.loads((tmp_path / "out" / "timing.json").read_text())
    assert timing["observed"]["device"].startswith("cuda")
    assert timing["device_p50_ms"] > 0
    assert set(timing["matmul_flops_per_s"]) == {"float32", "bfloat16", "float16"}


def test_onnx_runtime_on_cuda_computes_what_it_computes_on_a_cpu(
    tmp_path: Path, artifact: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this build of ONNX Runtime has no CUDA provider (extra `gpu`)")
    from harness.backends.onnxruntime.float32 import OnnxRuntime
    from harness.backends.torch.export import export_onnx

    export_onnx(artifact, tmp_path / "onnx")
    encoded = tiny_models.tokens(LENGTHS)
    outputs = [
        predict_all(
            OnnxRuntime().load(artifact, tmp_path / "onnx", device=device, threads=1), encoded
        )
        for device in ("cpu", "cuda")
    ]
    assert parity(*outputs)["parity_rel_diff"] <= 1e-4
