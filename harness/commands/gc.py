"""``harness gc``: remove from the cache what no suite's records need; say what first.

Needed is what a fit is made of, or will be, that a plan or a complete run in some results folder
names: its artifact, its model's files, its data. Runs outlive the plan that they were made for: the
next one may ask for a part of the suite only. Results folders are the one that is named and all
that were filled from this cache. What only saves computing it again (features of frozen backbones,
resized images, conversions) goes once it has not been used for a while. Where a plan or a run's
record cannot be read, nobody knows what it needs, and nothing is removed. Records never are. While
another process works with the cache, nothing is removed either.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from harness.commands.arguments import add_results, positive
from harness.errors import RequestError
from harness.records.files import read_json
from harness.records.identity import digest
from harness.records.locks import acquire
from harness.sources import default_cache
from harness.sources.cache import results_folders, users_lock
from harness.sources.derived import RECEIPT
from harness.specifications import pins

EXAMPLE = "harness gc --yes"

#: seconds after which a half-made file is nobody's: no single file takes so long to write
STALE_SECONDS = 3600.0
UNUSED_DAYS = 30


@dataclass(frozen=True)
class Rubbish:
    """Something in the cache that can go, and why."""

    path: Path
    why: str
    bytes: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_results(parser)
    parser.add_argument("--yes", action="store_true", help="remove it; without, it is only said")
    parser.add_argument(
        "--unused-days", type=positive, default=UNUSED_DAYS, metavar="N",
        help="features, resized images and the like that no run used for so long can go "
        "(default: %(default)s)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    if not args.results.is_dir():
        raise RequestError(
            f"no results folder {args.results}: without its plans everything would look unneeded; "
            "name one with --results DIR"
        )
    cache = default_cache()
    with _alone(cache) if args.yes else nullcontext():  # what is needed must not change meanwhile
        notes = results_folders(cache)
        gone = {note: folder for note, folder in notes.items() if not folder.is_dir()}
        others = [folder for note, folder in notes.items() if note not in gone]
        looked = list(dict.fromkeys([args.results.resolve(), *others]))
        needed = needs(looked)
        everything = rubbish(cache, args.results, needed, args.unused_days)
        found = sorted(everything, key=lambda item: str(item.path))
        if args.yes:
            _remove(found)
            for note in gone:
                note.unlink(missing_ok=True)
    total = sum(item.bytes for item in found) / 1e6
    if args.json:
        facts = {
            "cache": str(cache),
            "results": [str(folder) for folder in looked],
            "gone": [str(folder) for folder in gone.values()],
            "removed": bool(args.yes),
            "mb": total,
            "items": [
                {"path": str(item.path), "why": item.why, "mb": item.bytes / 1e6} for item in found
            ],
        }
        print(json.dumps(facts, indent=2))
        return 0
    for item in found:
        print(f"{item.bytes / 1e6:10.1f} MB  {item.path}  ({item.why})")
    print("looked at " + ", ".join(map(str, looked)))
    for folder in gone.values():
        print(f"not there any more, so nothing is kept for it: {folder}")
    if not found:
        print(f"nothing in {cache} that no plan and no run there needs")
    elif args.yes:
        print(f"removed {len(found)} from {cache}, {total:.1f} MB")
    else:
        print(
            f"{len(found)} items, {total:.1f} MB, that no plan and no run there needs; "
            "nothing was removed: say --yes to remove them"
        )
    return 0


@dataclass(frozen=True)
class Needs:
    """What the plans and complete runs of results folders rest on."""

    fits: frozenset[str]
    models: frozenset[str] | None  # names of model folders; None: not all are known
    files: frozenset[str] | None  # SHA-256 of downloads; None: not all are known, or have one
    suites: frozenset[str]


def needs(results: Sequence[Path]) -> Needs:
    """Of all suites in some results folders; `RequestError` where a plan, or a complete run's
    record, cannot be read."""
    fits: set[str] = set()
    models: set[str] = set()
    files: set[str] = set()
    suites: set[str] = set()
    all_known = True
    for fit in {fit for folder in results for fit in _fits_of_runs(folder)}:
        fits.add(fit.name)
        # its artifact is kept all the same, where what that was made of cannot be told
        with suppress(LookupError, TypeError, AttributeError):
            spec = read_json(fit / "spec.json") or {}
            models.add(digest(spec["model"]["files"]))
            files.update(pins(spec))
    for path in (path for folder in results for path in folder.glob("**/plan.json")):
        suites.add(path.parent.name)
        try:
            plan = json.loads(path.read_bytes())
            planned = {run["fit_id"] for row in plan["rows"] for run in row["runs"]}
            if "needs" in plan:
                models |= set(plan["needs"]["models"])
                files |= set(plan["needs"]["files"])
            else:  # older than these
                specs = [read_json(path.parent / "fits" / fit / "spec.json") for fit in planned]
                known = [spec for spec in specs if spec is not None]
                all_known = all_known and len(known) == len(specs)
                models |= {digest(spec["model"]["files"]) for spec in known}
                files |= {pin for spec in known for pin in pins(spec)}
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise RequestError(
                f"{path}: cannot be read ({type(error).__name__}: {error}), so what its suite "
                f"needs is not known, and nothing was removed; `harness run {path.parent.name}` "
                "writes it anew"
            ) from None
        fits |= planned
    pinned = all_known and not any(":" in pin for pin in files)
    return Needs(
        frozenset(fits),
        frozenset(models) if all_known else None,
        frozenset(files) if pinned else None,
        frozenset(suites),
    )


def _fits_of_runs(results: Path) -> Iterator[Path]:
    """Records of the fits of all complete runs."""
    for status in results.glob("**/runs/*/status.json"):
        spec = read_json(status.with_name("spec.json"))
        if spec is None or "fit_id" not in spec:
            raise RequestError(
                f"{status.with_name('spec.json')}: cannot be read, so what its run needs is not "
                "known, and nothing was removed; `harness run` sets damaged records aside"
            )
        yield status.parents[2] / "fits" / spec["fit_id"]


def rubbish(cache: Path, results: Path, needed: Needs, unused_days: int) -> Iterator[Rubbish]:
    """Everything that can go; nothing is touched."""
    for folder in (cache / "fits").glob("[0-9a-f]*"):
        if folder.name not in needed.fits:
            yield Rubbish(folder, "a fit of no plan and of no complete run", _size(folder))
    for folder in (cache / "models").glob("[0-9a-f]*"):
        if needed.models is not None and folder.name.split("-")[0] not in needed.models:
            yield Rubbish(folder, "a model that no plan and no complete run needs", _size(folder))
    for file in (cache / "files").glob("[0-9a-f]*"):
        if needed.files is not None and file.name not in needed.files:
            yield Rubbish(file, "a download that no plan and no complete run needs", _size(file))
    for path in (
        *(cache / "features").glob("[0-9a-f]*"),
        *(cache / "images").glob("[0-9a-f]*"),
        *(cache / "references").glob("[0-9a-f]*"),
        *(receipt.parent for receipt in (cache / "keras").glob(f"*/{RECEIPT}")),
    ):
        used = path / RECEIPT if path.is_dir() else path
        if (days := _age(used) / 86400) > unused_days:
            yield Rubbish(path, f"unused for {days:.0f} days; it can be made again", _size(path))
    for folder in (*(cache / "wheels").glob("*"), *(cache / "keras" / "downloads").glob("*")):
        yield Rubbish(folder, "an archive; what is used of it was taken out", _size(folder))
    for folder in (cache / "logs").glob("*"):
        if folder.name not in needed.suites:
            yield Rubbish(folder, "logs of a suite that has no plan", _size(folder))
    for path in (
        *(cache / "fits").rglob(".*.*"),
        *(cache / "models").glob(".*.*"),
        *(cache / "features").glob(".*.*"),
        *(cache / "images").glob(".*.*"),
        *(cache / "references").glob(".*.*"),
        *(cache / "files").glob(".partial-*"),
        *results.glob("*/fits/*/.*.*"),
        *results.glob("*/runs/*/.*.*"),
    ):
        if _age(path) > STALE_SECONDS:
            yield Rubbish(path, "half-made; its writer was killed", _size(path))
    for path in (cache / "scratch").glob("*"):
        if _age(path) > STALE_SECONDS:
            yield Rubbish(path, "half a download; its process was killed", _size(path))


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """While nobody else reads or fills the cache; `RequestError` where another process does."""
    held = acquire(users_lock(cache), wait=False)
    if held is None:
        raise RequestError(
            f"another process works with {cache}, so nothing was removed; run this when it is done"
        )
    try:
        yield
    finally:
        os.close(held)


def _remove(found: Sequence[Rubbish]) -> None:
    for item in found:
        if item.path.is_dir():
            shutil.rmtree(item.path)
        else:
            item.path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    """Bytes; a file of two names (a hard link) counts wherever it stands."""
    files = path.rglob("*") if path.is_dir() else [path]
    total = 0
    for file in files:
        with suppress(OSError):
            total += file.stat().st_size if file.is_file() else 0
    return total


def _age(path: Path) -> float:
    try:
        return time.time() - path.lstat().st_mtime
    except OSError:
        return 0.0
