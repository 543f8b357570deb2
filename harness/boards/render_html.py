"""``leaderboard.html``: one file that opens from disk, drawn by a Jinja2 template.

Templates live in ``leaderboards/templates/`` and see ``page`` (`harness.boards.page.Page`),
``charts`` (task id to captions and inline SVGs) and ``assets`` (`Assets`). Everything is escaped;
templates run in Jinja2's sandbox, and a Content-Security-Policy names the only scripts that run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from harness.boards import wording
from harness.boards.assets import (
    HOW_TO_INSTALL,
    chart_library,
    inline_script,
    json_script,
    script_hash,
    table_library,
)
from harness.boards.charts import cost_chart
from harness.boards.columns import Cell
from harness.boards.definition import Definition, template_folders
from harness.boards.evidence import Evidence
from harness.boards.explorer import COSTS, Explorer
from harness.boards.page import Page
from harness.boards.pictures import MOST_BARS, Picture, first_of
from harness.boards.svg import latency_chart, score_chart
from harness.choose.form import Form, form_script
from harness.errors import RequestError

#: Lines of the board that stand in the page before any script runs; the others come by script
FIRST_ROWS = 50
#: Lines of a plain page's board, which knows no pages
PLAIN_ROWS = 1000
#: rows of a task in a static picture of score against latency
_MOST_POINTS = 120


@dataclass(frozen=True)
class Assets:
    """What a page carries beside its text."""

    policy: str
    styles: list[Markup]
    scripts: list[Markup]
    board_data: Markup
    evidence_data: Markup
    #: the form that chooses, and what it reads
    form: Form
    choose_data: Markup
    first_rows: int
    #: key to name of each cost that some row has; empty where pictures cannot be drawn
    costs: dict[str, str]
    pictures: list[Picture]
    #: what the page does not hold, to stay small, a sentence each
    left_out: list[str]
    #: True where the libraries of the extra ``pages`` are missing
    plain: bool
    how_to_install: str = HOW_TO_INSTALL


def render_html(
    page: Page,
    definition: Definition,
    evidence: Evidence | None = None,
    form: Form | None = None,
    *,
    plain: bool = False,
) -> str:
    """The page; `RequestError` where the template is missing or wrong.

    ``form``: the one that chooses, if any. ``plain``: without libraries, as where the extra
    ``pages`` is missing.
    """
    assets = _assets(page, evidence or Evidence({}, 0), form or Form(None), plain)
    return render_template(
        definition.template,
        page=page,
        charts=_static_charts(page, bool(assets.costs)) if definition.charts else {},
        assets=assets,
    )


def render_template(name: str, **values: Any) -> str:
    """A template by name, everything escaped; `RequestError` where it is missing or wrong."""
    from jinja2 import (
        FileSystemLoader,
        StrictUndefined,
        TemplateError,
        TemplateNotFound,
        TemplateSyntaxError,
    )
    from jinja2.sandbox import SandboxedEnvironment

    environment = SandboxedEnvironment(
        loader=FileSystemLoader([str(folder) for folder in template_folders()]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.tests["link"] = lambda url: bool(re.match(r"https?://", str(url)))
    try:
        return environment.get_template(name).render(**values)
    except TemplateNotFound as error:
        places = ", ".join(str(folder) for folder in template_folders())
        raise RequestError(f"no template {error.name!r} in any of: {places}") from None
    except TemplateError as error:
        line = f":{error.lineno}" if isinstance(error, TemplateSyntaxError) else ""
        raise RequestError(f"template {name}{line}: {error.message}") from None


def policy(scripts: list[str]) -> str:
    """A Content-Security-Policy: nothing is loaded, and only these inline scripts run."""
    allowed = " ".join(script_hash(script) for script in scripts) or "'none'"
    return (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        f"script-src {allowed}; base-uri 'none'; form-action 'none'"
    )


def template_text(name: str) -> str:
    """A style sheet or script beside the templates; a team's own comes first."""
    for folder in template_folders():
        path = Path(folder) / name
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise RequestError(f"no file {name!r} beside the templates")


def _assets(page: Page, evidence: Evidence, form: Form, plain: bool) -> Assets:
    tables = None if plain else table_library()
    charts = None if plain else chart_library()
    costs = {
        key: name
        for key, name in COSTS.items()
        if charts and any(facts[key] is not None for facts in page.explorer.facts)
    }
    pictures = page.pictures if charts else []
    scripts = [library.script for library in (tables, charts) if library]
    scripts.append(inline_script(template_text("page.js")))
    if form.data:
        scripts.append(inline_script(form_script()))
    styles = [*([tables.style] if tables else []), template_text("page.css")]
    return Assets(
        policy=policy(scripts),
        styles=[Markup(style) for style in styles],
        scripts=[Markup(script) for script in scripts],
        board_data=Markup(
            json_script(
                _board(page, costs, pictures, tables is None) | {"recorded": evidence.recorded}
            )
        ),
        evidence_data=Markup(json_script(evidence.rows)),
        form=form,
        choose_data=Markup(json_script(form.data) if form.data else ""),
        first_rows=FIRST_ROWS if tables else PLAIN_ROWS,
        costs=costs,
        pictures=pictures,
        left_out=_left_out(page, evidence, bool(costs)),
        plain=tables is None or charts is None,
    )


def _board(page: Page, costs: dict[str, str], pictures: list[Picture], plain: bool) -> Any:
    explorer = page.explorer
    carried = explorer.rows[:PLAIN_ROWS] if plain else explorer.rows
    return {
        "columns": [
            {"key": key, "numeric": head.numeric, "hidden": key in explorer.hidden}
            for key, head in zip(explorer.keys, explorer.headers, strict=True)
        ],
        "rows": [[_cell(cell) for cell in line] for line in carried],
        "facts": [
            {key: _rounded(value) for key, value in facts.items()}
            for facts in explorer.facts[: len(carried)]
        ],
        "total": explorer.total,
        "button": explorer.button,
        "order": _order(explorer),
        "tasks": {section.task: section.title for section in page.sections},
        "costs": {key: cost_chart(key) for key in costs},
        "pictures": [{"spec": p.spec, "values": p.values} for p in pictures],
    }


def _cell(cell: Cell) -> Any:
    """The text alone where it is what it is sorted by, else text and sort key."""
    return cell.text if cell.sort == cell.text else [cell.text, _rounded(cell.sort)]


def _rounded(value: Any) -> Any:
    """Nine digits: enough to sort and draw by, half the bytes."""
    return float(f"{value:.9g}") if isinstance(value, float) else value


def _order(explorer: Explorer) -> tuple[int, str] | None:
    name = explorer.sort_by.removeprefix("-")
    if explorer.sort_by == "rank" or name not in explorer.keys:
        return None  # rows come by task and rank
    return explorer.keys.index(name), "desc" if explorer.sort_by.startswith("-") else "asc"


def _left_out(page: Page, evidence: Evidence, interactive: bool) -> list[str]:
    """Sentences for `Assets.left_out`; the table itself says how many rows it carries."""
    notes = []
    if evidence.left_out:
        notes.append(
            f"Evidence of {evidence.left_out:,} rows is not in this page; harness show ROW prints "
            "what stands behind one."
        )
    crowded = [section for section in page.sections if len(section.rows) > _MOST_POINTS]
    if crowded and not interactive:
        names = wording.listed([section.title for section in crowded])
        notes.append(
            f"Score against latency is not drawn for more than {_MOST_POINTS} rows, which there "
            f"are of {names}."
        )
    return notes


def _static_charts(page: Page, interactive: bool) -> dict[str, dict[str, Markup]]:
    """Inline SVGs by task; score against cost only where no interactive picture shows it."""
    charts: dict[str, dict[str, Markup]] = {}
    for section in page.sections:
        caption = f"Score with 95% interval{first_of(len(section.fit_rows))}"
        drawn = {caption: score_chart(section.fit_rows[:MOST_BARS], page.names)}
        if not interactive and len(section.rows) <= _MOST_POINTS:
            drawn["Score against latency (numbers are ranks)"] = latency_chart(
                section.rows, page.names
            )
        charts[section.task] = {caption: svg for caption, svg in drawn.items() if svg}
    return charts
