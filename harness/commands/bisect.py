"""``harness bisect``: which commit moved a row? Runs only that row, at as few commits as it takes.

Each commit is checked out into a worktree of its own, runs on what it asks for (``--install``) or
on this environment's packages behind its own code, and is judged against GOOD by the rule of
``harness compare``; an inconclusive comparison counts as good, since nothing was shown. Quality
and sizes are read from the records; times and memory are taken in turns with GOOD's (``--time``).
A commit in between at which the row cannot be run is passed over, as by ``git bisect skip``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from harness.commands.arguments import add_only, add_trust, positive
from harness.compare import words
from harness.compare.judge import Options, compare, join_rows, row_name, wanted
from harness.compare.margins import margin_of, parse_margins
from harness.compare.sides import Side, read_side
from harness.errors import RequestError
from harness.execute.checkouts import Checkout, Checkouts, git
from harness.execute.rerun import Arm, rerun
from harness.process_groups import program
from harness.sources import default_cache
from harness.sources.cache import in_use

EXAMPLE = "harness bisect v1.0 HEAD smoke --only 8c6979c0"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("good", metavar="GOOD", help="a revision that is fine")
    parser.add_argument("bad", metavar="BAD", help="a later one that is worse")
    parser.add_argument("suite", metavar="SUITE", help="a name, or a YAML file in the repository")
    add_only(parser, "only this row, by the beginning of its row_id; or as `harness run` takes it")
    parser.add_argument(
        "--install", default="", metavar="ARGUMENTS",
        help="what pip installs for each commit, in its checkout and into an environment of its "
        "own: '-r requirements.txt', or '-c constraints.txt .[cpu]' (default: all commits run on "
        "the packages of this environment)",
    )  # fmt: skip
    parser.add_argument("--margin", action="append", default=[], metavar="METRIC=X")
    parser.add_argument(
        "--time", action="store_true", help="judge times as well, launches taking turns with GOOD's"
    )
    parser.add_argument("--launches", type=positive, default=10, metavar="N", help="with --time")
    add_trust(parser)


def run(args: argparse.Namespace) -> int:
    """Exit status 1 where commits that could not be tried leave several to choose from."""
    commits = _between(args.good, args.bad)
    with (
        tempfile.TemporaryDirectory(prefix="harness-bisect-") as scratch,
        Checkouts(Path(scratch), _words(args.install), _say) as checkouts,
    ):
        work = _Work(Path(scratch), args, checkouts)
        good = work.side(_commit(args.good))
        rows = work.rows(good)
        for row_id, name in rows.items():
            _say(f"row {row_id}: {name}")
        if not work.is_worse(good, commits[-1]):
            raise RequestError(
                f"{args.bad} shows no regression against {args.good}; nothing to look for"
            )
        skipped: dict[str, str] = {}

        def judged(commit: str) -> bool | None:
            try:
                return work.is_worse(good, commit)
            except RequestError as error:
                skipped[commit] = str(error)
                _say(f"skipped: {error}")
                return None

        found = first_worse(commits, judged)
    last, status = found[-1], 0 if len(found) == 1 else 1
    if args.json:
        told = {
            "commit": None if status else last, "candidates": found,
            "subject": _subject(last), "tried": work.tried, "skipped": skipped, "rows": rows,
        }  # fmt: skip
        print(json.dumps(told))
        return status
    if len(found) == 1:
        print(f"first commit that is worse: {_subject(last)}")
    else:
        print("the first commit that is worse is one of these; the others could not be tried:")
        for commit in found:
            print(f"  {_subject(commit)}{'' if commit in skipped else ', which is worse'}")
    for line in work.findings.get(last, []):
        print(f"  {line}")
    return status


def first_worse(commits: list[str], judge: Callable[[str], bool | None]) -> list[str]:
    """The first commit that is worse, of ``commits`` (oldest first) whose last one is.

    ``judge``: whether a commit is worse; None where that cannot be told. Those that lie right
    before the one that was found are returned with it, for each of them may be the first.
    """
    low, high = -1, len(commits) - 1  # commits[low] is good, commits[high] is worse
    untold: set[int] = set()
    while left := [i for i in range(low + 1, high) if i not in untold]:
        middle = min(left, key=lambda i: abs(2 * i - low - high))
        worse = judge(commits[middle])
        if worse is None:
            untold.add(middle)
        elif worse:
            high = middle
        else:
            low = middle
    return commits[low + 1 : high + 1]


def _subject(commit: str) -> str:
    return git("show", "--no-patch", "--format=%h %s (%an, %as)", commit)


class _Work:
    """What was run so far, and what it showed."""

    def __init__(self, scratch: Path, args: argparse.Namespace, checkouts: Checkouts) -> None:
        self.scratch, self.args, self.checkouts = scratch, args, checkouts
        self.options = Options(margins=parse_margins(args.margin), only=tuple(args.only))
        self.cache = default_cache().resolve()  # commits run in folders of their own
        self.findings: dict[str, list[str]] = {}
        self.tried: list[str] = []

    def side(self, commit: str) -> Side:
        """The rows' records at a commit, run in its own checkout."""
        if commit not in self.tried:
            self._run(self.checkouts.of(commit))
            self.tried.append(commit)
        return read_side(commit[:10], self._results(commit))

    def _run(self, checkout: Checkout) -> None:
        _say(f"at {checkout.commit[:10]}")
        command = [checkout.interpreter.python, "-P", "-m", "harness.cli", "run", self.args.suite]
        command += ["--only", *self.args.only] if self.args.only else []
        command += [] if self.args.time else ["--launches", "0"]
        command += ["--results", str(self._results(checkout.commit))]
        command += ["--trust-remote-code"] if self.args.trust_remote_code else []
        sees = checkout.interpreter.sees(os.environ) | {"HARNESS_CACHE": str(self.cache)}
        with program(
            command, environment=sees, errors=subprocess.PIPE, folder=checkout.tree
        ) as process:
            _, errors = process.communicate()
        if process.returncode not in (0, 1):
            tail = errors.decode(errors="replace").strip().splitlines()[-1:]
            raise RequestError(
                f"at {checkout.commit[:10]} the suite does not run: {' '.join(tail)}"
            )

    def rows(self, side: Side) -> dict[str, str]:
        """What the rows that are looked at are called, by row_id."""
        return {
            row.row_id: row_name(row) for row in side.rows.values() if wanted(row, self.options)
        }

    def is_worse(self, good: Side, commit: str) -> bool:
        """Whether the rule calls a regression of ``commit`` against GOOD."""
        base, head = good, self.side(commit)
        if self.args.time:
            base, head = self._in_turns(good, head)
        found = compare(base, head, self.options).of("regression")
        self.findings[commit] = [words.sentence(finding) for finding in found]
        return bool(found)

    def _in_turns(self, good: Side, head: Side) -> tuple[Side, Side]:
        made = {commit[:10]: self.checkouts.of(commit) for commit in self.tried}
        sides = [
            (
                side,
                self._results(side.name),
                Arm(label, self.cache, made[side.name].interpreter, self.args.trust_remote_code),
            )
            for side, label in ((good, "GOOD"), (head, "BAD"))
        ]
        pairs, _, _ = join_rows(good, head, self.options)
        margin = math.log1p(margin_of("latency_p50_ms", "speed", self.options.margins))
        timed = [(a, b) for a, b in pairs if a.row.ok and b.row.ok]
        with tempfile.TemporaryDirectory(dir=self.scratch) as records, in_use(self.cache):
            return rerun(
                sides[0], sides[1], timed, self.args.launches, margin, Path(records), lambda _: None
            )

    def _results(self, commit: str) -> Path:
        return self.scratch / f"results-{commit[:10]}"


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise RequestError(f"--install {text}: {error}") from None


def _between(good: str, bad: str) -> list[str]:
    """Commits after GOOD up to BAD, oldest first."""
    found = git("rev-list", "--reverse", "--first-parent", f"{_commit(good)}..{_commit(bad)}")
    if not found:
        raise RequestError(f"no commit lies between {good} and {bad}; GOOD is the older one")
    return found.split()


def _commit(text: str) -> str:
    if text.startswith("-"):
        raise RequestError(f"{text!r} is no git revision")
    return git("rev-parse", "--verify", "--end-of-options", f"{text}^{{commit}}")
