"""What a board says of machines whose software changed between one record and the next."""

from __future__ import annotations

from pathlib import Path

from harness.boards.board import build
from harness.boards.collect import collect
from harness.boards.hosts import hosts_of
from harness.records.files import read_json, write_json
from tests.records import HOST, write_results


def upgraded(folder: Path, number: int, **changed: object) -> Path:
    """One measurement as of another day; its run."""
    path = sorted(folder.glob("runs/*/measurements/*/host.json"))[number]
    write_json(path, (read_json(path) or {}) | changed)
    return path.parents[2]


def test_versions_that_changed_are_all_named_and_a_row_names_its_own(tmp_path: Path) -> None:
    folder = write_results(tmp_path)
    newer = dict(HOST["libraries"]) | {"torch": "2.14.0"}
    run = upgraded(folder, -1, libraries=newer, git_commit="f" * 40, git_dirty=True, load=[1.5])
    board = build(folder)
    (fact,) = board.page.hosts
    assert "torch 2.13.0 and 2.14.0" in fact.text and "onnxruntime 1.31.1," in fact.text
    assert "repository at 0123456789ab and ffffffffffff with uncommitted changes" in fact.text
    assert "load 0.12 to 1.5 when measured" in fact.text
    told = {}
    for row in board.rows:
        for block in board.evidence.rows.get(row["row_id"], []):
            if block["title"] == "Host" and row["launches"]:
                told[run.name in row["runs"]] = dict(block["facts"])["libraries"]
    assert "torch 2.13.0" in told[False] and "2.14.0" not in told[False]
    assert "2.14.0" in told[True]


def test_of_many_versions_three_are_named(tmp_path: Path) -> None:
    folder = write_results(tmp_path)
    for number in range(4):
        upgraded(folder, number, python=f"3.{20 + number}.0")
    (host,) = hosts_of(run for row in collect(folder).rows for run in row.ok).values()
    *named, more = host["python"].split(" and ")
    assert len(named) == 3 and more == "2 more"
    assert host["cpu"] == HOST["cpu"]


def test_a_record_without_a_host_adds_none(tmp_path: Path) -> None:
    folder = write_results(tmp_path)
    for path in folder.glob("runs/*/measurements/*/host.json"):
        write_json(path, {})
    for path in folder.glob("fits/*/fit.json"):
        fit = read_json(path) or {}
        write_json(path, {key: fit[key] for key in fit if key not in ("host", "host_id")})
    assert build(folder).page.hosts == []
