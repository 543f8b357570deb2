"""Generated suites and data files, and what must hold of every one of them.

A generated suite is a good one in which parts were replaced, renamed, removed or doubled, so that
it gets past the first check; some are raw text. The same for data files. `check_suite` and
`check_data` call what the commands call, in this process: an answer or a `RequestError`, within
`LIMIT_SECONDS` of computing.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from harness import registry
from harness.cli import main
from harness.data.read import formats, read_table
from harness.errors import RequestError
from tests.conftest import MAJORITY_SUITE

LIMIT_SECONDS = 2.0
#: of the wall: what waits for ever does not compute, and a busy machine is no hang
LIMIT_WAITED = 20.0

#: what a hand, a program or an enemy puts where something else belongs
WORDS = st.sampled_from(
    ["", "toy", "majority", "cpu", "cuda", "auto", "torch", "sklearn", "baseline", "fine-tune",
     "linear-probe", "text-classification", "token-classification", "question-answering",
     "image-classification", "tfidf-logreg", "pixels-logreg", "path:train.csv", "path:.", "path:",
     "path:~x/y", "path:/dev/zero", "path:/proc/self/mem", "path:\x7f", "hf:a",
     "pypi:a==1!b", "pypi:a==1!../b", "keras:x", "timm:x@main!y", "nope:x", ":", "../..",
     "/etc/passwd", "\u202e", "{split}", "csv", "tsv", "jsonl", "squad", "conll", "parquet",
     "npz", "pixel-csv", "orange-tab", "image-folder", "mrc-from-ner", "text", "label", "utf-16",
     "idna", "zlib", "utf-8\u0001", "0" * 64, "a" * 3000, "default",
     "no-such-board", "../board.yaml", "é", "0", "-1", "1e400", "None"]
)  # fmt: skip
NUMBERS = st.one_of(
    st.sampled_from([0, 1, -1, 2, 7, 2**31, 2**32, 2**62, 0.5, 1e-4, 1e308, -0.0, 1.0]),
    st.integers(-100, 100),
)
SCALARS = st.one_of(WORDS, NUMBERS, st.booleans(), st.none(), st.text(max_size=12))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=8,
)
#: further keys of the schema, with values that are right now and then
KEYS: dict[str, list[str]] = {
    "": ["title", "description", "settings", "seeds", "devices", "threads", "timing", "tune",
         "leaderboard", "sedes"],
    "models": ["name", "source", "sha256", "mirrors", "files", "pooling", "architecture", "image",
               "licence", "url", "trust_remote_code"],
    "tasks": ["name", "options", "metrics", "max_length", "stride", "budget", "licence"],
    "data": ["validation", "format", "derive", "derive_options", "options"],
    "matrix": ["frameworks", "runtimes", "devices", "seeds", "settings", "settings_by_task",
               "max_length", "budget"],
}  # fmt: skip
#: values that go some way through the checks
NEAR: dict[str, st.SearchStrategy[Any]] = {
    "seeds": st.lists(NUMBERS, max_size=4),
    "budget": st.dictionaries(
        st.sampled_from(["train", "test", "validation", "seed"]), NUMBERS, max_size=3
    ),
    "settings": st.dictionaries(
        st.sampled_from(["epochs", "baseline", "C", "ngrams", "fit_dtype", "hidden", "augment"]),
        VALUES,
        max_size=2,
    ),
    "options": st.dictionaries(
        st.sampled_from(["text", "label", "pair", "id", "encoding", "separator", "quote", "columns",
                         "token_column", "tag_column", "comment", "images", "labels", "width",
                         "highest", "class_names", "scheme", "tokens", "tags", "other_files"]),
        VALUES,
        max_size=3,
    ),
    "derive_options": st.dictionaries(
        st.sampled_from(["tokens", "tags", "scheme", "questions", "types", "unanswerable_share",
                         "seed"]),
        VALUES,
        max_size=3,
    ),
    "validation": st.fixed_dictionaries({"source": WORDS}),
    "timing": st.dictionaries(
        st.sampled_from(["launches", "seeds", "min_samples", "max_seconds", "batch_sizes"]),
        VALUES,
        max_size=2,
    ),
    "tune": st.fixed_dictionaries({"trials": NUMBERS, "seed": NUMBERS}),
}  # fmt: skip


@st.composite
def suites(draw: st.DrawFn) -> str:
    """The text of a suite file."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.one_of(st.text(max_size=80), VALUES.map(_dumped)))
    suite = copy.deepcopy(yaml.safe_load(MAJORITY_SUITE))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.sampled_from(sorted(KEYS)))
        target: Any = suite
        if place == "data":
            target = _first(suite.get("tasks"))
            target = target.get("data") if isinstance(target, dict) else None
        elif place:
            target = _first(suite.get(place))
        if not isinstance(target, dict):
            continue
        key = draw(st.sampled_from(KEYS[place] + sorted(map(str, target))))
        kind = draw(st.integers(0, 5))
        if kind == 0:
            target.pop(key, None)
        elif kind <= 3 and key in NEAR:
            target[key] = draw(NEAR[key])
        else:
            target[key] = draw(VALUES)
    text = _dumped(suite)
    if draw(st.integers(0, 11)) == 0:  # cut, as by a full disk
        text = text[: draw(st.integers(0, len(text)))]
    return text


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else None


def _dumped(value: Any) -> str:
    try:
        return yaml.safe_dump(value, allow_unicode=True)
    except yaml.YAMLError:
        return repr(value)


#: pieces of data files of every format
PIECES = st.one_of(
    st.sampled_from(
        [b"text,label\n", b"good,yes\n", b"text\tlabel\n", b'"', b",", b"\n", b"\r\n", b"\t", b"\0",
         b"\xff\xfe", b"\xef\xbb\xbf", b"\x1f\x8b\x08", b"PAR1", b"PK\x03\x04", b"\x93NUMPY",
         b"{", b"}",
         b"[", b"]", b'{"text": "a", "label": 1}\n', b'{"text": null}\n', b'{"text": "\\ud800"}\n',
         b"[1, 2]\n", b"NaN", b"-DOCSTART- O\n\n", b"EU NNP B-ORG\n", b"x\n", b"d\td\n",
         b"class\t\n",
         b"1,2,3,4,0\n", b"1e999,2\n", b"-1,0,0,0,1\n", b"9" * 5000]),
    st.binary(max_size=24),
    st.text(max_size=12).map(lambda text: text.encode("utf-8", "surrogatepass")),
)  # fmt: skip
#: beginnings that are right
GOOD = {
    "csv": b"text,label\ngood,yes\n",
    "tsv": b"text\tlabel\ngood\tyes\n",
    "orange-tab": b"text\tlabel\nstring\td\n\tclass\ngood\tyes\n",
    "conll": b"EU NNP B-ORG\nrejects VBZ O\n\n",
    "pixel-csv": b"0,9,255,3,1\n",
    "jsonl": b'{"text": "a", "label": 1}\n',
}
ANSWERS = st.fixed_dictionaries({"text": VALUES, "answer_start": VALUES})
SQUAD = st.fixed_dictionaries(
    {"data": st.lists(st.fixed_dictionaries({
        "title": VALUES,
        "paragraphs": st.lists(st.fixed_dictionaries({
            "context": st.one_of(st.just("ann is here"), VALUES),
            "qas": st.lists(st.fixed_dictionaries(
                {"id": VALUES, "question": VALUES, "answers": st.lists(ANSWERS, max_size=2)},
                optional={"is_impossible": VALUES}), max_size=2)}), max_size=2)}), max_size=2)}
)  # fmt: skip


@st.composite
def data_files(draw: st.DrawFn) -> tuple[str, bytes, dict[str, Any]]:
    """(format, content, options of its reader)."""
    name = draw(st.sampled_from([n for n in formats.names() if n != "image-folder"]))
    kind = draw(st.integers(0, 3))
    if name == "squad" and kind:
        content = json.dumps(draw(SQUAD)).encode()
    elif name in ("parquet", "npz") and kind:
        content = bytearray(_binary(name))
        for _ in range(draw(st.integers(0, 4))):  # flipped by a bad disk, or by an enemy
            content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
        content = bytes(content[: draw(st.integers(1, len(content)))] if kind == 1 else content)
    elif name == "jsonl" and kind:
        rows = draw(
            st.lists(st.dictionaries(st.sampled_from(["text", "label"]), VALUES), max_size=4)
        )
        content = "\n".join(map(json.dumps, rows)).encode()
    else:
        good = GOOD.get(name, b"") if kind else b""
        content = good + b"".join(draw(st.lists(PIECES, max_size=6 if good else 12)))
    options = draw(NEAR["options"]) if draw(st.integers(0, 3)) == 0 else {}
    return name, content, options


def _binary(name: str) -> bytes:
    out = io.BytesIO()
    if name == "npz":
        import numpy as np

        np.savez(out, images=np.zeros((3, 2, 2), np.uint8), labels=np.arange(3))
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"text": ["a", "b"], "label": [0, 1]}), out)
    return out.getvalue()


def check_suite(text: str, folder: Path) -> None:
    """`harness plan` of it exits 0 or 2 without a traceback, and so does reading its data."""
    path = folder / "fuzz.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    err = io.StringIO()
    with (
        _in_time(),
        contextlib.redirect_stderr(err),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        status = main(["plan", str(path), "--results", str(folder / "results")])
    assert status in (0, 2), err.getvalue()
    assert status == 0 or err.getvalue().startswith("harness: ")
    assert "Traceback" not in err.getvalue()
    if status == 0:
        _answered(lambda: _read_tasks(path, folder))


def _read_tasks(path: Path, folder: Path) -> None:
    """What a run has a worker do with the suite before anything is fitted."""
    from harness.commands.context import this_machine
    from harness.execute.preflight import largest_draws, reading_job
    from harness.plan import Options, make_plan
    from harness.stages.reading import read
    from harness.suite import load_suite

    plan = make_plan(load_suite(str(path)), Options(), {}, this_machine())
    fits = [fit for fit in plan.fits if not fit.model.source and not fit.model.files]
    for task in {fit.task.id: fit.task for fit in fits}.values():
        draws = largest_draws([fit for fit in fits if fit.task.id == task.id])
        read(reading_job(task, folder / "cache", folder, draws), lambda *_: None)


def check_data(name: str, content: bytes, options: dict[str, Any], folder: Path) -> None:
    """Read as a table and as each task that could be meant: an answer or a `RequestError`."""
    path = folder / "data.bin"
    path.write_bytes(content)

    def read() -> None:
        table = read_table(path, name, options, "data.bin")
        kind = {"conll": "token-classification", "squad": "question-answering"}.get(
            name, "image-classification" if "image" in table.columns else "text-classification"
        )
        task = registry.tasks.get(kind)({})
        examples = task.examples(table, "train")
        task.find_labels(examples)
        task.overlap_keys(examples)
        task.inspect(examples)

    _answered(read)


def _answered(work: Callable[[], None]) -> None:
    with _in_time(), contextlib.suppress(RequestError):
        work()


@contextlib.contextmanager
def _in_time() -> Iterator[None]:
    """Within `LIMIT_SECONDS` of this process's own time."""
    start, waited = time.process_time(), time.monotonic()
    yield
    spent, waited = time.process_time() - start, time.monotonic() - waited
    assert spent < LIMIT_SECONDS and waited < LIMIT_WAITED, f"{spent:.1f} s, waited {waited:.1f} s"
