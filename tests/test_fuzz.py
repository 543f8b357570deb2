"""A few hundred generated files of the ten thousand that `make chaos` makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests import fuzz
from tests.test_hostile import TRAIN

COMMON: dict[str, Any] = {
    "deadline": None,
    "derandomize": True,  # the same files each time: a failure is of the change at hand
    "database": None,
    "suppress_health_check": list(HealthCheck),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fuzz")
    for name in ("train.csv", "test.csv"):
        (path / name).write_text(TRAIN)
    return path


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources are asked for, so nothing must answer."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("harness.specifications.resolve", lambda source, cache: source)


@settings(max_examples=250, **COMMON)
@given(text=fuzz.suites())
def test_any_suite_file_is_planned_or_refused_in_words(folder: Path, text: str) -> None:
    fuzz.check_suite(text, folder)


@settings(max_examples=400, **COMMON)
@given(case=fuzz.data_files())
def test_any_data_file_is_read_or_refused_in_words(folder: Path, case: Any) -> None:
    fuzz.check_data(*case, folder)
