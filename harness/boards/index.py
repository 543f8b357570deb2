"""``results/index.html``: every suite of a results folder, with what won."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from harness.boards import wording
from harness.boards.render_html import policy, render_template, template_text
from harness.records.files import read_json, write_bytes

#: where `harness history --page` writes so that the index links it
HISTORY = "history.html"


@dataclass(frozen=True)
class Entry:
    """One suite: its title, the first of each task, and the files that are there."""

    suite: str
    title: str
    description: str
    rows: int
    #: (task, who is first, its score)
    firsts: list[tuple[str, str, str]]
    #: (label, relative address)
    links: list[tuple[str, str]]


def write_index(results: Path) -> Path:
    """Render ``index.html`` of a results folder from the boards that lie in it."""
    page = render_template(
        "index.html.j2",
        entries=entries(results),
        style=Markup(template_text("page.css")),
        policy=policy([]),
    )
    path = results / "index.html"
    write_bytes(path, page.encode())
    return path


def entries(results: Path) -> list[Entry]:
    """Suites with a rendered page, by name; damaged ones are listed without their figures."""
    found = []
    for page in sorted(results.glob("*/leaderboard.html")):
        folder = page.parent
        plan = read_json(folder / "plan.json") or {}
        rows = _rows(folder / "leaderboard.json")
        links = [
            (suffix, f"{quote(folder.name)}/leaderboard.{suffix}")
            for suffix in ("html", "md", "csv", "json", "parquet")
            if (folder / f"leaderboard.{suffix}").is_file()
        ]
        if (folder / HISTORY).is_file():
            links.append(("history", f"{quote(folder.name)}/{HISTORY}"))
        found.append(
            Entry(
                folder.name,
                wording.clean(plan.get("title") or folder.name),
                wording.clean(plan.get("description") or ""),
                len(rows),
                _firsts(rows, plan),
                links,
            )
        )
    return found


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        rows = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return []
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _firsts(rows: list[dict[str, Any]], plan: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The first row that has rank 1, per task."""
    found: dict[str, tuple[str, str, str]] = {}
    for row in rows:
        task, model = str(row.get("task")), str(row.get("model"))
        if row.get("rank") != 1 or task in found or not isinstance(row.get("score"), float):
            continue
        task_name, name = _name(plan.get("tasks"), task), _name(plan.get("models"), model)
        recipe = wording.RECIPES.get(str(row.get("recipe")), str(row.get("recipe")))
        metric = wording.metric_name(str(row.get("score_name") or ""))
        score = f"{wording.score(row['score'])} {wording.clean(metric)}"
        found[task] = (wording.clean(task_name), wording.clean(f"{name} {recipe}"), score)
    return list(found.values())


def _name(entries: Any, key: str) -> str:
    """What a plan, which may be anybody's, calls an entry; its key where it does not say."""
    entry = entries.get(key) if isinstance(entries, Mapping) else None
    return str((isinstance(entry, Mapping) and entry.get("name")) or key)
