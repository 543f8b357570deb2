"""For users' own test suites: ``@pytest.mark.model_regression(suite="mine", row="minilm")``.

A test so marked fails where the suite's records show a regression against ``base`` (a baseline,
a git revision or a results folder; default ``HEAD``), by the rule of ``harness compare``, before
its own body runs. ``row``: a model, task or runtime, or the beginning of a row_id; ``margin``:
``"speed=5%"`` or a list of such; ``results``: the results folder, from pytest's root.
"""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any

import pytest

MARK = "model_regression(suite, row=None, margin=None, base='HEAD', results='results')"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", f"{MARK}: fails where the suite's records got worse than base's"
    )


def pytest_runtest_call(item: pytest.Item) -> None:
    for mark in item.iter_markers("model_regression"):
        findings = _regressions(item.config.rootpath, **_arguments(mark))
        if findings:
            pytest.fail("\n".join(["got worse:", *findings]), pytrace=False)


def _arguments(mark: pytest.Mark) -> dict[str, Any]:
    """The mark's arguments by name; a wrong one fails the test."""
    try:
        bound = inspect.signature(_regressions).bind(None, *mark.args, **mark.kwargs)
    except TypeError as error:
        pytest.fail(f"model_regression: {error}; {MARK}", pytrace=False)
    return {name: value for name, value in bound.arguments.items() if name != "root"}


def _regressions(
    root: Path,
    suite: str | None = None,
    row: str | None = None,
    margin: str | list[str] | None = None,
    base: str = "HEAD",
    results: str | Path = "results",
) -> list[str]:
    """What got worse, one sentence each; a wrong request fails the test with its message."""
    from harness.compare import words
    from harness.compare.judge import Options, compare
    from harness.compare.margins import parse_margins
    from harness.compare.places import load_side
    from harness.errors import RequestError

    margins = [margin] if isinstance(margin, str) else (margin or [])
    here = Path.cwd()
    try:
        os.chdir(root)  # git revisions are those of the project under test
        report = compare(
            load_side(base, Path(results), suite),
            load_side(str(results), Path(results), suite),
            Options(margins=parse_margins(margins), only=(row,) if row else ()),
        )
    except RequestError as error:
        pytest.fail(f"model_regression: {error}", pytrace=False)
    finally:
        os.chdir(here)
    return [words.sentence(finding) for finding in report.of("regression")]
