"""Texts of test examples, from the data that a plan names: for `harness board --with-examples`.

Read from the cache or from `path:` files of this machine; they go into the page of whoever asks,
never into records.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.errors import RequestError
from harness.suite import TaskEntry


def read_texts(plan: Mapping[str, Any], folder: Path) -> dict[str, dict[str, str]]:
    """Task id to texts by example id, of the plan's tasks; ``folder``: where its records lie."""
    from harness.sources import default_cache
    from harness.stages.prepare import read_task

    entries, base = _entries(plan, folder)
    found = {}
    for entry in entries:
        examples = read_task(entry, default_cache(), base).splits["test"]
        found[entry.id] = {
            example: " | ".join(
                _text(values[i])
                for name, values in examples.fields.items()
                if name not in ("label", "tags", "image", "answers")
                and not name.startswith("slice_")
            )
            for i, example in enumerate(examples.ids)
        }
    return found


def _entries(plan: Mapping[str, Any], folder: Path) -> tuple[list[TaskEntry], Path]:
    """The plan's tasks with their data as they were run, and the folder that `path:` starts from.

    Older plans do not hold them: there, those of the suite of that name.
    """
    if plan.get("data"):
        try:
            dumped = [json.dumps(entry) for entry in plan["data"].values()]
            return [TaskEntry.model_validate_json(text) for text in dumped], folder
        except ValidationError as error:
            what = error.errors(include_url=False)[0]["msg"]
            raise RequestError(f"{folder / 'plan.json'}: not a task's data: {what}") from None
    from harness.suite import load_suite

    try:
        loaded = load_suite(plan["suite"])
    except RequestError as error:
        raise RequestError(
            "--with-examples: these records are older than plans that name their data, and the "
            f"suite is not here: {error}"
        ) from None
    tasks = [task for task in loaded.suite.tasks if task.id in plan["tasks"]]
    return tasks, loaded.path.resolve().parent


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)) and all(isinstance(word, str) for word in value):
        return " ".join(value)
    return value if isinstance(value, str) else ""
