"""A plug-in whose models misbehave, as its entry points name it; installed by the tests."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from harness.backends.base import Backend, FitReport, FitRequest, Predictor, Progress, Runtime
from harness.data.formats.delimited import read_csv
from harness.data.table import Table
from harness.errors import RequestError
from harness.sources.base import Unavailable

ENTRY_POINTS = """\
[harness.backends]
sabotage = sabotage_plugin:Saboteur

[harness.runtimes]
sabotage = sabotage_plugin:SabotageRuntime

[harness.formats]
sabotage = sabotage_plugin:read_sabotage
"""

#: tells one model of another's, whatever cache each has
WAITING = Path(__file__).with_name("waiting")


def install(site: Path) -> None:
    """Make a folder for PYTHONPATH that holds this module as an installed distribution."""
    info = site / "sabotage_plugin-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (site / "sabotage_plugin.py").write_text(Path(__file__).read_text())
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sabotage-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)


def read_sabotage(path: Path, origin: str) -> Table:
    """A CSV file's table, unless the file holds one word, at which its reader breaks."""
    word = path.read_text().strip()
    if word == "segfault":
        ctypes.string_at(0)
    elif word == "exits":
        os._exit(0)
    elif word == "hungry":
        _eat()
    elif word == "hangs":
        time.sleep(600)
    elif word == "unexpected":
        raise ZeroDivisionError("a header of no columns")
    return read_csv(path, origin)


def _be_killed_once() -> None:
    marker = Path(os.environ["HARNESS_CACHE"]) / "killed"
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def _eat(progress: Callable[[int], None] = lambda number: None) -> None:
    """Ask for 30 GB, little by little."""
    held = []
    for number in range(300):
        held.append(np.ones(100_000_000 // 8))
        progress(number)
        time.sleep(0.05)


def _be_noisy() -> None:
    """Print 300 MB in some seconds, and look whether they were let lie."""
    for _ in range(60):
        os.write(1, b"noise noise noise noise\n" * 209_715)  # 5 MB
        time.sleep(0.05)
    print("the last word", flush=True)
    if os.fstat(1).st_size > 200_000_000:
        raise RuntimeError("nobody bounds what I print")


class Saboteur(Backend):
    name: ClassVar[str] = "sabotage"
    kinds: ClassVar[tuple[str, ...]] = (
        "segfault", "exits", "hungry", "hangs", "nan", "no-export", "wrong-shape", "killed-once",
        "wrong-setting", "lost-file", "hungry-launch", "crashing-launch", "launch-killed-once",
        "waits", "full-disk", "waiting-launch", "full-disk-later",
        "noisy",
    )  # fmt: skip
    libraries: ClassVar[tuple[str, ...]] = ()
    version: ClassVar[int] = 1
    runtime: ClassVar[str] = "sabotage"

    def fit(self, request: FitRequest, progress: Progress) -> FitReport:
        kind = request.model_kind
        print(f"a last word of {kind}", flush=True)
        loss = 0.5
        if kind == "segfault":
            ctypes.string_at(0)
        elif kind == "exits":
            os._exit(0)
        elif kind == "hungry":
            _eat(lambda number: progress("fit", number, 300, ""))  # as a training, all the time
        elif kind == "hangs":
            subprocess.Popen(["sleep", "600"])
            subprocess.Popen(["sleep", "600"], start_new_session=True)
            subprocess.run(["/bin/sh", "-c", "setsid sleep 600 &"])  # nobody's child any more
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            while True:
                pass
        elif kind == "nan":
            loss = float("nan")
        elif kind == "wrong-setting":
            raise RequestError("`l1` has no meaning here")
        elif kind == "lost-file":
            raise Unavailable("no such file: weights.bin")
        elif kind == "killed-once":
            _be_killed_once()
        elif kind == "noisy":
            _be_noisy()
        (request.out / "harness.json").write_text(
            json.dumps({"kind": kind, "outputs": request.info.outputs})
        )
        return FitReport(
            seconds=0.1,
            examples_per_second=1.0,
            epochs=[{"epoch": 1, "loss": loss, "seconds": 0.1, "validation_score": 0.5}],
            steps=1,
            params=1,
            trained_params=1,
            train_score=0.5,
        )


class Constant(Predictor):
    def __init__(self, outputs: int) -> None:
        self._outputs = outputs

    def predict(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        return np.zeros((len(batch["text"]), self._outputs), np.float32)

    def observed(self) -> dict[str, Any]:
        return {"device": "cpu", "dtype": "float32", "threads": 1}


class SabotageRuntime(Runtime):
    name: ClassVar[str] = "sabotage"
    framework: ClassVar[str] = "sabotage"
    dtype: ClassVar[str] = "float32"
    libraries: ClassVar[tuple[str, ...]] = ()
    version: ClassVar[int] = 1
    needs: ClassVar[Any] = "artifact"

    def load(self, artifact: Path, exports: Path, *, device: str, threads: int) -> Predictor:
        facts = json.loads((artifact / "harness.json").read_text())
        if "harness.measure.launch" in sys.argv[0].replace("/", "."):
            if facts["kind"] == "hungry-launch":
                raise MemoryError("no room")
            if facts["kind"] == "crashing-launch":
                ctypes.string_at(0)
            if facts["kind"] == "launch-killed-once":
                _be_killed_once()
            if facts["kind"] == "waiting-launch":
                time.sleep(600)
            if facts["kind"] == "noisy":
                _be_noisy()
        if facts["kind"] == "waits":  # its fit is complete, its run is not
            WAITING.touch()
            time.sleep(600)
        if facts["kind"] == "waiting-launch":
            WAITING.touch()
        if facts["kind"].startswith("full-disk"):
            while not WAITING.exists():
                time.sleep(0.05)
            time.sleep(3 if facts["kind"] == "full-disk-later" else 0)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return Constant(facts["outputs"] + (facts["kind"] == "wrong-shape"))

    def size_bytes(self, artifact: Path, exports: Path) -> int:
        return 1
