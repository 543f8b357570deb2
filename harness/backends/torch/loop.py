"""The training loop: all weights of a model, for the recipes `fine-tune` and `scratch`."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.backends.base import FitReport, FitRequest, Progress, lengths_of, predict_all
from harness.backends.batches import endless_batches, steps_per_epoch
from harness.backends.torch import attention, dropout, packing, rows
from harness.backends.torch.losses import LOSSES
from harness.backends.torch.models import FittedModel, HeadedModel, build, save
from harness.backends.torch.optimiser import adamw, l1_norm, schedule, set_rates
from harness.backends.torch.predictor import TorchPredictor
from harness.backends.torch.tensors import to_tensors
from harness.backends.torch.threads import check_device, reproducible, use_threads
from harness.errors import Diverged, Unsupported
from harness.tasks.base import Ragged

#: an epoch's mean loss above this multiple of its start is divergence: beyond what the luck of
#: batches moves it when a model learns nothing at all
DIVERGED_FACTOR = 1.25
#: batches whose mean loss counts as the start
_START_BATCHES = 8
#: steps between two looks at the loss (on a GPU each look waits for it)
_LOOK_EVERY = 8


def train(request: FitRequest, progress: Progress) -> FitReport:
    """Fit all weights and write the artifact; raises `Diverged` or `Unsupported`."""
    check_device(request.device)
    use_threads(request.threads)
    assert request.model_folder is not None
    # on a GPU the library's own dropout and attention are fast
    ours = request.device == "cpu" and request.model_kind == "transformer"
    with reproducible(request.seed, request.device):
        model = build(
            request.info,
            request.model_folder,
            recipe=request.recipe,
            seed=request.seed,
            dropout=request.settings.get("dropout"),
            attention=attention.register() if ours else "sdpa",
        )
        if ours:
            attention.install(model, dropout.install(model, request.seed))
            _pack(model, request)
        trainer = _Trainer(model.to(request.device), request)
        report = trainer.run(progress)
        save(model, request.info, request.out, request.model_folder)
    return report


def _pack(model: HeadedModel, request: FitRequest) -> None:
    """Let the model train on packed batches where that computes the same."""
    order = np.argsort(lengths_of(request.train), kind="stable")
    extremes = np.unique(np.concatenate([order[:4], order[-4:]]))
    inputs, _ = to_tensors(request.train, extremes, "cpu")
    assert isinstance(model, FittedModel)
    model.packing = packing.fitting(model.backbone, **model.inputs(**inputs))


@dataclass
class _Epoch:
    """The losses of one epoch, and the time they took."""

    losses: list[Tensor] = field(default_factory=list)
    seconds: float = 0.0

    def values(self) -> list[float]:
        return torch.stack(self.losses).tolist() if self.losses else []


class _Trainer:
    """The state of one training: optimiser, schedule, and the best weights so far."""

    def __init__(self, model: HeadedModel, request: FitRequest) -> None:
        self.model, self.request = model, request
        self.settings = request.settings
        self.params = sum(p.numel() for p in model.parameters())
        self.trained_params = sum(p.numel() for p in model.parameters() if p.requires_grad)
        self.rows = self._limit_rows()
        self.optimiser = adamw(model, self.settings)
        self.loss = LOSSES[request.loss]
        self.scaler = _grad_scaler(self.settings["fit_dtype"], request.device)
        per_epoch = steps_per_epoch(len(request.train), self.settings["batch_size"])
        self.total_steps = max(1, round(self.settings["epochs"] * per_epoch))
        self.best_score, self.best_epoch = -math.inf, 0
        self.best_weights: dict[str, Tensor] | None = None

    def _limit_rows(self) -> rows.TrainedRows | None:
        """On a CPU, where updates show; not with L1, which pulls on unreached rows too."""
        if self.request.device != "cpu" or self.settings["l1"]:
            return None
        ids = self.request.train.inputs["input_ids"]
        assert isinstance(ids, Ragged)
        if not isinstance(self.model, FittedModel):
            return None
        return rows.install(self.model.backbone, np.unique(ids.values))

    def run(self, progress: Progress) -> FitReport:
        epochs: list[dict[str, float]] = []
        stopped = "finished"
        start_loss: float | None = None
        steps = examples = 0
        seconds = 0.0
        for number, epoch, share, seen in self._epochs(progress):
            values = epoch.values()
            if start_loss is None:
                start_loss = float(np.mean(values[:_START_BATCHES]))
            mean = float(np.mean(values))
            _check_loss(mean, start_loss, number)
            steps += len(values)
            examples += seen
            seconds += epoch.seconds
            score = self._validate()
            epochs.append(
                {
                    "epoch": number,
                    "loss": mean,
                    "validation_score": score,
                    "seconds": epoch.seconds,
                    "learning_rate": self.settings["learning_rate"] * share,
                }
            )
            self._note_best(number, score)
            patience = self.settings["patience"]
            if patience and number - self.best_epoch >= patience and steps < self.total_steps:
                stopped = (
                    f"early: no better validation score than epoch {self.best_epoch}'s "
                    f"{self.best_score:.4f} for {patience} epochs"
                )
                break
        self._finish()
        return FitReport(
            seconds=seconds,
            examples_per_second=examples / seconds,
            epochs=epochs,
            steps=steps,
            params=self.params,
            trained_params=self.trained_params,
            stopped=stopped,
            notes={"kept_epoch": self.best_epoch} if self.settings["keep_best"] else {},
        )

    def _epochs(self, progress: Progress) -> Iterator[tuple[int, _Epoch, float, int]]:
        """Train an epoch at a time: (number from 1, losses, last share of the rate, examples)."""
        self.model.train()
        epoch, current, seen, share = _Epoch(), 0, 0, 0.0
        lengths = lengths_of(self.request.train)
        batches = endless_batches(
            lengths,
            self.settings["batch_size"],
            self.request.seed,
            mixed=self.request.mixed_batches,
        )
        begun = time.perf_counter()
        for step, (number, batch) in zip(range(self.total_steps), batches, strict=False):
            if number != current:
                epoch.seconds = time.perf_counter() - begun
                yield current + 1, epoch, share, seen
                self.model.train()
                epoch, current, seen = _Epoch(), number, 0
                begun = time.perf_counter()
            share = schedule(step, self.total_steps, self.settings["warmup"])
            epoch.losses.append(self._step(batch, share))
            seen += len(batch)
            if (step + 1) % _LOOK_EVERY == 0 or step + 1 == self.total_steps:
                loss = float(epoch.losses[-1])
                _check_loss(loss, math.inf, number + 1)
                progress("fit", step + 1, self.total_steps, f"loss {loss:.4f}")
        if self.request.device != "cpu":
            torch.cuda.synchronize()
        epoch.seconds = time.perf_counter() - begun
        yield current + 1, epoch, share, seen

    def _step(self, batch: np.ndarray, share: float) -> Tensor:
        """One update; returns its loss (without L1), detached."""
        inputs, targets = to_tensors(self.request.train, batch, self.request.device)
        set_rates(self.optimiser, share)
        with autocast(self.settings["fit_dtype"], self.request.device):
            loss = self.loss(self.model, inputs, targets, self.settings["label_smoothing"])
        objective = loss
        if self.settings["l1"]:
            objective = loss + self.settings["l1"] * l1_norm(self.model)
        self.scaler.scale(objective).backward()
        if self.settings["clip_norm"]:
            self.scaler.unscale_(self.optimiser)
            trained = [p for p in self.model.parameters() if p.grad is not None]
            nn.utils.clip_grad_norm_(trained, self.settings["clip_norm"])
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        if self.rows:
            rate = self.settings["learning_rate"] * share
            self.rows.decay(1.0 - rate * self.settings["weight_decay"])
        return loss.detach()

    def _validate(self) -> float:
        """The primary metric on the validation split, NaN without one."""
        if not len(self.request.validation):
            return math.nan
        predictor = TorchPredictor(self.model.eval(), self.request.device)
        return self.request.validation_score(predict_all(predictor, self.request.validation))

    def _note_best(self, number: int, score: float) -> None:
        if score > self.best_score:
            self.best_score, self.best_epoch = score, number
            if self.settings["keep_best"]:
                state = self.model.state_dict()
                self.best_weights = {name: t.cpu().clone() for name, t in state.items()}

    def _finish(self) -> None:
        if self.best_weights is not None:
            self.model.load_state_dict(self.best_weights)
        if self.rows:
            assert isinstance(self.model, FittedModel)
            rows.uninstall(self.model.backbone, self.rows)


def _check_loss(loss: float, start: float, epoch: int) -> None:
    if not math.isfinite(loss):
        raise Diverged(f"loss {loss} in epoch {epoch}: lower the learning rate")
    if loss > DIVERGED_FACTOR * start:
        raise Diverged(
            f"mean loss {loss:.4f} of epoch {epoch} is above {DIVERGED_FACTOR} times its start, "
            f"{start:.4f}: lower the learning rate"
        )


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
