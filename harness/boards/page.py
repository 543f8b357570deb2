"""Ranked rows as a reader sees them: plain data, which Markdown, HTML and the console print.

All texts here are raw; each renderer escapes for its own format.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
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
from harness.boards.pictures import Picture, of_curves, over_tasks
from harness.boards.rank import fit_key
from harness.boards.table import Table

Flat = Mapping[str, Any]

#: fits that are compared over all tasks: wins are counted for every pair of them
MOST_ACROSS = 1000
#: Rows of a front that are named in a line of text
MOST_NAMED = 10
_UNDRAWN = " (baselines and probes without hidden layers draw nothing: all seeds give the same)"
_FRONTS = "Best trade-offs: no other complete row scores higher and costs no more."
_EACH_HOSTS_FRONTS = (
    "Best trade-offs, of each host by itself: no other complete row of the same host scores higher "
    "and costs no more."
)


@dataclass(frozen=True)
class Fact:
    """A labelled line of text, perhaps with a link (http or https only)."""

    label: str
    text: str
    url: str = ""


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


def first_rows(rows: Sequence[Flat]) -> list[Flat]:
    """One row per fit: its own runtime's, which comes first."""
    found: dict[Any, Flat] = {}
    for row in rows:
        found.setdefault(fit_key(dict(row)), row)
    return list(found.values())


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
    fits = [row for row in first_rows(of_task) if row["score"] is not None]
    scored = [row for row in of_task if row["score"] is not None]
    guessing = _guessing(plan)
    several_hosts = len({row["host_id"] for row in scored}) > 1
    return Section(
        task=task,
        title=title,
        headline=headline(fits, title, names, guessing, definition.rank_by),
        fits=_table(f"Fits on {title}", definition.fit_columns, fits, names),
        runtimes=_table(f"Runtimes on {title}", definition.runtime_columns, scored, names),
        trade_offs=_trade_offs(scored, names, several_hosts),
        trade_offs_are=_EACH_HOSTS_FRONTS if several_hosts else _FRONTS,
        limits=_task_limits(plan["tasks"].get(task, {}), of_task),
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


def _task_limits(task: Mapping[str, Any], rows: Sequence[Flat]) -> list[Fact]:
    """What bounds the evidence of one task."""
    budget = task.get("budget") or {}
    facts = [Fact("metric", wording.metric_name(task.get("primary")))]
    for label, key, available in (
        ("test examples", "examples", "examples_available"),
        ("training examples", "train_examples", "train_available"),
    ):
        text = _span([row[key] for row in rows], lambda n: f"{n:,.0f}")
        whole = _span([row[available] for row in rows], lambda n: f"{n:,.0f}")
        if text and whole and text != whole:
            text += f" of {whole}, drawn by seed {budget.get('seed')}, stratified"
        facts.append(Fact(label, text))
    if task.get("max_length"):
        cut = _span([row["truncated_share"] for row in rows], lambda x: f"{wording.percent(x)}%")
        stride = f", windows overlap by {task['stride']}" if task.get("stride") else ""
        text = f"{task['max_length']} tokens{stride}"
        facts.append(Fact("maximum length", text + (f"; {cut} of test inputs cut" if cut else "")))
    overlap = _span([row["overlap_share"] for row in rows], lambda x: f"{wording.percent(x)}%")
    if overlap:
        facts.append(Fact("test inputs also in training", overlap))
    facts.append(Fact("seeds", _seeds(rows)))
    facts.append(Fact("fit time", _untimed(first_rows(rows))))
    facts.append(Fact("resolution", _resolution(rows)))
    return [fact for fact in facts if fact.text]


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
    span = _span([row["seeds"] for row in rows], lambda n: f"{n:.0f}")
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
        if host.get("load") is not None:
            load = host["load"][0] if isinstance(host["load"], list) else host["load"]
            parts.append(f"load {load} when measured")
        parts += [str(host[key]) for key in ("os",) if host.get(key)]
        if host.get("python"):
            parts.append(f"Python {host['python']}")
        parts += [f"{name} {version}" for name, version in sorted(_libraries(host).items())]
        if host.get("git_commit"):
            dirty = " with uncommitted changes" if host.get("git_dirty") else ""
            parts.append(f"harness at {str(host['git_commit'])[:12]}{dirty}")
        facts.append(Fact(wording.clean(host_id), wording.clean(", ".join(parts))))
    return facts


def _libraries(host: Mapping[str, Any]) -> dict[str, str]:
    libraries = host.get("libraries")
    return dict(libraries) if isinstance(libraries, Mapping) else {}


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
