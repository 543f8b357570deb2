"""Two small inline SVG charts: scores with their intervals, and score against latency.

Both read without colour (shapes and rank numbers carry the meaning) and take their ink from
the page (``currentColor``), so they follow its light or dark scheme.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from harness.boards import wording
from harness.boards.columns import fit_name

Flat = Mapping[str, Any]

_WIDTH = 600
_SHAPES = {
    "circle": '<circle cx="{x}" cy="{y}" r="5" {paint}/>',
    "square": '<rect x="{x0}" y="{y0}" width="10" height="10" {paint}/>',
    "triangle": '<path d="M{x} {y0}l6 11h-12z" {paint}/>',
    "diamond": '<path d="M{x} {y00}l7 7l-7 7l-7 -7z" {paint}/>',
}
_FILLED, _HOLLOW = 'fill="currentColor"', 'fill="none" stroke="currentColor" stroke-width="1.5"'


def score_chart(fits: Sequence[Flat], names: Mapping[str, str]) -> Markup:
    """One line a fit: its score as a dot, its 95% interval as a bar. Empty without scores."""
    fits = [row for row in fits if row["score"] is not None]
    if not fits:
        return Markup("")
    ends = [row[key] for row in fits for key in ("score", "score_low", "score_high")]
    ticks = _ticks([end for end in ends if end is not None])
    left, right, top, step = 246, _WIDTH - 60, 12, 26
    height = top + step * len(fits) + 34

    def x(value: float) -> float:
        return left + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (right - left)

    parts = [_axis_line(x(tick), top, height - 30, _tick_text(tick, ticks)) for tick in ticks]
    for number, row in enumerate(fits):
        y = top + step * number + step / 2
        label = f"{row['rank'] or wording.NOTHING}  {fit_name(row, names)}"
        parts.append(_text(left - 12, y + 4, _short(label, 33), "end"))
        if row["score_low"] is not None and row["score_high"] is not None:
            parts.append(
                Markup(
                    '<path d="M{a} {y}H{b}M{a} {t}v8M{b} {t}v8" stroke="currentColor" '
                    'stroke-width="2" fill="none"/>'
                ).format(
                    a=_n(x(row["score_low"])), b=_n(x(row["score_high"])), y=_n(y), t=_n(y - 4)
                )
            )
        paint = _FILLED if row["rank"] is not None else _HOLLOW
        parts.append(_shape("circle", x(row["score"]), y, paint, label))
        parts.append(_text(right + 14, y + 4, wording.score(row["score"]), "start"))
    return _svg(height, "Score of each fit with its 95% interval", parts)


def latency_chart(rows: Sequence[Flat], names: Mapping[str, str]) -> Markup:
    """Score against median latency (logarithmic), a shape a runtime, the fit's rank beside it."""
    rows = [row for row in rows if row["score"] is not None and row["latency_p50_ms"]]
    if len(rows) < 2:
        return Markup("")
    runtimes = list(dict.fromkeys(row["runtime"] for row in rows))
    marks = {runtime: _mark(number) for number, runtime in enumerate(runtimes)}
    y_ticks = _ticks([row["score"] for row in rows])
    x_ticks = _log_ticks([row["latency_p50_ms"] for row in rows])
    left, right, top, bottom = 60, _WIDTH - 30, 12, 262

    def x(value: float) -> float:
        share = math.log(value / x_ticks[0]) / math.log(x_ticks[-1] / x_ticks[0])
        return left + share * (right - left)

    def y(value: float) -> float:
        return bottom - (value - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (bottom - top)

    parts = [_axis_line(x(t), top, bottom, wording.significant(t, 1)) for t in x_ticks]
    for tick in y_ticks:
        parts.append(
            Markup('<path class="grid" d="M{a} {y}H{b}"/>').format(a=left, b=right, y=_n(y(tick)))
        )
        parts.append(_text(left - 8, y(tick) + 4, _tick_text(tick, y_ticks), "end"))
    parts.append(_text((left + right) / 2, bottom + 36, "p50 latency at batch 1, ms", "middle"))
    for row in sorted(rows, key=lambda row: -(row["rank"] or math.inf)):
        where = f"{fit_name(row, names)}, {row['runtime']}"
        facts = f"{wording.score(row['score'])}, {wording.significant(row['latency_p50_ms'])} ms"
        shape, paint = marks[row["runtime"]]
        at = x(row["latency_p50_ms"]), y(row["score"])
        parts.append(_shape(shape, *at, paint, f"{where}: {facts}"))
        parts.append(_text(at[0] + 10, at[1] - 5, str(row["rank"] or ""), "start"))
    line = bottom + 64
    place = float(left)
    for runtime in runtimes:
        width = 34 + 7.5 * len(runtime)
        if place + width > right:
            place, line = float(left), line + 22
        parts.append(_shape(marks[runtime][0], place + 6, line - 4, marks[runtime][1], runtime))
        parts.append(_text(place + 18, line, wording.clean(runtime), "start"))
        place += width
    return _svg(line + 12, "Score against latency; numbers are ranks of fits", parts)


def _mark(number: int) -> tuple[str, str]:
    """Filled shapes first, then hollow ones; enough for eight runtimes."""
    shapes = list(_SHAPES)
    return shapes[number % 4], _FILLED if number // 4 % 2 == 0 else _HOLLOW


def _svg(height: float, title: str, parts: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg viewBox="0 0 {width} {height}" role="img" aria-label="{title}" '
        'xmlns="http://www.w3.org/2000/svg">{body}</svg>'
    ).format(width=_WIDTH, height=_n(height), title=title, body=Markup("").join(parts))


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    form = Markup('<text x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>')
    return form.format(x=_n(x), y=_n(y), anchor=anchor, text=text)


def _axis_line(x: float, top: float, bottom: float, label: str) -> Markup:
    line = Markup('<path class="grid" d="M{x} {top}V{bottom}"/>')
    return line.format(x=_n(x), top=_n(top), bottom=_n(bottom)) + _text(
        x, bottom + 18, label, "middle"
    )


def _shape(shape: str, x: float, y: float, paint: str, title: str) -> Markup:
    drawn = _SHAPES[shape].format(
        x=_n(x), y=_n(y), x0=_n(x - 5), y0=_n(y - (5 if shape == "square" else 6)),
        y00=_n(y - 7), paint=paint,
    )  # fmt: skip
    return Markup("<g><title>{title}</title>{drawn}</g>").format(title=title, drawn=Markup(drawn))


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _ticks(values: Sequence[float]) -> list[float]:
    """Round positions from below the smallest to above the largest value, four to eight."""
    low, high = min(values), max(values)
    span = max(high - low, 0.01)
    step = 10 ** math.floor(math.log10(span / 3))
    step = next(step * k for k in (1, 2, 5, 10) if span / (step * k) <= 6)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(tick * step, 10) for tick in range(first, max(last, first + 1) + 1)]


def _tick_text(tick: float, ticks: Sequence[float]) -> str:
    decimals = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    return f"{tick:.{decimals}f}"


def _log_ticks(values: Sequence[float]) -> list[float]:
    """1, 2, 5 times powers of ten around the values; powers alone over a wide range."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    factors = (1, 2, 5) if high - low <= 2 else (1,)
    ticks = [10.0**power * factor for power in range(low, high + 1) for factor in factors]
    start = max(i for i, tick in enumerate(ticks) if tick <= min(values))
    end = min((i for i, tick in enumerate(ticks) if tick >= max(values)), default=len(ticks) - 1)
    return ticks[start : max(end, start + 1) + 1]
