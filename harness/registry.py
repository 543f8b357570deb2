"""What plug-ins may add: one registry a kind of thing, filled from entry points.

Our own tasks, backends, runtimes, sources and formats come through the same door (see
``[project.entry-points]`` in pyproject.toml), so a plug-in package adds one without touching
this repository. Nothing is imported until it is asked for by name. In a checkout that is not
installed, pyproject.toml itself is read.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any

from harness.errors import RequestError

DISTRIBUTION = "pretrained-harness"
CHECKOUT = Path(__file__).parents[1]


class Registry:
    """Names to objects of one entry-point group.

    ``built_in`` gives ``module:object`` of names that work uninstalled too, from a checkout.
    """

    def __init__(
        self, group: str, noun: str, built_in: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.group = group
        self.noun = noun
        self._built_in = built_in
        self._points: dict[str, EntryPoint] | None = None

    def _all(self) -> dict[str, EntryPoint]:
        if self._points is None:
            self._points = {
                name: EntryPoint(name, value, self.group) for name, value in self._built_in.items()
            }
            installed = {point.name: point for point in entry_points(group=self.group)}
            if not any(point.value.startswith("harness.") for point in installed.values()):
                self._points |= _declared(self.group)
            self._points |= installed
        return self._points

    def names(self) -> list[str]:
        return sorted(self._all())

    def get(self, name: str, where: str = "") -> Any:
        """The object of that name; `RequestError` (prefixed with ``where``) if unknown."""
        point = self._all().get(name)
        if point is None:
            close = difflib.get_close_matches(name, self.names(), n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            prefix = f"{where}: " if where else ""
            raise RequestError(
                f"{prefix}unknown {self.noun} {name!r}; {hint}known: {', '.join(self.names())}"
            )
        return _load(point)


def _declared(group: str) -> dict[str, EntryPoint]:
    """Our own of a group as the checkout's pyproject.toml has them; {} outside of a checkout."""
    try:
        project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return {}
    if project.get("name") != DISTRIBUTION:  # a stray file beside an installed package
        return {}
    points = project.get("entry-points", {}).get(group, {})
    return {name: EntryPoint(name, value, group) for name, value in points.items()}


@cache
def _load(point: EntryPoint) -> Any:
    return point.load()


tasks = Registry("harness.tasks", "task type")
backends = Registry("harness.backends", "framework")
runtimes = Registry("harness.runtimes", "runtime")
executors = Registry(
    "harness.executors",
    "executor",
    {
        "local": "harness.execute.local:LocalExecutor",
        "ray": "harness.execute.ray:RayExecutor",
        "slurm": "harness.execute.slurm:SlurmExecutor",
    },
)
derivations = Registry("harness.derivations", "data derivation")
