"""A session whose provider and threads are the ones that were asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from harness.backends.base import Batch, Predictor
from harness.devices import gpu_index, is_gpu
from harness.errors import Unsupported

#: ONNX Runtime's name of the execution provider for each of our devices.
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
#: What a provider is told: float32 is float32, not TF32, which CUDA's takes unasked.
_OPTIONS = {"CUDAExecutionProvider": {"use_tf32": "0"}}


def imported() -> Any:
    """The package ``onnxruntime``, of whichever build is installed; `Unsupported` without one."""
    try:
        import onnxruntime
    except ImportError as error:
        raise Unsupported(
            f"ONNX Runtime cannot be imported ({error}); pip install 'pretrained-harness[cpu]', or "
            "[gpu] for CUDA, never both"
        ) from None
    return onnxruntime


class OnnxPredictor(Predictor):
    """Logits from an ONNX model with inputs as `harness.backends.torch.export` names them."""

    def __init__(self, model: Path, dtype: str, *, device: str, threads: int) -> None:
        onnxruntime = imported()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3  # errors; a provider that did not come up is one of ours
        chosen = providers(device)
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=chosen)
        except Exception as error:  # its exceptions share no public base class
            first = str(error).strip().splitlines()[0]
            raise Unsupported(f"ONNX Runtime cannot load {model.name}: {first}") from error
        check_provider(chosen[0][0], self._session.get_providers())
        self._inputs = [i.name for i in self._session.get_inputs()]
        self._device, self._dtype = device, dtype

    def predict(self, batch: Batch) -> np.ndarray:
        feed = {name: batch[name] for name in self._inputs if name in batch}
        for name in self._inputs:
            if name not in feed:  # single texts: all of them are the first segment
                feed[name] = np.zeros_like(batch["input_ids"])
        if self._device == "cpu":
            logits: np.ndarray = self._session.run(["logits"], feed)[0]
            return logits
        return bound_run(self._session, feed, self._device)

    def observed(self) -> dict[str, Any]:
        """``device`` (of the provider that runs), ``dtype`` (as asked: a session does not tell),
        ``provider``, ``threads`` and ``interop_threads`` (as the session holds them)."""
        provider = self._session.get_providers()[0]
        options = self._session.get_session_options()
        return {
            "device": next((d for d, name in PROVIDERS.items() if name == provider), provider),
            "dtype": self._dtype,
            "provider": provider,
            "threads": options.intra_op_num_threads,
            "interop_threads": options.inter_op_num_threads,
        }


def bound_run(session: Any, feed: dict[str, np.ndarray], device: str) -> np.ndarray:
    """``logits`` by I/O binding: every input goes to the device once, the output stays there until
    it is whole, and one copy brings it back. `InferenceSession.run` may stage each of them twice.

    (On CUDA it has not been run by its authors yet; on a CPU it gives what `run` gives.)
    """
    import onnxruntime

    kind, index = device.partition(":")[0], gpu_index(device) or 0
    binding = session.io_binding()
    for name, array in feed.items():
        value = onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), kind, index)
        binding.bind_ortvalue_input(name, value)
    binding.bind_output("logits", kind, index)
    session.run_with_iobinding(binding)
    binding.synchronize_outputs()
    logits: np.ndarray = binding.copy_outputs_to_cpu()[0]
    return logits


def providers(device: str) -> list[tuple[str, dict[str, Any]]]:
    """What a session for a device asks for: the one provider, with its options. Raises
    `Unsupported` where this build of ONNX Runtime lacks it."""
    provider = _provider(device)
    chosen: dict[str, Any] = dict(_OPTIONS.get(provider, {}))
    if (index := gpu_index(device)) is not None:
        chosen["device_id"] = index
    return [(provider, chosen)]


def _provider(device: str) -> str:
    import onnxruntime

    if is_gpu(device):
        # CUDA's and cuDNN's packages lie where the system looks for no libraries; without this a
        # session falls back to the CPU, unless PyTorch has loaded them
        onnxruntime.preload_dlls()
    provider = PROVIDERS.get("cuda" if is_gpu(device) else device)
    available = onnxruntime.get_available_providers()
    if provider is None or provider not in available:
        raise Unsupported(
            f"device {device!r} needs {provider or 'a provider that is not known here'}; this "
            f"build of ONNX Runtime has {', '.join(available)}"
        )
    return provider


def check_provider(asked: str, running: list[str]) -> None:
    """Raise unless the provider asked for came up first.

    Where CUDA fails to start, ONNX Runtime warns, computes on the CPU, and answers all the same.
    (Single nodes that it keeps on the CPU beside a working provider are not looked for: it puts
    those that compute shapes there on purpose, which every graph of open sizes has, and its option
    `session.disable_cpu_ep_fallback` refuses a session for the first of them.)
    """
    if not running or running[0] != asked:
        raise Unsupported(
            f"{asked} was asked for, but ONNX Runtime fell back to {', '.join(running) or 'none'}"
        )
