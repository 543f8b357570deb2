"""``harness verify``: every record and artifact against its digest."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from harness.commands.arguments import add_results
from harness.errors import RequestError
from harness.records.digests import NO_DIGEST, damage
from harness.records.files import read_json
from harness.records.store import EXPLAIN_FILE
from harness.sources import default_cache
from harness.sources.cache import sha256_of

EXAMPLE = "harness verify"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_results(parser)


def run(args: argparse.Namespace) -> int:
    """Exit status 1 where anything is damaged."""
    if not args.results.is_dir():
        raise RequestError(f"no results folder {args.results}; name one with --results DIR")
    cache = default_cache()
    found = [*check_records(args.results), *check_cache(cache)]
    damaged = [(path, what) for path, what in found if what not in (None, NO_DIGEST)]
    unsworn = sum(what == NO_DIGEST for _, what in found)
    if args.json:
        facts = {
            "checked": len(found),
            "no_digest": unsworn,
            "damaged": [{"path": str(path), "what": what} for path, what in damaged],
        }
        print(json.dumps(facts, indent=2))
        return 1 if damaged else 0
    for path, what in damaged:
        print(f"damaged: {path}: {what}")
    print(
        f"{len(found)} records and files checked in {args.results} and {cache}: "
        f"{len(damaged)} damaged, {unsworn} without a digest (older than digests, or cut off)"
    )
    if damaged:
        print(
            "  damaged records are set aside and made again by the next `harness run` of their "
            "suite; so are damaged files of the cache"
        )
    if any(path.name == EXPLAIN_FILE for path, _ in damaged):
        print(f"  {EXPLAIN_FILE} is made again by `harness explain RUN`")
    return 1 if damaged else 0


def check_records(results: Path) -> Iterator[tuple[Path, str | None]]:
    """Each complete record and measurement, and what is wrong with it."""
    for kind in ("fits", "runs"):
        for record in sorted(results.glob(f"**/{kind}/*")):
            if "damaged" in record.relative_to(results).parts or not record.is_dir():
                continue
            if (record / "status.json").exists():
                yield record, damage(record)
            if (record / EXPLAIN_FILE).exists():  # added after completion, it swears to itself
                yield record / EXPLAIN_FILE, damage(record, EXPLAIN_FILE)
            for measured in sorted(record.glob("measurements/*")):
                if (measured / "timing.json").exists():
                    yield measured, damage(measured, "digests.json")
                elif (measured / "status.json").exists():
                    yield measured, damage(measured)


def check_cache(cache: Path) -> Iterator[tuple[Path, str | None]]:
    """Each downloaded file against its name, each artifact against its facts."""
    for path in sorted((cache / "files").glob("[0-9a-f]*")):
        wrong = sha256_of(path) != path.name
        yield path, "its SHA-256 is not its name" if wrong else None
    for folder in sorted((cache / "fits").glob("*")):
        facts = read_json(folder / "fit.json")
        if facts is None:
            continue  # cut off; the next run begins it anew
        yield folder, _artifact_damage(folder / "artifact", facts.get("artifact_files"))


def _artifact_damage(artifact: Path, wanted: dict[str, str] | None) -> str | None:
    if wanted is None:
        return NO_DIGEST
    for name, sha256 in wanted.items():
        path = artifact / name
        if not path.is_file():
            return f"artifact/{name} is missing"
        if sha256_of(path) != sha256:
            return f"artifact/{name} is not what was written (its SHA-256 differs)"
    return None
