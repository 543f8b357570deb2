"""Training all weights of a model in PyTorch, for the recipes `fine-tune` and `scratch`."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.backends import training
from harness.backends.base import FitReport, FitRequest, Predictor, Progress, lengths_of
from harness.backends.batches import augmenter_of
from harness.backends.torch import attention, dropout, packing, rows
from harness.backends.torch.losses import LOSSES
from harness.backends.torch.models import FittedModel, HeadedModel, build, save
from harness.backends.torch.optimiser import adamw, clip, l1_norm, set_rates
from harness.backends.torch.predictor import TorchPredictor
from harness.backends.torch.remote_code import brings_code
from harness.backends.torch.tensors import to_tensors
from harness.backends.torch.threads import reproducible, set_up
from harness.errors import Unsupported
from harness.tasks.base import Ragged


def train(request: FitRequest, progress: Progress) -> FitReport:
    """Fit all weights and write the artifact; raises `Diverged` or `Unsupported`."""
    set_up(request.device, request.threads)
    assert request.model_folder is not None
    # on a GPU the library's own dropout and attention are fast: SDPA where the architecture has it
    # (XLNet and DeBERTa have not, and are refused where it is asked for by name)
    ours = request.device == "cpu" and request.model_kind == "transformer"
    with reproducible(request.seed, request.device):
        model = build(
            request.info,
            request.model_folder,
            recipe=request.recipe,
            seed=request.seed,
            dropout=request.settings.get("dropout"),
            attention=attention.register() if ours else None,
        )
        if ours and not brings_code(model):
            attention.install(model, dropout.install(model, request.seed))
            _pack(model, request)
        stepper = TorchStepper(model.to(request.device), request)
        report = training.train(stepper, request, progress)
        stepper.finish()
        save(model, request.info, request.out, request.model_folder)
    return report


def _pack(model: HeadedModel, request: FitRequest) -> None:
    """Let the model train on packed batches where that computes the same."""
    order = np.argsort(lengths_of(request.train), kind="stable")
    extremes = np.unique(np.concatenate([order[:4], order[-4:]]))
    inputs, _ = to_tensors(request.train, extremes, "cpu")
    assert isinstance(model, FittedModel)
    model.packing = packing.fitting(model.backbone, **model.inputs(**inputs))


class TorchStepper(training.Stepper):
    """A model and its optimiser."""

    def __init__(self, model: HeadedModel, request: FitRequest) -> None:
        self.model, self.request = model, request
        self.settings = request.settings
        self.params = sum(p.numel() for p in model.parameters())
        self.trained_params = sum(p.numel() for p in model.parameters() if p.requires_grad)
        self.rows = self._limit_rows()
        self.optimiser = adamw(model, self.settings)
        self.loss = LOSSES[request.loss]
        self.augment = augmenter_of(request)
        self.scaler = _grad_scaler(self.settings["fit_dtype"], request.device)

    def _limit_rows(self) -> rows.TrainedRows | None:
        """On a CPU, where updates show; not with L1, which pulls on unreached rows too."""
        if self.request.device != "cpu" or self.settings["l1"]:
            return None
        if not isinstance(self.model, FittedModel) or brings_code(self.model):
            return None
        ids = self.request.train.inputs["input_ids"]
        assert isinstance(ids, Ragged)
        return rows.install(self.model.backbone, np.unique(ids.values))

    def step(self, batch: np.ndarray, share: float) -> Tensor:
        """One update; returns its loss (without L1), detached."""
        self.model.train()
        inputs, targets = to_tensors(self.request.train, batch, self.request.device, self.augment)
        set_rates(self.optimiser, share)
        with autocast(self.settings["fit_dtype"], self.request.device):
            loss = self.loss(self.model, inputs, targets, self.settings["label_smoothing"])
        objective = loss
        if self.settings["l1"]:
            objective = loss + self.settings["l1"] * l1_norm(self.model)
        self.scaler.scale(objective).backward()
        if self.settings["clip_norm"]:
            self.scaler.unscale_(self.optimiser)
            clip(self.optimiser, self.settings["clip_norm"])
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        if self.rows:
            rate = self.settings["learning_rate"] * share
            self.rows.decay(1.0 - rate * self.settings["weight_decay"])
        return loss.detach()

    def losses(self, handles: list[Tensor]) -> list[float]:
        return torch.stack(handles).tolist() if handles else []

    def predictor(self) -> Predictor:
        return TorchPredictor(self.model.eval(), self.request.device)

    def snapshot(self) -> dict[str, Tensor]:
        return {name: t.cpu().clone() for name, t in self.model.state_dict().items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.model.load_state_dict(state)

    def finish(self) -> None:
        """Leave the model as it was built, with the trained weights."""
        if self.rows:
            assert isinstance(self.model, FittedModel)
            rows.uninstall(self.model.backbone, self.rows)


def autocast(fit_dtype: str, device: str) -> AbstractContextManager[Any]:
    """Mixed precision for a forward pass; weights and optimiser stay in float32."""
    if fit_dtype == "float32":
        return nullcontext()
    return torch.autocast(device.split(":")[0], dtype=getattr(torch, fit_dtype))


def _grad_scaler(fit_dtype: str, device: str) -> torch.amp.GradScaler:
    """float16's gradients underflow without a scale; elsewhere a scaler that does nothing."""
    if fit_dtype == "float16" and device == "cpu":
        raise Unsupported("float16 training needs a GPU; use bfloat16 or float32 on a CPU")
    return torch.amp.GradScaler(device.split(":")[0], enabled=fit_dtype == "float16")
