"""What `pip install` alone gives: suites and boards travel in the wheel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_wheel_works_in_an_empty_folder(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", tmp_path, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("pretrained_harness-*.whl")
    unpacked, empty = tmp_path / "unpacked", tmp_path / "empty"
    empty.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    assert (unpacked / "harness/_data/suites/nlp.yaml").is_file()
    assert (unpacked / "harness/_data/leaderboards/default.yaml").is_file()
    assert list((unpacked / "harness/_data/leaderboards/templates").iterdir())
    code = (
        "import sys, harness.cli; assert harness.__file__.startswith(sys.argv[1])\n"
        "sys.exit(harness.cli.main(['plan', 'nlp', '--json']))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(unpacked)],
        cwd=empty,
        env=os.environ | {"PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert {row["task"] for row in json.loads(done.stdout)} >= {"reuters-r8", "conll2003"}
    assert not list(empty.iterdir())


def test_exactly_one_onnxruntime_an_extra() -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert [e for e in extras["cpu"] if e.startswith("onnxruntime")] and not any(
        e.startswith("onnxruntime-gpu") for e in extras["cpu"]
    )
    assert all(not e.startswith("onnxruntime>") for e in extras["gpu"])


def test_constraints_pin_exact_versions() -> None:
    lines = [
        line
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert len(lines) > 50 and all(line.count("==") == 1 for line in lines)
