"""Linear probes: a frozen backbone's features, computed once, and a linear layer fitted on them.

The layer is multinomial logistic regression on standardised features with an L2 penalty, solved to
its optimum by L-BFGS; in scikit-learn's terms ``LogisticRegression(C=C)`` after a
``StandardScaler``. The scaling is folded into the layer, so the artifact is a plain linear head.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from harness.backends.base import FitReport, FitRequest, Progress, lengths_of, pad, sorted_batches
from harness.backends.torch.losses import span_cross_entropy
from harness.backends.torch.models import HeadedModel, build, save
from harness.backends.torch.threads import check_device, reproducible, use_threads
from harness.errors import Diverged, RequestError
from harness.tasks.base import IGNORED_LABEL, Encoded, Ragged

#: examples per forward pass for features
_BATCH = 32
#: L-BFGS ends here at the latest; MiniLM's features need 50 to 300
_ITERATIONS = 500
#: or when no derivative of the mean loss exceeds this (scikit-learn's tolerance)
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Features:
    """Frozen features of one split.

    ``rows``: (features, hidden) for pooled heads, else (all tokens, hidden) one sequence after the
    other; ``offsets``: where each sequence's rows begin and end.
    """

    rows: Tensor
    offsets: np.ndarray
    seconds: float  # what computing them took, also when they come from the cache

    def split(self, values: Tensor, pooled: bool) -> list[np.ndarray]:
        """Values per row to one array a feature of the split."""
        array = values.numpy()
        if pooled:
            return list(array)
        return [array[a:b] for a, b in zip(self.offsets, self.offsets[1:], strict=False)]


def probe(request: FitRequest, progress: Progress) -> FitReport:
    """Fit the head and write the artifact; raises `RequestError` for settings without meaning."""
    if request.settings["l1"]:
        raise RequestError("`l1` does not apply to a linear-probe: set its penalty with `C`")
    check_device(request.device)
    use_threads(request.threads)
    assert request.model_folder is not None
    with reproducible(request.seed, request.device):
        model = build(request.info, request.model_folder, recipe="linear-probe", seed=request.seed)
        model = model.eval().requires_grad_(False).to(request.device)
        train = features(model, request, request.train, "train", progress)
        validation = features(model, request, request.validation, "validation", progress)
        begun = time.perf_counter()
        weight, bias, loss, steps = fit_head(request, train)
        head_seconds = time.perf_counter() - begun
        model.head.weight.copy_(weight)
        model.head.bias.copy_(bias)
        save(model, request.info, request.out, request.model_folder)
    pooled = request.info.head == "pooled"
    score = float("nan")
    if len(request.validation):
        logits = F.linear(validation.rows, weight, bias)
        score = request.validation_score(validation.split(logits, pooled))
    train_score = request.train_score(train.split(F.linear(train.rows, weight, bias), pooled))
    seconds = train.seconds + head_seconds
    return FitReport(
        seconds=seconds,
        examples_per_second=len(request.train) / seconds,
        epochs=[
            {
                "epoch": 1,
                "loss": loss,
                "validation_score": score,
                "seconds": seconds,
                "learning_rate": 0.0,
            }
        ],
        steps=steps,
        params=sum(p.numel() for p in model.parameters()),
        trained_params=weight.numel() + bias.numel(),
        stopped="finished" if steps < _ITERATIONS else f"at the limit of {_ITERATIONS} iterations",
        notes={"features_seconds": train.seconds, "head_seconds": head_seconds},
        train_score=train_score,
    )


def features(
    model: HeadedModel, request: FitRequest, encoded: Encoded, split: str, progress: Progress
) -> Features:
    """The features of a split, from the cache or computed and left there."""
    pooled = request.info.head == "pooled"
    lengths = np.ones(len(encoded), np.int64) if pooled else lengths_of(encoded)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    name = f"{request.features_key}-{request.info.head}-{split}.safetensors"
    path = request.features_cache / name
    if (cached := _read(path, int(offsets[-1]))) is not None:
        return Features(cached[0], offsets, cached[1])
    begun = time.perf_counter()
    rows = torch.empty(int(offsets[-1]), model.head.in_features)
    done = 0
    with torch.inference_mode():
        for batch in sorted_batches(encoded, _BATCH):
            arrays = pad(encoded, batch)
            inputs = {name: torch.from_numpy(a).to(request.device) for name, a in arrays.items()}
            output = model.features(**inputs).float().cpu()
            for row, feature in zip(output, batch, strict=True):
                start, end = offsets[feature], offsets[feature + 1]
                rows[start:end] = row if pooled else row[: end - start]
            done += len(batch)
            progress(f"features of {split}", done, len(encoded), "")
    seconds = time.perf_counter() - begun
    _write(path, rows, seconds)
    return Features(rows, offsets, seconds)


def _read(path: Path, count: int) -> tuple[Tensor, float] | None:
    """Cached rows and seconds; None where there are none, or damaged ones."""
    try:
        with safe_open(path, "pt") as file:
            rows, seconds = file.get_tensor("rows"), float(file.metadata()["seconds"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    return (rows, seconds) if len(rows) == count else None


def _write(path: Path, rows: Tensor, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    save_file({"rows": rows}, beside, metadata={"seconds": repr(seconds)})
    os.replace(beside, path)


def fit_head(request: FitRequest, train: Features) -> tuple[Tensor, Tensor, float, int]:
    """Weight (outputs, hidden) and bias (outputs,) for raw features, mean loss, iterations."""
    rows, objective, examples = _objective(request, train)
    mean, scale = rows.mean(0), rows.std(0, correction=0)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    # in place: token features are by far the largest thing in memory
    rows = rows.sub_(mean).div_(scale)
    weight = torch.zeros(request.info.outputs, rows.shape[1], requires_grad=True)
    bias = torch.zeros(request.info.outputs, requires_grad=True)
    penalty = 1.0 / (2.0 * request.settings["C"] * examples)
    optimiser = torch.optim.LBFGS(
        [weight, bias],
        max_iter=_ITERATIONS,
        tolerance_grad=_TOLERANCE,
        tolerance_change=1e-9,
        history_size=10,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = objective(F.linear(rows, weight, bias)) + penalty * weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    with torch.no_grad():
        loss = float(objective(F.linear(rows, weight, bias)))
        if not np.isfinite(loss):
            raise Diverged(f"loss {loss} of the linear probe")
        weight /= scale
        bias -= weight @ mean
    return weight.detach(), bias.detach(), loss, int(optimiser.state[weight]["n_iter"])


def _objective(request: FitRequest, train: Features) -> tuple[Tensor, Callable[..., Tensor], int]:
    """The rows that are fitted on (a copy), their mean loss from logits, and how many count."""
    targets, smoothing = request.train.targets, request.settings["label_smoothing"]
    if request.info.head == "span":
        lengths = np.diff(train.offsets)
        real = torch.from_numpy(np.arange(lengths.max())[None, :] < lengths[:, None])
        ends = {name: torch.from_numpy(np.asarray(targets[name])) for name in ("start", "end")}

        def span_objective(logits: Tensor) -> Tensor:
            padded = logits.new_zeros(*real.shape, 2)
            padded[real] = logits
            return span_cross_entropy(padded, real, ends, smoothing)

        return train.rows.clone(), span_objective, len(lengths)
    values = targets["labels"]
    labels = torch.from_numpy(values.values if isinstance(values, Ragged) else values).long()
    labelled = labels != IGNORED_LABEL
    labels = labels[labelled]

    def objective(logits: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=smoothing)

    return train.rows[labelled], objective, len(labels)
