"""``harness schema``: the JSON Schema of suite files, for editors."""

from __future__ import annotations

import argparse
import json

from harness.suite import Suite

EXAMPLE = "harness schema > suite.schema.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None of its own."""


def run(args: argparse.Namespace) -> int:
    print(json.dumps(Suite.model_json_schema(), indent=2))
    return 0
