"""One order over several tasks: mean rank, mean score, wins, and how sure the order is.

A system here is a fit (model x recipe x framework). Those with a complete result on every task
are ranked among each other; any other is shown with its coverage, below, without a rank: a
missing score is neither a zero nor a reason to leave somebody out. A task on which fewer than two
fits are complete compares nothing: it is named and left out, else nobody would be ranked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.boards import wording
from harness.boards.columns import Cell, Header, fit_name
from harness.boards.rank import SIGNIFICANCE
from harness.boards.table import Table
from harness.stats.across import (
    FEWEST_TASKS,
    critical_difference,
    friedman,
    nemenyi_p,
    rank_intervals,
    task_ranks,
    win_rates,
)

Flat = Mapping[str, Any]
SystemKey = tuple[str, str, str]


@dataclass(frozen=True)
class Gap:
    """A task on which a system has no complete result, and why."""

    task: str
    status: str
    reason: str


@dataclass(frozen=True)
class Standing:
    """A system over all tasks; lists have one entry a task, in the order of `Across.tasks`.

    ``scores`` holds what was scored, partial seeds included; ``ranks`` and what follows from
    them are None unless every task is complete.
    """

    row: Flat
    scores: list[float | None]
    complete: int
    gaps: list[Gap]
    ranks: list[float] | None = None
    mean_rank: float | None = None
    rank_low: float | None = None
    rank_high: float | None = None
    mean_score: float | None = None

    @property
    def key(self) -> SystemKey:
        return self.row["model"], self.row["recipe"], self.row["framework"]


@dataclass(frozen=True)
class Critical:
    """A critical-difference diagram's data: mean ranks nearer than ``difference`` cannot be told
    apart, which does not make them equal.

    ``p_values``: Nemenyi's, (systems, systems), in the order of the ranked standings.
    """

    friedman_f: float
    friedman_p: float
    difference: float
    p_values: list[list[float]]


@dataclass(frozen=True)
class Across:
    """Systems over tasks. The ranked standings come first, by mean rank (Borda's order).

    ``tasks``: those that are compared, ``left_out`` those that are not. ``win_rates[i][j]``: share
    of tasks on which ranked system i scores higher than j, ties counting half; None on the
    diagonal. ``critical`` is None where ``critical_reason`` says why.
    """

    tasks: list[str]
    left_out: list[str]
    standings: list[Standing]
    win_rates: list[list[float | None]]
    critical: Critical | None
    critical_reason: str

    @property
    def ranked(self) -> list[Standing]:
        return [line for line in self.standings if line.ranks is not None]


def across_tasks(fits: Sequence[Flat], tasks: Sequence[str], rank_by: str = "score") -> Across:
    """``fits``: one flat row per fit and task, that of the fit's own runtime.

    Only rows with status ``ok`` are complete. Scores of different metrics are never mixed within
    a task; the mean score over tasks mixes them, and is there because people ask for it.
    """
    groups: dict[SystemKey, dict[str, Flat]] = {}
    for row in fits:
        groups.setdefault((row["model"], row["recipe"], row["framework"]), {})[row["task"]] = row
    compared = _compared(groups.values(), tasks, rank_by)
    left_out = [task for task in tasks if task not in compared]
    standings = [_standing(group, compared, rank_by) for group in groups.values()]
    full = [line for line in standings if not line.gaps]
    rest = [line for line in standings if line.gaps]
    rest.sort(key=lambda line: (-line.complete, -sum(s is not None for s in line.scores)))
    if not full:
        return Across(compared, left_out, rest, [], None, "no fit is complete on every task")
    # rounded, so that two orders of summation do not break a tie
    scores = np.round(np.array([line.scores for line in full], float), 12)
    ranks = task_ranks(scores)
    means, bounds = ranks.mean(axis=1), rank_intervals(ranks)
    order = np.lexsort((-scores.mean(axis=1), means))
    ranked = [
        Standing(
            row=full[i].row,
            scores=full[i].scores,
            complete=full[i].complete,
            gaps=[],
            ranks=ranks[i].tolist(),
            mean_rank=float(means[i]),
            rank_low=_known(bounds[i, 0]),
            rank_high=_known(bounds[i, 1]),
            mean_score=float(scores[i].mean()),
        )
        for i in order
    ]
    rates = [[_known(x) for x in line] for line in win_rates(scores[order])]
    critical, reason = _critical(ranks[order])
    return Across(compared, left_out, [*ranked, *rest], rates, critical, reason)


def _compared(
    groups: Collection[Mapping[str, Flat]], tasks: Sequence[str], rank_by: str
) -> list[str]:
    """Tasks on which at least two systems are complete; all tasks where that leaves no two."""
    found = [
        task
        for task in tasks
        if sum(_is_complete(group.get(task), rank_by) for group in groups) >= 2
    ]
    return found if len(found) >= 2 else list(tasks)


def _is_complete(row: Flat | None, rank_by: str) -> bool:
    return row is not None and row["status"] == "ok" and row[rank_by] is not None


def _standing(group: Mapping[str, Flat], tasks: Sequence[str], rank_by: str) -> Standing:
    rows = [group.get(task) for task in tasks]
    gaps = [
        Gap(task, row["status"] if row else "not planned", (row["reason"] if row else "") or "")
        for task, row in zip(tasks, rows, strict=True)
        if not _is_complete(row, rank_by)
    ]
    return Standing(
        row=next(iter(group.values())),
        scores=[row[rank_by] if row else None for row in rows],
        complete=len(tasks) - len(gaps),
        gaps=gaps,
    )


def _critical(ranks: np.ndarray) -> tuple[Critical | None, str]:
    systems, tasks = ranks.shape
    if tasks < FEWEST_TASKS:
        return None, f"needs {FEWEST_TASKS} complete tasks, there are {tasks}"
    if systems < 3:
        return None, f"needs three fits that are complete on every task, there are {systems}"
    test = friedman(ranks)
    if not np.isfinite(test.p_value):
        return None, "every task ties all fits"
    if test.p_value > SIGNIFICANCE:
        return None, (
            f"not asked for, as Friedman's test does not reject that all rank alike "
            f"({wording.p_value(test.p_value)})"
        )
    critical = Critical(
        friedman_f=test.statistic,
        friedman_p=test.p_value,
        difference=critical_difference(systems, tasks),
        p_values=nemenyi_p(ranks.mean(axis=1), tasks).tolist(),
    )
    return critical, ""


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def across_table(
    found: Across, names: Mapping[str, str], task_names: Mapping[str, str]
) -> Table | None:
    """The standings as a table; None for a single task."""
    if len(found.tasks) < 2:
        return None
    several = len(found.tasks)
    headers = (
        Header("fit", "model and recipe", numeric=False),
        Header("mean rank [95%]", "over all tasks, among the fits that are complete on all of "
               "them; brackets: tasks drawn again with replacement"),
        Header("mean score", "over all tasks, whatever their metrics"),
        Header("wins, %", "share of comparisons with the other complete fits, task by task, "
               "that it wins; a tie counts half"),
        *(Header(f"rank: {task_names[task]}", "among the same fits", spare=several > 4)
          for task in found.tasks),
        Header("tasks complete", "on how many tasks all its trainings were scored"),
    )  # fmt: skip
    lines = []
    for number, line in enumerate(found.standings):
        name = fit_name(line.row, names)
        wins = [rate for rate in found.win_rates[number] if rate is not None] if line.ranks else []
        mean_wins = sum(wins) / len(wins) if wins else None
        lines.append(
            [
                Cell(name, name),
                Cell(_rank_text(line), line.mean_rank),
                Cell(wording.score(line.mean_score), line.mean_score),
                Cell(wording.NOTHING if mean_wins is None else f"{100 * mean_wins:.0f}", mean_wins),
                *(_place(line, task) for task in range(several)),
                Cell(f"{line.complete} of {several}", line.complete),
            ]
        )
    return Table("Summary over all tasks", headers, lines)


def _rank_text(line: Standing) -> str:
    if line.mean_rank is None:
        return wording.NOTHING
    text = f"{line.mean_rank:.2f}"
    if line.rank_low is not None and line.rank_high is not None:
        text += f" [{line.rank_low:.2f}, {line.rank_high:.2f}]"
    return text


def _place(line: Standing, task: int) -> Cell:
    if line.ranks is None:
        return Cell(wording.NOTHING)
    rank = line.ranks[task]
    return Cell(f"{rank:.0f}" if rank == int(rank) else f"{rank:.1f}", rank)


def across_sentences(
    found: Across, names: Mapping[str, str], task_names: Mapping[str, str]
) -> list[str]:
    """What the standings let one say, a sentence each."""
    ranked = found.ranked
    if not ranked:
        return ["No fit is complete on every task, so none is ranked over all of them."]
    says = []
    if found.left_out:
        left_out = wording.listed([task_names[task] for task in found.left_out])
        says.append(f"Left out, as fewer than two fits are complete there: {left_out}.")
    says.append(
        f"{len(ranked)} of {len(found.standings)} fits are complete on all {len(found.tasks)} "
        "tasks and ranked among each other"
        + ("; the others are shown with what they have." if len(ranked) < len(found.standings)
           else ".")
    )  # fmt: skip
    if found.critical is None:
        says.append(f"Critical difference: {found.critical_reason}.")
        return says
    test = found.critical
    says.append(
        f"Friedman's test that all rank alike: {wording.p_value(test.friedman_p)}. Mean ranks "
        f"closer than {test.difference:.2f} cannot be told apart (Nemenyi's critical difference "
        "at 5%)."
    )
    best = ranked[0]
    near = [fit_name(line.row, names) for line in ranked[1:]
            if line.mean_rank - best.mean_rank <= test.difference]  # type: ignore[operator]  # fmt: skip
    if near:
        says.append(
            f"By it {wording.listed(near)} cannot be told from {fit_name(best.row, names)}."
        )
    return says
