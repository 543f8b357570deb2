"""MLPerf's load generator: who asks what when, and its verdict on the test.

LoadGen issues queries, keeps the time and judges whether a test counts. This file is the only one
that talks to it: a test is one call of `run_test` with a function that answers queries. Logs go to
a scratch folder; what is kept of them is parsed from the JSON lines of the detailed log.

Tests run in LoadGen's performance mode only. Its accuracy mode would ask for every answer once
more; ours are in ``predictions.parquet`` already, which scoring writes without LoadGen, in a
process of its own and before any timing.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Scenario = Literal["SingleStream", "Offline", "Server"]

#: LoadGen's words for what a test must satisfy, in the detailed log
_CONDITIONS = {
    "result_min_duration_met": "minimum duration not met",
    "result_min_queries_met": "minimum query count not met",
    "result_perf_constraints_met": "latency bound not held",
    "early_stopping_met": "too few queries for the confidence that its early stopping asks for",
}

#: keys of the detailed log that hold a percentile of the latencies in ns, by percentile
_PERCENTILE_KEY = "result_{:.2f}_percentile_latency_ns"


@dataclass(frozen=True)
class Verdict:
    """``valid`` as LoadGen judges, and why not."""

    valid: bool
    reason: str = ""

    @property
    def word(self) -> str:
        return "VALID" if self.valid else "INVALID"


@dataclass(frozen=True)
class TestResult:
    """What LoadGen says of one test."""

    verdict: Verdict
    queries: int
    details: Mapping[str, list[Any]] = field(repr=False)

    def percentile_ms(self, percentile: float) -> float | None:
        """Latency as LoadGen counts it: in Server from the *scheduled* time; ms."""
        values = self.details.get(_PERCENTILE_KEY.format(percentile))
        return values[-1] / 1e6 if values else None

    def figure(self, key: str) -> Any:
        """The last value of a key of the detailed log, or None."""
        values = self.details.get(key)
        return values[-1] if values else None


class System:
    """What is measured, as LoadGen sees it: answers the queries that `issue` is handed.

    ``answer(index)`` is called for one sample after the other, in the order of their arrival. An
    exception must not pass through LoadGen's C++ frames, which would end the process: the first is
    kept in ``error``, later queries are completed unanswered, and `run_test` raises it.
    """

    def __init__(self, answer: Callable[[int], object]) -> None:
        import mlperf_loadgen

        self.error: BaseException | None = None
        response, complete = (
            mlperf_loadgen.QuerySampleResponse,
            mlperf_loadgen.QuerySamplesComplete,
        )

        def issue(samples: Sequence[Any]) -> None:
            for sample in samples:
                try:
                    if self.error is None:
                        answer(sample.index)
                except BaseException as error:
                    self.error = error
                complete([response(sample.id, 0, 0)])

        self.issue = issue


class BatchSystem:
    """Answers all samples of a query at once: ``answer(indices)`` in the order that LoadGen gives.

    The answer to Offline's single query; errors as in `System`.
    """

    def __init__(self, answer: Callable[[list[int]], object]) -> None:
        import mlperf_loadgen

        self.error: BaseException | None = None
        response, complete = (
            mlperf_loadgen.QuerySampleResponse,
            mlperf_loadgen.QuerySamplesComplete,
        )

        def issue(samples: Sequence[Any]) -> None:
            try:
                answer([sample.index for sample in samples])
            except BaseException as error:
                self.error = error
            complete([response(sample.id, 0, 0) for sample in samples])

        self.issue = issue


def run_test(
    system: System | BatchSystem,
    samples: int,
    *,
    scenario: Scenario,
    settings: Mapping[str, Any],
) -> TestResult:
    """One LoadGen test over a library of ``samples`` inputs, indices 0 to ``samples - 1``.

    ``settings`` are fields of LoadGen's ``TestSettings``; its ``test_settings.h`` explains them.
    """
    import mlperf_loadgen

    asked = mlperf_loadgen.TestSettings()
    asked.scenario = getattr(mlperf_loadgen.TestScenario, scenario)
    asked.mode = mlperf_loadgen.TestMode.PerformanceOnly
    asked.min_duration_ms = 0  # its default of 10 s is for submissions
    for name, value in settings.items():
        setattr(asked, name, value)
    with tempfile.TemporaryDirectory(prefix="harness-loadgen-") as folder:
        log = mlperf_loadgen.LogSettings()
        log.log_output.outdir = folder
        log.log_output.copy_summary_to_stdout = False
        log.enable_trace = False
        library = mlperf_loadgen.ConstructQSL(samples, samples, _nothing, _nothing)
        under_test = mlperf_loadgen.ConstructSUT(system.issue, _flush)
        try:
            mlperf_loadgen.StartTestWithLogSettings(under_test, library, asked, log)
        finally:
            mlperf_loadgen.DestroySUT(under_test)
            mlperf_loadgen.DestroyQSL(library)
        if system.error is not None:
            raise system.error
        return read_result(Path(folder) / "mlperf_log_detail.txt")


def read_result(detail_log: Path) -> TestResult:
    """A test's outcome from its detailed log (lines of JSON behind ``:::MLLOG``)."""
    details: dict[str, list[Any]] = {}
    for line in detail_log.read_text(errors="replace").splitlines():
        marker, _, text = line.partition(" ")
        if marker == ":::MLLOG":
            entry = json.loads(text)
            details.setdefault(entry["key"], []).append(entry["value"])
    return TestResult(_verdict(details), (details.get("result_query_count") or [0])[-1], details)


def _verdict(details: Mapping[str, list[Any]]) -> Verdict:
    """As LoadGen says; a test of which it says neither VALID nor INVALID does not count."""
    reasons = [why for key, why in _CONDITIONS.items() if details.get(key, [True])[-1] is False]
    reasons += [str(text).strip() for text in details.get("result_invalid_reason", [])]
    reasons += [str(text) for text in details.get("error_runtime", [])]
    valid = (details.get("result_validity") or [""])[-1] == "VALID"
    return Verdict(valid, "" if valid else "; ".join(r for r in reasons if r) or "no reason given")


def _nothing(indices: Sequence[int]) -> None:
    """All inputs are in memory before the test."""


def _flush() -> None:
    """Queries are answered as they come; there is nothing to flush."""
