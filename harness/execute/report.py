"""Progress for people: rich bars on a terminal, one plain line a stage elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any, Protocol, TextIO

from harness.plan import Fit, Plan, Run
from harness.printable import framework_aside, printable


class Reporter(Protocol):
    """What an executor tells as it works."""

    def begin(self, plan: Plan, todo: list[Fit]) -> None: ...
    def note(self, text: str) -> None: ...
    def download(self, stage: str, done: float, total: float, name: str) -> None: ...
    def stage(self, stage: str, fit: Fit, run: Run | None = None) -> None: ...
    def progress(self, stage: str, done: float, total: float, note: str) -> None: ...
    def stage_done(
        self, stage: str, fit: Fit, seconds: float, facts: dict[str, Any], run: Run | None = None
    ) -> None: ...
    def failed(self, stage: str, fit: Fit, run: Run | None, status: str, reason: str) -> None: ...
    def close(self) -> None: ...


def label(fit: Fit, run: Run | None = None) -> str:
    spec = fit.spec
    size = next((run.row["train_budget"] for run in fit.runs if "train_budget" in run.row), None)
    task = fit.task.id if size is None else f"{size:,} examples of {fit.task.id}"
    recipe = spec["recipe"] + framework_aside(spec["framework"])
    text = f"{fit.model.id} {recipe} on {task}, seed {spec['seed']}"
    return f"{text} in {run.row['runtime']}" if run else text


def outcome_text(stage: str, seconds: float, facts: dict[str, Any]) -> str:
    """The few figures of a finished stage that tell whether things go well."""
    if stage == "fit":
        if facts.get("from_cache"):
            return "taken from the cache"
        rate = facts.get("examples_per_second")
        speed = "" if rate is None else f", {rate:.0f} examples/s"
        return f"{seconds:.1f} s, validation {facts['validation_score']:.3f}{speed}"
    if stage == "score":
        return f"{seconds:.1f} s, score {facts['score']:.3f}"
    if stage == "time":
        p50, rate = facts.get("latency_p50_ms"), facts.get("throughput_per_s")
        return f"{seconds:.1f} s, p50 {p50 or 0:.2f} ms, {rate or 0:.0f} examples/s"
    return f"{seconds:.1f} s"


class PlainReporter:
    """One line a stage, for logs and pipes."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.start = time.monotonic()
        self._downloads: set[str] = set()

    def _line(self, text: str) -> None:
        elapsed = time.monotonic() - self.start
        # one write: lines of fits that are worked at a time must not run into each other
        self.stream.write(f"[{elapsed:6.1f} s] {printable(text)}\n")
        self.stream.flush()

    def begin(self, plan: Plan, todo: list[Fit]) -> None:
        runs = sum(len(fit.runs) for fit in plan.fits)
        self._line(
            f"suite {plan.loaded.suite.suite}: {len(plan.fits)} fits and {runs} runs, "
            f"{len(todo)} fits with work left"
        )

    def note(self, text: str) -> None:
        self._line(text)

    def download(self, stage: str, done: float, total: float, name: str) -> None:
        if name not in self._downloads:
            self._downloads.add(name)
            self._line(f"download {name}")

    def stage(self, stage: str, fit: Fit, run: Run | None = None) -> None:
        pass

    def progress(self, stage: str, done: float, total: float, note: str) -> None:
        pass

    def stage_done(
        self, stage: str, fit: Fit, seconds: float, facts: dict[str, Any], run: Run | None = None
    ) -> None:
        self._line(f"{stage:5} {label(fit, run)}: {outcome_text(stage, seconds, facts)}")

    def failed(self, stage: str, fit: Fit, run: Run | None, status: str, reason: str) -> None:
        self._line(f"{stage:5} {label(fit, run)}: {status}: {reason}")

    def close(self) -> None:
        pass


class RichReporter:
    """Bars for the suite, the stage at hand and downloads; finished stages scroll by above."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )

        self.console = Console(stderr=True)
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            console=self.console,
        )
        self.bars.start()
        self._suite: Any = None
        self._stages: dict[int, Any] = {}  # the bar of each thread that works a stage
        self._downloads: dict[str, Any] = {}

    def begin(self, plan: Plan, todo: list[Fit]) -> None:
        for bar in self._downloads.values():
            self.bars.remove_task(bar)
        self._downloads = {}
        steps = sum(1 + len(fit.runs) for fit in todo)
        if steps:
            self._suite = self.bars.add_task(f"suite {plan.loaded.suite.suite}", total=steps)

    def note(self, text: str) -> None:
        self.bars.console.print(printable(text), markup=False, highlight=False)

    def download(self, stage: str, done: float, total: float, name: str) -> None:
        if name not in self._downloads:
            self._downloads[name] = self.bars.add_task(
                printable(f"download {name}"), total=total or None
            )
        self.bars.update(self._downloads[name], completed=done, total=total or None)

    def stage(self, stage: str, fit: Fit, run: Run | None = None) -> None:
        self._drop_stage()
        bar = self.bars.add_task(f"{stage} {label(fit, run)}", total=None)
        self._stages[threading.get_ident()] = bar

    def progress(self, stage: str, done: float, total: float, note: str) -> None:
        bar = self._stages.get(threading.get_ident())
        if bar is not None:
            self.bars.update(bar, completed=done, total=total or None)

    def stage_done(
        self, stage: str, fit: Fit, seconds: float, facts: dict[str, Any], run: Run | None = None
    ) -> None:
        self._drop_stage()
        self.note(f"{stage:5} {label(fit, run)}: {outcome_text(stage, seconds, facts)}")
        if self._suite is not None and stage in ("fit", "score"):
            self.bars.advance(self._suite)

    def failed(self, stage: str, fit: Fit, run: Run | None, status: str, reason: str) -> None:
        self._drop_stage()
        self.note(f"{stage:5} {label(fit, run)}: {status}: {reason}")

    def _drop_stage(self) -> None:
        bar = self._stages.pop(threading.get_ident(), None)
        if bar is not None:
            self.bars.remove_task(bar)

    def close(self) -> None:
        self.bars.stop()


def make_reporter() -> Reporter:
    """Bars where a person watches, lines elsewhere."""
    return RichReporter() if sys.stderr.isatty() else PlainReporter()
