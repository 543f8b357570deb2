"""Killed at random instants, the same command goes on; nothing is lost, doubled or half-made."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

import pytest

from tests.chaos.small import damaged, kill_after, left_over, start, truth, write_small

COMPLETING = ("status.json", "timing.json")


def survive(folder: Path, kills: int, seed: int, launches: int) -> int:
    """Kill `harness run` so often, at instants drawn over the length of a whole run; every time
    that it completes it is compared with one that nobody disturbed, and begun anew. What is
    complete at a kill stays as it is, to the byte: made twice, it would tell other times.

    Returns how often it completed.
    """
    draw = random.Random(seed)
    write_small(folder, launches)
    calm = os.environ | {"HARNESS_CACHE": str(folder / "calm")}
    begin = time.monotonic()
    process = start(folder, calm, "--results", "calm-results")
    out, _ = process.communicate(timeout=600)
    length = time.monotonic() - begin
    assert process.returncode == 0, out
    expected = truth(folder / "calm-results")

    cache, results = folder / "cache", folder / "results"
    environment = os.environ | {"HARNESS_CACHE": str(cache)}
    done = completed = witnessed = 0
    kept: dict[Path, bytes] = {}
    whole = False  # the last start ran to its end, so that every kill has been judged
    while done < kills or not whole:
        whole = False
        process = start(folder, environment)
        wait = draw.uniform(0.0, length) if done < kills else 600.0
        if kill_after(process, wait):
            done += 1
            assert left_over(cache) == []
            found = complete_records(results)
            assert kept.items() <= found.items(), f"after {done} kills"
            kept, witnessed = found, witnessed + len(found)
            continue
        assert process.returncode == 0, f"after {done} kills"
        assert damaged(results) == []
        assert not (results / "small" / "damaged").exists()
        assert truth(results) == expected, f"after {done} kills"
        assert kept.items() <= complete_records(results).items(), f"after {done} kills"
        completed, whole = completed + 1, True
        print(
            f"{done} kills, which met {witnessed} complete records, none of them made again; "
            f"{completed} complete runs, each as the undisturbed one",
            flush=True,
        )
        kept = {}
        shutil.rmtree(results)
        shutil.rmtree(cache)
    return completed


def complete_records(results: Path) -> dict[Path, bytes]:
    """The file that completes each fit, run and measurement; a scored run's timings follow it."""
    found = (results / "small").rglob("*.json")
    return {path: path.read_bytes() for path in found if path.name in COMPLETING}


def test_five_kills_change_nothing(tmp_path: Path) -> None:
    assert survive(tmp_path, kills=5, seed=7, launches=0) >= 1


@pytest.mark.chaos
@pytest.mark.timeout(7200)
def test_two_hundred_kills_change_nothing(tmp_path: Path) -> None:
    assert survive(tmp_path, kills=200, seed=1, launches=1) >= 1
