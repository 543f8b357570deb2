"""Chromium without a driver: a page that computes when it loads, and what stands in it then."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")


def evaluate(script: str, expression: str, folder: Path) -> Any:
    """The value of a JavaScript expression after ``script`` has run, through JSON.

    Skips with a reason where there is no browser; fails there in CI.
    """
    binary = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if binary is None:
        if os.environ.get("CI"):
            pytest.fail("no Chromium in CI: install the system's chromium")
        pytest.skip(f"no browser: none of {', '.join(_NAMES)} is installed")
    page = folder / "page.html"
    page.write_text(
        f"<!doctype html><meta charset=utf-8><pre id=out></pre><script>{script}</script><script>"
        f"document.getElementById('out').textContent = JSON.stringify({expression});</script>"
    )
    done = subprocess.run(
        [binary, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         f"--user-data-dir={folder / 'profile'}", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    found = re.search(r"<pre id=\"out\">(.*?)</pre>", done.stdout, re.DOTALL)
    assert found and found[1], f"the page computed nothing: {done.stderr[-2000:]}"
    return json.loads(html.unescape(found[1]))
