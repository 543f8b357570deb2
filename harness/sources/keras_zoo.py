"""``keras:NAME``: Keras Applications with ImageNet weights and no top, fetched by Keras itself.

Keras knows where its weights lie and which digests they have. It is asked in a process of its own,
which leaves a neutral folder (config.json, model.safetensors under Keras' names of variables).
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness.errors import RequestError
from harness.records.files import whole_folder
from harness.sources.base import Context, Source, Unavailable
from harness.sources.cache import check, disk_errors

FILES = ["config.json", "model.safetensors"]
#: the module that is run; its last line on standard error says what went wrong
HELPER = "harness.backends.tensorflow.applications"
#: its exit status where the request is wrong, and where the weights cannot be had
_WRONG, _UNAVAILABLE = 2, 3


class KerasSource(Source):
    """The release of Keras is part of what a name means: it pins the weights."""

    scheme = "keras"
    cached = False

    def resolve(self, rest: str, context: Context) -> str:
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
        folder = context.cache / "keras" / pinned
        if folder.is_dir():
            return folder
        origin = f"keras:{rest}"
        context.report(0, 0, origin)
        with disk_errors(origin, folder), whole_folder(folder) as scratch:
            done = subprocess.run(
                [sys.executable, "-P", "-m", HELPER, pinned.partition("@")[0], str(scratch)],
                env=os.environ | {"KERAS_HOME": str(context.cache / "keras" / "downloads")},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
            )
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            if done.returncode == _WRONG:
                raise RequestError(f"{origin}: {reason}")
            if done.returncode == _UNAVAILABLE:
                raise Unavailable(f"{origin}: cannot be had: {reason}")
            if done.returncode:
                raise RequestError(f"{origin}: Keras failed (status {done.returncode}): {reason}")
        return folder
