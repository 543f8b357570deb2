"""What executors beyond this machine share."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.commands.context import this_machine
from harness.errors import RequestError
from harness.execute.base import Assignment, Outcome, Place
from harness.execute.claims import claim
from harness.execute.cluster import Needs, check_versions, left_to_work, work_here
from harness.plan import Options, make_plan
from harness.records.files import read_json
from harness.records.locks import acquire
from harness.records.store import Store
from harness.sources.cache import results_folders
from harness.suite import load_suite
from tests.chaos.small import write_small
from tests.conftest import Harness


def test_a_run_that_another_host_has_timed_is_not_sent_out_again(
    tmp_path: Path, harness: Harness
) -> None:
    write_small(tmp_path, launches=1)
    answer = harness("run", "small.yaml")
    assert answer.status == 0, answer.err
    machine = this_machine()
    plan = make_plan(load_suite(str(tmp_path / "small.yaml")), Options(), {}, machine)
    sent = [Assignment.of(plan, fit) for fit in plan.fits]
    elsewhere = replace(machine, host_id="another")
    place = Place(Store(tmp_path / "results", "small"), tmp_path / "cache", elsewhere)
    left, outcome = left_to_work(place, sent)
    assert left == [] and outcome.kept == len(plan.fits) == 4 and outcome.bad == []

    timed = next(a for a in sent if a.fit.runs[0].timed)
    (measured,) = place.store.measurements(timed.fit.runs[0].run_id, machine.host_id)
    (measured / "timing.json").unlink()
    assert left_to_work(place, sent)[0] == [timed]

    failed = place.store.fit(sent[0].fit.fit_id) / "status.json"
    failed.write_text(json.dumps({"status": "oom", "reason": "too large"}))
    left, outcome = left_to_work(place, sent[:1])
    assert left == [] and [bad[1:] for bad in outcome.bad] == [("oom", "too large")]
    left, outcome = left_to_work(replace(place, retry=True), sent[:1])
    assert left == sent[:1] and outcome.bad == []


def test_a_node_with_other_releases_records_nothing_and_says_which(tmp_path: Path) -> None:
    write_small(tmp_path)
    plan = make_plan(load_suite(str(tmp_path / "small.yaml")), Options(), {}, this_machine())
    assignment = Assignment.of(plan, plan.fits[1])
    versions = assignment.fit.spec["versions"]
    builds = {name: f"{value}+cu130" for name, value in versions.items() if isinstance(value, str)}
    check_versions(_planned_with(assignment, versions | builds))
    elsewhere = _planned_with(assignment, versions | {"scikit-learn": "0.1"})
    store = Store(tmp_path / "results", "small")
    facts = work_here(elsewhere, store, tmp_path / "cache", False, False, io.StringIO())
    told = f"scikit-learn {versions['scikit-learn']} (planned: 0.1)"
    assert told in facts["request"] and "on every node" in facts["request"]
    assert not (tmp_path / "results/small/fits").exists()
    older = _planned_with(assignment, versions | {"fit": 0})
    with pytest.raises(RequestError, match=r"fit \d+ \(planned: 0\)"):
        check_versions(older)


def _planned_with(assignment: Assignment, versions: dict[str, Any]) -> Assignment:
    fit = assignment.fit
    return replace(assignment, fit=replace(fit, spec=fit.spec | {"versions": versions}))


def test_a_lost_walk_is_counted_in_the_record_that_it_was_at(tmp_path: Path) -> None:
    write_small(tmp_path)
    plan = make_plan(load_suite(str(tmp_path / "small.yaml")), Options(), {}, this_machine())
    assignment = Assignment.of(plan, plan.fits[0])
    store = Store(tmp_path / "results", "small")
    why = "its job 7_1 left no answer (NODE_FAIL)"
    facts = work_here(
        assignment, store, tmp_path / "cache", False, False, io.StringIO(), before=[why]
    )
    assert (facts["done"], facts["bad"]) == (1, [])
    fit = read_json(store.fit(assignment.fit.fit_id) / "status.json") or {}
    assert (fit["status"], fit["tries"], fit["tried"]) == ("ok", 2, [why])
    run = read_json(store.run(assignment.fit.runs[0].run_id) / "status.json") or {}
    assert run["status"] == "ok" and "tried" not in run


def test_a_second_gpu_is_refused_before_it_becomes_a_failure_of_the_model(tmp_path: Path) -> None:
    write_small(tmp_path)
    plan = make_plan(load_suite(str(tmp_path / "small.yaml")), Options(), {}, this_machine())
    assignment = Assignment.of(plan, plan.fits[0])

    def on(device: str) -> Needs:
        fit = replace(assignment.fit, spec=assignment.fit.spec | {"device": device})
        return Needs.of(replace(assignment, fit=fit))

    assert [on(device).gpus for device in ("cpu", "cuda", "cuda:0")] == [0, 1, 1]
    with pytest.raises(RequestError, match=r"majority on toy asks for cuda:1, .* write `cuda`"):
        on("cuda:1")


def test_a_scratch_folder_is_no_results_folder_that_a_cache_serves(tmp_path: Path) -> None:
    """What a node of Ray's works in is gone afterwards, and `harness gc` would tell of each."""
    write_small(tmp_path)
    plan = make_plan(load_suite(str(tmp_path / "small.yaml")), Options(), {}, this_machine())
    store = Store(tmp_path / "scratch", "small")
    work_here(
        Assignment.of(plan, plan.fits[0]), store, tmp_path / "cache", False, False, io.StringIO(),
        lambda walker, assignment: Outcome(),
    )  # fmt: skip
    assert results_folders(tmp_path / "cache") == {}


def test_a_claim_that_fails_half_way_holds_nothing(tmp_path: Path) -> None:
    """The results' lock cannot be made; that of the cache was."""
    (tmp_path / "results").write_text("a file, where a folder was")
    place = Place(Store(tmp_path / "results", "small"), tmp_path / "cache", this_machine())
    with pytest.raises(OSError):
        claim(place, "f")
    again = acquire(tmp_path / "cache" / "locks" / "f.lock", wait=False)
    assert again is not None
    os.close(again)
