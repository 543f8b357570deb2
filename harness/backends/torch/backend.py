"""The backend `torch`: which recipe is fitted by what, and what `auto` means for precision."""

from __future__ import annotations

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
from harness.backends.dtype_trial import BATCH, DTYPES, PRODUCT, Timed, on_cpu, on_gpu
from harness.backends.gate import check
from harness.errors import RequestError, Unsupported


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
    version = 5
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

    def class_probabilities(
        self, model_kind: str, model_folder: Path, *inputs: Any, **settings: Any
    ) -> np.ndarray:
        from harness.backends.torch.classifier import class_probabilities

        if model_kind != "transformer":
            raise Unsupported(f"models of kind {model_kind!r} have no classifier of their own")
        return class_probabilities(model_folder, *inputs, **settings)

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

        from harness.backends.torch.threads import set_up, use_threads

        if device != "cpu":
            set_up(device, threads)
            # a card without the units emulates them, and is slower than in float32
            return on_gpu(torch.cuda.is_bf16_supported(including_emulation=False))
        if model_kind == "static-embeddings" or model_folder is None:
            return "float32", {"reason": "a table of embeddings has no products to speed up"}
        use_threads(threads)
        sides = {d: torch.ones(PRODUCT, PRODUCT, dtype=getattr(torch, d)) for d in DTYPES}
        return on_cpu(
            lambda dtype: sides[dtype] @ sides[dtype], lambda: _steps(model_kind, model_folder)
        )


def _any_info(kind: str) -> ArtifactInfo:
    """For looking at a backbone alone: what its head would do does not matter."""
    return ArtifactInfo(kind, "torch", "", "pooled", 2, "mean", ["0", "1"], 64)


def _steps(kind: str, folder: Path) -> Timed:
    """Trains a model on one batch again and again."""
    import torch

    from harness.backends.torch import attention, dropout
    from harness.backends.torch.loop import autocast
    from harness.backends.torch.models import build

    model = build(_any_info(kind), folder, attention=attention.register()).train()
    attention.install(model, dropout.install(model, 0))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    inputs = model.trial_inputs(BATCH, torch.Generator().manual_seed(0))
    labels = torch.arange(BATCH) % 2

    def step(dtype: str) -> None:
        with autocast(dtype, "cpu"):
            logits = model(**inputs).float()
        torch.nn.functional.cross_entropy(logits, labels).backward()
        optimiser.step()
        optimiser.zero_grad()

    return step
