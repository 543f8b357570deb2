"""Where a side comes from: a results folder, a saved baseline, or a git revision."""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.compare.baseline import baseline_file, open_baseline
from harness.compare.sides import Side, read_side, suites_in
from harness.errors import RequestError


def load_side(text: str, results: Path, suite: str | None = None) -> Side:
    """The side that a user names; see `open_place`."""
    with open_place(text, results) as (name, folder):
        return read_side(name, folder, suite)


@contextmanager
def open_place(text: str, results: Path) -> Iterator[tuple[str, Path]]:
    """What a side is called, and a results folder that holds it while the context lasts.

    ``text``: a folder with records; a baseline saved in ``results/baselines``; a revision of this
    repository, whose ``results`` folder is read (``REVISION:FOLDER`` for another). Raises
    `RequestError`, with everything that was tried.
    """
    folder = Path(text)
    if folder.is_dir():
        if not suites_in(folder):
            raise RequestError(
                f"{text}: a folder without records (no plan.json in it, nor one level below); "
                "run a suite with --results there"
            )
        yield text, folder
        return
    if baseline_file(results, text).is_file():
        with open_baseline(results, text) as unpacked:
            yield f"baseline {text}", unpacked
        return
    revision, _, inside = text.partition(":")
    commit = _commit(revision)
    if commit is None:
        known = sorted(p.stem for p in (results / "baselines").glob("*.json"))
        raise RequestError(
            f"{text!r} is no folder, no baseline in {results / 'baselines'} (there are: "
            f"{', '.join(known) or 'none'}) and no git revision of this repository"
        )
    where = inside or str(results)
    if Path(where).is_absolute() and _below(where):
        where = str(Path(where).resolve().relative_to(Path.cwd()))
    with tempfile.TemporaryDirectory(prefix="harness-compare-") as scratch:
        _check_out(commit, where, Path(scratch), text)
        name = f"{revision} ({commit[:10]})" if not commit.startswith(revision) else revision
        yield name, Path(scratch) / where


def _below(where: str) -> bool:
    return Path(where).resolve().is_relative_to(Path.cwd())


def _commit(revision: str) -> str | None:
    if not revision or revision.startswith("-"):
        return None
    done = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    return done.stdout.decode().strip() if done.returncode == 0 else None


def _check_out(commit: str, where: str, target: Path, text: str) -> None:
    """The revision's records, unpacked; nothing in the working tree moves."""
    done = _git("archive", "--format=tar", commit, "--", where)
    if done.returncode:
        raise RequestError(
            f"{text}: commit {commit[:10]} holds no folder {where!r}; name another as "
            "REVISION:FOLDER, or save a baseline (harness baseline save NAME)"
        )
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(target, filter="data")


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", *arguments], capture_output=True, check=False)
    except OSError:  # no git here
        return subprocess.CompletedProcess(arguments, 127, b"", b"")
