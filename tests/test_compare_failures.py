"""What fails on one side, what cannot be read, and what must not be compared."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.compare.baseline import remove, save
from harness.compare.finding import Finding
from harness.records.files import read_json, write_json
from tests.conftest import Harness
from tests.records import write_results
from tests.test_compare_sides import edit, launches, only, report, run_of

THREE_SEEDS = ("minilm", "topics", "torch")
ROW = "minilm fine-tune on topics in torch"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return write_results(tmp_path / "old", size=200, trouble=False)


@pytest.fixture
def new(old: Path, tmp_path: Path) -> Path:
    shutil.copytree(old.parent, tmp_path / "new")
    return tmp_path / "new" / "demo"


def fail(results: Path, *numbers: int) -> None:
    for number in numbers:
        run = run_of(results, *THREE_SEEDS)[number]
        write_json(run / "status.json", {"status": "failed", "reason": "no such kernel"})


def statuses(old: Path, new: Path, metric: str = "status") -> list[Finding]:
    return [f for f in report(old, new).findings if f.metric == metric and f.row == ROW]


def test_a_row_of_which_some_seeds_now_fail_is_a_regression(old: Path, new: Path) -> None:
    fail(new, 1, 2)
    (found,) = statuses(old, new)
    assert found.verdict == "regression" and (found.base, found.head) == ("ok", "partial 1/3")
    assert "no such kernel" in found.reason
    # what is left is compared all the same
    assert only(report(old, new), "accuracy", ROW).verdict != "not compared"


def test_seeds_that_fail_on_both_sides_block_nothing(old: Path, new: Path) -> None:
    fail(old, 1)
    fail(new, 1)
    assert not statuses(old, new) and not report(old, new).regressed
    fail(old, 0, 1, 2)
    fail(new, 0, 1, 2)
    (found,) = statuses(old, new)
    assert found.verdict == "not compared" and not report(old, new).regressed


def test_seeds_that_are_mended_are_an_improvement(old: Path, new: Path) -> None:
    fail(old, 2)
    (found,) = statuses(old, new)
    assert found.verdict == "improved" and found.reason.endswith("no such kernel")


def test_a_launch_that_crashes_on_one_side_only_is_a_finding(old: Path, new: Path) -> None:
    crash = {"status": "failed", "reason": "timing ended with exit status 1: no such kernel"}
    place = run_of(new, *THREE_SEEDS)[0] / "measurements" / "turn-3"
    write_json(place / "status.json", crash)
    (found,) = statuses(old, new, "launches")
    assert found.verdict == "regression" and "HEAD: failed: timing ended" in found.reason
    write_json(run_of(old, *THREE_SEEDS)[0] / "measurements/turn-1/status.json", crash)
    (found,) = statuses(old, new, "launches")
    assert found.verdict == "not compared"


def test_operations_are_compared_exactly_and_a_baseline_keeps_them(
    old: Path, new: Path, harness: Harness
) -> None:
    for results, flops in ((old, 1.0e9), (new, 1.2e9)):
        for fit in results.glob("fits/*"):
            write_json(fit / "facts.json", {"flops_per_example": flops})
    found = only(report(old, new), "flops", ROW)
    assert found.verdict == "regression" and found.change == pytest.approx(0.2)
    save(old.parent, "v1", None, {})
    answer = harness("compare", "v1", new.parent, "--results", old.parent)
    assert answer.status == 3 and "FLOPs" in answer.out


def test_allocations_on_a_device_are_compared_exactly(old: Path, new: Path) -> None:
    for results, allocated in ((old, 100.0), (new, 100.5)):
        for timing in run_of(results, *THREE_SEEDS)[0].glob("measurements/*/timing.json"):
            edit(timing, device_allocated_mb=allocated)
    found = only(report(old, new), "peak_allocations", ROW)
    assert found.verdict == "changed" and found.change == pytest.approx(0.005)


def test_timings_of_two_versions_are_not_compared(old: Path, new: Path) -> None:
    for results, version in ((old, 2), (new, 3)):
        run = run_of(results, *THREE_SEEDS)[0]
        launches(run, [5.0, 5.1, 5.0], session="s")
        for timing in run.glob("measurements/*/timing.json"):
            edit(timing, timing_version=version)
    found = only(report(old, new), "latency_p50_ms", ROW)
    assert found.verdict == "not compared"
    assert "version 2 and of version 3" in found.reason and "--rerun" in found.reason


def test_of_launches_of_several_versions_the_newest_common_one_counts(old: Path, new: Path) -> None:
    for results, values, versions in (
        (old, [1.0, 1.0, 5.0, 5.1], (1, 1, 2, 2)),
        (new, [5.1, 5.0, 9.0, 9.0], (2, 2, 3, 3)),
    ):
        run = run_of(results, *THREE_SEEDS)[0]
        launches(run, values)
        places = sorted(run.glob("measurements/*/timing.json"))
        for timing, version in zip(places, versions, strict=True):
            edit(timing, timing_version=version)
    found = only(report(old, new), "latency_p50_ms", ROW)
    assert (found.base, found.head) == (5.05, 5.05)


@pytest.mark.parametrize("where", ["metrics", "fit", "facts", "status", "spec"])
def test_any_record_of_a_newer_schema_is_refused(
    old: Path, new: Path, harness: Harness, where: str
) -> None:
    path = next(iter(sorted(new.rglob(f"{where}.json"))), next(new.glob("fits/*")) / "facts.json")
    edit(path, schema_version=99)
    answer = harness("compare", old.parent, new.parent)
    assert answer.status == 2 and f"{where}.json: schema_version 99 is newer" in answer.err


def test_a_baselines_description_reaches_no_other_file(old: Path, tmp_path: Path) -> None:
    results = old.parent
    description = save(results, "v1", None, {})
    other = tmp_path / "precious"
    other.write_text("mine")
    edit(description, archive="../../precious")
    remove(results, "v1")
    assert other.read_text() == "mine" and not list((results / "baselines").iterdir())
    assert read_json(description) is None


def test_margins_that_the_change_widens_are_told(old: Path, new: Path) -> None:
    for results, margin in ((old, 0.01), (new, 0.2)):
        edit(results / "plan.json", margins={"quality": margin})
    assert report(old, new).notes == (
        "the suite's margins changed, and HEAD's count: quality 1% to 20%",
    )
    assert not report(old, new, margins={"quality": 0.01}).notes
