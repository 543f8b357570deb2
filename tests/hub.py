"""A stand-in for the Hugging Face hub on the loopback, serving folders to the real clients.

    repositories/models/ORG/NAME/...     repositories/datasets/ORG/NAME/...

Each repository has the one commit `COMMIT`, also known as ``main``, until it moves on to `MOVED`.
What it answers follows what `huggingface_hub` reads: repository records, tree listings, and files
with their ETag, commit and length.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
#: what ``main`` of a repository means once it has moved on
MOVED = "fedcba9876543210fedcba9876543210fedcba98"
REVISIONS = ("main", COMMIT, MOVED)


@dataclass
class Hub:
    """A running stand-in: where it listens, and what it was asked."""

    url: str
    root: Path
    requests: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    drips: bool = False  # the content of files comes a byte at a time, without an end in sight
    cuts: int = 0  # so many answers with a file's content are still to be cut off half-way

    def add(self, repository: str, files: dict[str, bytes]) -> None:
        """Files of ``models/ORG/NAME`` or ``datasets/ORG/NAME``."""
        self._write(self.root / repository, files)

    def move(self, repository: str, files: dict[str, bytes]) -> None:
        """A further commit of these files, which ``main`` means from now on."""
        self._write(self.root / "moved" / repository, files)

    def at(self, repository: str, revision: str) -> tuple[Path, str]:
        """The files of a repository at a revision, and the commit that this is."""
        moved = self.root / "moved" / repository
        if revision == MOVED or (revision == "main" and moved.is_dir()):
            return moved, MOVED
        return self.root / repository, COMMIT

    def _write(self, folder: Path, files: dict[str, bytes]) -> None:
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


@contextmanager
def serve(root: Path) -> Iterator[Hub]:
    """Serve ``root`` until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    hub = Hub(f"http://127.0.0.1:{server.server_port}", root)
    server.hub = hub  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        return self.server.hub  # type: ignore[attr-defined]

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        self.hub.requests.append(f"{self.command} /{path}")
        if token := self.headers.get("Authorization"):
            self.hub.tokens.add(token)
        if path.startswith("api/"):
            self._api(path.removeprefix("api/").split("/"))
        elif "/resolve/" in path:
            self._resolve(*path.split("/resolve/", 1))
        else:
            self._send(404, b"{}")

    def _api(self, parts: list[str]) -> None:
        kind, name, rest = parts[0], "/".join(parts[1:3]), parts[3:]
        folder, commit = self.hub.at(f"{kind}/{name}", rest[1] if len(rest) > 1 else "main")
        if not folder.is_dir():
            return self._missing("RepoNotFound", 404)
        if len(rest) > 1 and rest[1] not in REVISIONS:
            return self._missing("RevisionNotFound", 404)
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        if not rest or rest[0] == "revision":
            names = [{"rfilename": p.relative_to(folder).as_posix()} for p in files]
            return self._json({"id": name, "sha": commit, "private": False, "siblings": names})
        if rest[0] == "tree":
            start = folder.joinpath(*rest[2:])
            inside = sorted(start.rglob("*")) if start.is_dir() else []
            if not inside:
                return self._missing("EntryNotFound", 404)
            return self._json([_entry(p, folder) for p in inside])
        if rest[0] == "paths-info":
            return self._json([_entry(p, folder) for p in files])
        return self._send(404, b"{}")

    def _resolve(self, repository: str, rest: str) -> None:
        revision, _, name = rest.partition("/")
        kind = "" if repository.startswith("datasets/") else "models/"
        folder, commit = self.hub.at(f"{kind}{repository}", revision)
        if not folder.is_dir():
            return self._missing("RepoNotFound", 404)
        if revision not in REVISIONS:
            return self._missing("RevisionNotFound", 404)
        path = folder / name
        if not path.is_file():
            return self._missing("EntryNotFound", 404)
        content = path.read_bytes()
        etag = f'"{hashlib.sha1(content).hexdigest()}"'
        return self._send(200, content, **{"ETag": etag, "X-Repo-Commit": commit})

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), **{"Content-Type": "application/json"})

    def _missing(self, code: str, status: int) -> None:
        self._send(status, b"{}", **{"X-Error-Code": code, "X-Error-Message": code})

    def _send(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.hub.drips and "/resolve/" in self.path:
            with suppress(OSError):
                for byte in content:
                    self.wfile.write(bytes([byte]))
                    time.sleep(0.2)
            return
        if self.hub.cuts and "/resolve/" in self.path:
            self.hub.cuts -= 1
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            return
        self.wfile.write(content)


def _entry(path: Path, folder: Path) -> dict[str, Any]:
    name = path.relative_to(folder).as_posix()
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": "0" * 40, "size": 0}
    content = path.read_bytes()
    oid = hashlib.sha1(content).hexdigest()
    return {"type": "file", "path": name, "oid": oid, "size": len(content)}
