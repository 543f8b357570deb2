"""The part of ``harness doctor`` on measuring: what this host shows, and what disturbs it now."""

from __future__ import annotations

from typing import Any

#: processes that are named; more make no reader wiser
_NAMED = 5


def measuring() -> dict[str, Any]:
    """What the host lets be measured, and a live look of 1.5 s: ``can``, ``now``."""
    from dataclasses import asdict

    from harness.measure.abilities import abilities, look

    return {"can": [asdict(ability) for ability in abilities()], "now": look()}


def lines(facts: dict[str, Any]) -> list[str]:
    """`measuring` as text."""
    wide = max(len(entry["name"]) for entry in facts["can"])
    found = ["What can be measured here:"]
    for entry in facts["can"]:
        answer = "yes" if entry["available"] else "no"
        detail = f": {entry['detail']}" if entry["detail"] else ""
        found.append(f"  {entry['name']:{wide}}  {answer}{detail}")
    return [*found, "What disturbs it right now:", *(f"  {line}" for line in _now(facts["now"]))]


def _now(now: dict[str, Any]) -> list[str]:
    """The live look, its verdict first."""
    if now["why"]:
        reasons = ", ".join(now["why"])
        part = "the whole" if now["disturbed_share"] == 1 else f"{now['disturbed_share']:.0%}"
        found = [f"{reasons}, {part} of the time: timings taken now would be marked as disturbed"]
    else:
        found = ["nothing that shows: a good moment to measure"]
    figures = [
        _figure(now["others_busy_cores"], "other processes keep {:.2f} cores busy"),
        _figure(now["steal_share"], "{:.1%} of the time goes to other guests"),
        _figure(now["load"], "load {:.1f}"),
    ]
    found.append("; ".join(figure for figure in figures if figure))
    speed = now["reference"]
    found.append(
        f"reference speed {speed['median'] / 1e9:.0f} GFLOP/s (NumPy, float32, one thread), "
        f"{'steady' if speed['steady'] else 'unsteady'}: {speed['spread']:.0%} between the "
        "slowest look and the fastest"
    )
    for process in now["busiest"][:_NAMED]:
        name = "".join(c if c.isprintable() else "?" for c in str(process["name"]))
        found.append(f"busy: {name} (process {process['pid']}), {process['cores']:.2f} cores")
    return [line for line in found if line]


def _figure(value: float | None, text: str) -> str:
    return "" if value is None else text.format(value)
