"""What bounds the evidence of one task: sizes, lengths, seeds, the resolution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from harness.boards import wording
from harness.boards.columns import fit_name, model_name
from harness.boards.rank import first_rows
from harness.boards.table import Fact

Flat = Mapping[str, Any]

#: names of fits that differ from most, in one line of text; with more of them it gives a range
MOST_APART = 6
_UNDRAWN = " (baselines and probes without hidden layers draw nothing: all seeds give the same)"


def task_limits(
    task: Mapping[str, Any], rows: Sequence[Flat], names: Mapping[str, str]
) -> list[Fact]:
    """``task``: the plan's entry, which an entry of the matrix may override; ``rows``: of its
    largest training size."""
    budget = task.get("budget") or {}

    def said(value: Callable[[Flat], Any], show: Callable[[Any], str], unit: str = "") -> str:
        return _by_fit(rows, names, value, show, unit)

    facts = [Fact("metric", wording.metric_name(task.get("primary")))]
    for label, key, available in (
        ("test examples", "examples", "examples_available"),
        ("training examples", "train_examples", "train_available"),
    ):
        text = said(itemgetter(key), _count)
        whole = _span([row[available] for row in rows], _count)
        if text and whole and text != whole:
            text += f" of {whole}, drawn by seed {budget.get('seed')}, stratified"
        facts.append(Fact(label, text))
    if usual := task.get("max_length"):
        length = said(lambda row: row.get("max_length") or usual, _count, " tokens")
        cut = said(itemgetter("truncated_share"), _share)
        stride = f", windows overlap by {task['stride']}" if task.get("stride") else ""
        text = f"{length}{stride}" + (f"; {cut} of test inputs cut" if cut else "")
        facts.append(Fact("maximum length", text))
    overlap = said(itemgetter("overlap_share"), _share)
    facts.append(Fact("test inputs also in training", overlap))
    facts.append(Fact("seeds", _seeds(rows)))
    facts.append(Fact("fit time", _untimed(first_rows(rows))))
    facts.append(Fact("resolution", _resolution(rows)))
    return [fact for fact in facts if fact.text]


def _by_fit(
    rows: Sequence[Flat],
    names: Mapping[str, str],
    value: Callable[[Flat], Any],
    show: Callable[[Any], str],
    unit: str,
) -> str:
    """What holds for most fits, then what holds for others: ``96 tokens (SmolLM2: 64)``.

    A range where that names too many; empty where no row has a value.
    """
    groups: dict[str, dict[str, str]] = {}  # what is shown, to names of fits and their models
    for row in rows:
        if (known := value(row)) is not None:
            groups.setdefault(show(known), {})[fit_name(row, names)] = model_name(row, names)
    if not groups:
        return ""
    most = max(groups, key=lambda text: len(groups[text]))
    apart = {text: _called(text, groups) for text in groups if text != most}
    if sum(map(len, apart.values())) > MOST_APART:
        return _span([value(row) for row in rows], show) + unit
    others = "; ".join(f"{', '.join(fits)}: {text}" for text, fits in apart.items())
    return f"{most}{unit}" + (f" ({others})" if others else "")


def _called(text: str, groups: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The fits of a group: by their model alone where all fits of it are there."""
    elsewhere = {model for t, fits in groups.items() if t != text for model in fits.values()}
    return list(
        dict.fromkeys(fit if model in elsewhere else model for fit, model in groups[text].items())
    )


def _count(number: float) -> str:
    return f"{number:,.0f}"


def _share(number: float) -> str:
    return f"{wording.percent(number)}%"


def _resolution(rows: Sequence[Flat]) -> str:
    """The smallest difference that the task can show, of its largest training size."""
    shown = next((row["resolution"] for row in rows if row.get("resolution") is not None), None)
    if shown is None:
        return ""
    return (
        f"{wording.points(shown, signed=False)} points: a typical pair of fits that lie closer "
        "is told apart in fewer than four of five repetitions"
    )


def _untimed(fits: Sequence[Flat]) -> str:
    """How many fits were scored and have no time of their own, and why."""
    reasons = Counter(row["fit_seconds_reason"] for row in fits if row["fit_seconds_reason"])
    return "; ".join(
        f"none for {n} of {len(fits)} fits: {wording.clean(why)}" for why, n in reasons.items()
    )


def _seeds(rows: Sequence[Flat]) -> str:
    span = _span([row["seeds"] for row in rows], _count)
    bases = {row["score_basis"] for row in rows if row["score_basis"]}
    if not bases:
        return span
    if bases == {"examples+seeds"}:
        return f"{span}; intervals cover the uncertainty of the test set and of seeds"
    text = "intervals cover the uncertainty of the test set only, not that of seeds"
    if len(bases) > 1:
        text = (
            "intervals of fits with several seeds cover seeds too, the others the uncertainty of "
            "the test set only"
        )
    single = {row["recipe"] for row in rows if row["score_basis"] == "examples"}
    return f"{span}; {text}{_UNDRAWN if single & {'baseline', 'linear-probe'} else ''}"


def _span(values: Sequence[Any], show: Callable[[Any], str]) -> str:
    known = sorted({value for value in values if value is not None})
    if not known:
        return ""
    low, high = show(known[0]), show(known[-1])
    return low if low == high else f"{low} to {high}"
