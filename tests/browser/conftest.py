"""A real Chromium. Where none can be had these tests skip, saying so; in CI that is a failure."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.boards.board import render
from tests.records import write_results

#: a name that would be markup, script or the end of a script wherever it is not escaped
HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def find_browser() -> str | None:
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    path = find_browser()
    if path is None:
        reason = "no Chromium: apt-get install chromium, or put one on the PATH"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    return {"executable_path": path, "args": flags, "headless": True}


class Opened:
    """A page with what it complained of: console errors, exceptions, dialogs, requests."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda m: self.complaints.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: (self.complaints.append("dialog"), dialog.dismiss()))
        page.on("request", lambda request: self.requests.append(request.url))

    def open(self, path: Path) -> Any:
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-ready=yes]", state="attached")
        return self.page


Open = Callable[..., Opened]


@pytest.fixture
def opened(browser: Any) -> Iterator[Open]:
    """Opens a file in a context of its own; screen size and colour scheme as asked."""
    contexts = []

    def start(path: Path, width: int = 1280, height: int = 900, **options: Any) -> Opened:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        found = Opened(context.new_page())
        found.open(path)
        return found

    yield start
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a small board whose best model has a hostile name."""
    names = {"minilm": HOSTILE}
    folder = write_results(tmp_path_factory.mktemp("browser"), names=names, size=200)
    plan = json.loads((folder / "plan.json").read_text())
    plan["tasks"]["reading"]["name"] = "Reading questions " + "of a very long name " * 6
    (folder / "plan.json").write_text(json.dumps(plan))
    render(folder)
    return folder / "leaderboard.html"
