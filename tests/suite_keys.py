"""The reference of a suite's keys: what the models of `harness.suite` say of themselves.

``python -m tests.suite_keys`` writes ``docs/suite-keys.md`` anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from harness import suite

PAGE = Path(__file__).resolve().parents[1] / "docs" / "suite-keys.md"
HEAD = """\
# Keys of a suite file

Written from the schema that checks suites (`harness schema` prints it; `python -m tests.suite_keys`
writes this page); [suites](suites.md) explains how they play together.
"""
#: heading, the part of the schema, and under which key of a suite it stands
SECTIONS = (
    ("A model", suite.Model, "`models:`"),
    ("A file", suite.FileRef, "`models: files:` and `tasks: data:`"),
    ("How a model takes images", suite.ImageInput, "`models: image:`"),
    ("A task", suite.TaskEntry, "`tasks:`"),
    ("Its data", suite.Data, "`tasks: data:`"),
    ("Its budget", suite.Budget, "`tasks: budget:`, of the matrix, and `--budget`"),
    ("A block of the matrix", suite.Entry, "`matrix:`"),
    ("Settings", suite.Settings, "`settings:` of a recipe, a block, a task of a block"),
    ("Augmentation", suite.Augment, "`settings: augment:`"),
    ("RandAugment", suite.RandAugment, "`settings: augment: randaugment:`"),
    ("Timing", suite.Timing, "`timing:`"),
    ("Limits", suite.Limits, "`limits:`"),
    ("A search", suite.Tune, "`tune:`"),
)
_BOUNDS = {
    "exclusiveMinimum": ">",
    "minimum": "≥",
    "exclusiveMaximum": "<",
    "maximum": "≤",
}


def page() -> str:
    """Markdown: a table of keys, values, defaults and meanings for each part of a suite."""
    parts = [HEAD, _table("The file", suite.Suite, "")]
    return "\n".join([*parts, *(_table(*section) for section in SECTIONS)])


def _table(title: str, part: type[BaseModel], at: str) -> str:
    schema = part.model_json_schema()
    required = set(schema.get("required", ()))
    lines = [
        f"| `{key}` | {_values(entry)} | {_default(entry, key in required)} | "
        f"{_cell(entry.get('description', ''))} |"
        for key, entry in schema["properties"].items()
    ]
    said = f"\n{at}\n" if at else ""
    head = "| key | values | default | meaning |\n| --- | --- | --- | --- |"
    return f"## {title}\n{said}\n{head}\n" + "\n".join(lines) + "\n"


def _values(entry: dict[str, Any]) -> str:
    """What a key takes, in words."""
    if "anyOf" in entry:
        return " or ".join(
            _values(option) for option in entry["anyOf"] if option.get("type") != "null"
        )
    if "$ref" in entry:
        return str(entry["$ref"]).rpartition("/")[2]
    if "enum" in entry:
        return ", ".join(f"`{value}`" for value in entry["enum"])
    kind = entry.get("type")
    if kind == "array":
        items = entry.get("items") or (entry.get("prefixItems") or [{}])[0]
        return f"list of {_values(items)}"
    if kind == "object":
        return "mapping"
    bounds = [f"{sign} {entry[name]}" for name, sign in _BOUNDS.items() if name in entry]
    names = {
        "string": "text",
        "integer": "whole number",
        "number": "number",
        "boolean": "true/false",
    }
    return " ".join([names.get(str(kind), "any"), ", ".join(bounds)]).strip()


def _default(entry: dict[str, Any], required: bool) -> str:
    if required:
        return "**required**"
    value = entry.get("default")
    if value is None or isinstance(value, dict) or value in ("", []):
        return ""
    shown = {True: "true", False: "false"}.get(value, value) if isinstance(value, bool) else value
    return f"`{shown}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    PAGE.write_text(page())
