"""Boards that `harness serve` gives out, in a browser."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from harness.boards.index import write_index
from harness.commands.serve import make_server
from tests.browser.conftest import Opened

#: tries what a foreign page could want to do, in a tab that a visitor's click lets it open
FOREIGN = """\
<!doctype html><meta charset=utf-8><button>click</button><pre></pre><script>
  const out = document.querySelector("pre");
  document.querySelector("button").onclick = () => {
    const other = window.open("/demo/leaderboard.html");
    setTimeout(() => {
      try { out.textContent = "read: " + other.document.title; }
      catch (error) { out.textContent = self.origin + ": " + error.name; }
    }, 1000);
  };
</script>
"""


@pytest.fixture
def address(board: Path) -> Iterator[str]:
    results = board.parents[1]
    write_index(results)
    server = make_server(results, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def tab(browser: Any) -> Iterator[Opened]:
    context = browser.new_context()
    yield Opened(context.new_page())
    context.close()


def test_a_served_board_works_as_from_disk(address: str, tab: Opened) -> None:
    page = tab.page
    page.goto(f"{address}/")
    page.locator("a[href='demo/leaderboard.html']").first.click()
    page.wait_for_selector("html[data-ready=yes]", state="attached")
    page.wait_for_selector("#cost-chart[data-drawn]")
    page.locator("#board button.open").first.click()
    expect(page.locator("#evidence-title")).to_be_visible()
    page.keyboard.press("Escape")
    field = page.locator("#choose [name=task]")
    field.select_option("topics")
    page.locator("#choose input").first.press("Enter")
    assert page.locator("#choose-answer").get_attribute("data-answer")
    assert tab.complaints == []
    page.goto(f"{address}/")
    with page.expect_download() as download:
        page.locator("a[href='demo/leaderboard.csv']").first.click()
    assert download.value.suggested_filename == "leaderboard.csv"


def test_a_page_of_others_cannot_read_its_neighbours(
    address: str, board: Path, tab: Opened
) -> None:
    (board.parents[1] / "foreign.html").write_text(FOREIGN)
    tab.page.goto(f"{address}/foreign.html")
    with tab.page.context.expect_page() as neighbour:
        tab.page.locator("button").click()
    neighbour.value.wait_for_selector("html[data-ready=yes]", state="attached")
    expect(tab.page.locator("pre")).to_have_text("null: SecurityError")
