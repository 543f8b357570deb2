"""A leaderboard's definition: ``leaderboards/<name>.yaml``, checked, with file and line on errors.

Teams change what a board shows here, without touching code; the page itself is a Jinja2 template
in ``leaderboards/templates/``.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from harness.boards.columns import COLUMNS
from harness.boards.keys import KEYS, LISTS, NUMBERS
from harness.boards.rank import RANKABLE
from harness.errors import RequestError
from harness.yaml_file import Location, Parsed, read_yaml


class Definition(BaseModel):
    """What a board shows. Every key is optional."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str = Field(default="{title}", description="`{title}` stands for the suite's own title")
    rank_by: str = Field(
        default="score",
        description="`score` (the task's primary metric, with ties), or a metric's name",
    )
    fit_columns: tuple[str, ...] = Field(
        default=("rank", "model", "recipe", "framework", "score", "behind_best", "tied", "f1_macro",
         "top5_accuracy", "precision_entity", "recall_entity", "exact_match", "has_answer_f1",
         "no_answer_f1", "params", "size_mb", "flops_per_example", "fit_seconds", "fit_peak_share",
         "train_gap", "seeds"),
        min_length=1,
    )  # fmt: skip
    runtime_columns: tuple[str, ...] = Field(
        default=("fit", "runtime", "device", "dtype", "score_delta", "agreement", "parity",
         "latency_p50_ms", "latency_p50_interval", "launches", "latency_p90_ms",
         "throughput_per_s", "peak_share", "peak_memory_mb",
         "energy_j_per_1000", "size_mb", "disturbed_share"),
        min_length=1,
    )  # fmt: skip
    board_columns: tuple[str, ...] = Field(
        default=("task", "train_budget", "rank", "model", "recipe", "framework", "runtime",
         "device", "dtype", "score", "behind_best", "tied", "score_delta", "agreement",
         "latency_p50_ms", "latency_p50_interval", "launches", "latency_p90_ms", "latency_p99_ms",
         "throughput_per_s", "size_mb", "peak_memory_mb", "energy_j_per_1000", "fit_seconds",
         "params", "train_gap", "seeds", "status"),
        min_length=1,
        description="of the HTML page's table, one line a row; readers choose among them",
    )  # fmt: skip
    hidden_columns: tuple[str, ...] = Field(
        default=("device", "behind_best", "agreement", "latency_p99_ms",
         "energy_j_per_1000", "params", "train_gap", "seeds", "status"),
        description="those of board_columns that are not shown until a reader chooses them",
    )  # fmt: skip
    controls: tuple[str, ...] = Field(
        default=("task", "train_budget", "recipe", "framework", "runtime", "device",
         "max_size_mb", "max_latency_p50_ms"),
        description="what readers may filter by: a key of leaderboard.json, or max_KEY or min_KEY",
    )  # fmt: skip
    sort_by: str = Field(
        default="rank",
        description="column that the page's table is ordered by; -NAME: largest first",
    )
    filters: dict[str, Any] = Field(
        default_factory=dict,
        description="which rows the board shows: KEY: value or list of values, max_KEY or min_KEY: "
        "number; ranks stay those among all rows",
    )
    charts: bool = Field(default=True, description="draw score and latency charts in the HTML page")
    template: str = Field(default="page.html.j2", description="a file in leaderboards/templates/")

    @field_validator("fit_columns", "runtime_columns", "board_columns", "hidden_columns")
    @classmethod
    def _known_columns(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in COLUMNS:
                raise ValueError(_unknown("column", name, tuple(COLUMNS)))
        return names

    @field_validator("sort_by")
    @classmethod
    def _known_order(cls, name: str, info: ValidationInfo) -> str:
        column = name.removeprefix("-")
        if column not in COLUMNS:
            raise ValueError(_unknown("column", column, tuple(COLUMNS)))
        shown = info.data.get("board_columns", (column,))
        if column not in shown and name != cls.model_fields["sort_by"].default:
            raise ValueError(f"{column!r} is not among board_columns: {', '.join(shown)}")
        return name

    @field_validator("controls")
    @classmethod
    def _known_controls(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            key, _ = _known_key(name)
            if key in LISTS:
                raise ValueError(f"{name!r} holds lists, which readers cannot choose among")
        return names

    @field_validator("filters")
    @classmethod
    def _known_filters(cls, filters: dict[str, Any]) -> dict[str, Any]:
        for name, value in filters.items():
            _, bound = _known_key(name)
            if bound and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise ValueError(f"{name!r} needs a number, not {value!r}")
        return filters

    @field_validator("rank_by")
    @classmethod
    def _known_metric(cls, name: str) -> str:
        if name not in RANKABLE:
            raise ValueError(_unknown("metric", name, RANKABLE))
        return name


def bound_of(name: str) -> tuple[str, str]:
    """``max_size_mb`` as ("size_mb", "max"); a plain key has no bound: ("task", "")."""
    for bound in ("max", "min"):
        if name not in KEYS and name.startswith(f"{bound}_"):
            return name.removeprefix(f"{bound}_"), bound
    return name, ""


def _known_key(name: str) -> tuple[str, str]:
    key, bound = bound_of(name)
    if key not in KEYS:
        raise ValueError(_unknown("key", name, KEYS))
    if bound and key not in NUMBERS:
        raise ValueError(f"{name!r}: {key} holds no numbers, so it has no bound")
    return key, bound


def leaderboard_folders() -> list[Path]:
    """Where definitions and templates are looked up: ``./leaderboards``, then those shipped."""
    package = Path(__file__).resolve().parents[1]
    return [
        Path("leaderboards"),
        package / "_data" / "leaderboards",
        package.parent / "leaderboards",
    ]


def template_folders() -> list[Path]:
    return [folder / "templates" for folder in leaderboard_folders()]


def load_definition(name: str = "default") -> Definition:
    """A definition by name, or by path to a YAML file; `RequestError` on anything wrong in it."""
    path = _find(name)
    parsed = read_yaml(path)
    raw = parsed.value
    if not isinstance(raw, dict | None):
        raise RequestError(f"{path}:1: a leaderboard definition is a mapping")
    try:
        return Definition.model_validate(raw or {})
    except ValidationError as error:
        raise RequestError(_explain(error, path, parsed)) from None


def _find(name: str) -> Path:
    if name.endswith((".yaml", ".yml")) or "/" in name:
        if not Path(name).is_file():
            raise RequestError(f"no leaderboard definition {name!r}")
        return Path(name)
    for folder in leaderboard_folders():
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    known = tuple(sorted({p.stem for f in leaderboard_folders() for p in f.glob("*.yaml")}))
    raise RequestError(_unknown("leaderboard definition", name, known))


def _explain(error: ValidationError, path: Path, parsed: Parsed) -> str:
    messages = []
    values = parsed.value or {}
    for finding in error.errors():
        key = str(finding["loc"][0])
        if finding["type"] == "extra_forbidden":
            problem = _unknown("key", key, tuple(Definition.model_fields))
        else:
            problem = f"{key}: {finding['msg'].removeprefix('Value error, ')}"
        quoted = re.search(r"'([^']*)'", problem)
        line = _line_of(values.get(key), (key,), quoted[1], parsed.lines) if quoted else None
        messages.append(f"{path}:{line or parsed.lines.get((key,), 1)}: {problem}")
    return "\n".join(messages)


def _line_of(value: Any, at: Location, quoted: str, lines: dict[Location, int]) -> int | None:
    """Line of the entry that a message quotes, where a long list goes over many lines."""
    if isinstance(value, str):
        return lines.get(at) if value.removeprefix("-") == quoted else None
    if isinstance(value, dict):
        return next((lines.get((*at, key)) for key in value if key == quoted), None)
    parts = enumerate(value) if isinstance(value, list) else ()
    found = (_line_of(part, (*at, i), quoted, lines) for i, part in parts)
    return next((line for line in found if line), None)


def _unknown(noun: str, name: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"unknown {noun} {name!r}; {hint}known: {', '.join(known) or 'none'}"
