"""Programs that we start end with us, be it by SIGKILL."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.process_groups import Group, program
from tests.chaos.small import left_over, processes_of
from tests.conftest import MAJORITY_SUITE

#: a program that does not heed the polite signals, with a child
STUBBORN = "trap '' INT TERM; sleep 600 & echo started; wait; sleep 600"


def start(arguments: list[str], folder: Path, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", *arguments],
        cwd=folder,
        env=os.environ | {"HARNESS_CACHE": str(folder / "cache")} | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def killed_with(
    parent: subprocess.Popen[bytes], folder: Path, is_there: Callable[[list[str]], bool]
) -> bool:
    """Kill ``parent`` once it has a child that is looked for; whether all are gone soon."""
    deadline = time.monotonic() + 60
    try:
        while not any(is_there(p.cmdline()) for p in processes_of(folder / "cache")):
            assert parent.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    return left_over(folder / "cache") == []


def test_a_program_and_its_children_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = (
        "from harness.process_groups import program\n"
        f"with program(['/bin/sh', '-c', {STUBBORN!r}]) as process:\n"
        "    process.wait()\n"
    )
    parent = start(["-c", code], tmp_path)
    assert killed_with(parent, tmp_path, lambda command: command == ["sleep", "600"])


def test_pip_ends_with_a_fetch_that_is_killed(tmp_path: Path) -> None:
    """While it waits for an index that takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (tmp_path / "mine.yaml").write_text(
            MAJORITY_SUITE.replace(
                '"path:train.csv"', f'"pypi:tiny-data==1.0!train.csv", sha256: "{"0" * 64}"'
            )
        )
        index = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        parent = start(
            ["-m", "harness.cli", "fetch", "mine.yaml"], tmp_path,
            PIP_INDEX_URL=index, PIP_CONFIG_FILE=os.devnull,
        )  # fmt: skip
        assert killed_with(parent, tmp_path, lambda command: "pip" in command)


def test_a_program_does_not_outlive_its_block(tmp_path: Path) -> None:
    environment = os.environ | {"HARNESS_CACHE": str(tmp_path)}
    command = ["/bin/sh", "-c", "sleep 600 & echo started; wait"]
    with pytest.raises(KeyboardInterrupt), program(command, environment=environment) as process:
        assert process.stdout is not None and process.stdout.readline() == b"started\n"
        raise KeyboardInterrupt
    assert process.returncode is not None
    assert left_over(tmp_path) == []


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no environments to be read")
def test_what_leaves_the_group_for_a_session_of_its_own_ends_as_well(tmp_path: Path) -> None:
    """Also where its parent is gone, be it the program itself, which crashed."""
    environment = os.environ | {"HARNESS_CACHE": str(tmp_path)}
    command = ["/bin/sh", "-c", "setsid sleep 600 & (setsid sleep 600 &) ; echo; kill -9 $$"]
    with program(command, environment=environment) as process:
        assert process.stdout is not None and process.stdout.readline()
        assert process.wait() == -signal.SIGKILL
        assert processes_of(tmp_path) != []
    assert left_over(tmp_path, seconds=1) == []


def test_a_program_that_ends_by_itself_has_said_all(tmp_path: Path) -> None:
    command = ["/bin/sh", "-c", "pwd; echo no >&2; exit 3"]
    with program(command, errors=subprocess.PIPE, folder=tmp_path) as process:
        out, errors = process.communicate()
    assert (process.returncode, out, errors) == (3, f"{tmp_path}\n".encode(), b"no\n")


def test_a_group_that_was_cleared_up_is_not_signalled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its number may be another's by then; two threads may want to end one group."""
    signalled: list[tuple[int, int]] = []
    kill = os.killpg

    def watched(group: int, number: int) -> None:
        signalled.append((group, number))
        kill(group, number)

    monkeypatch.setattr(os, "killpg", watched)
    group = Group(["sleep", "600"], environment=os.environ, log=subprocess.DEVNULL)
    ends = [threading.Thread(target=group.end, kwargs={"politely": False}) for _ in range(4)]
    for end in ends:
        end.start()
    group.gone()
    for end in ends:
        end.join()
    assert [number for _, number in signalled] == [signal.SIGKILL]
