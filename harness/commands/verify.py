"""``harness verify``: every record and artifact against its digest."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from harness.commands.arguments import add_results
from harness.errors import RequestError
from harness.printable import printable
from harness.records.digests import NO_DIGEST, damage
from harness.records.files import read_json
from harness.records.resolved import RESOLVED_FILE, resolved_damage
from harness.records.store import EXPLAIN_FILE
from harness.sources import default_cache
from harness.sources.cache import sha256_of
from harness.sources.derived import RECEIPT

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
        print(printable(f"damaged: {path}: {what}"))
    print(
        f"{len(found)} records and files checked in {args.results} and {cache}: "
        f"{len(damaged)} damaged, {unsworn} without a digest (older than digests, or cut off)"
    )
    if damaged:
        print(
            "  damaged records are set aside and made again by the next `harness run` of their "
            "suite; so are damaged files of the cache"
        )
    if any(path.name == RESOLVED_FILE for path, _ in damaged):
        print(f"  {RESOLVED_FILE} is yours to restore or to remove: fits are named by it")
    if any(path.name == EXPLAIN_FILE for path, _ in damaged):
        print(f"  {EXPLAIN_FILE} is made again by `harness explain RUN`")
    return 1 if damaged else 0


def check_records(results: Path) -> Iterator[tuple[Path, str | None]]:
    """Each record, measurement and plan, and what `auto` came to; what is wrong with it."""
    for plan in sorted(results.glob("**/plan.json")):
        yield plan, None if read_json(plan) else "it cannot be read"
    for resolved in sorted(results.glob("**/resolved.json")):
        yield resolved, resolved_damage(resolved)
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
    """Each download against its name, each artifact against its facts, what was made of other files
    (conversions, exports) against its receipt."""
    for path in sorted((cache / "files").glob("[0-9a-f]*")):
        yield path, _file_damage(path, path.name, "it")
    for folder in sorted((cache / "fits").glob("*")):
        facts = read_json(folder / "fit.json")
        if facts is None:
            continue  # cut off; the next run begins it anew
        yield folder, _files_damage(folder / "artifact", facts.get("artifact_files"))
    for kind in (f"models/*/{RECEIPT}", f"keras/*/{RECEIPT}", "fits/*/onnx/*.json"):
        for receipt in sorted(cache.glob(kind)):
            made = read_json(receipt) or {}
            of_folder = receipt.name == RECEIPT  # else of one file in it, such as int8 weights
            damaged = _files_damage(receipt.parent, made.get("files"))
            yield receipt.parent if of_folder else receipt, damaged


def _files_damage(folder: Path, wanted: dict[str, str] | None) -> str | None:
    """What is wrong with the files of a folder, whose digests are ``wanted``."""
    if wanted is None:
        return NO_DIGEST
    for name, sha256 in wanted.items():
        if what := _file_damage(folder / name, sha256, f"{folder.name}/{name}"):
            return what
    return None


def _file_damage(path: Path, sha256: str, name: str) -> str | None:
    """A disk that does not give a file back is what this command is there to find."""
    try:
        if sha256_of(path) == sha256:
            return None
    except OSError as error:
        return f"{name} cannot be read ({error.strerror})"
    return f"{name} is not what was written (its SHA-256 differs)"
