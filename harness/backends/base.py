"""The small protocol between the stages and whatever trains or computes.

A *backend* fits models in one framework. A *runtime* loads a fitted artifact and predicts.
Both live in the worker process of their framework; numpy arrays are all that crosses.

A fitted artifact is a folder in one neutral form, which every framework can load::

    config.json model.safetensors tokenizer.json   backbone, Hugging Face layout (AutoModel's names;
                                                   of images timm's names, and no tokenizer)
    head.safetensors                               weight (outputs, width), bias (outputs,), and
                                                   hidden.<i>.weight and .bias where it has layers
    harness.json                                   `ArtifactInfo`

Baselines keep their own files beside ``harness.json`` (no pickle).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from harness.errors import Unsupported
from harness.measure.reference_speed import Product
from harness.tasks.base import Encoded, Pixels, Ragged, take_rows

#: Called with (stage, done, total, note) as work goes on; must be cheap to call often.
Progress = Callable[[str, float, float, str], None]

#: A padded batch: ``input_ids``, ``attention_mask`` and perhaps ``token_type_ids`` as int64
#: (batch, length); or ``pixel_values`` as float32 (batch, 3, height, width); or ``text`` as an
#: object array for baselines.
Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class ArtifactInfo:
    """``harness.json`` of an artifact."""

    kind: str  # the model's kind: transformer, static-embeddings, tfidf-logreg, majority
    framework: str
    task_type: str
    head: Literal["pooled", "token", "span"]
    outputs: int
    pooling: Literal["mean", "cls", "last"]
    labels: list[str]
    max_length: int
    stride: int = 0
    #: widths of hidden layers between backbone and head
    hidden: list[int] = field(default_factory=list)
    weights_licence: str = "unknown"
    data_licence: str = "unknown"
    extra: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class FitRequest:
    """Everything a fit depends on, resolved: no `auto` is left in it."""

    model_kind: str
    model_folder: Path | None  # neutral Hugging Face folder (None for baselines)
    recipe: Literal["fine-tune", "linear-probe", "scratch", "baseline"]
    settings: dict[str, Any]  # `harness.suite.Settings` as a dict, fit_dtype resolved
    loss: Literal["cross_entropy", "token_cross_entropy", "span"]
    info: ArtifactInfo
    train: Encoded
    validation: Encoded
    #: logits per feature of the validation split -> primary metric, in [0, 1]
    validation_score: Callable[[Sequence[np.ndarray]], float]
    #: the same for the training split; for backends that get its logits at no cost
    train_score: Callable[[Sequence[np.ndarray]], float]
    device: str  # cpu or cuda
    threads: int
    seed: int
    out: Path  # an empty folder for the artifact
    features_cache: Path  # folder for linear probes' features, one file per `features_key`
    features_key: str  # digest of all that the frozen features depend on, without the split
    mixed_batches: bool = False  # see `harness.tasks.base.Task.mixed_batches`
    #: releases of the libraries that compute here, by distribution
    libraries: dict[str, str] = field(default_factory=dict)
    #: what the pretrained backbone computes in the framework that `Backend.references` names
    reference: Path | None = None


@dataclass
class FitReport:
    """What ``fit.json`` says about the training itself."""

    seconds: float | None  # wall time of the training, without loading and scoring
    examples_per_second: float | None
    epochs: list[dict[str, float]]  # per epoch: loss, validation_score, seconds, learning_rate
    steps: int
    params: int  # of the whole model as it predicts
    trained_params: int
    stopped: str = "finished"  # or early stopping's reason
    notes: dict[str, Any] = field(default_factory=dict)
    train_score: float | None = None  # None: the stage computes it on a sample
    #: why there are no ``seconds`` and no ``examples_per_second``
    seconds_reason: str | None = None


@dataclass(frozen=True)
class Attributions:
    """How much each token speaks for a class, per feature, and how exact that is."""

    scores: list[np.ndarray]  # (tokens,) each
    #: (features,) sum of the scores less what they should add up to, in logits
    gaps: np.ndarray
    facts: dict[str, Any]


@dataclass(frozen=True)
class LanguageModelScore:
    """``perplexity`` a token of the model's own tokenizer, over ``tokens`` of them; ``kind`` is
    ``perplexity`` or ``pseudo-perplexity``, which are different things."""

    kind: str
    perplexity: float
    tokens: int


class Backend(ABC):
    """Fits models in one framework. Registered in the entry-point group ``harness.backends``."""

    name: ClassVar[str]
    #: model kinds it can fit
    kinds: ClassVar[tuple[str, ...]]
    #: distributions whose versions are part of a fit's identity, and those of some kinds alone
    libraries: ClassVar[tuple[str, ...]]
    kind_libraries: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    #: raised by its author when the same request would yield other weights
    version: ClassVar[int]
    #: runtime that scores its fits unless the suite names others
    runtime: ClassVar[str]
    #: by model kind, the framework whose `hidden_states` a pretrained backbone must match before
    #: it may train; none for the kinds whose checkpoints are published for this framework
    references: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def draws(cls, recipe: str, settings: Mapping[str, Any]) -> bool:
        """Whether a fit depends on its seed; one that does not is fitted for a single one.

        Subsets and held-out examples are drawn by the budget's seed, and a probe's augmented
        copies by their number: the optimum of a linear layer on them is the same for all seeds.
        """
        if recipe == "linear-probe":
            return bool(settings["hidden"])
        return recipe != "baseline"

    def check(self, model_kind: str, model_folder: Path) -> None:  # noqa: B027
        """`RequestError` for a checkpoint that does not fit its own configuration."""

    @abstractmethod
    def fit(self, request: FitRequest, progress: Progress) -> FitReport:
        """Train and leave an artifact in ``request.out``; raises `Diverged` or `Unsupported`."""

    def hidden_states(self, model_kind: str, model_folder: Path, batch: Batch) -> np.ndarray:
        """What the pretrained backbone computes, float32: (batch, length, hidden), or of images
        (batch, height, width, channels), the last feature map."""
        raise NotImplementedError

    def features(self, request: FitRequest, progress: Progress) -> np.ndarray:
        """Frozen features of the training split, (features, hidden) float32 for pooled heads;
        raises `Unsupported` where a backend has none."""
        raise Unsupported(f"the framework {self.name!r} has no frozen features")

    def language_model_score(
        self,
        model_kind: str,
        model_folder: Path,
        texts: Sequence[tuple[np.ndarray, np.ndarray]],
        mask_id: int | None,
        *,
        seconds: float,
        threads: int,
    ) -> LanguageModelScore:
        """How well the checkpoint's own head predicts texts: (token ids, which of them the
        tokenizer added), in about ``seconds``. Raises `Unsupported`, with the reason, where the
        checkpoint has no such head."""
        raise Unsupported(f"the framework {self.name!r} computes no perplexity")

    def class_probabilities(
        self,
        model_kind: str,
        model_folder: Path,
        encoded: Encoded,
        *,
        seconds: float | None,
        threads: int,
    ) -> np.ndarray:
        """What the checkpoint's own classifier, of whatever classes, says of texts: (features,
        its classes), rows that sum to 1. Raises `Unsupported`, with the reason, where the
        checkpoint has none or is not done in ``seconds``."""
        raise Unsupported(f"the framework {self.name!r} reads no classifiers of checkpoints")

    def attributions(
        self,
        artifact: Path,
        encoded: Encoded,
        classes: np.ndarray,
        content: Sequence[np.ndarray],
        blank: int,
        *,
        device: str,
        threads: int,
        progress: Progress,
    ) -> Attributions:
        """Attributions of the logits of ``classes`` (features,) to the tokens of a text.

        ``content``: (tokens,) bool a feature, those that the id ``blank`` replaces where nothing
        is said. Raises `Unsupported` where a backend has none.
        """
        raise Unsupported(f"the framework {self.name!r} has no attributions")

    def resolve_dtype(
        self, model_kind: str, model_folder: Path | None, device: str, threads: int
    ) -> tuple[str, dict[str, Any]]:
        """What ``fit_dtype: auto`` means here, by a short measurement: (dtype, the figures)."""
        return "float32", {}


class Predictor(ABC):
    """A loaded artifact that computes logits."""

    @abstractmethod
    def predict(self, batch: Batch) -> np.ndarray:
        """float32 logits: (batch, outputs) or (batch, length, outputs)."""

    @abstractmethod
    def observed(self) -> dict[str, Any]:
        """What really runs: ``device``, ``dtype``, ``threads``, ``provider`` where it applies."""

    def device_times_ms(self, batch: Batch, repeats: int) -> list[float]:
        """Milliseconds that the accelerator itself computes for each of ``repeats`` predictions of
        inputs that lie there already; [] on a CPU, and where the library does not tell."""
        return []

    def device_memory(self) -> dict[str, float]:
        """Peaks in MB on the accelerator since loading, where the library tells them:
        ``allocated_mb`` by tensors, ``reserved_mb`` by the library's own allocator."""
        return {}


class Runtime(ABC):
    """Computes predictions of artifacts. Registered in the group ``harness.runtimes``."""

    name: ClassVar[str]
    #: the framework whose worker process hosts it
    framework: ClassVar[str]
    dtype: ClassVar[str]
    libraries: ClassVar[tuple[str, ...]]
    kind_libraries: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    version: ClassVar[int]
    #: what it loads: the artifact folder itself, or an export made by `export_framework`
    needs: ClassVar[Literal["artifact", "onnx"]]
    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda")

    def prepare(  # noqa: B027
        self, artifact: Path, exports: Path, training: Callable[[], Encoded]
    ) -> None:
        """Make what `load` needs beyond the export (quantised weights), once, into ``exports``.

        ``training`` gives training inputs, for quantisers that must see some.
        """

    @abstractmethod
    def load(self, artifact: Path, exports: Path, *, device: str, threads: int) -> Predictor:
        """Ready to predict; raises `Unsupported` where this machine cannot."""

    def products(self, device: str, threads: int) -> list[Product]:
        """Matrix products in the precisions that this library has, on the device and threads that
        it predicts with: what the machine can do at all, to judge its predictions by."""
        return []

    def weights(self, exports: Path) -> Path:
        """The one file that a runtime with ``needs = "onnx"`` loads."""
        raise NotImplementedError

    @abstractmethod
    def size_bytes(self, artifact: Path, exports: Path) -> int:
        """Bytes on disk of the weights that it loads."""


#: weights that an artifact of a neural network may hold, by kind
_WEIGHTS = ("model*.safetensors", "embeddings.safetensors", "head.safetensors")


def weights_bytes(artifact: Path) -> int:
    """Bytes on disk of the weights in an artifact, backbone and head."""
    files = {file for pattern in _WEIGHTS for file in artifact.glob(pattern)}
    return sum(file.stat().st_size for file in files)


def pad(
    encoded: Encoded,
    features: Sequence[int] | np.ndarray,
    augment: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Batch:
    """One padded batch of the given features (padding id 0, masked), pixels normalised.

    ``augment`` changes images, (batch, height, width, 3) uint8, before that.
    """
    inputs = encoded.inputs
    if "input_ids" not in inputs:
        taken: dict[str, Any] = take_rows(inputs, np.asarray(features))
        return {
            name: _image_batch(values, augment) if isinstance(values, Pixels) else values
            for name, values in taken.items()
        }
    ids = inputs["input_ids"]
    assert isinstance(ids, Ragged)
    lengths = ids.lengths[features]
    shape = (len(lengths), int(lengths.max()))
    mask = np.arange(shape[1])[None, :] < lengths[:, None]
    batch: Batch = {"attention_mask": mask.astype(np.int64)}
    for name, rows in inputs.items():
        assert isinstance(rows, Ragged)
        padded = np.zeros(shape, np.int64)
        padded[mask] = np.concatenate([rows[i] for i in features])
        batch[name] = padded
    return batch


def _image_batch(images: Pixels, augment: Callable[[np.ndarray], np.ndarray] | None) -> np.ndarray:
    return images.normalised(augment(images.values) if augment else images.values)


def lengths_of(encoded: Encoded) -> np.ndarray:
    """Tokens per feature; 1 each where inputs are not token ids."""
    ids = encoded.inputs.get("input_ids")
    return ids.lengths if isinstance(ids, Ragged) else np.ones(len(encoded), np.int64)


def sorted_batches(encoded: Encoded, batch_size: int) -> Iterator[np.ndarray]:
    """Feature indices in batches of similar length, longest first (so that memory peaks early)."""
    order = np.argsort(-lengths_of(encoded), kind="stable")
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def predict_all(
    predictor: Predictor,
    encoded: Encoded,
    batch_size: int = 32,
    progress: Callable[[int], None] | None = None,
) -> list[np.ndarray]:
    """Logits of every feature in order, padding cut off: (outputs,) or (length, outputs) each."""
    logits: list[np.ndarray] = [np.empty(0)] * len(encoded)
    lengths = lengths_of(encoded)
    done = 0
    for features in sorted_batches(encoded, batch_size):
        output = predictor.predict(pad(encoded, features))
        for row, feature in zip(output, features, strict=True):
            row = np.asarray(row)
            logits[feature] = (
                row[: lengths[feature]] if row.ndim == 2 and "input_ids" in encoded.inputs else row
            )
        done += len(features)
        if progress:
            progress(done)
    return logits
