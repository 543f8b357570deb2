"""The page's own table: one line per row of the board, which readers sort, filter and open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.boards import wording
from harness.boards.columns import COLUMNS, Cell, Header, sized_name
from harness.boards.definition import Definition, bound_of

Flat = Mapping[str, Any]

#: Rows that one page carries: twice the 5,000 that it is tested with; all are in the CSV
MAX_ROWS = 10_000

#: What a row can cost, as axes of the picture of score against cost
COSTS = {
    "latency_p50_ms": "median latency, ms",
    "size_mb": "size on disk, MB",
    "peak_memory_mb": "peak memory, MB",
    "fit_seconds": "fit time, s",
    "energy_j_per_1000": "energy, J per 1000 examples",
}

_FACTS = (
    "row_id", "task", "train_budget", "model", "recipe", "framework", "runtime", "device", "dtype",
    "host_id", "status", "rank", "tied_with_best", "score_name", "score", "score_low", "score_high",
    *COSTS,
)  # fmt: skip


@dataclass(frozen=True)
class Control:
    """One thing to filter by: ``choices`` to choose from, or else a bound (max or min)."""

    key: str
    label: str
    bound: str = ""
    choices: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Explorer:
    """Headers, one line of cells a row, and of each row the plain facts that filters need."""

    keys: tuple[str, ...]
    headers: tuple[Header, ...]
    hidden: tuple[str, ...]
    rows: list[list[Cell]]
    facts: list[dict[str, Any]]
    controls: tuple[Control, ...]
    sort_by: str
    #: rows of the whole board; more than ``len(rows)`` where the page does not carry them all
    total: int

    @property
    def button(self) -> int:
        """The column whose cells open a row's evidence."""
        return self.keys.index("model") if "model" in self.keys else 0


def build_explorer(
    rows: Sequence[Flat],
    names: Mapping[str, str],
    definition: Definition,
    guessing: frozenset[str] = frozenset(),
    total: int | None = None,
) -> Explorer:
    """``rows``: ranked flat rows; ``total``: how many there are where these are not all of them.

    ``guessing``: models that only guess, which pictures leave out.
    """
    total = len(rows) if total is None else total
    rows = spread(rows, MAX_ROWS)
    columns = [COLUMNS[key] for key in definition.board_columns]
    cells = [[column.cell(row, names) for column in columns] for row in rows]
    kept = [
        i
        for i, column in enumerate(columns)
        if not column.numeric or any(line[i].text != wording.NOTHING for line in cells)
    ]
    return Explorer(
        keys=tuple(definition.board_columns[i] for i in kept),
        headers=tuple(columns[i].head for i in kept),
        hidden=definition.hidden_columns,
        rows=[[line[i] for i in kept] for line in cells],
        facts=[_facts(row, names, definition, guessing) for row in rows],
        controls=_controls(rows, names, definition),
        sort_by=definition.sort_by,
        total=total,
    )


def shown(row: Flat, filters: Mapping[str, Any]) -> bool:
    """Whether a definition's ``filters`` let a row through; a missing figure passes no bound."""
    for name, wanted in filters.items():
        key, bound = bound_of(name)
        value = row[key]
        if bound:
            if value is None or (value > wanted if bound == "max" else value < wanted):
                return False
        elif value not in (wanted if isinstance(wanted, list) else [wanted]):
            return False
    return True


def spread(rows: Sequence[Flat], most: int) -> list[Flat]:
    """At most ``most`` rows, the first of every task alike (rows come best first)."""
    if len(rows) <= most:
        return list(rows)
    by_task: dict[Any, list[int]] = {}
    for position, row in enumerate(rows):
        by_task.setdefault(row["task"], []).append(position)
    taken = shares([len(positions) for positions in by_task.values()], most)
    chosen = [p for ps, n in zip(by_task.values(), taken, strict=True) for p in ps[:n]]
    return [rows[position] for position in sorted(chosen)]


def shares(counts: Sequence[int], most: int) -> list[int]:
    """How many of each may stay, ``most`` in all: alike, small ones whole."""
    taken = [0] * len(counts)
    left = sorted(range(len(counts)), key=lambda i: counts[i])
    for number, i in enumerate(left):  # what small ones leave goes to the larger ones
        taken[i] = min(counts[i], (most - sum(taken)) // (len(left) - number))
    return taken


def _facts(
    row: Flat, names: Mapping[str, str], definition: Definition, guessing: frozenset[str]
) -> dict[str, Any]:
    found = {key: row.get(key) for key in _FACTS}
    for name in definition.controls:
        key, _ = bound_of(name)
        found[key] = row.get(key)
    label = sized_name(row, names)
    return found | {"label": label, "guesses": row["model"] in guessing}


def _controls(
    rows: Sequence[Flat], names: Mapping[str, str], definition: Definition
) -> tuple[Control, ...]:
    """Those that would filter anything: more than one choice, or any number to bound."""
    found = []
    for name in definition.controls:
        key, bound = bound_of(name)
        values = list(dict.fromkeys(row[key] for row in rows if row[key] is not None))
        head = COLUMNS[key].header
        if bound:
            head = "score" if key == "score" else head
            if values:
                found.append(Control(key, f"{bound}. {head}", bound))
        elif len(values) > 1 or (key == "task" and values):
            choices = [(str(value), _choice(key, value, names)) for value in values]
            found.append(Control(key, head, "", tuple(choices)))
    return tuple(found)


def _choice(key: str, value: Any, names: Mapping[str, str]) -> str:
    name = names.get(f"task:{value}" if key == "task" else str(value) if key == "model" else "", "")
    return name or wording.clean(value)
