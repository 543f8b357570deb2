"""Tagging schemes of entity spans: which one a file uses, and all of them as IOB2.

A scheme is a small table: its prefixes, and which prefix needs a neighbour of the same type.

=========  ==================================================================================
IOB1       I- inside; B- only to part two adjacent entities of one type (Ramshaw, Marcus 1995)
IOB2       every entity begins with B- (also called BIO)
IOE1       I- inside; E- only to part two adjacent entities of one type
IOE2       every entity ends with E-
BIOES      B- I- E-, and S- for one word (also IOBES)
BILOU      B- I- L-, and U- for one word
conlleval  I- and B- as the CoNLL script ``conlleval`` reads them: an I- that continues nothing
           begins an entity. Never detected, only asked for: it forgives every mistake
=========  ==================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from harness.errors import RequestError

Span = tuple[int, int, str]  # first word, word after the last, entity type


@dataclass(frozen=True)
class Scheme:
    """``before[p]``: a tag with prefix p needs, right before it, its own type with one of these
    prefixes; ``after[p]``: the same, right after it."""

    prefixes: str
    before: dict[str, str] = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)


SCHEMES = {
    "IOB1": Scheme("IB", before={"B": "IB"}),
    "IOB2": Scheme("IB", before={"I": "IB"}),
    "IOE1": Scheme("IE", after={"E": "IE"}),
    "IOE2": Scheme("IE", after={"I": "IE"}),
    "BIOES": Scheme("BIES", {"I": "BI", "E": "BI"}, {"B": "IE", "I": "IE"}),
    "BILOU": Scheme("BILU", {"I": "BI", "L": "BI"}, {"B": "IL", "I": "IL"}),
    "conlleval": Scheme("IB"),
}
_ALIASES = {"BIO": "IOB2", "IOBES": "BIOES", "CONLLEVAL": "conlleval"}


def rows_to_iob2(
    rows: Sequence[Sequence[str]], where: Callable[[int], str], scheme: str | None = None
) -> list[list[str]]:
    """All sentences of a file in IOB2.

    ``where(row)`` names a sentence's place in messages. Without ``scheme`` the whole file decides.
    `RequestError` names the first tag that breaks the scheme.
    """
    for row, tags in enumerate(rows):
        for position, tag in enumerate(tags):
            prefix, kind = _parts(tag)
            # Sequences of tags are stored as words parted by spaces.
            if prefix not in "OBIESLU" or (prefix != "O" and not kind) or len(tag.split()) != 1:
                raise RequestError(
                    f"{where(row)}: word {position + 1} has the tag {tag!r}; "
                    "expected O, or a prefix and a type such as B-PER"
                )
    name = _named(scheme) if scheme else detect_scheme(rows, where)
    problem = _first_violation(rows, name)
    if problem:
        row, text = problem
        raise RequestError(f"{where(row)}: {text}, which {name} does not allow")
    return [to_iob2(tags) for tags in rows]


def detect_scheme(rows: Sequence[Sequence[str]], where: Callable[[int], str]) -> str:
    """The scheme that all rows obey; where several do (no entity tells them apart), they mean
    the same spans. `RequestError` if none does."""
    prefixes = {_parts(tag)[0] for tags in rows for tag in tags} - {"O"}
    if prefixes <= set("BI"):
        candidates = ["IOB2", "IOB1"]
    elif prefixes & set("LU"):
        candidates = ["BILOU"]
    elif prefixes <= set("IE"):
        candidates = ["IOE2", "IOE1"]
    else:
        candidates = ["BIOES"]
    complaints = []
    for name in candidates:
        problem = _first_violation(rows, name)
        if problem is None:
            return name
        complaints.append(f"not {name} ({where(problem[0])}: {problem[1]})")
    remedy = (
        "correct the file, or set the task's option `scheme: conlleval` to read it as the CoNLL "
        "script does"
        if "IOB2" in candidates
        else "correct the file, or name its `scheme` in the task's options"
    )
    raise RequestError(f"the tags follow no known scheme: {', '.join(complaints)}; {remedy}")


def to_iob2(tags: Sequence[str]) -> list[str]:
    """One sentence in IOB2, from tags that are valid in any of `SCHEMES`.

    An entity begins at a tag that says so (B, S, U), where the type changes, and after a tag
    that ends one (E, L, S, U).
    """
    result = []
    before = ("O", "")
    for tag in tags:
        prefix, kind = _parts(tag)
        if prefix == "O":
            result.append("O")
        else:
            begins = prefix in "BSU" or kind != before[1] or before[0] in "ELSU"
            result.append(("B-" if begins else "I-") + kind)
        before = (prefix, kind)
    return result


def entities(tags: Sequence[str]) -> set[Span]:
    """Entities of one sentence in strict IOB2: only B- begins one, only I- of its type goes on.

    An I- that continues nothing belongs to no entity, as in seqeval's strict mode.
    """
    spans: set[Span] = set()
    start, open_kind = 0, ""
    for position, tag in enumerate([*tags, "O"]):
        prefix, kind = _parts(tag)
        if open_kind and not (prefix == "I" and kind == open_kind):
            spans.add((start, position, open_kind))
            open_kind = ""
        if prefix == "B":
            start, open_kind = position, kind
    return spans


def _parts(tag: str) -> tuple[str, str]:
    """("B", "PER") of "B-PER"; ("O", "") of "O"; the whole as prefix where it is no tag."""
    if tag == "O":
        return "O", ""
    prefix, dash, kind = tag.partition("-")
    return (prefix, kind) if dash and len(prefix) == 1 and prefix != "O" else ("?", "")


def _named(scheme: str) -> str:
    name = _ALIASES.get(str(scheme).upper(), str(scheme).upper())
    if name not in SCHEMES:
        raise RequestError(f"unknown tagging scheme {scheme!r}; known: {', '.join(SCHEMES)}")
    return name


def _first_violation(rows: Sequence[Sequence[str]], name: str) -> tuple[int, str] | None:
    """The first row with a tag that the scheme forbids, and what is wrong there."""
    scheme = SCHEMES[name]
    for row, tags in enumerate(rows):
        parts = [("O", ""), *map(_parts, tags), ("O", "")]
        for position, tag in enumerate(tags, start=1):
            prefix, kind = parts[position]
            if prefix == "O":
                continue
            if prefix not in scheme.prefixes:
                return row, f"word {position} has the tag {tag!r}"
            for rule, step, word in ((scheme.before, -1, "after"), (scheme.after, 1, "before")):
                other, other_kind = parts[position + step]
                if prefix in rule and (other not in rule[prefix] or other_kind != kind):
                    neighbour = "O" if other == "O" else f"{other}-{other_kind}"
                    return row, f"word {position} has the tag {tag!r} {word} {neighbour!r}"
    return None
