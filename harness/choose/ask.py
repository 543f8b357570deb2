"""The question asked by prompts, where no flags were given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.choose.question import ALIASES, BOUNDS, CRITERIA, task_named, weights_from
from harness.errors import RequestError

if TYPE_CHECKING:
    from rich.console import Console


def ask(
    console: Console, types: list[str], data_sets: list[str], devices: list[str]
) -> dict[str, Any]:
    """Answers as `Question` takes them; an empty one sets no bound. End of input is a refusal."""
    from rich.prompt import Prompt

    def prompt(text: str, check: Any) -> Any:
        while True:
            try:
                given = Prompt.ask(text, console=console, default="", show_default=False).strip()
            except EOFError:
                raise RequestError(
                    "harness choose asks when it has no flags, and there is no one to answer; "
                    "give --task, for example --task text-classification"
                ) from None
            try:
                return check(given)
            except RequestError as error:
                console.print(str(error), style="yellow", markup=False, highlight=False)

    console.print(f"Evidence on: {', '.join(types)} (data sets: {', '.join(data_sets)})",
                  markup=False, highlight=False)  # fmt: skip
    short = ", ".join(sorted(ALIASES))
    answers: dict[str, Any] = {
        "task": prompt(
            f"Which task? (a type, a short name such as {short.split(', ')[3]}, or a data set)",
            lambda text: task_named(text, types, data_sets),
        ),
        "examples": prompt(
            "How many labelled training examples do you have? (empty: unknown)", _count
        ),
        "device": prompt(
            f"On which device will it run? ({', '.join(devices)}; empty: any)",
            lambda text: _among(text, devices),
        ),
    }
    for name, (criterion, _) in BOUNDS.items():
        least = CRITERIA[criterion].more
        text = f"{'Least' if least else 'Largest'} {CRITERIA[criterion].label}"
        unit = f" in {CRITERIA[criterion].unit}" if CRITERIA[criterion].unit else ", from 0 to 1"
        answers[name] = prompt(f"{text}{unit}? (empty: no bound)", _positive)
    answers["weights"] = prompt(
        f"What counts? (such as score=3,latency=1; of {', '.join(CRITERIA)}; empty: the score)",
        lambda text: weights_from(text) if text else {"score": 1.0},
    )
    return answers


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
