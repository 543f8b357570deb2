"""``harness doctor``: what works on this machine.

Each framework is asked in a process of its own: two in one process disturb each other, and a
broken installation must not take the answer with it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from typing import Any

from harness import registry

EXAMPLE = "harness doctor"

#: A framework's own account of itself, printed as JSON by a process that imports nothing else.
_PROBES = {
    "torch": (
        "import torch; d = {'version': torch.__version__, 'threads': torch.get_num_threads(), "
        "'cuda': torch.cuda.is_available(), "
        "'gpus': [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]}"
    ),
    "onnxruntime": (
        "import onnxruntime as o; "
        "d = {'version': o.__version__, 'providers': o.get_available_providers()}"
    ),
    "sklearn": "import sklearn; d = {'version': sklearn.__version__}",
    "tensorflow": (
        "import tensorflow as t; "
        "d = {'version': t.__version__, 'gpus': len(t.config.list_physical_devices('GPU'))}"
    ),
}

#: an import that takes longer hangs
_PROBE_TIMEOUT_SECONDS = 120


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None of its own."""


def run(args: argparse.Namespace) -> int:
    from harness.commands.doctor_host import lines, measuring
    from harness.measure.host import available_cores, host_facts
    from harness.sources import default_cache

    facts: dict[str, Any] = {
        "host": host_facts(available_cores()),
        "cache": str(default_cache()),
        "measuring": measuring(),
        "frameworks": {name: _probe(code) for name, code in _PROBES.items()},
        "conflicts": conflicts(_PROBES),
        "registered": {
            r.noun: r.names() for r in (registry.tasks, registry.backends, registry.runtimes)
        },
    }
    if args.json:
        print(json.dumps(facts, indent=2))
        return 0
    host = facts["host"]
    gpu = host.get("gpu") or "no GPU"
    print(f"{host['cpu']}, {host['cores']} cores, {host['memory_gb']:.0f} GB, {gpu}")
    print(f"Python {host['python']}, cache {facts['cache']}")
    for name, found in facts["frameworks"].items():
        if "error" in found:
            print(f"  {name:12} not usable: {found['error']}")
        else:
            print(f"  {name:12} " + ", ".join(f"{k} {v}" for k, v in found.items()))
    for conflict in facts["conflicts"]:
        print(f"  CONFLICT     {conflict}")
    for noun, names in facts["registered"].items():
        print(f"  {noun + 's':12} {', '.join(names)}")
    for line in lines(facts["measuring"]):
        print(line)
    return 0


def conflicts(packages: Iterable[str]) -> list[str]:
    """What is wrong with packages whose folder several distributions have written."""
    owners = packages_distributions()
    found = {name: sorted(set(owners.get(name, ()))) for name in packages}
    return [
        f"{' and '.join(names)} are installed on top of each other, in one folder {package!r}: "
        "which of them runs is chance. Uninstall all of them, then install one"
        for package, names in found.items()
        if len(names) > 1
    ]


def _probe(code: str) -> dict[str, Any]:
    try:
        done = subprocess.run(
            # -P: never a module that happens to lie in the current folder
            [sys.executable, "-P", "-c", f"{code}; import json; print('\\n' + json.dumps(d))"],
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {_PROBE_TIMEOUT_SECONDS} s"}
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        return {"error": lines[-1]}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
