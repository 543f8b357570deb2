"""`harness serve` gives out boards and records, and nothing else, to this machine only."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.boards.board import render
from harness.boards.index import write_index
from harness.commands.serve import make_server
from tests.conftest import Harness
from tests.records import write_results

SECRET = "not for the browser"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("served")
    (top / "secret.json").write_text(SECRET)
    folder = write_results(top / "results", size=30, names={"minilm": "<b>mini</b>"})
    render(folder)
    write_index(top / "results")
    (folder / "weights.safetensors").write_text(SECRET)
    (folder / ".hidden.json").write_text(SECRET)
    (folder / "out.json").symlink_to(top / "secret.json")
    (folder / "away").symlink_to(top)
    (folder / "folder.json").mkdir()
    return top / "results"


@pytest.fixture(scope="module")
def port(results: Path) -> Iterator[int]:
    server = make_server(results, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def ask(port: int, target: str, method: str = "GET", host: str | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest(method, target, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{port}")
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def test_boards_records_and_the_index_are_served(port: int, results: Path) -> None:
    status, body = ask(port, "/")
    assert status == 200 and b'href="demo/leaderboard.html"' in body
    assert (
        ask(port, "/demo/leaderboard.html")[1] == (results / "demo/leaderboard.html").read_bytes()
    )
    run = next((results / "demo" / "runs").glob("*/metrics.json"))
    assert ask(port, f"/demo/runs/{run.parent.name}/metrics.json")[0] == 200
    assert ask(port, "/demo/leaderboard.csv?x=1", "HEAD") == (200, b"")


@pytest.mark.parametrize(
    "target",
    [
        "/../secret.json", "/%2e%2e/secret.json", "/demo/..%2f..%2fsecret.json",
        "/demo/%2e%2e/%2e%2e/secret.json", "/%252e%252e/secret.json",
        "//secret.json", "/demo//leaderboard.csv",
        "/demo\\..\\..\\secret.json", "/demo/%5c..%5csecret.json", "/demo/leaderboard.csv%00.html",
        "/demo/out.json", "/demo/away/secret.json", "/demo/.hidden.json", "/demo/./leaderboard.csv",
        "/demo/", "/demo", "/demo/runs/", "/demo/folder.json", "/demo/weights.safetensors",
        "http://127.0.0.1/demo/leaderboard.csv", "/%ff%fe", "/C:/secret.json",
        "/demo/" + "a" * 3000 + ".json",
    ],
)  # fmt: skip
def test_everything_else_is_not_found(port: int, target: str) -> None:
    status, body = ask(port, target)
    assert status == 404
    assert body == b"404 Not Found\n"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT"])
def test_nothing_can_be_changed(port: int, method: str) -> None:
    assert ask(port, "/demo/leaderboard.csv", method)[0] == 501


def test_a_foreign_name_for_this_machine_is_refused(port: int) -> None:
    """DNS rebinding: a page elsewhere lets its own name mean 127.0.0.1."""
    assert ask(port, "/", host="evil.example")[0] == 421
    assert ask(port, "/", host=f"localhost:{port}")[0] == 200


def test_an_answer_forbids_sniffing_framing_and_foreign_readers(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/demo/leaderboard.json")
    headers = connection.getresponse().headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["X-Frame-Options"] == "DENY"
    assert "script-src 'none'" in headers["Content-Security-Policy"]
    assert "Python" not in headers["Server"]


def test_garbage_ends_the_connection_and_not_the_server(port: int) -> None:
    for garbage in (b"\x00\x01\x02\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\r\n"):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
            raw.sendall(garbage)
            raw.shutdown(socket.SHUT_WR)
            while raw.recv(4096):
                pass
    assert ask(port, "/")[0] == 200


def test_names_are_text_in_the_index(results: Path) -> None:
    text = (results / "index.html").read_text()
    assert "<b>mini" not in text


def test_a_foreign_neighbour_does_not_take_the_index_away(results: Path, tmp_path: Path) -> None:
    folder = tmp_path / "foreign"
    folder.mkdir()
    (folder / "leaderboard.html").write_text("theirs")
    (folder / "plan.json").write_text('{"tasks": ["a"], "models": [1]}')
    row = '{"rank": 1, "score": 0.5, "task": "a", "model": "m", "score_name": ["x"]}'
    (folder / "leaderboard.json").write_text(f"[{row}]")
    assert "foreign" in write_index(tmp_path).read_text()


def test_a_taken_port_and_a_missing_folder_are_wrong_requests(harness: Harness, port: int) -> None:
    answer = harness("serve", "--results", "nowhere")
    assert answer.status == 2 and "no results folder" in answer.err
    answer = harness("serve", "--results", ".", "--port", str(port))
    assert answer.status == 2 and f"127.0.0.1:{port}" in answer.err and "--port" in answer.err
