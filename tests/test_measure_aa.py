"""The same thing measured twice: intervals over launches must overlap, as both are right.

The short form uses few launches of a baseline; `make chaos` repeats pairs for the promised share.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from harness.execute.launches import abba, interleaved, launch, specification
from harness.stats.launches import LaunchInterval, launch_interval
from harness.suite import Timing
from tests.test_measure_launch import majority

#: pairs of the long form, and launches an arm: about 2 s a launch on a quiet machine
PAIRS = int(os.environ.get("AA_PAIRS", "50"))
LAUNCHES = int(os.environ.get("AA_LAUNCHES", "3"))


def arms(folder: Path, launches: int) -> tuple[LaunchInterval, LaunchInterval, list[Any]]:
    """Intervals of the p50 of two equal arms whose launches take turns, and all timings."""
    timing = Timing(max_samples=200, max_seconds=1.0, batch_sizes=(1,), sweep_seconds=0.05)
    spec = specification(
        runtime="noop", artifact=folder / "artifact", exports=folder, inputs=folder / "inputs.npz",
        device="cpu", threads=1, timing=timing, seed=1, scenarios=["single-stream"],
    )  # fmt: skip
    numbers = iter(range(10_000))

    def one() -> dict[str, Any]:
        place = folder / f"launch-{next(numbers)}"
        return launch(spec, folder / "spec.json", place, folder / "log")

    a, b = interleaved(one, one, launches)
    found = [launch_interval([t["loadgen_p50_ms"] for t in arm]) for arm in (a, b)]
    assert found[0] is not None and found[1] is not None
    return found[0], found[1], [*a, *b]


def overlap(a: LaunchInterval, b: LaunchInterval) -> bool:
    assert a.low is not None and a.high is not None and b.low is not None and b.high is not None
    return a.low <= b.high and b.low <= a.high


def test_arms_take_turns_and_each_goes_first_as_often():
    assert abba(4) == "ABBAABBA"
    assert abba(3).count("A") == abba(3).count("B") == 3
    a, b = interleaved(lambda: "a", lambda: "b", 6)
    assert (a, b) == (["a"] * 6, ["b"] * 6)


def test_two_arms_of_the_same_thing_overlap(tmp_path):
    majority(tmp_path)
    a, b, timings = arms(tmp_path, 2)
    assert (a.launches, b.launches) == (2, 2)
    assert overlap(a, b)
    assert all(t["first_answer_seconds"] > t["load_seconds"] for t in timings)
    assert all(t["asked"]["threads"] == t["observed"]["threads"] == 1 for t in timings)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_most_pairs_of_the_same_thing_overlap(tmp_path, capsys):
    """50 pairs of three launches; about ten minutes. Prints the intervals' width too: on a noisy
    host they are wide, and overlap then proves little."""
    majority(tmp_path)
    pairs = [arms(tmp_path, LAUNCHES)[:2] for _ in range(PAIRS)]
    widths = sorted(arm.relative_width or 0.0 for pair in pairs for arm in pair)
    share, width = sum(overlap(a, b) for a, b in pairs) / len(pairs), widths[len(widths) // 2]
    with capsys.disabled():
        print(f"\n{share:.0%} of {PAIRS} pairs overlap; median width {width:.1%}")
    assert share >= 0.93
