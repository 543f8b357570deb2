"""Several tests at a time (`pytest -n`), each worker on a core of its own, or two on one: tests
wait more than they compute. A test marked ``alone`` has the machine to itself: it looks at a clock.

A turnstile keeps the order: everybody passes a gate, and who wants to be alone holds it closed
until the others have left. Meanwhile all wait, so files of nothing else come last, where nobody is
left to wait for, and files with some of them first. Without `pytest -n` nothing is to keep apart.
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
        """`--dist loadfile --no-loadscope-reorder` keeps this order of files."""
        result = yield
        marks: dict[Path, set[bool]] = {}
        for item in items:
            marks.setdefault(item.path, set()).add(_is(item, "alone"))
        turn = {frozenset({True, False}): 0, frozenset({False}): 1, frozenset({True}): 2}
        items.sort(key=lambda item: turn[frozenset(marks[item.path])])
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        with self._alone() if _is(item, "alone") else self._beside_others():
            if _is(item, "all_cores") or _is(item, "alone"):
                _stay_on(self._cores)
            try:
                return (yield)
            finally:
                self._stay_on_own_core()

    @contextmanager
    def _beside_others(self) -> Iterator[None]:
        with ExitStack() as stack:
            with locked(self._gate):
                stack.enter_context(locked(self._room, shared=True))
            yield

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with locked(self._gate), locked(self._room):
            yield


def _is(item: pytest.Item, mark: str) -> bool:
    return item.get_closest_marker(mark) is not None


def _stay_on(cores: set[int]) -> None:
    with suppress(
        OSError, AttributeError
    ):  # not everywhere allowed, or known: they are shared then
        os.sched_setaffinity(0, cores)
