"""Commits of this repository, checked out, each with the interpreter that is to run it."""

from __future__ import annotations

import re
import subprocess
import sys
import venv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import RequestError
from harness.execute.launches import Interpreter
from harness.records.identity import digest

#: what stands around a path in pip's arguments: ``-rbase.txt``, ``--constraint=c.txt``, ``.[cpu]``
_AROUND_PATH = re.compile(r"^(--[a-z-]+=|-[rce])|\[[^]]*\]$")
#: what pip installs and does not read as requirements
_PACKAGES = (".whl", ".zip", ".gz")


@dataclass(frozen=True)
class Checkout:
    commit: str
    tree: Path
    interpreter: Interpreter


class Checkouts:
    """Worktrees and environments below ``folder``; a context that removes the worktrees.

    ``install``: the arguments with which pip, in a checkout, installs what the commit runs on, into
    an environment that it shares with no commit of other pins. Without any, all commits run on this
    environment's packages, each with its own tree in front of them.
    """

    def __init__(self, folder: Path, install: Sequence[str], say: Callable[[str], None]) -> None:
        self._folder, self._install, self._say = folder, tuple(install), say
        self._made: dict[str, Checkout] = {}

    def __enter__(self) -> Checkouts:
        return self

    def __exit__(self, *exc: object) -> None:
        for made in self._folder.glob("tree-*"):
            subprocess.run(
                ["git", "worktree", "remove", "--force", str(made)],
                capture_output=True, check=False,
            )  # fmt: skip

    def of(self, commit: str) -> Checkout:
        """A commit's checkout, made when it is first asked for. Raises `RequestError`."""
        if commit not in self._made:
            tree = self._folder / f"tree-{commit[:12]}"
            git("worktree", "add", "--force", "--detach", str(tree), commit)
            self._made[commit] = Checkout(commit, tree, self._interpreter(tree, commit))
        return self._made[commit]

    def _interpreter(self, tree: Path, commit: str) -> Interpreter:
        if not self._install:
            return Interpreter(tree=tree)
        folder = self._folder / f"environment-{digest(pins(tree, self._install))}"
        python = folder / "bin" / "python"
        if not folder.exists():
            self._say(f"at {commit[:10]}: pip install {' '.join(self._install)}")
            venv.create(folder, symlinks=True)
            done = subprocess.run(
                [sys.executable, "-m", "pip", "--python", str(python), "install", *self._install],
                cwd=tree, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode:
                raise RequestError(f"at {commit[:10]} pip does not install: {_last(done)}")
        return Interpreter(str(python))


def pins(tree: Path, install: Sequence[str]) -> dict[str, str]:
    """Git's digests of all files and folders of a checkout that pip reads for these arguments, by
    their path in it; equal ones mean the same packages, as far as they are pinned."""
    found: dict[str, str] = {}
    root = tree.resolve()

    def follow(folder: Path, arguments: Iterable[str]) -> None:
        for argument in arguments:
            text = _AROUND_PATH.sub("", argument)
            path = (folder / text).resolve()
            if not text or not path.is_relative_to(root) or not path.exists():
                continue  # a name, an option, or the same for all commits
            name = path.relative_to(root).as_posix()
            if name in found:
                continue
            found[name] = git("-C", str(root), "rev-parse", f"HEAD:./{name}")
            if path.is_file() and path.suffix not in _PACKAGES:
                words = path.read_text(errors="replace").split()
                follow(path.parent, words)  # so pip reads files in it,
                follow(root, words)  # and so projects

    follow(root, install)
    return found


def git(*arguments: str) -> str:
    """What git says, stripped; `RequestError` with its last line where it fails."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RequestError(f"git {arguments[0]} {arguments[-1]}: {_last(done)}")
    return done.stdout.strip()


def _last(done: subprocess.CompletedProcess[str]) -> str:
    lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    return lines[-1]
