"""What candidates are called in text."""

from __future__ import annotations

from collections.abc import Iterable

from harness.boards import wording
from harness.choose.evidence import Candidate
from harness.printable import framework_aside

#: names of one group that are written out
_NAMED = 4


def name_of(candidate: Candidate) -> str:
    """For people: the fit, its runtime and device."""
    row = candidate.rows[0]
    return f"{fit_name(candidate)}, run by {row['runtime']} on {row['device']} ({row['dtype']})"


def fit_name(candidate: Candidate) -> str:
    """Model, recipe, and framework where it is not PyTorch."""
    row = candidate.rows[0]
    model = wording.clean(row.get("model_name") or row["model"])
    recipe = wording.RECIPES.get(row["recipe"], row["recipe"])
    framework = framework_aside(row["framework"], "in {}")
    return " ".join(filter(None, (model, recipe, framework)))


def fit_names(candidates: Iterable[Candidate], most: int = _NAMED) -> str:
    """Each fit once."""
    return few(list(dict.fromkeys(fit_name(c) for c in candidates)), most)


def short_name(candidate: Candidate) -> str:
    """By the ids that a suite gives, with the runtime where it is not the framework's own."""
    row = candidate.rows[0]
    runtime = f" in {row['runtime']}" if row["runtime"] != row["framework"] else ""
    return f"{row['model']} {row['recipe']}{framework_aside(row['framework'])}{runtime}"


def few(names: list[str], most: int = _NAMED) -> str:
    """The first of them, and how many more there are."""
    rest = len(names) - most
    shown = ", ".join(wording.clean(name) for name in names[:most])
    return f"{shown} and {rest} more" if rest > 0 else shown
