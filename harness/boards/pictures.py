"""The pictures of a board beside its tables: which there are, and as SVG and PNG files.

What is drawn depends on what the rows carry: win rates need several tasks, learning curves need
several training sizes, and so on. A picture without data is not made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.boards import charts
from harness.boards.assets import HOW_TO_INSTALL
from harness.boards.columns import fit_name
from harness.boards.curves import size_of
from harness.errors import RequestError

if TYPE_CHECKING:
    from harness.boards.across import Across
    from harness.boards.curves import LearningCurve
    from harness.boards.page import Page
    from harness.stats.paired import Difference


@dataclass(frozen=True)
class Picture:
    """A Vega-Lite specification with its rows; ``key`` names its file, ``caption`` reads it."""

    key: str
    title: str
    caption: str
    spec: charts.Spec
    values: list[dict[str, Any]] = field(default_factory=list)
    #: the task in whose section of the page it stands; empty where it is about all of them
    task: str = ""


#: fits in a picture of a task's scores
MOST_BARS = 40


def of_board(page: Page) -> list[Picture]:
    """The main pictures for slides: per task scores and each cost, then those over all tasks."""
    found = []
    for number, section in enumerate(page.sections, 1):
        facts = [
            facts
            for facts in page.explorer.facts
            if facts["task"] == section.task and facts["score"] is not None
        ]
        largest = max((row["train_budget"] or 0 for row in facts), default=0)
        own = _first_of_each_fit([row for row in facts if (row["train_budget"] or 0) == largest])
        where = f"{number}-{_file_name(section.task)}"
        if own:
            title = f"Scores on {section.title}{first_of(len(own))}"
            found.append(Picture(f"{where}-scores", title, "", charts.score_chart(MOST_BARS), own))
        for cost, name in charts.COSTS.items():
            if any(row[cost] for row in facts if not row["guesses"]):
                title = f"Score against {name}: {section.title}"
                found.append(Picture(f"{where}-{cost}", title, "", charts.cost_chart(cost), facts))
    return found + list(page.pictures)


def first_of(count: int) -> str:
    """What a title adds where a picture of scores does not hold all ``count`` fits."""
    return f" (the first {MOST_BARS} of {count} fits)" if count > MOST_BARS else ""


#: fits in a picture over all tasks; more would be unreadable
_MOST = 16


def over_tasks(across: Across, names: Mapping[str, str]) -> list[Picture]:
    """Wins and mean ranks of the fits that are complete on every task, where there are several."""
    ranked = across.ranked[:_MOST]
    if len(ranked) < 2:
        return []
    labels = [fit_name(line.row, names) for line in ranked]
    wins = [
        {"row": labels[i], "column": labels[j], "share": rate}
        for i in range(len(ranked))
        for j in range(len(ranked))
        if (rate := across.win_rates[i][j]) is not None
    ]
    ranks: list[dict[str, Any]] = [
        {"label": label, "rank": line.mean_rank, "low": line.rank_low, "high": line.rank_high}
        for label, line in zip(labels, ranked, strict=True)
    ]
    first = (
        f" The first {_MOST} of {len(across.ranked)} fits." if len(across.ranked) > _MOST else ""
    )
    said = f"95% intervals over the choice of tasks.{first}"
    if across.critical is not None:
        best, reach = ranks[0]["rank"], across.critical.difference
        ranks = [line | {"critical": best + reach} for line in ranks]
        said += (
            f" The dashed line is the critical difference from the best, {reach:.2f} (Nemenyi, "
            "5%): mean ranks left of it cannot be told from the best."
        )
    count = f"of the {len(across.tasks)} tasks"
    standing = charts.rank_chart(across.critical is not None)
    return [
        Picture("wins", "How often each fit beats each other one", f"Share {count} on which the "
                f"fit on the left scores higher; a tie counts half.{first}",
                charts.heat_map(labels), wins),
        Picture("ranks", "Mean rank over all tasks", said, standing, ranks),
    ]  # fmt: skip


#: curves in a picture: as many as there are shapes that one can tell apart
_MOST_CURVES = 8
#: points of a fitted line, evenly spaced on the axis
_LINE_POINTS = 32


def of_curves(
    number: int, task: str, title: str, curves: Sequence[LearningCurve], names: Mapping[str, str]
) -> list[Picture]:
    """The learning curves of one task, the best fits first; ``number``: the task's place."""
    drawn = curves[:_MOST_CURVES]
    sizes = sorted({size_of(row) for c in drawn for row in c.rows if row["score"] is not None})
    if len(sizes) < 2 or sizes[0] < 1:
        return []
    values: list[dict[str, Any]] = []
    for place, curve in enumerate(drawn):
        # a little apart, so that intervals of one size stand side by side
        aside = (sizes[-1] / sizes[0]) ** (0.007 * (place - (len(drawn) - 1) / 2))
        values += _curve_values(curve, fit_name(curve.row, names), aside)
    said = (
        "Filled points with 95% intervals are measured. Lines are power laws fitted through "
        "them, bands their 95% intervals; hollow points are what they expect of twice the data."
    )
    if len(curves) > len(drawn):
        said += f" The first {len(drawn)} of {len(curves)} fits; the table has all."
    expected = {row["examples"] for row in values if row["kind"] == "expected"}
    labels = list(dict.fromkeys(row["label"] for row in values))
    spec = charts.learning_curves(labels, sorted({*sizes, *expected}))
    key = f"{number}-{_file_name(task)}-curves"
    return [Picture(key, f"Score by training size: {title}", said, spec, values, task)]


def _curve_values(curve: LearningCurve, label: str, aside: float) -> list[dict[str, Any]]:
    values = [
        {
            "label": label, "kind": "measured", "examples": size_of(row),
            "place": size_of(row) * aside, "score": row["score"],
            "low": row["score_low"], "high": row["score_high"],
        }
        for row in curve.rows
        if row["status"] == "ok" and row["score"] is not None
    ]  # fmt: skip
    if curve.law is None or curve.doubled is None:
        return values
    double, expected = curve.doubled
    line = np.geomspace(values[0]["examples"], double, _LINE_POINTS)
    for size, found in [(float(n), curve.law.predict(float(n))) for n in line]:
        values.append(_of_law(label, "fitted", size, size, found))
    values.append(_of_law(label, "expected", double, double * aside, expected))
    return values


def _of_law(
    label: str, kind: str, examples: float, place: float, found: Difference
) -> dict[str, Any]:
    """A law may say more than 1 or less than 0 where it is hardly determined; no score does."""
    score, low, high = (round(min(max(x, 0.0), 1.0), 5) for x in found)
    return {
        "label": label, "kind": kind, "examples": examples, "place": place, "score": score,
        "low": low, "high": high,
    }  # fmt: skip


def write(page: Page, folder: Path) -> list[Path]:
    """Every picture as SVG and PNG (twice the size); `RequestError` without vl-convert."""
    try:
        import vl_convert
    except ImportError:
        raise RequestError(f"pictures need vl-convert: {HOW_TO_INSTALL}") from None
    from harness.records.files import write_bytes

    paths = []
    for picture in of_board(page):
        spec = charts.filled(picture.spec, picture.values) | {
            "title": picture.title, "background": "white",
        }  # fmt: skip
        svg = vl_convert.vegalite_to_svg(spec)
        for suffix, data in (
            ("svg", svg.encode()),
            ("png", vl_convert.vegalite_to_png(spec, scale=2)),
        ):
            path = folder / f"{picture.key}.{suffix}"
            write_bytes(path, data)
            paths.append(path)
    return paths


def _first_of_each_fit(facts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A fit's own runtime comes first among its rows."""
    found: dict[str, dict[str, Any]] = {}
    for row in facts:
        found.setdefault(row["label"], dict(row))
    return list(found.values())


def _file_name(text: str) -> str:
    return "".join(char if char.isalnum() or char in "-_" else "-" for char in text)[:60]
