"""A suite's rows over the commits that touched its records: series, and where they moved."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.boards import wording
from harness.compare.judge import row_name
from harness.compare.places import open_place
from harness.compare.sides import read_side
from harness.errors import RequestError
from harness.stats.steps import steps

#: metric to the noise below which a move is of no interest: points of quality, log of the rest
METRICS = {"score": 0.002, "latency_p50_ms": 0.01, "throughput_per_s": 0.01, "peak_memory_mb": 0.01}


@dataclass(frozen=True)
class Series:
    """One metric of one row of one host over commits, oldest first; ``steps`` index into it."""

    row_id: str
    row: str
    metric: str
    host: str
    commits: tuple[str, ...]
    values: tuple[float, ...]
    steps: tuple[int, ...]


def commits_of(folder: Path, limit: int) -> list[str]:
    """Commits that touched a folder, oldest first; `RequestError` outside a repository."""
    done = subprocess.run(
        ["git", "log", "--format=%H", f"--max-count={limit}", "--", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RequestError("harness history: this is no git repository; records are read from it")
    return done.stdout.split()[::-1]


def collect_history(
    results: Path, suite: str, limit: int, say: Callable[[str], None] = lambda _: None
) -> list[Series]:
    """Series of every row of a suite that at least two commits hold."""
    commits = commits_of(results / suite, limit)
    if not commits:
        raise RequestError(
            f"no commit holds {results / suite}: commit the records of a suite to watch them"
        )
    points: dict[tuple[str, str, str, str], list[tuple[str, float]]] = {}
    for commit in commits:
        say(commit[:10])
        try:
            with open_place(f"{commit}:{results}", results) as (name, folder):
                side = read_side(name, folder, suite)
        except RequestError as error:  # an early commit may hold less: the rest still counts
            say(str(error))
            continue
        for row in side.rows.values():
            host = str(row.flat.get("host_id") or "")
            for metric in METRICS:
                value = row.flat.get(metric)
                if isinstance(value, (int, float)):
                    place = "" if metric == "score" else host  # times only on one host
                    key = (row.row_id, row_name(row), metric, place)
                    points.setdefault(key, []).append((commit, float(value)))
    return [
        Series(
            *key,
            commits=tuple(c for c, _ in found),
            values=tuple(v for _, v in found),
            steps=tuple(_steps(key[2], [v for _, v in found])),
        )
        for key, found in points.items()
        if len(found) > 1
    ]


def _steps(metric: str, values: list[float]) -> list[int]:
    if metric == "score":
        return steps(np.array(values), METRICS[metric])
    return steps(np.log(np.array(values)), METRICS[metric]) if min(values) > 0 else []


def step_text(series: Series, at: int) -> str:
    """What moved at a step: the commit, and the levels on both sides."""
    before = [s for s in (0, *series.steps) if s < at][-1]
    after = next((s for s in series.steps if s > at), len(series.values))
    old, new = np.mean(series.values[before:at]), np.mean(series.values[at:after])
    if series.metric == "score":
        change = f"{wording.points(float(new - old))} points"
    else:
        change = f"{100 * (new / old - 1):+.1f}%" if old else "from 0"
    return (
        f"{wording.significant(float(old))} to {wording.significant(float(new))} ({change}) "
        f"at {series.commits[at][:10]}"
    )


def page(suite: str, history: list[Series]) -> str:
    """A self-contained HTML page: one small chart a series, its steps and their commits."""
    from html import escape

    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width, initial-scale=1'>",
        f"<title>History of {escape(suite)}</title>",
        "<style>:root{color-scheme:light dark}body{font:16px system-ui,sans-serif;max-width:60rem;"
        "margin:2rem auto;padding:0 1rem}svg{width:100%;height:5rem}p{margin:.2rem 0}"
        "polyline{fill:none;stroke:currentColor}line{stroke:#d44;stroke-dasharray:6 4}"
        "h2{font-size:1.05rem;margin:1.6rem 0 .3rem;overflow-wrap:anywhere}</style>",
        f"<h1>History of {escape(suite)}</h1>",
        "<p>One point a commit, oldest first; each picture fills its own range. Dashed lines mark "
        "where the level moved (PELT). Times are drawn apart for each host.</p>",
    ]
    ordered = sorted(history, key=lambda s: (not s.steps, s.row, s.metric))
    for series in ordered:
        host = f" on {series.host}" if series.host else ""
        title = f"{series.row}: {series.metric.replace('_', ' ')}{host}"
        parts.append(
            f"<h2>{escape(wording.clean(title))}</h2>{_chart(series, title)}<p>{_span(series)}</p>"
        )
        parts += [f"<p>{escape(step_text(series, at))}</p>" for at in series.steps]
    return "\n".join(parts) + "\n"


def _span(series: Series) -> str:
    low, high = (wording.significant(f(series.values)) for f in (min, max))
    return f"{len(series.values)} commits, {low} to {high}"


def _chart(series: Series, title: str) -> str:
    from html import escape

    low, high = min(series.values), max(series.values)
    span = (high - low) or 1.0
    width = max(1, len(series.values) - 1)

    def x(i: float) -> float:
        return round(1000 * i / width, 1)

    points = " ".join(
        f"{x(i)},{round(95 - 90 * (v - low) / span, 1)}" for i, v in enumerate(series.values)
    )
    lines = "".join(
        f'<line x1="{x(at - 0.5)}" x2="{x(at - 0.5)}" y1="0" y2="100"/>' for at in series.steps
    )
    label = escape(f"{wording.clean(title)}, {_span(series)}", quote=True)
    assert math.isfinite(span)
    return (
        f'<svg viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" aria-label="{label}">'
        f'<polyline points="{points}"/>{lines}</svg>'
    )
