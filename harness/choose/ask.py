"""The question asked by prompts, where flags leave it open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from harness.choose.question import (
    ALIASES,
    BOUNDS,
    CRITERIA,
    SCORE_ALONE,
    task_named,
    weights_from,
)
from harness.errors import RequestError

if TYPE_CHECKING:
    from rich.console import Console


def ask(
    console: Console,
    types: list[str],
    data_sets: list[str],
    devices: list[str],
    given: Mapping[str, Any],
) -> dict[str, Any]:
    """Answers as `Question` takes them, to what ``given`` (by name; None: not given) leaves open;
    an empty one sets no bound. End of input is a refusal."""
    console.print(f"Evidence on: {', '.join(types)} (data sets: {', '.join(data_sets)})",
                  markup=False, highlight=False)  # fmt: skip
    short = ", ".join(sorted(ALIASES))
    prompts: dict[str, tuple[str, Callable[[str], Any]]] = {
        "task": (
            f"Which task? (a type, a short name such as {short.split(', ')[3]}, or a data set)",
            lambda text: task_named(text, types, data_sets),
        ),
        "examples": (
            "How many labelled training examples do you have? (empty: unknown)",
            _count,
        ),
        "device": (
            f"On which device will it run? ({', '.join(devices)}; empty: any)",
            lambda text: _among(text, devices),
        ),
    }
    for bound in BOUNDS.values():
        prompts[bound.name] = f"{bound.text.capitalize()}? (empty: no bound)", _positive
    prompts["weights"] = (
        f"What counts? (such as score=3,latency=1; of {', '.join(CRITERIA)}; empty: the score)",
        lambda text: weights_from(text) if text else dict(SCORE_ALONE),
    )
    return {
        name: _prompt(console, text, check)
        for name, (text, check) in prompts.items()
        if given.get(name) is None
    }


def _prompt(console: Console, text: str, check: Callable[[str], Any]) -> Any:
    """Asks again until ``check`` understands."""
    from rich.prompt import Prompt

    while True:
        try:
            typed = Prompt.ask(text, console=console, default="", show_default=False).strip()
        except EOFError:
            raise RequestError(
                "harness choose asks when it has no --task, and there is no one to answer; "
                "give --task, for example --task text-classification"
            ) from None
        try:
            return check(typed)
        except RequestError as error:
            console.print(str(error), style="yellow", markup=False, highlight=False)


def _count(text: str) -> int | None:
    if not text:
        return None
    plain = text.replace(",", "").replace("_", "")
    if not plain.isdecimal() or int(plain) < 1:
        raise RequestError(f"{text!r} is not a number of examples; a whole number from 1")
    return int(plain)


def _positive(text: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise RequestError(f"{text!r} is not a number above 0")
    return value


def _among(text: str, known: list[str]) -> str | None:
    if text and text not in known:
        raise RequestError(f"{text!r} is not among {', '.join(known)}")
    return text or None
