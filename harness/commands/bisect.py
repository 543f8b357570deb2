"""``harness bisect``: which commit moved a row? Runs only that row, at as few commits as it takes.

Each commit is checked out into a worktree of its own and judged against GOOD by the rule of
``harness compare``; an inconclusive comparison counts as good, since nothing was shown. Quality
and sizes are read from the records; times and memory are taken in turns with GOOD's (``--time``).
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

from harness.commands.arguments import positive
from harness.compare.judge import Options, compare, join_rows
from harness.compare.margins import margin_of, parse_margins
from harness.compare.sides import Side, read_side
from harness.errors import RequestError
from harness.process_groups import program

EXAMPLE = "harness bisect v1.0 HEAD smoke --only tfidf"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("good", metavar="GOOD", help="a revision that is fine")
    parser.add_argument("bad", metavar="BAD", help="a later one that is worse")
    parser.add_argument("suite", metavar="SUITE", help="a name, or a YAML file in the repository")
    parser.add_argument(
        "--only", action="extend", nargs="+", default=[], metavar="NAME", help="models or tasks"
    )
    parser.add_argument("--margin", action="append", default=[], metavar="METRIC=X")
    parser.add_argument(
        "--time", action="store_true", help="judge times as well, launches taking turns with GOOD's"
    )
    parser.add_argument("--launches", type=positive, default=10, metavar="N", help="with --time")


def run(args: argparse.Namespace) -> int:
    commits = _between(args.good, args.bad)
    options = Options(margins=parse_margins(args.margin), only=tuple(args.only))
    with tempfile.TemporaryDirectory(prefix="harness-bisect-") as scratch:
        work = _Work(Path(scratch), args, options)
        try:
            good = work.side(_commit(args.good))
            if not work.is_worse(good, commits[-1]):
                raise RequestError(
                    f"{args.bad} shows no regression against {args.good}; nothing to look for"
                )
            low, high = -1, len(commits) - 1  # commits[low] is good, commits[high] is worse
            while high - low > 1:
                middle = (low + high) // 2
                if work.is_worse(good, commits[middle]):
                    high = middle
                else:
                    low = middle
        finally:
            work.close()
    subject = _git("show", "--no-patch", "--format=%h %s (%an, %as)", commits[high])
    if args.json:
        print(json.dumps({"commit": commits[high], "subject": subject, "tried": work.tried}))
    else:
        print(f"first commit that is worse: {subject}")
        for line in work.findings.get(commits[high], []):
            print(f"  {line}")
    return 0


class _Work:
    """Worktrees and their results; owns them until `close`."""

    def __init__(self, scratch: Path, args: argparse.Namespace, options: Options) -> None:
        self.scratch, self.args, self.options = scratch, args, options
        self.trees: dict[str, Path] = {}
        self.findings: dict[str, list[str]] = {}
        self.tried: list[str] = []

    def side(self, commit: str) -> Side:
        """The row's records at a commit, run in its own tree."""
        tree = self.scratch / commit[:12]
        if commit not in self.trees:
            _git("worktree", "add", "--force", "--detach", str(tree), commit)
            self.trees[commit] = tree
            self.tried.append(commit)
            print(f"at {commit[:10]}", file=sys.stderr)
            command = [sys.executable, "-m", "harness.cli", "run", self.args.suite]
            command += ["--only", *self.args.only] if self.args.only else []
            command += [] if self.args.time else ["--launches", "0"]
            command += ["--results", str(self._results(commit))]
            with program(command, errors=subprocess.PIPE, folder=tree) as process:
                _, errors = process.communicate()
            if process.returncode not in (0, 1):
                tail = errors.decode(errors="replace").strip().splitlines()[-1:]
                raise RequestError(f"at {commit[:10]} the suite does not run: {' '.join(tail)}")
        return read_side(commit[:10], self._results(commit))

    def is_worse(self, good: Side, commit: str) -> bool:
        """Whether the rule calls a regression of ``commit`` against GOOD."""
        from harness.compare import words

        base, head = good, self.side(commit)
        if self.args.time:
            base, head = self._in_turns(good, head)
        found = compare(base, head, self.options).of("regression")
        self.findings[commit] = [words.sentence(finding) for finding in found]
        return bool(found)

    def _in_turns(self, good: Side, head: Side) -> tuple[Side, Side]:
        from harness.execute.launches import Interpreter
        from harness.execute.rerun import Arm, rerun
        from harness.sources import default_cache

        trees = {commit[:10]: tree for commit, tree in self.trees.items()}
        sides = [
            (
                side,
                self.scratch / f"results-{side.name}",
                Arm(label, default_cache().resolve(), Interpreter(tree=trees[side.name])),
            )
            for side, label in ((good, "GOOD"), (head, "BAD"))
        ]
        pairs, _, _ = join_rows(good, head, self.options)
        margin = math.log1p(margin_of("latency_p50_ms", "speed", self.options.margins))
        timed = [(a, b) for a, b in pairs if a.row.ok and b.row.ok]
        with tempfile.TemporaryDirectory(dir=self.scratch) as records:
            return rerun(
                sides[0], sides[1], timed, self.args.launches, margin, Path(records), lambda _: None
            )

    def _results(self, commit: str) -> Path:
        return self.scratch / f"results-{commit[:10]}"

    def close(self) -> None:
        for tree in self.trees.values():
            subprocess.run(
                ["git", "worktree", "remove", "--force", str(tree)],
                capture_output=True, check=False,
            )  # fmt: skip


def _between(good: str, bad: str) -> list[str]:
    """Commits after GOOD up to BAD, oldest first."""
    found = _git("rev-list", "--reverse", "--first-parent", f"{_commit(good)}..{_commit(bad)}")
    if not found:
        raise RequestError(f"no commit lies between {good} and {bad}; GOOD is the older one")
    return found.split()


def _commit(text: str) -> str:
    if text.startswith("-"):
        raise RequestError(f"{text!r} is no git revision")
    return _git("rev-parse", "--verify", "--end-of-options", f"{text}^{{commit}}")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise RequestError(f"git {arguments[0]} {arguments[-1]}: {lines[-1]}")
    return done.stdout.strip()
