"""``leaderboard.html``: one file that opens from disk, drawn by a Jinja2 template.

Templates live in ``leaderboards/templates/`` and see ``page`` (`harness.boards.page.Page`) and
``charts`` (task id to captions and inline SVGs). Everything is escaped; templates run in
Jinja2's sandbox.
"""

from __future__ import annotations

import re
from typing import Any

from harness.boards.definition import Definition, template_folders
from harness.boards.page import Page
from harness.boards.svg import latency_chart, score_chart
from harness.errors import RequestError


def render_html(page: Page, definition: Definition) -> str:
    """The page; `RequestError` where the template is missing or wrong."""
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
    charts: dict[str, Any] = {}
    if definition.charts:
        for section in page.sections:
            drawn = {
                "Score with 95% interval": score_chart(section.fit_rows, page.names),
                "Score against latency (numbers are ranks)": latency_chart(
                    section.rows, page.names
                ),
            }
            charts[section.task] = {caption: svg for caption, svg in drawn.items() if svg}
    try:
        template = environment.get_template(definition.template)
        return template.render(page=page, charts=charts)
    except TemplateNotFound as error:
        places = ", ".join(str(folder) for folder in template_folders())
        raise RequestError(f"no template {error.name!r} in any of: {places}") from None
    except TemplateError as error:
        line = f":{error.lineno}" if isinstance(error, TemplateSyntaxError) else ""
        raise RequestError(f"template {definition.template}{line}: {error.message}") from None
