"""`harness time` as a newcomer meets it."""

from __future__ import annotations

import json

import pytest

from tests.conftest import Harness
from tests.test_measure_launch import majority

pytestmark = pytest.mark.alone


def test_the_harness_itself_is_timed_without_any_artifact(harness: Harness):
    done = harness("time", "noop", "--launches", "1", "--threads", "1", "--json")
    assert done.status == 0, done.err
    answer = json.loads(done.out)
    (launch,) = answer["launches"]
    assert launch["verdict"] == "VALID"
    assert answer["over_launches"]["latency_p50_ms"]["centre"] < 0.1
    assert answer["over_launches"]["latency_p50_ms"]["low"] is None  # one launch has no interval


def test_an_artifact_folder_is_timed_and_what_is_missing_is_said(harness: Harness, tmp_path):
    majority(tmp_path)
    done = harness(
        "time", tmp_path, "--launches", "1", "--threads", "1", "--scenario", "single-stream",
        "--inputs", tmp_path / "inputs.npz",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert "majority" not in done.err
    assert "in sklearn on cpu, 1 threads" in done.out
    assert "VALID" in done.out
    assert "one launch has no interval" in done.out


def test_wrong_requests_are_one_line_and_status_2(harness: Harness, tmp_path):
    for arguments, text in (
        (("nop",), "no record in results begins with 'nop'"),
        (("/no/such/folder",), "no artifact (a folder with harness.json)"),
        (("noop", "--runtime", "onxruntime"), "unknown runtime 'onxruntime'; did you mean"),
        (("noop", "--record"), "--record keeps launches of a run"),
        (("noop", "--inputs", "missing.npz", "--runtime", "onnxruntime"), "is not there"),
    ):
        done = harness("time", *arguments)
        assert done.status == 2
        assert text in done.err
        assert len(done.err.strip().splitlines()) == 1
