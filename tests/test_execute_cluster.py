"""What executors beyond this machine share."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from harness.commands.context import this_machine
from harness.execute.base import Assignment, Place
from harness.execute.claims import claim
from harness.execute.cluster import left_to_work
from harness.plan import Options, make_plan
from harness.records.locks import acquire
from harness.records.store import Store
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


def test_a_claim_that_fails_half_way_holds_nothing(tmp_path: Path) -> None:
    """The results' lock cannot be made; that of the cache was."""
    (tmp_path / "results").write_text("a file, where a folder was")
    place = Place(Store(tmp_path / "results", "small"), tmp_path / "cache", this_machine())
    with pytest.raises(OSError):
        claim(place, "f")
    again = acquire(tmp_path / "cache" / "locks" / "f.lock", wait=False)
    assert again is not None
    os.close(again)
