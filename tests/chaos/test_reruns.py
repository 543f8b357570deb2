"""`harness compare --rerun` of a thing with itself, at length: how often does it raise an alarm?"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest
from scipy.stats import binom

from tests.test_compare_rerun import call, make_project

#: kinds of what a launch measures
MEASURED = ("speed", "memory", "energy")
#: comparisons of a thing with itself (AA_RERUNS)
RERUNS = int(os.environ.get("AA_RERUNS", "30"))


@pytest.mark.chaos
@pytest.mark.timeout(3 * 3600)
def test_thirty_real_reruns_of_equal_things_raise_no_alarm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """About an hour on a busy machine: 30 comparisons of main with itself at the default.

    All that launches measure counts. Ninety verdicts cannot show 1%: a count that a true 1% would
    exceed in 5 of 100 such tests at most still passes. The rate itself is that of `--power`.
    """
    project = make_project(tmp_path / "project")
    verdicts: Counter[str] = Counter()
    for _ in range(RERUNS):
        answer = call(project, "compare", "main", "main", "--rerun", "--json")
        assert answer.status in (0, 3), answer.err
        found = [f for f in json.loads(answer.out)["findings"] if f["kind"] in MEASURED]
        assert {f["metric"] for f in found} >= {"latency_p50_ms", "throughput_per_s"}
        verdicts.update(f["verdict"] for f in found)
    total = verdicts.total()
    with capsys.disabled():
        shares = ", ".join(f"{name} {count / total:.1%}" for name, count in verdicts.most_common())
        print(f"\n{RERUNS} re-runs, {total} comparisons of equal things: {shares}")
    assert verdicts["regression"] <= binom.ppf(0.95, total, 0.01)
