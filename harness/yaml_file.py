"""YAML from strangers as plain data: no tags, no bombs, and the line of every part.

YAML can call constructors by tags, refer back to itself, and grow a billion-fold out of a few
hundred bytes by aliases. Here a file is text, numbers, truth values, lists and mappings, of
bounded size and depth, after its aliases are written out; anything else is refused by file and
line.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from harness.errors import RequestError

#: Bounds, each at least ten times what the largest suite here needs (10 KB, 800 parts, depth 7).
MAX_BYTES = 256 << 10
MAX_PARTS = 50_000
MAX_DEPTH = 40

#: libyaml's parser where PyYAML has it: ten times as fast, the same events
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = frozenset(f"{_TAG}{kind}" for kind in ("str", "int", "float", "bool", "null"))
_NUMBERS = (f"{_TAG}int", f"{_TAG}float")
#: YAML 1.1 reads 1e-4 as a string; people who write learning rates mean a number. No digit can be
#: matched in two ways, else a long row of them takes minutes.
_FLOAT = re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$")

Location = tuple[str | int, ...]


@dataclass
class Parsed:
    """A file's content, and the 1-based line of each part by its keys and indices."""

    value: Any
    lines: dict[Location, int] = field(default_factory=dict)


def read_yaml(path: Path) -> Parsed:
    """The file as plain data; every complaint is a `RequestError` with file and line.

    An empty file is None.
    """
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_BYTES + 1)
        text = raw.decode("utf-8").removeprefix("\ufeff")
    except (OSError, ValueError) as error:
        raise RequestError(f"{path}: cannot be read: {error}") from None
    if len(raw) > MAX_BYTES:
        raise RequestError(f"{path}: over {MAX_BYTES >> 10} KiB; a file of this kind is smaller")
    try:
        _check_shape(text, path)
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise RequestError(f"{path}:{line}: not valid YAML: {problem}") from None
    if node is None:
        return Parsed(None)
    parsed = Parsed(None)
    parsed.value = _Reader(path, parsed.lines).plain(node, ())
    return parsed


def _check_shape(text: str, path: Path) -> None:
    """Depth, before anything recursive looks at the file: the parser's events come one by one."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise RequestError(f"{path}:{line}: nested deeper than {MAX_DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _Reader:
    """Nodes to plain data, counting as it goes."""

    def __init__(self, path: Path, lines: dict[Location, int]) -> None:
        self.path = path
        self.lines = lines
        self.parts = 0

    def plain(self, node: yaml.Node, at: Location) -> Any:
        line = self.lines[at] = node.start_mark.line + 1
        self.parts += 1
        if self.parts > MAX_PARTS or len(at) > MAX_DEPTH:
            raise RequestError(
                f"{self.path}:{line}: over {MAX_PARTS} parts or {MAX_DEPTH} levels, with its "
                "aliases (*name) written out; write fewer of them"
            )
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self._mapping(node, at)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.plain(child, (*at, i)) for i, child in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, at: Location) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise RequestError(f"{self.path}:{line}: a key is a word, not a list or mapping")
            key = self._scalar(key_node)
            if key in result:
                raise RequestError(f"{self.path}:{line}: duplicate key {key!r}")
            result[key] = self.plain(value_node, (*at, key))
            self.lines[(*at, key)] = line
        return result

    def _scalar(self, node: yaml.Node) -> Any:
        where = f"{self.path}:{node.start_mark.line + 1}"
        if node.tag == f"{_TAG}timestamp" and isinstance(node, yaml.ScalarNode):
            return node.value  # a date is the text that it is written as
        if node.tag in _NUMBERS and ":" in node.value:
            # YAML 1.1 reads 1:30 as 90; nobody else does, and its sum of 100,000 such digits takes
            # minutes
            return node.value
        if node.tag not in _PLAIN_TAGS or not isinstance(node, yaml.ScalarNode):
            raise RequestError(f"{where}: the YAML tag {node.tag!r} is not allowed here")
        try:
            value = yaml.SafeLoader("").construct_object(node)
        except (ValueError, LookupError, OverflowError, yaml.YAMLError):
            raise RequestError(f"{where}: {node.value[:40]!r} is not what its tag says") from None
        if not node.style and isinstance(value, str) and _FLOAT.match(value):
            value = float(value)
        if isinstance(value, float) and not math.isfinite(value):
            raise RequestError(f"{where}: {node.value[:40]!r} is not a finite number")
        if isinstance(value, int) and abs(value) >= 1 << 63:
            raise RequestError(f"{where}: {node.value[:40]!r} does not fit in 64 bits")
        if isinstance(value, str) and (bad := _not_text(value)):
            raise RequestError(f"{where}: holds the character {bad}, which no text needs")
        return value


def _not_text(value: str) -> str:
    """The first character that stands for nothing readable: NUL, or half of a surrogate pair."""
    for char in value:
        if char == "\0" or "\ud800" <= char <= "\udfff":
            return f"U+{ord(char):04X}"
    return ""
