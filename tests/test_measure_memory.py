"""Memory of processes seen from outside: recorded trees, and children that allocate."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.measure.memory_watch import (
    Footprint,
    Peaks,
    descendants,
    footprint,
    memory_facts,
    watched,
)
from tests.recorded_host import write

needs_pss = pytest.mark.skipif(footprint().pss_mb is None, reason="no smaps_rollup here")


def recorded(root: Path) -> Path:
    """Process 7 with the child 8, which has the child 9; 9 shows its resident set alone."""
    return write(
        root,
        {
            "proc/7/task/7/children": "8 \n",
            "proc/7/smaps_rollup": "0-1 ---p 0 [rollup]\nRss:  1000 kB\nPss:  500 kB\n",
            "proc/8/task/8/children": "",
            "proc/8/task/10/children": "9 ",
            "proc/8/smaps_rollup": "0-1 ---p 0 [rollup]\nRss:  2000 kB\nPss: 1500 kB\n",
            "proc/9/status": "Name: x\nVmRSS:\t  300 kB\n",
        },
    )


def test_children_and_their_children_are_counted(tmp_path: Path) -> None:
    assert sorted(descendants(7, recorded(tmp_path))) == [8, 9]
    found = footprint(7, tmp_path)
    assert found.rss_mb == pytest.approx(3300 * 1024 / 1e6)
    assert found.pss_mb == pytest.approx(2000 * 1024 / 1e6)


def test_a_process_that_is_gone_has_no_footprint(tmp_path: Path) -> None:
    assert footprint(7, tmp_path) == Footprint(None, None)


#: holds some MB for a moment, here or in a child, and prints the peak that was seen
HOLD = """
import subprocess, sys, time
from harness.measure.memory_watch import watched

where, mb = sys.argv[1], int(sys.argv[2])
code = f"import time; held = bytearray(b'x') * {mb * 10**6}; time.sleep(0.3)"
with watched(0.005) as peaks:
    if where == "here":
        exec(code, {})
    else:
        subprocess.run([sys.executable, "-c", code], check=True)
print(peaks().samples, peaks().pss_mb)
"""


@needs_pss
@pytest.mark.parametrize("where", ["here", "in a child"])
def test_the_peak_is_seen_wherever_in_the_process_it_is(where: str) -> None:
    """Of memory that is held for a moment and given back.

    In processes that load no framework: of its libraries' pages some 30 MB go to or come from
    whoever else begins or ends to use them.
    """
    found = []
    for mb in (1, 201):
        command = [sys.executable, "-c", HOLD, where, str(mb)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        samples, pss_mb = done.stdout.split()
        assert int(samples) >= 3
        found.append(float(pss_mb))
    small, large = found
    # of the interpreter's own pages up to 12 MB are shared, with more processes now, or fewer
    assert large - small == pytest.approx(200, abs=20)


@needs_pss
def test_who_looks_is_not_counted() -> None:
    before = footprint()
    with watched(0.005) as peaks:
        time.sleep(0.3)
    assert before.pss_mb is not None and peaks().pss_mb is not None
    # a Python process has 8 or more; less, where another one has begun to share our libraries
    assert peaks().pss_mb < before.pss_mb + 3


def test_an_error_in_the_block_is_the_blocks_own() -> None:
    with pytest.raises(ZeroDivisionError), watched():
        1 / 0  # noqa: B018


def test_the_figure_is_the_proportional_peak_over_idle() -> None:
    facts = memory_facts(Footprint(60.0, 40.0), Peaks(500.0, 450.0, 90, 0.02), 505.0)
    assert facts["peak_memory_mb"] == 410.0
    assert facts["peak_memory_basis"].startswith("peak proportional set")
    assert "over its 40 MB when idle" in facts["peak_memory_basis"]
    assert facts["memory"]["high_water_rss_mb"] == 505.0


def test_without_pss_the_resident_set_stands_in_and_says_so() -> None:
    facts = memory_facts(Footprint(60.0, None), Peaks(500.0, None, 90, 0.02), 505.0)
    assert facts["peak_memory_mb"] == 445.0
    assert facts["peak_memory_basis"].startswith("peak resident set")


def test_what_nobody_could_see_is_null_with_a_reason() -> None:
    facts = memory_facts(Footprint(None, None), Peaks(None, None, 0, 0.02))
    assert facts["peak_memory_mb"] is None
    assert "readable" in facts["peak_memory_mb_reason"]
