"""Linear probes on features that PyTorch computes."""

from __future__ import annotations

import numpy as np
import torch

from harness.backends import probe as shared
from harness.backends.base import Batch, FitReport, FitRequest, Progress
from harness.backends.torch.models import HeadedModel, build, save
from harness.backends.torch.threads import reproducible, set_up


def features(request: FitRequest, progress: Progress) -> np.ndarray:
    """Frozen features of the training split, from the cache or computed and left there."""
    set_up(request.device, request.threads)
    assert request.model_folder is not None
    with reproducible(request.seed, request.device):
        model = build(request.info, request.model_folder, recipe="linear-probe", seed=request.seed)
        model = model.eval().requires_grad_(False).to(request.device)
        width = model.head_layers()[0][0].shape[1]
        compute = _compute(model, request.device)
        return shared.features(request, compute, width, request.train, "train", progress).rows


def _compute(model: HeadedModel, device: str) -> shared.Compute:
    """What the head sees of a padded batch."""

    def compute(batch: Batch) -> np.ndarray:
        inputs = {name: torch.from_numpy(a).to(device) for name, a in batch.items()}
        with torch.inference_mode():
            return model.features(**inputs).float().cpu().numpy()

    return compute


def probe(request: FitRequest, progress: Progress) -> FitReport:
    """Fit the head and write the artifact; raises `RequestError` for settings without meaning."""
    shared.check(request)
    set_up(request.device, request.threads)
    assert request.model_folder is not None
    with reproducible(request.seed, request.device):
        model = build(request.info, request.model_folder, recipe="linear-probe", seed=request.seed)
        model = model.eval().requires_grad_(False).to(request.device)
        compute = _compute(model, request.device)
        layers = model.head_layers()
        own = sum(weight.size + bias.size for weight, bias in layers)
        params = sum(p.numel() for p in model.parameters()) - own
        head, report = shared.probe(request, compute, layers[0][0].shape[1], params, progress)
        model.set_head(head)
        save(model, request.info, request.out, request.model_folder)
    return report
