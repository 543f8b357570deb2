"""Imports point down, and each framework is imported in one place."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import harness

ROOT = Path(harness.__file__).parent
FLOORS = {
    "devices": 0, "errors": 0, "process_groups": 0, "records": 0, "stats": 0,
    "printable": 1, "probe_settings": 1, "registry": 1, "selection": 1, "yaml_file": 1,
    "data": 1, "sources": 1, "suite": 1, "specifications": 1, "plan": 1, "overrides": 1, "tasks": 1,
    "backends": 2, "measure": 2,
    "stages": 3, "boards": 3, "choose": 3, "compare": 3,
    "execute": 4, "track": 4,
    "commands": 5, "cli": 5, "pytest_plugin": 5,
}  # fmt: skip
#: where each framework may be imported
HOMES = {
    "torch": "backends/torch",
    "transformers": "backends/torch",
    "onnxruntime": "backends/onnxruntime",
    "tensorflow": "backends/tensorflow",
    "keras": "backends/tensorflow",
    "keras_hub": "backends/tensorflow",
    "timm": "backends/torch",
    "torchvision": "backends/torch",
}


def imports() -> Iterator[tuple[Path, str]]:
    """(file, imported module) of every import statement, those inside functions included."""
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield path, node.module


def test_no_room_imports_one_above_it() -> None:
    wrong = []
    for path, module in imports():
        parts = module.split(".")
        if parts[0] != "harness" or len(parts) == 1:
            continue
        here = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if here != "__init__" and FLOORS[parts[1]] > FLOORS[here]:
            wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert not wrong


@pytest.mark.parametrize("framework", sorted(HOMES))
def test_a_framework_is_imported_in_its_home_only(framework: str) -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for path, module in imports()
        if module.split(".")[0] == framework
        and not path.relative_to(ROOT).as_posix().startswith(HOMES[framework] + "/")
    ]
    assert not wrong


def test_planning_loads_no_framework() -> None:
    code = (
        "import sys, pathlib\n"
        "from harness.plan import Machine, Options, make_plan\n"
        "from harness.suite import load_suite\n"
        "make_plan(load_suite('nlp'), Options(), {}, Machine('host', False, 2))\n"
        "heavy = 'torch transformers onnxruntime sklearn pandas scipy datasets evaluate'.split()\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_help_imports_no_command() -> None:
    code = (
        "import sys\n"
        "from harness.cli import main\n"
        "try:\n"
        "    main(['--help'])\n"
        "finally:\n"
        "    print([name for name in sys.modules if name.startswith('harness.commands')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
