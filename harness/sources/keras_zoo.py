"""``keras:NAME``: Keras Applications with ImageNet weights and no top, fetched by Keras itself.

Keras knows where its weights lie and which digests they have. It is asked in a process of its own,
which leaves a neutral folder (config.json, model.safetensors under Keras' names of variables).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness.errors import RequestError
from harness.process_groups import program
from harness.records.files import whole_folder
from harness.records.secrets import without_secrets
from harness.sources.base import Context, Source, Unavailable
from harness.sources.cache import check, disk_errors, mark_used
from harness.sources.derived import RECEIPT, reusable, sign
from harness.sources.patience import ended_at_a_standstill

FILES = ["config.json", "model.safetensors"]
#: raised when the same application would be written otherwise
LAYOUT = 2
#: the module that is run; its last line on standard error says what went wrong
HELPER = "harness.backends.tensorflow.applications"
#: its exit status where the request is wrong, and where the weights cannot be had
_WRONG, _UNAVAILABLE = 2, 3
#: NAME@RELEASE, which become a folder of the cache
_FORM = re.compile(r"\w+(@\w[\w.+]*)?")


class KerasSource(Source):
    """The release of Keras is part of what a name means: it pins the weights."""

    scheme = "keras"
    cached = False

    def resolve(self, rest: str, context: Context) -> str:
        if not _FORM.fullmatch(rest):
            raise RequestError(f"keras:{rest}: not of the form keras:NAME or keras:NAME@RELEASE")
        name, at, _ = rest.partition("@")
        try:
            return rest if at else f"{name}@{version('keras')}"
        except PackageNotFoundError:
            raise RequestError(
                f"keras:{rest}: needs Keras: pip install 'pretrained-harness[tensorflow]'"
            ) from None

    def names(self, rest: str, context: Context) -> list[str]:
        self._folder(rest, context)
        return FILES

    def file(self, rest: str, sha256: str | None, context: Context) -> Path:
        name, _, member = rest.partition("/")
        if member not in FILES:
            raise RequestError(f"keras:{rest}: names no file; it is a folder of {', '.join(FILES)}")
        return check(self._folder(name, context) / member, sha256, f"keras:{rest}")

    def _folder(self, rest: str, context: Context) -> Path:
        pinned = self.resolve(rest, context)
        name, _, release = pinned.partition("@")
        folder = context.cache / "keras" / pinned
        made_by = {"keras": release, "layout": LAYOUT}
        if reusable(folder / RECEIPT, made_by):
            mark_used(folder / RECEIPT)
            return folder
        origin = f"keras:{rest}"
        if pinned != self.resolve(name, context):
            raise Unavailable(
                f"{origin}: cannot be had: another release of Keras is installed here, which may "
                f"have other weights; install keras=={release}, or name no release"
            )
        context.report(0, 0, origin)
        with disk_errors(origin, folder), whole_folder(folder) as scratch:
            downloads = context.cache / "keras" / "downloads"
            with (
                program(
                    [sys.executable, "-P", "-m", HELPER, name, str(scratch)],
                    environment=without_secrets(os.environ) | {"KERAS_HOME": str(downloads)},
                    errors=subprocess.PIPE,
                ) as process,
                ended_at_a_standstill(process, [downloads, scratch], origin),
            ):
                _, errors = process.communicate()
            status = process.returncode
            lines = errors.decode(errors="replace").strip().splitlines()
            reason = lines[-1] if lines else "no reason given"
            if status == _WRONG:
                raise RequestError(f"{origin}: {reason}")
            if status == _UNAVAILABLE:
                raise Unavailable(f"{origin}: cannot be had: {reason}")
            if status:
                raise RequestError(f"{origin}: Keras failed (status {status}): {reason}")
            sign(scratch / RECEIPT, made_by)
        return folder
