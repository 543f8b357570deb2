"""The harness's own speed: `make regress` runs this file in several launches and compares them.

Under pytest-benchmark; a launch is one file of its JSON. Seconds each, no framework is loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.records import write_results

pytestmark = pytest.mark.benchmark_speed


def test_plan(benchmark: Any) -> None:
    from harness.plan import Machine, Options, make_plan
    from harness.suite import load_suite

    loaded = load_suite("nlp")
    benchmark(make_plan, loaded, Options(), {}, Machine("host", False, 2))


def test_statistics(benchmark: Any) -> None:
    from harness.stats.paired import paired_difference

    rng = np.random.default_rng(0)
    a, b = (rng.random((3, 2000)) < 0.9) * 1.0, (rng.random((3, 2000)) < 0.9) * 1.0
    benchmark(paired_difference, a, np.ones_like(a), b, np.ones_like(b), np.arange(2000))


def test_board(benchmark: Any, tmp_path: Path) -> None:
    from harness.boards.board import build
    from harness.boards.definition import load_definition

    results = write_results(tmp_path, size=300)
    definition = load_definition("default")
    benchmark(lambda: build(results, definition))


def test_compare(benchmark: Any, tmp_path: Path) -> None:
    from harness.compare.judge import compare
    from harness.compare.sides import read_side

    side = read_side("side", write_results(tmp_path, size=300, trouble=False))
    benchmark(compare, side, side)
