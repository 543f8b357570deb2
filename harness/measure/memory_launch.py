"""The memory pass: ``python -m harness.measure.memory_launch SPEC.json OUT.json``.

Loads the artifact that ``SPEC.json`` names (as for `harness.measure.launch`), predicts its longest
inputs in batches of each size of the sweep, and ends. Its parent samples it meanwhile from outside;
OUT.json says what only this process knows: its own footprint before it loaded a framework, and the
accelerator's peaks.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

#: Single inputs beside the batches: allocators keep something for each shape that they meet.
_SINGLES = 16


def main(arguments: list[str]) -> int:
    from harness.errors import RequestError, Unsupported
    from harness.measure.launch import FAILED, UNSUPPORTED, WRONG_REQUEST
    from harness.measure.pinning import set_thread_pools
    from harness.records.files import read_json, write_json

    spec = read_json(Path(arguments[0])) if len(arguments) == 2 else None
    if spec is None:
        print("usage: python -m harness.measure.memory_launch SPEC.json OUT.json", file=sys.stderr)
        return WRONG_REQUEST
    set_thread_pools(spec["threads"])
    try:
        write_json(Path(arguments[1]), use(spec))
    except Unsupported as error:
        print(error, file=sys.stderr)
        return UNSUPPORTED
    except RequestError as error:
        print(error, file=sys.stderr)
        return WRONG_REQUEST
    except Exception as error:
        import traceback

        traceback.print_exc()
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return FAILED
    return 0


def use(spec: dict[str, Any]) -> dict[str, Any]:
    """Load and predict; what this process alone can tell."""
    import numpy as np

    from harness import registry
    from harness.backends.base import pad, sorted_batches
    from harness.data.arrays import load_encoded
    from harness.measure.gpu_state import process_memory_mb
    from harness.measure.memory import peak_memory_mb
    from harness.measure.memory_watch import footprint

    encoded = load_encoded(Path(spec["inputs"]))
    runtime = registry.runtimes.get(spec["runtime"])()
    idle = footprint()
    predictor = runtime.load(
        Path(spec["artifact"]),
        Path(spec["exports"]),
        device=spec["device"],
        threads=spec["threads"],
    )
    for index in range(min(_SINGLES, len(encoded))):
        predictor.predict(pad(encoded, np.array([index])))
    for size in sorted({min(size, len(encoded)) for size in spec["timing"]["batch_sizes"]}):
        longest = next(sorted_batches(encoded, size))
        for _ in range(2):  # the second shows what the first has left
            predictor.predict(pad(encoded, longest))
    on_gpu = spec["device"] != "cpu"
    return {
        "idle": asdict(idle),
        "high_water_mb": peak_memory_mb(),
        "device": predictor.device_memory(),
        "device_process_mb": process_memory_mb(os.getpid()) if on_gpu else None,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
