"""10,000 generated suites and 2,000 generated data files (some 10 minutes on one quiet core).

The seed is the day's by default, so that every run looks elsewhere; a failure names it, and
``FUZZ_SEED=N make chaos`` repeats it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings

from tests import fuzz
from tests.test_fuzz import folder, no_network  # noqa: F401  (fixtures)

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3600)]
SEED = int(os.environ.get("FUZZ_SEED", time.time() // 86_400))
COMMON: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}


@seed(SEED)
@settings(max_examples=10_000, **COMMON)
@given(text=fuzz.suites())
def test_ten_thousand_suites(folder: Path, text: str) -> None:  # noqa: F811
    fuzz.check_suite(text, folder)


@seed(SEED)
@settings(max_examples=2_000, **COMMON)
@given(case=fuzz.data_files())
def test_two_thousand_data_files(folder: Path, case: Any) -> None:  # noqa: F811
    fuzz.check_data(*case, folder)
