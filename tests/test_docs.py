"""What the documentation says is run: commands are accepted, examples load and work."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from harness.cli import _parser
from harness.suite import load_suite
from tests import readme_board, suite_keys
from tests.conftest import Harness

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")])


def commands() -> list[str]:
    """Every ``harness ...`` in indented lines and in code spans, without its comment."""
    found = []
    for page in PAGES:
        text = page.read_text()
        found += re.findall(r"^    (harness .*?)(?:\s+#.*)?$", text, re.M)
        found += re.findall(r"`(harness [a-z][^`]*)`", text)
    return sorted({line for line in found if "->" not in line and "|" not in line})


@pytest.mark.parametrize("command", commands())
def test_every_documented_command_is_accepted(command: str) -> None:
    arguments = shlex.split(command.partition(" > ")[0])[1:]
    named_only = (["run"], ["tune"], ["export"], ["compare"], ["compare", "--power"])
    if arguments in named_only:  # in running text
        return
    _parser(arguments).parse_args(arguments)


def test_the_make_targets_that_are_documented_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    text = "\n".join(page.read_text() for page in PAGES)
    named = set(re.findall(r"(?:^    |`)make ([a-z-]+)", text, re.M))
    assert named and named <= targets


def yaml_blocks(page: Path) -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", page.read_text(), re.S)


def test_the_suite_for_own_data_runs_as_it_stands(harness: Harness, tmp_path: Path) -> None:
    """With its baseline only: the pretrained model's part is what the smoke suite does."""
    (tmp_path / "tickets.yaml").write_text(yaml_blocks(ROOT / "docs" / "suites.md")[0])
    rows = "\n".join(
        f'"my {w} {i}",{q}' for i in range(30) for w, q in (("bill", "pay"), ("key", "login"))
    )
    (tmp_path / "train.csv").write_text(f"body,queue\n{rows}\n")
    (tmp_path / "test.csv").write_text("body,queue\nmy bill,pay\nmy key,login\n")
    answer = harness("run", "tickets.yaml", "--only", "tfidf")
    assert answer.status == 0, answer.err
    (row,) = json.loads((tmp_path / "results/tickets/leaderboard.json").read_text())
    assert row["accuracy"] == 1.0


def test_the_readmes_model_entry_is_a_valid_one(tmp_path: Path) -> None:
    (models,) = yaml_blocks(ROOT / "README.md")
    suite = (ROOT / "suites" / "smoke.yaml").read_text()
    (tmp_path / "s.yaml").write_text(
        suite.replace("models:\n", models, 1).replace("[minilm]", "[minilm, bge-small]")
    )
    assert {model.id for model in load_suite(str(tmp_path / "s.yaml")).suite.models} == {
        "bge-small",
        "minilm",
        "tfidf",
    }


def test_the_reference_of_keys_is_that_of_the_schema() -> None:
    """`python -m tests.suite_keys` writes it."""
    assert suite_keys.PAGE.read_text() == suite_keys.page()


def test_links_to_files_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_readmes_board_is_the_reference_one() -> None:
    """What the README shows is what our own run rendered (`python -m tests.readme_board`)."""
    text = (ROOT / "README.md").read_text()
    shown = text.partition(readme_board.BEGIN)[2].partition(readme_board.END)[0].strip()
    assert shown.count("\n|") > 10
    assert shown == readme_board.block()


def test_reference_records_render_to_the_boards_beside_them() -> None:
    """The boards in the repository are what the records in the repository say."""
    from harness.boards.board import build

    plans = sorted((ROOT / "results" / "reference").glob("*/plan.json"))
    assert plans
    for plan in plans:
        kept = json.loads((plan.parent / "leaderboard.json").read_text())
        rows = build(plan.parent).rows
        assert [row["row_id"] for row in rows] == [row["row_id"] for row in kept]
        for row, known in zip(rows, kept, strict=True):
            for key in ("score", "score_low", "score_high", "p_vs_best", "latency_p50_ms"):
                # Sums differ in the last digits between processors.
                expected = known[key]
                if expected is not None:
                    expected = pytest.approx(expected, rel=1e-9)
                assert row[key] == expected, (row["row_id"], key)
            assert row["tied_with_best"] == known["tied_with_best"]
