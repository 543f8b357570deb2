"""Text from outside, made fit for a terminal; names that read the same everywhere.

A terminal obeys what it is shown: escape sequences in a label or in an error message move the
cursor, rename the window, or put words on the command line; direction marks show a name backwards.
"""

from __future__ import annotations

import unicodedata

from harness.records.secrets import redacted

_KEPT = "\n\t"
#: control characters, and the invisible ones that change how others are read
_CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")


def framework_aside(framework: str, form: str = " ({})") -> str:
    """`` (tensorflow)`` behind a recipe; nothing for what one assumes of a network or baseline."""
    return "" if framework in ("torch", "sklearn") else form.format(framework)


def printable(text: object) -> str:
    """``text`` with whatever a terminal would obey written as ``\\x1b``, and without secrets."""
    plain = redacted(str(text))
    if plain.isprintable():
        return plain
    return "".join(
        char
        if char in _KEPT or unicodedata.category(char) not in _CATEGORIES
        else char.encode("unicode_escape").decode("ascii")
        for char in plain
    )
