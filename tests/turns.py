"""Several tests at a time (`pytest -n`), each worker on a core of its own; a test marked ``alone``
has the machine to itself: it looks at a clock, or does the main job as a user would.

Those come last, where only others of their kind wait for them. A turnstile keeps the order:
everybody passes a gate, and who wants to be alone holds it closed until the others have left.
Without `pytest -n` nothing is to keep apart.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from harness.records.locks import locked


def pytest_configure(config: pytest.Config) -> None:
    worker = getattr(config, "workerinput", None)
    if worker is not None:
        run = Path(tempfile.gettempdir()) / f"harness-tests-{worker['testrunuid']}"
        config.pluginmanager.register(Turns(run, int(worker["workerid"].removeprefix("gw"))))


class Turns:
    """In a worker: keeps its tests to one core, and to their turn."""

    def __init__(self, run: Path, number: int) -> None:
        self._gate, self._room = run.with_suffix(".gate"), run.with_suffix(".room")
        self._cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
        self._number = number
        self._stay_on_own_core()

    def _stay_on_own_core(self) -> None:
        if self._cores:
            _stay_on({sorted(self._cores)[self._number % len(self._cores)]})

    @pytest.hookimpl(wrapper=True)  # of the tests that were not deselected
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> Generator[None]:
        """Files by their share of tests that want to be alone; `--dist loadfile` keeps that."""
        result = yield
        marks: dict[Path, list[bool]] = {}
        for item in items:
            marks.setdefault(item.path, []).append(item.get_closest_marker("alone") is not None)
        share = {path: sum(of_file) / len(of_file) for path, of_file in marks.items()}
        items.sort(key=lambda item: share[item.path])
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        with self._alone() if item.get_closest_marker("alone") else self._beside_others():
            return (yield)

    @contextmanager
    def _beside_others(self) -> Iterator[None]:
        with ExitStack() as stack:
            with locked(self._gate):
                stack.enter_context(locked(self._room, shared=True))
            yield

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with locked(self._gate), locked(self._room):
            if self._cores:
                _stay_on(self._cores)
            try:
                yield
            finally:
                self._stay_on_own_core()


def _stay_on(cores: set[int]) -> None:
    with suppress(OSError):  # not everywhere allowed; the tests then share the cores
        os.sched_setaffinity(0, cores)
