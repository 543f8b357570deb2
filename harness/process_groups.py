"""Process groups that end with us, however we end, and that are ended step by step.

A process of ours is put into the group of a *guard*, a shell that waits on a pipe of which only
we hold the other end. When we are gone, be it by SIGKILL, the pipe closes and the guard kills the
group: the worker and whatever it started, even where a loop in C holds Python's lock and no thread
of the worker could act.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

#: seconds that a process has to end after each of SIGINT and SIGTERM: Python unwinds in
#: milliseconds, a framework's threads in a second or two
GRACE_SECONDS = 3.0

#: how often those that left a group are looked for: one that is just starting another is not to get
#: away, and one that the kernel does not let go is not to hold us up
STRAY_ROUNDS = 10

#: added to a process's standing with the kernel's killer (-1000 to 1000): before all usual ones
_OOM_SCORE = "500"

#: names the groups that a process was started in, the outermost first
_MARK = "HARNESS_GROUPS"

#: `read` ends with the pipe; 0 is the guard's own group. It must outlive the polite signals.
_GUARD = "trap '' INT TERM HUP; read -r line; kill -9 0"


class Group:
    """One process, its descendants and their guard; ``folder``: where it works, if not here.

    ``log`` and ``errors``: where standard output and error go, as `subprocess.Popen` takes them.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Any,
        errors: Any = subprocess.STDOUT,
        stdin: Any = subprocess.DEVNULL,
        pass_fds: Sequence[int] = (),
        folder: Path | None = None,
    ) -> None:
        self._lock = threading.Lock()
        self._name = uuid.uuid4().hex
        mark = f"{environment.get(_MARK, '')}/{self._name}"
        reader, self._lifeline = os.pipe()
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD],
            stdin=reader,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={},
            # Its own group: a Ctrl-C in the terminal reaches this process alone, which then ends
            # the group in order.
            process_group=0,
        )
        os.close(reader)
        try:
            self.process = subprocess.Popen(
                list(command),
                stdin=stdin,
                stdout=log,
                stderr=errors,
                pass_fds=pass_fds,
                env=dict(environment) | {_MARK: mark},
                cwd=folder,
                process_group=self._guard.pid,
            )
        except BaseException:
            self._release()
            raise
        with suppress(OSError):  # if memory runs out, this process goes rather than the command
            Path(f"/proc/{self.pid}/oom_score_adj").write_text(_OOM_SCORE)

    @property
    def pid(self) -> int:
        return self.process.pid

    def end(self, *, politely: bool = True) -> int:
        """Interrupt, terminate, kill; the exit status. Nothing of the group is left."""
        if politely:
            for number in (signal.SIGINT, signal.SIGTERM):
                if self.process.poll() is not None:
                    break
                self._signal(number)
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(GRACE_SECONDS)
        self._release()
        return self.process.wait()

    def gone(self) -> int:
        """Clear up after a process that ended by itself; its exit status."""
        code = self.process.wait()
        self._release()
        return code

    def _signal(self, number: int) -> None:
        with self._lock:
            self._kill(number)

    def _kill(self, number: int) -> None:
        """The caller holds the lock: once the guard is reaped, its number may be another's."""
        if self._lifeline >= 0:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._guard.pid, number)

    def _release(self) -> None:
        """Kill what is left of the group, the guard included; only the first call does anything.

        One thread may end a group while another, which waited for its process, clears up.
        """
        with self._lock:
            self._kill(signal.SIGKILL)
            self._guard.wait()
            if self._lifeline >= 0:
                self._kill_strays()
                os.close(self._lifeline)
                self._lifeline = -1

    def _kill_strays(self) -> None:
        """Kill what left the group for a session of its own, whoever its parent is by now: it has
        our mark in its environment (where the system shows that, as Linux does)."""
        for _ in range(STRAY_ROUNDS):
            strays = [int(path.parent.name) for path in _marked(self._name)]
            if not strays:
                return
            for pid in strays:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)  # until they are gone


def _marked(name: str) -> Iterator[Path]:
    """Environments of processes with a group's name in them."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it is gone, or another user's
            if name.encode() in path.read_bytes():
                yield path


@contextmanager
def program(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    errors: int = subprocess.STDOUT,
    folder: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Another program, its output on a pipe; neither the end of the block nor ours is outlived.

    ``environment``: by default this process's; ``errors``: ``subprocess.PIPE`` for a pipe of their
    own.
    """
    group = Group(
        command,
        environment=os.environ if environment is None else environment,
        log=subprocess.PIPE,
        errors=errors,
        folder=folder,
    )
    with group.process:  # closes the pipes
        try:
            yield group.process
        finally:
            group.end()
