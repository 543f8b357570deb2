"""Records as pytest-benchmark's JSON and back, and as github-action-benchmark reads them.

pytest-benchmark's files hold samples in seconds; one file is one process launch, so a comparison
by the rule needs a folder of several.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.compare.finding import Finding, Report
from harness.compare.judge import row_name
from harness.compare.rule import decide
from harness.compare.sides import Side
from harness.compare.speed import SESSION_SD, judge
from harness.errors import RequestError
from harness.stats.discoveries import benjamini_hochberg


def to_pytest_benchmark(side: Side) -> dict[str, Any]:
    """Latency samples of every row (all its launches) in the layout of pytest-benchmark 5."""
    benchmarks = []
    machine: dict[str, Any] = {}
    for row in side.rows.values():
        samples = [
            float(ms) / 1e3 for launch in row.launches for ms in launch.timing.get("latency_ms", ())
        ]
        if not samples:
            continue
        host = row.launches[0].host
        machine = machine or {
            "node": row.launches[0].host_id, "machine": host.get("architecture", ""),
            "processor": host.get("cpu", ""), "system": host.get("os", ""),
            "python_version": host.get("python", ""),
            "cpu": {"brand_raw": host.get("cpu", ""), "count": host.get("cores")},
        }  # fmt: skip
        benchmarks.append(
            {
                "group": row.flat["task"], "name": row_name(row), "fullname": row.row_id,
                "params": None, "param": None,
                "extra_info": {"row_id": row.row_id, "launches": len(row.launches)},
                "options": {"disable_gc": True, "timer": "perf_counter", "min_rounds": 1,
                            "max_time": 1.0, "min_time": 0.0, "warmup": True},
                "stats": {**_stats(np.array(samples)), "data": samples},
            }
        )  # fmt: skip
    now = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
    commit = next((x.host.get("git_commit") for r in side.rows.values() for x in r.launches), None)
    return {
        "machine_info": machine, "datetime": now, "version": "5.1.0", "benchmarks": benchmarks,
        "commit_info": {"id": commit or "unversioned", "time": now, "author_time": now,
                        "dirty": False, "project": "harness", "branch": "(unknown)"},
    }  # fmt: skip


def to_smaller_is_better(side: Side) -> list[dict[str, Any]]:
    """For github-action-benchmark's ``customSmallerIsBetter``: latency, memory, error."""
    found: list[dict[str, Any]] = []
    for row in side.rows.values():
        for metric, unit in (("latency_p50_ms", "ms"), ("peak_memory_mb", "MB"), ("size_mb", "MB")):
            if row.flat.get(metric) is not None:
                entry = {"name": f"{row_name(row)}: {metric}", "unit": unit}
                found.append(entry | {"value": row.flat[metric]})
        if row.flat.get("score") is not None:
            entry = {"name": f"{row_name(row)}: 1 - {row.flat['score_name']}", "unit": "share"}
            found.append(entry | {"value": 1 - row.flat["score"]})
    return found


def read_pytest_benchmark(path: Path) -> tuple[str, dict[str, list[float]]]:
    """(host, benchmark to its medians in seconds, one a file) of a file or a folder of files.

    Raises `RequestError` where there are none, or files of several hosts.
    """
    files = sorted(path.glob("**/*.json")) if path.is_dir() else [path]
    medians: dict[str, list[float]] = {}
    hosts = set()
    for file in files:
        try:
            data = json.loads(file.read_text())
            for entry in data["benchmarks"]:
                medians.setdefault(entry["fullname"], []).append(float(entry["stats"]["median"]))
            hosts.add(_host(data.get("machine_info") or {}))
        except (OSError, ValueError, KeyError, TypeError):
            raise RequestError(
                f"{file}: not a file of pytest-benchmark (--benchmark-json)"
            ) from None
    if not medians or len(hosts) != 1:
        raise RequestError(
            f"{path}: {len(files)} files of pytest-benchmark from {len(hosts)} hosts"
        )
    return hosts.pop(), medians


def _host(machine: Mapping[str, Any]) -> str:
    cpu = machine.get("cpu") or {}
    return f"{cpu.get('brand_raw') or machine.get('processor')} x {cpu.get('count')}"


def compare_benchmarks(
    base: Path, head: Path, margin: float, session_sd: float = SESSION_SD
) -> Report:
    """Two folders of pytest-benchmark's files by the same rule as records; files are launches."""
    host_a, a = read_pytest_benchmark(base)
    host_b, b = read_pytest_benchmark(head)
    names = [name for name in a if name in b]
    if not names:
        raise RequestError(f"{base} and {head} share no benchmark")
    if host_a != host_b:
        raise RequestError(
            f"different hosts ({host_a} and {host_b}) are never compared in time; make the "
            "baseline anew on this one"
        )
    judged = [
        judge(
            _halves(a[n], b[n], 0),
            _halves(a[n], b[n], 1),
            1,
            np.log1p(margin),
            True,
            False,
            session_sd,
        )
        for n in names
    ]
    known = [x.change.p_value if x.change.known else 1.0 for x in judged]
    findings = []
    for name, x, q in zip(names, judged, benjamini_hochberg(known), strict=True):
        decision = decide(
            x.change, float(np.log1p(margin)), q=q, agreed=x.agreed, agreed_better=x.agreed_better
        )
        shown = [float(np.expm1(v)) for v in (x.change.value, x.change.low, x.change.high)]
        findings.append(
            Finding(
                row_id=name, row=name, task="", kind="speed", metric="median_s",
                verdict=decision.verdict, base=float(np.median(a[name])),
                head=float(np.median(b[name])), change=shown[0],
                low=shown[1] if x.change.known else None,
                high=shown[2] if x.change.known else None, margin=margin, q_value=q,
                basis=f"{x.whole.count} launches a side", reason=decision.reason,
                needs="more launches a side, or both sides in one session",
            )
        )  # fmt: skip
    return Report(str(base), str(head), tuple(findings), comparisons=len(names))


def _halves(a: Sequence[float], b: Sequence[float], part: int) -> tuple[np.ndarray, np.ndarray]:
    def half(values: Sequence[float]) -> np.ndarray:
        middle = (len(values) + 1) // 2
        return np.array(values[:middle] if part == 0 else values[middle:])

    return half(a), half(b)


def _stats(x: np.ndarray) -> dict[str, float | int | str]:
    q1, median, q3 = (float(v) for v in np.quantile(x, [0.25, 0.5, 0.75]))
    iqr, mean = q3 - q1, float(x.mean())
    stddev = float(x.std(ddof=1)) if len(x) > 1 else 0.0
    far = int((np.abs(x - mean) > stddev).sum())
    out = int(((x < q1 - 1.5 * iqr) | (x > q3 + 1.5 * iqr)).sum())
    within = x[(x >= q1 - 1.5 * iqr) & (x <= q3 + 1.5 * iqr)]
    return {
        "min": float(x.min()), "max": float(x.max()), "mean": mean, "stddev": stddev,
        "rounds": len(x), "median": median, "iqr": iqr, "q1": q1, "q3": q3,
        "iqr_outliers": out, "stddev_outliers": far, "outliers": f"{far};{out}",
        "ld15iqr": float(within.min()), "hd15iqr": float(within.max()), "ops": 1 / mean,
        "total": float(x.sum()), "iterations": 1,
    }  # fmt: skip
