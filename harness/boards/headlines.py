"""One sentence or two per task: who wins, how surely, and what the simple alternative costs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from harness.boards import wording
from harness.boards.columns import model_name
from harness.printable import framework_aside

Flat = Mapping[str, Any]


def headline(
    fits: Sequence[Flat],
    task_name: str,
    names: Mapping[str, str],
    guessing: Collection[str] = (),
    rank_by: str = "score",
) -> str:
    """``fits``: one row per fit of the task, those ranked first, in their order.

    ``guessing``: ids of models that only guess (majority class): a floor, not an alternative.
    """
    complete = [row for row in fits if row["rank"] is not None]
    if not complete:
        return f"On {task_name}, no fit is complete yet."
    best, *others = complete
    result = f"{wording.score(best[rank_by])} {_metric(best, rank_by)}"
    if rank_by == "score" and best["score_low"] is not None:
        low, high = wording.score(best["score_low"]), wording.score(best["score_high"])
        result += f" ({low} to {high})"
    subject = f"On {task_name}, {_phrase(best, names)}"
    if not others:
        lone = "no other fit is complete" if len(fits) > 1 else "there is no other fit to compare"
        return f"{subject} reaches {result}; {lone}."
    rivals = [row for row in others if row["model"] not in guessing]
    if not rivals:
        floor = f"{_phrase(others[0], names)} scores {wording.score(others[0][rank_by])}"
        return f"{subject} {_verdict(result, others, names, rank_by)}; {floor}."
    other = _alternative(best, rivals)
    cost = _cost(best, other)
    if [row for row in others if row["tied_with_best"]] == [other]:
        tied = f"but is tied with {_phrase(other, names)}, which {cost}"
        return f"{subject} scores highest, {result}, {tied}."
    return f"{subject} {_verdict(result, others, names, rank_by)}; {_phrase(other, names)} {cost}."


def _verdict(result: str, others: Sequence[Flat], names: Mapping[str, str], rank_by: str) -> str:
    """Wins, or scores highest with ties; without tests (another metric) it only comes first."""
    if rank_by != "score":
        return f"comes first with {result}"
    tied = [row for row in others if row["tied_with_best"]]
    if not tied:
        return f"wins with {result}"
    if len(tied) > 3:
        return f"scores highest, {result}, but {len(tied)} others are tied with it"
    tied_names = wording.listed([_phrase(row, names) for row in tied])
    verb = "is" if len(tied) == 1 else "are"
    return f"scores highest, {result}, but {tied_names} {verb} tied with it"


def _alternative(best: Flat, rivals: Sequence[Flat]) -> Flat:
    """The best of the other sort: a baseline beside a pretrained winner, or the reverse."""
    is_baseline = best["recipe"] == "baseline"
    contrast = [row for row in rivals if (row["recipe"] == "baseline") != is_baseline]
    return (contrast or list(rivals))[0]


def _cost(best: Flat, other: Flat) -> str:
    """How far behind the alternative is, and what it takes."""
    gap = wording.points(other["gap_to_best"], signed=False, decimals=1)
    text = f"is {gap} points behind"
    if other["p_vs_best"] is not None:
        text += f" ({wording.p_value(other['p_vs_best'])})"
    if best["fit_seconds"] and other["fit_seconds"]:
        took, instead = wording.seconds(other["fit_seconds"]), wording.seconds(best["fit_seconds"])
        if took != instead:
            text += f" and fits in {took} instead of {instead}"
    return text


def _phrase(row: Flat, names: Mapping[str, str]) -> str:
    framework = framework_aside(row["framework"], " in {}")
    recipe = wording.RECIPES.get(row["recipe"], row["recipe"])
    return f"{model_name(row, names)} {recipe}".rstrip() + framework


def _metric(row: Flat, rank_by: str) -> str:
    return wording.metric_name(row["score_name"] if rank_by == "score" else rank_by)
