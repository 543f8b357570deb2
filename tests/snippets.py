"""Exported models, asked as their ``usage.py`` answers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.conftest import Answer

#: calls the one function of a snippet with each of the arguments on standard input
_ASK = """\
import json, runpy, sys
script = runpy.run_path(sys.argv[1])
(function,) = (script[name] for name in ("classify", "tag", "answer") if name in script)
print(json.dumps([function(*arguments) for arguments in json.load(sys.stdin)]))
"""


def ask(usage: Path, inputs: Sequence[Sequence[Any]]) -> list[Any]:
    """What the script says of each tuple of arguments, in a process of its own elsewhere."""
    done = subprocess.run(
        # without the working folder on the import path, as a script of its own has it
        [sys.executable, "-P", "-c", _ASK, usage],
        input=json.dumps(inputs), cwd=usage.parent.parent, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers: list[Any] = json.loads(done.stdout)
    return answers


def predictions(results: Path, row_id: str) -> dict[str, dict[str, Any]]:
    """What a row's only run recorded, by the example's id."""
    (row,) = (r for r in json.loads((results / "leaderboard.json").read_text())
              if r["row_id"] == row_id)  # fmt: skip
    (run,) = row["runs"]
    table = pq.read_table(results / "runs" / run / "predictions.parquet")
    return {example["id"]: example for example in table.to_pylist()}


def exported(answer: Answer, folder: Path) -> Path:
    """The script of a folder that ``harness export`` has just written."""
    assert answer.status == 0, answer.err
    return folder / "usage.py"
