"""The libraries that a page carries inside itself: DataTables (from itables) and Vega (vl-convert).

Both come with the extra ``pages``; a page renders without them too, plainer. Their packages are
located, not imported: `import itables` loads pandas, half a second that a board does not need.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.records.files import write_bytes

#: what a reader of a plain page is told
HOW_TO_INSTALL = "pip install 'pretrained-harness[pages]'"


@dataclass(frozen=True)
class Library:
    """A script and a style sheet, ready to stand inside ``<script>`` and ``<style>``."""

    script: str
    style: str = ""


@lru_cache(maxsize=1)
def table_library() -> Library | None:
    """DataTables with its extensions, as ``window.DataTable``; None where itables is missing."""
    folder = _package_folder("itables")
    if folder is None:
        return None
    try:
        module = (folder / "html" / "dt_bundle.js").read_text(encoding="utf-8")
        style = (folder / "html" / "dt_bundle.css").read_text(encoding="utf-8")
    except OSError:
        return None  # a release with other files: the plain table is better than none
    exports = re.search(r"export\{([^}]*)\};", module)
    name = re.search(r"(\w+) as default", exports.group(1)) if exports else None
    if exports is None or name is None or "</style" in style:
        return None
    body = (
        module[: exports.start()] + f"window.DataTable={name.group(1)};" + module[exports.end() :]
    )
    return Library(inline_script(f"(()=>{{{body}}})();"), style)


@lru_cache(maxsize=1)
def chart_library() -> Library | None:
    """Vega, Vega-Lite and vega-embed, as ``window.vegaEmbed``; None where vl-convert is missing.

    vl-convert takes two to three seconds to bundle them, so the bundle is kept in the cache.
    """
    if importlib.util.find_spec("vl_convert") is None:
        return None
    kept = _cache_folder() / f"vega-{_version('vl-convert-python')}.js"
    try:
        return Library(inline_script(kept.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError):
        pass
    import vl_convert

    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    with suppress(OSError):  # a cache that cannot be written costs seconds, not the page
        write_bytes(kept, bundle.encode())
    return Library(inline_script(bundle))


def inline_script(source: str) -> str:
    """Source that may stand inside ``<script>``: what would end or change the element is escaped.

    Valid for JavaScript in which such text only stands in strings, templates and comments.
    """
    return re.sub(r"<(?=/script|!--)", r"\\x3C", source, flags=re.I)


def json_script(value: Any) -> str:
    """JSON for a ``<script type="application/json">``: no text in it can end the element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def script_hash(source: str) -> str:
    """How a Content-Security-Policy names an inline script that may run."""
    digest = hashlib.sha256(source.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _package_folder(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) if places else None


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _cache_folder() -> Path:
    """The user's cache, whatever ``HARNESS_CACHE`` says: this is derived, and the same for all."""
    try:
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:  # no home directory
        root = tempfile.gettempdir()
    return Path(root) / "pretrained-harness" / "pages"
