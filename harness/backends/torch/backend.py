"""The backend `torch`: which recipe is fitted by what, and what `auto` means for precision."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from harness.backends.base import (
    ArtifactInfo,
    Attributions,
    Backend,
    Batch,
    FitReport,
    FitRequest,
    LanguageModelScore,
    Progress,
)
from harness.backends.gate import check
from harness.errors import RequestError, Unsupported

#: examples of the training steps that are timed
_TRIAL_BATCH = 16
#: seconds that the two arms of the trial may take together
_TRIAL_SECONDS = 3.0
#: a product of two matrices this size decides whether bfloat16 is worth a trial at all
_PRODUCT = 512


class TorchBackend(Backend):
    name = "torch"
    kinds = ("transformer", "static-embeddings", "timm", "keras-application")
    libraries = ("torch",)
    kind_libraries: ClassVar = {
        "transformer": ("transformers",),
        "static-embeddings": ("transformers",),
        "timm": ("timm",),
        "keras-application": ("timm",),
    }
    references: ClassVar = {"keras-application": "tensorflow"}
    version = 3
    runtime = "torch"

    def fit(self, request: FitRequest, progress: Progress) -> FitReport:
        from harness.backends.torch.loop import train
        from harness.backends.torch.probe import probe

        if request.recipe == "baseline":
            raise RequestError(f"the framework `torch` has no recipe {request.recipe!r}")
        difference = None
        if request.reference is not None:
            folder, kind = request.model_folder, request.model_kind
            assert folder is not None
            difference = check(lambda b: self.hidden_states(kind, folder, b), request.reference)
        fit = probe if request.recipe == "linear-probe" else train
        report = fit(request, progress)
        if difference is not None:
            report.notes["gate_rel_diff"] = difference
        return report

    def features(self, request: FitRequest, progress: Progress) -> np.ndarray:
        from harness.backends.torch.probe import features

        return features(request, progress)

    def language_model_score(
        self, model_kind: str, model_folder: Path, *inputs: Any, **settings: Any
    ) -> LanguageModelScore:
        from harness.backends.torch.perplexity import language_model_score

        if model_kind != "transformer":
            raise Unsupported(f"models of kind {model_kind!r} have no language-model head")
        return language_model_score(model_folder, *inputs, **settings)

    def attributions(self, artifact: Path, *inputs: Any, **settings: Any) -> Attributions:
        from harness.backends.torch.explain import attributions

        return attributions(artifact, *inputs, **settings)

    def check(self, model_kind: str, model_folder: Path) -> None:
        from harness.backends.torch.models import build

        build(_any_info(model_kind), model_folder)

    def hidden_states(self, model_kind: str, model_folder: Path, batch: Batch) -> np.ndarray:
        import torch

        from harness.backends.torch.models import build

        model = build(_any_info(model_kind), model_folder).eval()
        with torch.inference_mode():
            tensors = {n: torch.from_numpy(a) for n, a in batch.items()}
            hidden: np.ndarray = model.hidden(**tensors).numpy()
            return hidden

    def resolve_dtype(
        self, model_kind: str, model_folder: Path | None, device: str, threads: int
    ) -> tuple[str, dict[str, Any]]:
        """bfloat16 where training steps are faster with it, measured on a CPU, known on a GPU."""
        import torch

        from harness.backends.torch.threads import use_threads

        if device != "cpu":
            supported = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
            reason = f"bfloat16 {'is' if supported else 'is not'} supported by the GPU"
            return ("bfloat16" if supported else "float32"), {"reason": reason}
        if model_kind == "static-embeddings" or model_folder is None:
            return "float32", {"reason": "a table of embeddings has no products to speed up"}
        use_threads(threads)
        figures: dict[str, Any] = {"product_speedup": _product_speedup()}
        if figures["product_speedup"] < 1.0:
            return "float32", figures | {"reason": "bfloat16 products are slower here"}
        figures |= _step_seconds(model_kind, model_folder)
        faster = figures["bfloat16_step_seconds"] < figures["float32_step_seconds"]
        return ("bfloat16" if faster else "float32"), figures | {"reason": "training steps timed"}


def _product_speedup() -> float:
    """Time of a float32 matrix product over that of a bfloat16 one."""
    import torch

    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        matrix = torch.ones(_PRODUCT, _PRODUCT, dtype=dtype)
        times = []
        for _ in range(5):
            begun = time.perf_counter()
            matrix @ matrix
            times.append(time.perf_counter() - begun)
        seconds[dtype] = min(times)
    return seconds[torch.float32] / seconds[torch.bfloat16]


def _any_info(kind: str) -> ArtifactInfo:
    """For looking at a backbone alone: what its head would do does not matter."""
    return ArtifactInfo(kind, "torch", "", "pooled", 2, "mean", ["0", "1"], 64)


def _step_seconds(kind: str, folder: Path) -> dict[str, float]:
    """Fastest training step in each precision, taken in turns."""
    import torch

    from harness.backends.torch import attention, dropout
    from harness.backends.torch.loop import autocast
    from harness.backends.torch.models import build

    model = build(_any_info(kind), folder, attention=attention.register()).train()
    attention.install(model, dropout.install(model, 0))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    inputs = model.trial_inputs(_TRIAL_BATCH, torch.Generator().manual_seed(0))
    labels = torch.arange(_TRIAL_BATCH) % 2
    fastest = {"float32": float("inf"), "bfloat16": float("inf")}
    deadline = time.perf_counter() + _TRIAL_SECONDS
    rounds = 0
    while rounds < 2 or (time.perf_counter() < deadline and rounds < 6):
        for dtype in fastest:
            begun = time.perf_counter()
            with autocast(dtype, "cpu"):
                logits = model(**inputs).float()
            torch.nn.functional.cross_entropy(logits, labels).backward()
            optimiser.step()
            optimiser.zero_grad()
            if rounds:  # the first round warms up
                fastest[dtype] = min(fastest[dtype], time.perf_counter() - begun)
        rounds += 1
    return {f"{dtype}_step_seconds": seconds for dtype, seconds in fastest.items()}
