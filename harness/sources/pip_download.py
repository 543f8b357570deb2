"""One wheel by ``pip download``, and what pip's complaints mean."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness.errors import RequestError
from harness.process_groups import program
from harness.sources.base import Context, Unavailable, Unreachable
from harness.sources.cache import disk_full
from harness.sources.patience import ended_at_a_standstill

#: The members that we read do not depend on the platform, but wheels around them may (compiled
#: code beside the data). These tags are tried first, so that every machine reads the same wheel.
FIXED_TAGS = (
    *("--platform", "manylinux2014_x86_64"),
    *("--platform", "manylinux_2_28_x86_64"),
    *("--implementation", "cp"),
    *("--python-version", "3.11"),
    *("--abi", "cp311"),
    *("--abi", "abi3"),
    *("--abi", "none"),
)
#: What pip's own messages hold when no index could be reached.
_NETWORK = re.compile(
    r"after connection broken by|Could not fetch URL (?!.* 4\d\d Client Error)"
    r"|Max retries exceeded|Network is unreachable|name resolution|Read timed out|SSLError"
    r"|Connection (refused|reset|aborted|timed out)|ProxyError|HTTP error 5\d\d|5\d\d Server Error"
)
#: ... and where the connection ended in mid-file; older releases of pip do not notice by themselves
_CUT = re.compile(
    r"Connection broken|IncompleteRead|not enough bytes were received|located at .* is invalid"
)
_FULL = re.compile(r"\[Errno (28|122)\]|No space left on device|Disk quota exceeded")
_VERSIONS = re.compile(r"\(from versions: (?P<versions>[^)]*)\)")
_PROGRESS = re.compile(r"Progress (?P<done>\d+) of (?P<total>\d+)")


def download_wheel(requirement: str, origin: str, folder: Path, context: Context) -> Path:
    """The wheel of ``NAME==VERSION`` in ``folder``; `Unavailable` says why there is none.

    pip reads the user's own configuration (index, proxy, find-links), never installs and never
    builds. First for `FIXED_TAGS`, then for this interpreter.
    """
    output = ""
    # The last try is the one explained: told not to try again, pip says why only when asked (-vv).
    for number, options in enumerate((FIXED_TAGS, ("-vv",))):
        target = folder / f"wheel{number}"
        target.mkdir()
        context.report(0, 0, origin)
        status, output = _pip(requirement, options, target, folder, origin, context)
        wheels = sorted(target.glob("*.whl"))
        if status == 0 and wheels:
            return wheels[0]
        if _FULL.search(output):
            raise disk_full(origin, context.cache)
        if "No module named pip" in output:
            raise RequestError(
                f"{origin}: getting it needs pip in this environment: "
                f"run `{sys.executable} -m ensurepip`, or install pip with your package manager"
            )
        if _versions(output) is None or _NETWORK.search(output):
            break  # not a question of tags
    raise _explain(requirement, origin, output)


def _pip(
    requirement: str,
    options: Sequence[str],
    target: Path,
    folder: Path,
    origin: str,
    context: Context,
) -> tuple[int, str]:
    """Exit status and all output; reports progress as it comes."""
    command = [
        # -P: never a module that happens to lie in the current folder
        *(sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:"),
        *("--no-input", "--no-cache-dir", "--disable-pip-version-check"),
        *("--progress-bar", "raw" if _raw_progress() else "off"),
        *options,
        *("-d", str(target), requirement),
    ]
    # pip's own temporary files go where ours go: one disk to run full, one folder to clean
    environment = os.environ | {"TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
    lines: list[str] = []
    with program(command, environment=environment) as process:
        assert process.stdout is not None
        with ended_at_a_standstill(process, [folder], origin):
            for raw in process.stdout:
                line = raw.decode(errors="replace")
                if found := _PROGRESS.fullmatch(line.strip()):
                    context.report(float(found["done"]), float(found["total"]), origin)
                else:
                    lines.append(line)
        return process.wait(), "".join(lines)


def _raw_progress() -> bool:
    """Machine-readable progress came with pip 24.1."""
    try:
        major, minor = version("pip").split(".")[:2]
        return (int(major), int(minor)) >= (24, 1)
    except (PackageNotFoundError, ValueError):
        return False


def _versions(output: str) -> list[str] | None:
    """Versions with a fitting wheel, as pip lists them when the wanted one is not there."""
    found = _VERSIONS.search(output)
    if found is None:
        return None
    return [v.strip() for v in found["versions"].split(",") if v.strip() not in ("", "none")]


def _explain(requirement: str, origin: str, output: str) -> Unavailable:
    versions = _versions(output)
    if versions:
        return Unavailable(
            f"{origin}: the package index has no wheel of {requirement}; "
            f"it has wheels of versions {', '.join(versions[-12:])}"
        )
    if _CUT.search(output):
        return Unreachable(
            f"{origin}: the download of {requirement} was cut off, so it is not here; nothing of "
            "it was kept. Check the network"
        )
    if _NETWORK.search(output):
        return Unreachable(
            f"{origin}: the package index could not be reached, so {requirement} is not here. "
            "Check the network and pip's configuration; `harness fetch SUITE` gets all files "
            "of a suite ahead, for machines without a network"
        )
    if versions is not None:
        return Unavailable(
            f"{origin}: the package index has no wheel of {requirement}, nor of any other "
            "version; is the name right?"
        )
    errors = [line.strip() for line in output.splitlines() if line.startswith("ERROR")]
    reason = errors[-1].removeprefix("ERROR: ") if errors else output.strip()[-300:]
    return Unavailable(f"{origin}: pip could not download {requirement}: {reason}")
