"""How numbers and names are put into words: rounding that the evidence supports, no more."""

from __future__ import annotations

import math
import unicodedata
from typing import Any

#: shown where there is no number
NOTHING = "-"

RECIPES = {
    "fine-tune": "fine-tuned",
    "linear-probe": "with a linear probe",
    "scratch": "from scratch",
    "baseline": "",
}

METRIC_NAMES = {
    "accuracy": "accuracy",
    "f1_macro": "macro F1",
    "top5_accuracy": "top-5 accuracy",
    "f1_entity": "entity F1",
    "exact_match": "exact match",
    "f1": "F1",
}


def clean(text: Any) -> str:
    """One line without control characters or invisible direction marks (names are not ours)."""
    kept = "".join(
        " " if unicodedata.category(char) in ("Cc", "Zl", "Zp") else char
        for char in str(text)
        if unicodedata.category(char) != "Cf"
    )
    return " ".join(kept.split())


def score(value: float | None) -> str:
    """Three decimals: with some thousand test examples the third already is uncertain."""
    return NOTHING if value is None else f"{value:.3f}"


def interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"[{low:.3f}, {high:.3f}]"


def span(low: float, high: float) -> str:
    """``0.12``, or ``0.12 to 1.6`` where the two differ."""
    return f"{low}" if low == high else f"{low} to {high}"


def points(value: float | None, signed: bool = True, decimals: int = 2) -> str:
    """A difference of scores in points (hundredths)."""
    if value is None:
        return NOTHING
    rounded = round(100 * value, decimals) + 0.0  # no negative zero
    return f"{rounded:{'+' if signed and rounded else ''}.{decimals}f}"


def percent(share: float | None) -> str:
    """A share in percent; 100 and 0 only where they are exact."""
    if share is None:
        return NOTHING
    if share in (0.0, 1.0):
        return f"{100 * share:.0f}"
    return f"{min(max(100 * share, 0.01), 99.99):.2f}"


def significant(value: float | None, digits: int = 3) -> str:
    """A positive measurement with that many significant digits, without exponents."""
    if value is None:
        return NOTHING
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def figure(value: float | None) -> str:
    """Any number: a whole one to the last digit, another with four significant digits."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if float(value).is_integer() else significant(value, 4)


def count(value: float | None) -> str:
    """22700000 as 22.7M."""
    if value is None:
        return NOTHING
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{significant(value / size)}{unit}"
    return f"{value:.0f}"


def seconds(value: float) -> str:
    """A duration for prose: 0.4 s, 84 s, 12 min."""
    if value < 10:
        return f"{significant(value, 2)} s"
    return f"{value:.0f} s" if value < 120 else f"{value / 60:.0f} min"


def p_value(p: float) -> str:
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p:.3f}" if p < 0.01 else f"p = {p:.2f}"


def metric_name(name: str | None) -> str:
    return METRIC_NAMES.get(name or "", (name or "score").replace("_", " "))


def listed(names: list[str]) -> str:
    """a; a and b; a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
