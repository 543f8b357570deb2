"""``--only``: which part of a matrix its names ask for."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from harness.errors import RequestError


@dataclass(frozen=True)
class Selection:
    """Names by the kinds of thing (model, task, ...) that bear them.

    Names of one kind add up, kinds narrow each other: two models and a task are both models on
    that task. A name that things of two kinds bear asks for either.
    """

    names: Mapping[tuple[str, ...], Collection[str]]

    def wants(self, **called: str) -> bool:
        """Whether something is asked for; ``called``: its name of each kind."""
        return all(
            any(called[kind] in names for kind in kinds) for kinds, names in self.names.items()
        )


def select(names: Sequence[str], known: Mapping[str, Collection[str]], where: str) -> Selection:
    """What ``names`` ask for, of ``known`` names by kind; no names ask for everything.

    `RequestError`, prefixed with ``where``, for a name that nothing bears.
    """
    found: dict[tuple[str, ...], set[str]] = {}
    for name in names:
        kinds = tuple(kind for kind, those in known.items() if name in those)
        if not kinds:
            everything = sorted({one for those in known.values() for one in those})
            close = difflib.get_close_matches(name, everything)
            hint = (
                f"did you mean {' or '.join(close)}?"
                if close
                else f"known: {', '.join(everything)}"
            )
            raise RequestError(
                f"{where}: --only {name}: no {' or '.join(known)} here is called so; {hint}"
            )
        found.setdefault(kinds, set()).add(name)
    return Selection(found)
