"""Ranked rows as a reader sees them: plain data, which Markdown, HTML and the console print.

All texts here are raw; each renderer escapes for its own format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.boards import wording
from harness.boards.across import Across, across_sentences, across_table, across_tasks
from harness.boards.collect import Records
from harness.boards.columns import COLUMNS, Cell, Header, fit_name, sized_name
from harness.boards.curves import LearningCurve, curve_table, learning_curves
from harness.boards.definition import Definition
from harness.boards.explorer import Explorer, build_explorer, shown
from harness.boards.fronts import AXES
from harness.boards.headlines import headline
from harness.boards.limits import task_limits
from harness.boards.pictures import Picture, of_curves, over_tasks
from harness.boards.rank import first_rows
from harness.boards.table import Fact, Table

Flat = Mapping[str, Any]

#: fits that are compared over all tasks: wins are counted for every pair of them
MOST_ACROSS = 1000
#: Rows of a front that are named in a line of text
MOST_NAMED = 10
_FRONTS = "Best trade-offs: no other complete row scores higher and costs no more."
_EACH_HOSTS_FRONTS = (
    "Best trade-offs, of each host by itself: no other complete row of the same host scores higher "
    "and costs no more."
)


@dataclass(frozen=True)
class Section:
    """One task."""

    task: str
    title: str
    headline: str
    fits: Table
    runtimes: Table
    #: for each cost the rows on the front of score and that cost, cheapest first; and in a
    #: sentence which these are
    trade_offs: list[Fact]
    trade_offs_are: str
    limits: list[Fact]
    #: where there are several training sizes: tables above are of the largest, these of all
    curves: list[LearningCurve]
    curve_table: Table | None
    #: the ranked flat rows for charts: one a fit, and all of them; models that only guess are
    #: left out where there are others, for they would squeeze the rest into a corner
    fit_rows: list[Flat]
    rows: list[Flat]


@dataclass(frozen=True)
class Page:
    """A whole board."""

    title: str
    description: str
    hosts: list[Fact]
    reading: list[Fact]
    #: systems over all tasks (its data, its table, and what it lets one say); None for one task,
    #: and where there are too many, which the notes say
    across: Across | None
    summary: Table | None
    summary_notes: list[str]
    sections: list[Section]
    problems: Table | None
    limits: list[Fact]
    licences: list[Fact]
    command: str
    #: model id to the name that people know
    names: Mapping[str, str]
    #: every row, to sort and filter and open
    explorer: Explorer
    #: over all tasks, and learning curves; others of single tasks are made of ``explorer``
    pictures: list[Picture]


def build_page(
    records: Records, rows: Sequence[Flat], definition: Definition, total: int | None = None
) -> Page:
    """``rows``: `harness.boards.rank.ranked` of the same records, or the best ``total`` of them."""
    plan = records.plan
    rows = [row for row in rows if shown(row, definition.filters)]
    names = {
        model: wording.clean(entry.get("name") or model) for model, entry in plan["models"].items()
    }
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    task_names = {
        task: wording.clean(plan["tasks"].get(task, {}).get("name") or task) for task in tasks
    }
    curves = learning_curves(records, rows)
    main = largest_training(rows)
    fits = first_rows(main)
    across: Across | None = None
    notes: list[str] = []
    if len(tasks) > 1 and len(fits) > MOST_ACROSS:
        notes = [
            f"The comparison over tasks is left out: it counts wins for every pair of fits, and "
            f"{len(fits):,} fits on single tasks are more than {MOST_ACROSS:,}."
        ]
    elif len(tasks) > 1:
        across = across_tasks(fits, tasks, definition.rank_by)
        notes = across_sentences(across, names, task_names)
    sections = [
        _section(
            plan,
            [row for row in main if row["task"] == task],
            [curve for curve in curves if curve.row["task"] == task],
            name,
            names,
            definition,
        )
        for task, name in task_names.items()
    ]
    suite_title = wording.clean(plan.get("title") or plan["suite"])
    return Page(
        title=definition.title.replace("{title}", suite_title),
        description=wording.clean(plan.get("description") or ""),
        hosts=_hosts(records),
        reading=_reading(rows, definition),
        across=across,
        summary=across_table(across, names, task_names) if across else None,
        summary_notes=notes,
        sections=sections,
        problems=_problems(rows, names, task_names),
        limits=[
            Fact(wording.clean(key).replace("_", " "), wording.clean(value))
            for key, value in (plan.get("limits") or {}).items()
            if value not in (None, "", [], {})
        ],
        licences=_licences(plan, rows, names, task_names),
        command=wording.clean(plan.get("command") or f"harness run {plan['suite']}"),
        names=names,
        explorer=build_explorer(
            rows,
            {**names, **{f"task:{task}": name for task, name in task_names.items()}},
            definition,
            frozenset(_guessing(plan)),
            total,
        ),
        pictures=[
            *(over_tasks(across, names) if across else []),
            *_curve_pictures(sections, names, _guessing(plan)),
        ],
    )


def _curve_pictures(
    sections: Sequence[Section], names: Mapping[str, str], guessing: set[str]
) -> list[Picture]:
    """Learning curves of each task; without models that only guess, which squeeze the others."""
    found = []
    for number, section in enumerate(sections, 1):
        curves = [curve for curve in section.curves if curve.row["model"] not in guessing]
        curves = curves or section.curves
        found += of_curves(number, section.task, section.title, curves, names)
    return found


def _guessing(plan: Mapping[str, Any]) -> set[str]:
    return {model for model, entry in plan["models"].items() if entry.get("kind") == "majority"}


def largest_training(rows: Sequence[Flat]) -> list[Flat]:
    """Rows of each task's largest training size; all rows where a task has one size only."""
    largest: dict[str, int] = {}
    for row in rows:
        size = row.get("train_budget") or 0
        largest[row["task"]] = max(size, largest.get(row["task"], 0))
    return [row for row in rows if (row.get("train_budget") or 0) == largest[row["task"]]]


def _table(
    caption: str, keys: Sequence[str], rows: Sequence[Flat], names: Mapping[str, str]
) -> Table:
    """Columns without a single value are left out: a board without timings shows no latency."""
    columns = [COLUMNS[key] for key in keys]
    cells = [[column.cell(row, names) for column in columns] for row in rows]
    kept = [
        i
        for i, column in enumerate(columns)
        if not column.numeric or not rows or any(line[i].text != wording.NOTHING for line in cells)
    ]
    headers = tuple(columns[i].head for i in kept)
    return Table(caption, headers, [[line[i] for i in kept] for line in cells])


def _section(
    plan: Mapping[str, Any],
    of_task: Sequence[Flat],
    curves: list[LearningCurve],
    title: str,
    names: Mapping[str, str],
    definition: Definition,
) -> Section:
    task = of_task[0]["task"]
    every_fit = first_rows(of_task)
    fits = [row for row in every_fit if row["score"] is not None]
    scored = [row for row in of_task if row["score"] is not None]
    guessing = _guessing(plan)
    several_hosts = len({row["host_id"] for row in scored}) > 1
    return Section(
        task=task,
        title=title,
        headline=headline(every_fit, title, names, guessing, definition.rank_by),
        fits=_table(f"Fits on {title}", definition.fit_columns, fits, names),
        runtimes=_table(f"Runtimes on {title}", definition.runtime_columns, scored, names),
        trade_offs=_trade_offs(scored, names, several_hosts),
        trade_offs_are=_EACH_HOSTS_FRONTS if several_hosts else _FRONTS,
        limits=task_limits(plan["tasks"].get(task, {}), of_task, names),
        curves=curves,
        curve_table=curve_table(curves, names),
        fit_rows=[row for row in fits if row["model"] not in guessing] or fits,
        rows=[row for row in scored if row["model"] not in guessing] or scored,
    )


def _trade_offs(rows: Sequence[Flat], names: Mapping[str, str], several_hosts: bool) -> list[Fact]:
    """The rows that ``pareto`` says to be on a front, with their hosts where these differ."""

    def costs(row: Flat, key: str) -> str:
        host = f", host {wording.clean(row['host_id'] or 'unknown')}" if several_hosts else ""
        return f"({wording.score(row['score'])}, {COLUMNS[key].cell(row, names).text}{host})"

    facts = []
    for axis, key in AXES.items():
        front = [row for row in rows if axis in (row.get("pareto") or ())]
        front.sort(key=lambda row: (row[key], -row["score"]))
        parts = [
            f"{fit_name(row, names)} in {row['runtime']} {costs(row, key)}"
            for row in front[:MOST_NAMED]
        ]
        if len(front) > MOST_NAMED:
            parts.append(f"and {len(front) - MOST_NAMED} more")
        if parts:
            facts.append(Fact(COLUMNS[key].header, "; ".join(parts)))
    return facts


def _hosts(records: Records) -> list[Fact]:
    facts = []
    for host_id, host in sorted(records.hosts.items()):
        parts = [str(host.get("cpu") or "unknown CPU")]
        if host.get("cores"):
            parts.append(f"{host['cores']} cores")
        if host.get("memory_gb"):
            parts.append(f"{wording.significant(float(host['memory_gb']))} GB memory")
        parts.append(f"GPU {host['gpu']}" if host.get("gpu") else "no GPU")
        if host.get("threads_observed") or host.get("threads_asked"):
            parts.append(f"{host.get('threads_observed') or host.get('threads_asked')} threads")
        if host["load"] is not None:
            parts.append(f"load {wording.span(*host['load'])} when measured")
        parts += [text for text in (host["os"],) if text]
        if host["python"]:
            parts.append(f"Python {host['python']}")
        parts += [f"{name} {versions}" for name, versions in host["libraries"].items()]
        if host["commits"]:
            parts.append(f"repository at {host['commits']}")
        facts.append(Fact(wording.clean(host_id), wording.clean(", ".join(parts))))
    return facts


def _reading(rows: Sequence[Flat], definition: Definition) -> list[Fact]:
    facts = []
    if definition.filters:
        text = ", ".join(f"{name} {value}" for name, value in definition.filters.items())
        facts.append(
            Fact(
                "Shown",
                f"are only rows with: {wording.clean(text)}. Ranks are those among all rows.",
            )
        )
    facts += [
        Fact(
            "Ranks",
            "compare fits (a model, adapted by a recipe, in a framework) by their score on the "
            "test set. Brackets hold 95% intervals.",
        )
    ]
    if definition.rank_by == "score":
        facts.append(
            Fact(
                "Tied",
                "means that a paired test on the same test examples cannot tell a fit from the "
                "best one at 5% (Holm-corrected p). Overlapping intervals are no such test.",
            )
        )
    else:
        name = wording.metric_name(definition.rank_by)
        facts.append(Fact("Order", f"is by {name}; ties are not tested for this metric."))
    if any(row["latency_p50_ms"] is not None for row in rows):
        facts.append(
            Fact(
                "Latency",
                "is the time of one input at a time (batch 1), in a fresh process: p50 is the "
                "median, p90 what one in ten exceeds. It holds for the machine named here.",
            )
        )
    if any(row["dtype"] == "int8" for row in rows):
        facts.append(
            Fact(
                "int8",
                "weights were rounded to 8 bits after training: they are other weights than the "
                "fit's. Score change and same predictions say what that costs.",
            )
        )
    return facts


def _problems(
    rows: Sequence[Flat], names: Mapping[str, str], task_names: Mapping[str, str]
) -> Table | None:
    """Every row that is not complete, with its reason."""
    bad = [row for row in rows if row["status"] != "ok"]
    if not bad:
        return None
    headers = tuple(
        Header(text, numeric=False) for text in ("task", "fit", "runtime", "status", "reason")
    )
    lines = []
    for row in bad:
        runtime = f"{row['runtime']} {row['dtype'] or ''}".strip()
        texts = (
            task_names[row["task"]], sized_name(row, names), runtime, row["status"],
            wording.clean(row["reason"] or "no reason recorded"),
        )  # fmt: skip
        lines.append([Cell(text, text) for text in texts])
    return Table("Rows without a complete result", headers, lines)


def _licences(
    plan: Mapping[str, Any],
    rows: Sequence[Flat],
    names: Mapping[str, str],
    task_names: Mapping[str, str],
) -> list[Fact]:
    facts = []
    for model in dict.fromkeys(row["model"] for row in rows):
        entry = plan["models"].get(model, {})
        licence = wording.clean(entry.get("licence") or "unknown")
        facts.append(Fact(names.get(model, model), f"weights: {licence}", entry.get("url") or ""))
    for task, name in task_names.items():
        entry = plan["tasks"].get(task, {})
        licence = wording.clean(entry.get("licence") or "unknown")
        facts.append(Fact(name, f"data: {licence}", entry.get("url") or ""))
    return facts
