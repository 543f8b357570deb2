"""What `pip install` alone gives: suites and boards travel in the wheel."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import EntryPoint
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from harness import registry

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


def test_a_checkout_that_is_not_installed_knows_what_its_pyproject_declares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    theirs = EntryPoint("mine", "their_package:Runtime", "harness.runtimes")
    monkeypatch.setattr(registry, "entry_points", lambda group: [theirs])  # a plug-in's, not ours
    for group in ("harness.tasks", "harness.backends", "harness.runtimes", "harness.derivations"):
        found = registry.Registry(group, "thing")
        assert found.names() == sorted([*declared[group], "mine"])
        assert all(found.get(name) for name in declared[group])
    # beside an installed package may lie anybody's
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "other"\n')
    monkeypatch.setattr(registry, "CHECKOUT", tmp_path)
    assert registry.Registry("harness.runtimes", "runtime").names() == ["mine"]


def test_exactly_one_onnxruntime_an_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert [e for e in extras["cpu"] if e.startswith("onnxruntime")] and not any(
        e.startswith("onnxruntime-gpu") for e in extras["cpu"]
    )
    assert all(not e.startswith("onnxruntime>") for e in extras["gpu"])


def pins() -> dict[str, str]:
    """Distribution to version, as ``constraints.txt`` has them."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(parts) == 2 for parts in found)
    return {canonicalize_name(name): version for name, version in found}


def test_constraints_pin_what_every_extra_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    asked = [Requirement(r) for r in [*project["dependencies"], *chain.from_iterable(extras)]]
    own = canonicalize_name(project["name"])
    names = {canonicalize_name(requirement.name) for requirement in asked} - {own, "pip"}
    assert names - pins().keys() == set()


def test_both_builds_of_onnxruntime_are_of_one_version() -> None:
    assert pins()["onnxruntime-gpu"] == pins()["onnxruntime"]


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_never_installs_one_build_of_onnxruntime_over_the_other(tmp_path: Path) -> None:
    def make(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", *arguments], cwd=ROOT, env=plain, capture_output=True, text=True
        )

    plain = {name: value for name, value in os.environ.items() if name not in ("EXTRA", "VENV")}
    assert "-m venv .venv-gpu" in make("--dry-run", "--always-make", "bench", "EXTRA=gpu").stdout
    assert "-m venv .venv\n" in make("--dry-run", "--always-make", "bench").stdout
    (tmp_path / ".run-cpu").touch()
    refused = make("bench", "EXTRA=gpu", f"VENV={tmp_path}")
    assert refused.returncode != 0 and "both own one folder" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == [".run-cpu"]
