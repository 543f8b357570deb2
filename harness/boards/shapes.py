"""What a board reads of a records folder, by type: anything else in its place is damage.

Records come from other machines and other versions, or from somebody else altogether. They are
checked where they are read, so that one damaged file costs its run and not the board. Keys that no
board reads are not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

#: Metrics that a row shows, mean over its seeds; which of them exist depends on the task type
METRICS = (
    "accuracy", "precision_macro", "recall_macro", "f1_macro", "top5_accuracy",
    "precision_entity", "recall_entity", "f1_entity",
    "exact_match", "f1", "has_answer_f1", "no_answer_f1",
)  # fmt: skip

Number = float | None
Text = str | None


class Shape(BaseModel):
    """Strict: a text is no number. Whatever else a file holds is ignored."""

    model_config = ConfigDict(strict=True, extra="ignore")


class Status(Shape):
    status: str
    reason: Text = None


class _Share(Shape):
    share: Number = None


class _Counted(Shape):
    """What metrics.json and fit.json both may tell."""

    params: Number = None
    truncated_share: float | dict[str, Number] | None = None
    overlap: _Share | float | None = None


#: by class or type: precision, recall, F1, support
_Parts = dict[str, dict[str, Number]] | None


class _Details(Shape):
    per_class: _Parts = None
    per_type: _Parts = None
    confusion: list[list[float]] | None = None


_numbers: Any = {name: (Number, None) for name in METRICS}
_Metrics = create_model("_Metrics", __base__=_Details, **_numbers)


class Metrics(_Counted):
    score: Number = None
    metrics: _Metrics = Field(default_factory=_Metrics)
    size_mb: Number = None
    examples_available: Number = None
    parity_rel_diff: Number = None
    prediction_agreement: Number = None
    input_length_unit: Text = None


class Host(Shape):
    host_id: Text = None
    memory_gb: Number = None
    load: float | Annotated[list[float], Field(min_length=1)] | None = None
    libraries: dict[str, Any] | None = None


class _Epoch(Shape):
    loss: Number = None
    validation_score: Number = None


class Fit(_Counted):
    train_score: Number = None
    validation_score: Number = None
    trained_params: Number = None
    seconds: Number = None
    seconds_reason: Text = None
    examples_per_second: Number = None
    train_examples: Number = None
    train_available: Number = None
    matmul_flops_per_s: dict[str, Number] | None = None
    labels: list[Any] | None = None
    epochs: list[_Epoch] | None = None
    host_id: Text = None
    host: Host | None = None


class _FitTask(Shape):
    max_length: int | None = None


class FitSpec(Shape):
    fit_dtype: Text = None
    task: _FitTask | None = None
    settings: dict[str, Any] | None = None


class Facts(Shape):
    flops_per_example: Number = None
    family: Text = None


class _Watch(Shape):
    disturbed_share: Number = None


class Timing(Shape):
    timing_version: int = 1
    latency_p50_ms: Number = None
    latency_p90_ms: Number = None
    latency_p99_ms: Number = None
    throughput_per_s: Number = None
    peak_memory_mb: Number = None
    energy_j_per_1000: Number = None
    energy_basis: Text = None
    first_answer_seconds: Number = None
    latency_p50_products: Number = None
    matmul_flops_per_s: dict[str, Number] | None = None
    host_watch: _Watch | None = None
    steady: bool | None = None
    verdict: Text = None


class _Compared(Shape):
    better_by_low: Number = None


class Explained(Shape):
    faithfulness_aopc: Number = None
    faithfulness_aopc_random: Number = None
    comprehensiveness: _Compared | None = None


class _PlannedRun(Shape):
    run_id: str
    fit_id: str
    seed: int


class _RowName(Shape):
    model: str
    task: str
    recipe: str
    framework: str
    runtime: str
    device: Text = None
    dtype: Text = None
    train_budget: int | None = None


class _PlannedRow(Shape):
    row_id: str
    row: _RowName
    runs: list[_PlannedRun]


class _Model(Shape):
    name: Text = None
    kind: Text = None
    licence: Text = None
    url: Text = None


class _Task(_Model):
    type: Text = None
    primary: Text = None
    budget: dict[str, Any] | None = None
    max_length: int | None = None
    stride: int | None = None


class Plan(Shape):
    suite: str
    title: Text = None
    description: Text = None
    leaderboard: Text = None
    command: Text = None
    limits: dict[str, Any] | None = None
    models: dict[str, _Model]
    tasks: dict[str, _Task]
    rows: list[_PlannedRow]
    #: each task as `harness.suite.TaskEntry` writes it, its files seen from the plan's folder
    data: dict[str, dict[str, Any]] | None = None


def fault(shape: type[Shape], value: Mapping[str, Any]) -> str:
    """The first thing that is wrong, as ``rows.0.runs: Input should be ...``; empty if nothing."""
    try:
        shape.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return ""
