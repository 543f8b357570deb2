"""``harness serve``: the results folder in a browser, for this machine only.

Answers GET and HEAD on the loopback interface, with files of kinds that boards and records have,
from inside the folder: no listing, no hidden names, no link that leads out, no other host's name
(a foreign page that points its own name at 127.0.0.1 is refused by the Host header).
"""

from __future__ import annotations

import argparse
import json
import os
import posixpath
import stat
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from harness.commands.arguments import add_results
from harness.errors import RequestError

EXAMPLE = "harness serve --results results/reference --port 8000"

HOST = "127.0.0.1"

#: what is served, and as what; records hold nothing else
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
    ".parquet": "application/vnd.apache.parquet",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
#: pages carry their own, stricter policy; pictures and everything else may run nothing at all
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; form-action 'none'; "
    "script-src {}"
)
#: results may be anybody's: a page of theirs is of no origin, so that it cannot open another and
#: read it; forms are those that a board's script answers, and links open tabs as ever
_SANDBOX = (
    "; sandbox allow-scripts allow-forms allow-downloads allow-popups "
    "allow-popups-to-escape-sandbox"
)
_BLOCK = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_results(parser)
    parser.add_argument(
        "--port", type=_port, default=8000, metavar="N", help="0: any free one (default: 8000)"
    )


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted; `RequestError` where there is nothing to serve or no port."""
    from harness.boards.index import write_index

    root = args.results
    if not root.is_dir():
        raise RequestError(
            f"no results folder {root}; run a suite first, or name it: --results DIR"
        )
    try:
        write_index(root)
    except OSError as error:
        print(f"harness: {root / 'index.html'} is not renewed: {error.strerror}", file=sys.stderr)
    try:
        server = make_server(root, args.port)
    except OSError as error:
        raise RequestError(
            f"cannot listen on {HOST}:{args.port}: {error.strerror}; choose another --port, "
            "or 0 for any that is free"
        ) from None
    address = f"http://{HOST}:{server.server_address[1]}/"
    if args.json:
        print(json.dumps({"address": address, "results": str(root)}), flush=True)
    else:
        print(f"{root} is at {address} for this machine only; Ctrl-C ends it", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 0
    finally:
        server.server_close()
    return 0


def make_server(root: Path, port: int) -> ThreadingHTTPServer:
    """A server of one folder on the loopback interface; port 0 takes a free one."""
    folder = Path(os.path.realpath(root))
    handler = type("Handler", (_Handler,), {"root": folder})
    return _Server((HOST, port), handler)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = os.name != "nt"


class _Handler(BaseHTTPRequestHandler):
    root: Path
    server: ThreadingHTTPServer
    server_version, sys_version = "harness", ""
    protocol_version = "HTTP/1.1"
    timeout = 20  # seconds; a client that says nothing holds no thread for longer

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, body: bool) -> None:
        if not self._asks_us():
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST)
            return
        opened = open_inside(self.root, self.path)
        if opened is None:
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        handle, suffix = opened
        with os.fdopen(handle, "rb") as file:
            size = os.fstat(handle).st_size
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", KINDS[suffix])
            self.send_header("Content-Length", str(size))
            self._safety("'unsafe-inline'" + _SANDBOX if suffix == ".html" else "'none'")
            self.end_headers()
            left = size if body else 0
            while left and (block := file.read(min(_BLOCK, left))):
                self.wfile.write(block)
                left -= len(block)
            if left:
                self.close_connection = True  # the file shrank: the answer is not whole

    def _asks_us(self) -> bool:
        """Only our own name: else a page elsewhere could read results by DNS rebinding."""
        port = self.server.server_port
        hosts = self.headers.get_all("Host") or []
        return len(hosts) == 1 and hosts[0] in (f"{HOST}:{port}", f"localhost:{port}")

    def _refuse(self, status: HTTPStatus) -> None:
        """A short answer that says nothing of what was asked; the connection ends."""
        text = f"{status.value} {status.phrase}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Connection", "close")
        self._safety("'none'")
        self.end_headers()
        self.close_connection = True
        if self.command != "HEAD":
            self.wfile.write(text)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """http.server's own refusals, without its page that repeats the request."""
        self._refuse(HTTPStatus(code))

    def _safety(self, scripts: str) -> None:
        self.send_header("Content-Security-Policy", _POLICY.format(scripts))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-cache")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a console is no place for what strangers send."""


def open_inside(root: Path, target: str) -> tuple[int, str] | None:
    """An open file under ``root`` for a request's target, and its suffix; None for anything else.

    Every part of the path is opened relative to its folder, links refused (``O_NOFOLLOW``), so
    that nothing can be swapped between a check and its use.
    """
    names = _names(target)
    if names is None:
        return None
    names = names or ["index.html"]
    suffix = posixpath.splitext(names[-1])[1].lower()
    if suffix not in KINDS:
        return None
    if os.open not in os.supports_dir_fd:  # Windows: resolve, and look where that led
        path = Path(os.path.realpath(root.joinpath(*names)))
        inside = path.is_relative_to(root) and path.is_file()
        return (os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0)), suffix) if inside else None
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        place = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for name in names:
            kind = flags | (0 if name is names[-1] else os.O_DIRECTORY)
            try:
                inner = os.open(name, kind, dir_fd=place)
            finally:
                os.close(place)
            place = inner
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(os.fstat(place).st_mode):
        os.close(place)
        return None
    return place, suffix


def _names(target: str) -> list[str] | None:
    """The parts of a request's path; None unless each is a plain visible name."""
    if not target.startswith("/") or target.startswith("//"):
        return None
    try:
        path = unquote_to_bytes(urlsplit(target).path).decode("utf-8")
    except (UnicodeDecodeError, ValueError):
        return None
    parts = path[1:].split("/")
    if parts == [""]:
        return []
    for part in parts:
        if not part or part.startswith(".") or any(c in part for c in "\\:\0") or len(part) > 255:
            return None
    return parts
