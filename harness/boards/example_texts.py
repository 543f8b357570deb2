"""Texts of test examples, from the data that a suite names: for `harness board --with-examples`.

Read from the cache or from `path:` files of this machine; they go into the page of whoever asks,
never into records.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.errors import RequestError


def read_texts(plan: Mapping[str, Any], suite: str) -> dict[str, dict[str, str]]:
    """Task id to texts by example id, of the tasks that the plan and the suite share."""
    from harness.sources import default_cache
    from harness.stages.prepare import read_task
    from harness.suite import load_suite

    try:
        loaded = load_suite(_suite_of(plan, suite))
    except RequestError as error:
        raise RequestError(
            f"--with-examples reads the data that suite {suite!r} names, and the suite is not "
            f"here: {error}"
        ) from None
    found = {}
    for task in loaded.suite.tasks:
        if task.id in plan.get("tasks", {}):
            examples = read_task(task, default_cache(), loaded.path.resolve().parent).splits["test"]
            found[task.id] = {
                example: " | ".join(
                    _text(values[i])
                    for name, values in examples.fields.items()
                    if name not in ("label", "tags", "image", "answers")
                    and not name.startswith("slice_")
                )
                for i, example in enumerate(examples.ids)
            }
    return found


def _suite_of(plan: Mapping[str, Any], suite: str) -> str:
    """The suite file that the records were made by, where the command names one."""
    for word in str(plan.get("command") or "").split():
        if word.endswith((".yaml", ".yml")):
            return word
    return suite


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)) and all(isinstance(word, str) for word in value):
        return " ".join(value)
    return value if isinstance(value, str) else ""
