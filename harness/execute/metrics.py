"""Metrics of the library `evaluate`, loaded before anything is trained that they shall score.

They are Python code, and `evaluate` brings several frameworks along: a process of its own loads
them. What it fetched lies in the cache of `evaluate`, where scoring finds it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from harness.errors import RequestError
from harness.records.secrets import without_secrets
from harness.suite import LoadedSuite
from harness.tasks.evaluate_adapter import load_metric


def check_metrics(loaded: LoadedSuite, tasks: Collection[str], *, trusted: bool) -> None:
    """`RequestError` for a metric that one of the ``tasks`` (ids) asks for and that does not load.

    ``trusted``: the user lets code of a suite run; without that, a suite must not get it run.
    """
    base = loaded.path.resolve().parent
    for i, task in enumerate(loaded.suite.tasks):
        if task.id not in tasks or not task.metrics:
            continue
        where = loaded.where("tasks", i, "metrics")
        if not trusted:
            raise RequestError(
                f"{where}: task {task.id!r} asks for {', '.join(map(repr, task.metrics))} of "
                "`evaluate`: Python code from elsewhere; if you trust it, add --trust-remote-code "
                "to the command"
            )
        done = subprocess.run(
            [sys.executable, "-P", "-m", __name__, str(base), *task.metrics],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            env=without_secrets(os.environ),  # as every worker that will score by them
        )  # fmt: skip
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise RequestError(f"{where}: {said[-1]}")


def main(arguments: Sequence[str]) -> int:
    """``FOLDER METRIC ...``: load each; what is wrong is the last line on standard error."""
    from harness.backends.torch.zoo import hide_torchvision

    hide_torchvision()  # `evaluate` imports transformers
    base, *names = arguments
    try:
        for name in names:
            load_metric(name, Path(base))
    except RequestError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
