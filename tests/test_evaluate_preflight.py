"""Metrics of `evaluate` that do not load end a request before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import MAJORITY_SUITE, Harness

SUITE = MAJORITY_SUITE.replace("    data:\n", "    metrics: [mine.py]\n    data:\n")


@pytest.mark.parametrize("command", ["run", "fetch"])
def test_a_metric_that_does_not_load_is_refused_with_its_place(
    harness: Harness, tmp_path: Path, command: str
) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text("text,label\n" + "a,x\nb,y\n" * 5)
    (tmp_path / "mine.yaml").write_text(SUITE)
    (tmp_path / "mine.py").write_text("import nosuch_library\n")
    answer = harness(command, "mine.yaml", "--trust-remote-code")
    assert answer.status == 2, answer.err
    said = answer.err.strip().splitlines()[-1]
    assert said.startswith("harness: mine.yaml:7: metric 'mine.py' does not load: ")
    assert "nosuch_library" in said
    assert not list(tmp_path.glob("results/mine/fits/*"))
