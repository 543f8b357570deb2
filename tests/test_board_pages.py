from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from harness.boards.board import build, render
from harness.boards.columns import COLUMNS
from harness.boards.definition import Definition, load_definition
from harness.boards.render_html import render_html
from harness.boards.render_markdown import escape, render_markdown
from harness.boards.terminal import print_board
from harness.choose.form import make_form
from harness.errors import RequestError
from harness.records.files import write_json
from tests.records import write_results
from tests.test_board_rows import one_task

GOLDEN = Path(__file__).parent / "golden" / "leaderboard.md"
HOSTILE = "<script>alert(1)</script> | `x` [y](javascript:z) & @team\x1b[31m [red]"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_results(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_results(tmp_path_factory.mktemp("hostile"), names={"minilm": HOSTILE}, size=60)


class Tags(HTMLParser):
    """What a browser would make of a page: opened tags with attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_markdown_board_is_the_golden_one(results: Path) -> None:
    """Rewrite it with UPDATE_GOLDEN=1, and read the difference."""
    text = render_markdown(build(results).page)
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_a_headline_says_who_wins_how_surely_and_what_the_baseline_costs(results: Path) -> None:
    headlines = [section.headline for section in build(results).page.sections]
    assert headlines[0].startswith("On News topics, SmolLM-135M fine-tuned scores highest, 0.946 ")
    assert headlines[0].endswith("and fits in 1.6 s instead of 5 min.")
    assert "but is tied with SmolLM-135M fine-tuned, which is 0.7 points behind" in headlines[1]
    assert headlines[2].endswith("Majority class scores 0.478.")


def test_a_lone_fit_is_said_to_be_the_only_one_or_the_only_complete_one(tmp_path: Path) -> None:
    folder = one_task(tmp_path, {"a": [[1, 0, 1, 1]], "b": [[1, 0, 1, 1]]})
    write_json(folder / "runs" / "b-0" / "status.json", {"status": "oom", "reason": "killed"})
    (section,) = build(folder).page.sections
    assert section.headline.endswith("no other fit is complete.")
    (section,) = build(one_task(tmp_path / "alone", {"a": [[1, 0, 1, 1]]})).page.sections
    assert section.headline.endswith("there is no other fit to compare.")


def test_names_are_text_in_html_whatever_they_hold(hostile: Path) -> None:
    board = build(hostile)
    form = make_form(board.rows, board.pairs.as_json())
    page = Tags(render_html(board.page, Definition(), form=form))
    assert sum(tag == "script" for tag, _ in page.tags) == 7  # three of data, four of code
    assert page.text.count("<script>alert(1)</script>") > 5
    assert "\x1b" not in page.text


def test_names_are_text_in_markdown_whatever_they_hold(hostile: Path) -> None:
    text = render_markdown(build(hostile).page)
    assert "<script" not in text.replace("\\<script", "")
    assert "](javascript" not in text.replace("\\](javascript", "")
    assert "@team" not in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    widths = {line.replace("\\|", "").count("|") for line in tables}
    assert widths <= {6, 9, 13, 15}  # summary and problems, fits and runtimes: no cell was split


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("all-MiniLM-L6_v2", "all-MiniLM-L6_v2"),
        ("0.966 [0.955, 0.975]", "0.966 [0.955, 0.975]"),
        ("p < 0.001", "p < 0.001"),
        ("a|b", "a\\|b"),
        ("_x_ *y*", "\\_x\\_ \\*y\\*"),
        ("[a](b)", "[a\\](b)"),
        ("<b>", "\\<b>"),
        ("https://a.b", "https:&#47;&#47;a.b"),
    ],
)
def test_markdown_escapes_markup_and_nothing_else(raw: str, shown: str) -> None:
    assert escape(raw) == shown


def test_console_tables_do_not_read_names_as_markup(hostile: Path) -> None:
    out = io.StringIO()
    print_board(build(hostile).page, Console(file=out, width=400))
    assert "[red]" in out.getvalue()
    assert "\x1b" not in out.getvalue()


@pytest.mark.parametrize(
    ("width", "shown"), [(100, [False, False]), (120, [True, False]), (200, [True, True])]
)
def test_a_console_shows_the_essential_columns_unbroken_and_what_else_there_is_room_for(
    results: Path, width: int, shown: list[bool]
) -> None:
    out = io.StringIO()
    print_board(build(results).page, Console(file=out, width=width))
    lines = out.getvalue().splitlines()
    assert any("TF-IDF + logistic regression" in x and "[0.916, 0.955]" in x for x in lines)
    assert any("onnxruntime-int8" in x and "[-2.10, +0.10]" in x for x in lines)
    assert any("9,000" in x for x in lines)  # the last essential column is not cut
    header = next(x for x in lines if "recipe" in x)
    assert [name in header for name in ("framework", "params")] == shown
    assert max(map(len, lines)) <= width


def test_the_page_opens_without_network(results: Path) -> None:
    page = Tags(render_html(build(results).page, Definition()))
    names = {tag for tag, _ in page.tags}
    assert not names & {"link", "img", "iframe", "object", "embed"}
    assert not any("src" in attributes for _, attributes in page.tags)
    policy = [a["content"] for _, a in page.tags if a.get("http-equiv")]
    assert policy and str(policy[0]).startswith("default-src 'none'")


def test_only_web_addresses_become_links(tmp_path: Path) -> None:
    import json

    folder = write_results(tmp_path, size=30)
    plan = json.loads((folder / "plan.json").read_text())
    plan["models"]["minilm"]["url"] = "javascript:alert(1)"
    (folder / "plan.json").write_text(json.dumps(plan))
    board = build(folder)
    links = [a["href"] for t, a in Tags(render_html(board.page, Definition())).tags if t == "a"]
    assert "https://example.org/smol" in links
    assert all(str(link).startswith(("#", "https://")) for link in links)
    assert "javascript" not in render_markdown(board.page)


def test_an_int8_runtime_is_said_to_hold_other_weights(results: Path) -> None:
    text = render_markdown(build(results).page)
    int8 = [line for line in text.splitlines() if "| onnxruntime-int8 " in line and "cpu" in line]
    assert int8 and all("int8 (other weights)" in line for line in int8)


@pytest.mark.parametrize(
    ("dtype", "difference", "shown"),
    [
        ("float32", 9e-6, "9.0e-06"),
        ("float32", 2e-5, "2.0e-05 (too far apart)"),
        ("int8", 3e-2, "3.0e-02"),
        ("float32", None, "-"),
    ],
)
def test_a_float32_runtime_that_computes_another_model_is_marked(dtype, difference, shown) -> None:
    cell = COLUMNS["parity"].cell({"dtype": dtype, "parity_rel_diff": difference}, {})
    assert cell.text == shown


def test_the_shipped_definition_is_the_default_one() -> None:
    assert load_definition("default") == Definition()


def test_columns_and_template_are_the_teams_choice(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "leaderboards" / "templates").mkdir(parents=True)
    (tmp_path / "leaderboards" / "ours.yaml").write_text(
        "title: 'Ours: {title}'\nfit_columns: [rank, model]\ntemplate: ours.j2\n"
    )
    (tmp_path / "leaderboards" / "templates" / "ours.j2").write_text("<h1>{{ page.title }}</h1>")
    monkeypatch.chdir(tmp_path)
    definition = load_definition("ours")
    page = build(results, definition).page
    assert [head.text for head in page.sections[0].fits.headers] == ["rank", "model"]
    assert render_html(page, definition) == "<h1>Ours: Small models on news</h1>"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rank_by: score\nfit_colums: [rank]\n",
         r"x\.yaml:2: unknown key 'fit_colums'; did you mean 'fit_columns'"),
        ("\nfit_columns: [rank, scroe]\n",
         r"x\.yaml:2: fit_columns: unknown column 'scroe'; did you mean 'score'"),
        ("rank_by: f1_macr\n", r"x\.yaml:1: rank_by: unknown metric .* did you mean 'f1_macro'"),
        ("- a\n", r"x\.yaml:1: a leaderboard definition is a mapping"),
        ("a: [", r"x\.yaml:\d: not valid YAML"),
    ],
)  # fmt: skip
def test_a_wrong_definition_names_file_line_and_remedy(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(RequestError, match=message):
        load_definition(str(tmp_path / "x.yaml"))


def test_an_unknown_definition_or_template_is_a_request_error(results: Path) -> None:
    with pytest.raises(RequestError, match="did you mean 'default'"):
        load_definition("defualt")
    with pytest.raises(RequestError, match=r"no template 'no\.j2'"):
        render_html(build(results).page, Definition(template="no.j2"))


def test_a_template_cannot_reach_out_of_its_sandbox(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "leaderboards" / "templates").mkdir(parents=True)
    evil = tmp_path / "leaderboards" / "templates" / "evil.j2"
    evil.write_text("{{ page.__class__.__init__.__globals__ }}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match=r"evil\.j2"):
        render_html(build(results).page, Definition(template="evil.j2"))


def test_rendering_loads_no_framework(results: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom harness.boards.board import render\n"
        "import harness.boards.terminal\n"
        f"render(Path({str(results)!r}))\n"
        "heavy = {'torch', 'transformers', 'tensorflow', 'onnxruntime', 'sklearn', 'pandas'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip
    assert ran.stdout.strip() == "[]"


def test_thirty_rows_of_two_thousand_examples_render_in_seconds(tmp_path: Path) -> None:
    """About one second on an idle core; the bound leaves room for a shared machine."""
    folder = write_results(tmp_path, size=2000, trouble=False)
    render(folder)  # imports
    seconds = []
    for _ in range(3):
        start = time.process_time()
        render(folder)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 4.0
    assert len(build(folder).rows) == 34
