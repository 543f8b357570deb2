"""One sentence or two per task: who wins, how surely, and what the simple alternative costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.boards import wording
from harness.boards.columns import model_name

Flat = Mapping[str, Any]


def headline(
    fits: list[Flat], task_name: str, names: Mapping[str, str], rank_by: str = "score"
) -> str:
    """``fits``: one row per fit of the task, those ranked first, in their order."""
    complete = [row for row in fits if row["rank"] is not None]
    if not complete:
        return f"On {task_name}, no fit is complete yet."
    best, *others = complete
    result = f"{wording.score(best[rank_by])} {_metric(best, rank_by)}"
    if rank_by == "score" and best["score_low"] is not None:
        result += f" ({wording.score(best['score_low'])}-{wording.score(best['score_high'])})"
    subject = f"On {task_name}, {_phrase(best, names)}"
    if not others:
        return f"{subject} reaches {result}; no other fit is complete."
    tied = [row for row in others if row["tied_with_best"]]
    if not tied:
        verb = "wins with" if rank_by == "score" else "comes first with"
        text = f"{subject} {verb} {result}"
    elif len(tied) > 3:
        text = f"{subject} scores highest, {result}, but {len(tied)} others are tied with it"
    else:
        tied_names = wording.listed([_phrase(row, names) for row in tied])
        verb = "is" if len(tied) == 1 else "are"
        text = f"{subject} scores highest, {result}, but {tied_names} {verb} tied with it"
        if len(tied) == 1:
            text += f" ({wording.p_value(tied[0]['p_vs_best'])})"
    return f"{text}; {_alternative(best, others, names)}."


def _alternative(best: Flat, others: list[Flat], names: Mapping[str, str]) -> str:
    """The best of the other sort: a baseline beside a pretrained winner, or the reverse."""
    is_baseline = best["recipe"] == "baseline"
    contrast = [row for row in others if (row["recipe"] == "baseline") != is_baseline]
    other = (contrast or others)[0]
    text = f"{_phrase(other, names)} is {wording.points(other['gap_to_best'], False)} points behind"
    if other["p_vs_best"] is not None:
        text += f" ({wording.p_value(other['p_vs_best'])})"
    if best["fit_seconds"] and other["fit_seconds"]:
        took, instead = wording.seconds(other["fit_seconds"]), wording.seconds(best["fit_seconds"])
        if took != instead:
            text += f" and fits in {took} instead of {instead}"
    return text


def _phrase(row: Flat, names: Mapping[str, str]) -> str:
    framework = f" in {row['framework']}" if row["framework"] not in ("torch", "sklearn") else ""
    recipe = wording.RECIPES.get(row["recipe"], row["recipe"])
    return f"{model_name(row, names)} {recipe}".rstrip() + framework


def _metric(row: Flat, rank_by: str) -> str:
    return wording.metric_name(row["score_name"] if rank_by == "score" else rank_by)
