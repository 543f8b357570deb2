"""One timing of one run, in a fresh process: ``python -m harness.measure.launch SPEC.json OUT``.

``SPEC.json``: ``runtime`` (a registered name), ``artifact`` and ``exports`` (folders), ``device``,
``threads``, ``inputs`` (a file of `harness.data.arrays`), ``timing`` (the fields of
`harness.suite.Timing`), ``seed``. Writes ``host.json`` and, last, ``timing.json`` into OUT.

Exit status 0: measured; 1: failed; 2: the request is wrong; 3: unsupported here. The reason is the
last line on stderr. Nothing here may import numpy or a framework before `main` has set the
environment from which they size their thread pools.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from harness.backends.base import Batch, Predictor
    from harness.tasks.base import Encoded

FAILED, WRONG_REQUEST, UNSUPPORTED = 1, 2, 3

#: Read once by OpenMP, MKL and OpenBLAS, when they load.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

#: Percentiles that are reported, where the samples carry them.
_PERCENTILES = {"latency_p50_ms": 0.5, "latency_p90_ms": 0.9, "latency_p99_ms": 0.99}


def main(arguments: list[str]) -> int:
    from harness.errors import RequestError, Unsupported
    from harness.records.files import read_json

    if len(arguments) != 2:
        print("usage: python -m harness.measure.launch SPEC.json OUT_DIR", file=sys.stderr)
        return WRONG_REQUEST
    spec = read_json(Path(arguments[0]))
    if spec is None:
        print(f"{arguments[0]}: no readable JSON object", file=sys.stderr)
        return WRONG_REQUEST
    for name in _THREAD_VARIABLES:
        os.environ[name] = str(spec["threads"])
    try:
        launch(spec, Path(arguments[1]))
    except Unsupported as error:
        return _say(error, UNSUPPORTED)
    except RequestError as error:
        return _say(error, WRONG_REQUEST)
    except Exception as error:
        import traceback

        traceback.print_exc()
        return _say(error, FAILED)
    return 0


def launch(spec: dict[str, Any], out: Path) -> None:
    """Measure as ``spec`` says and write the records into ``out``."""
    from harness import registry
    from harness.data.arrays import load_encoded
    from harness.measure.host import host_facts
    from harness.measure.memory import peak_memory_mb
    from harness.records.files import write_json

    encoded = load_encoded(Path(spec["inputs"]))
    host = host_facts(spec["threads"])  # before our own work shows in the load average
    runtime = registry.runtimes.get(spec["runtime"])()
    start = time.perf_counter()
    predictor = runtime.load(
        Path(spec["artifact"]),
        Path(spec["exports"]),
        device=spec["device"],
        threads=spec["threads"],
    )
    load_seconds = time.perf_counter() - start
    check_threads(spec["threads"], predictor.observed())
    with others_at_work() as others:
        timing = measure(predictor, encoded, spec["timing"], spec["seed"])
    observed = predictor.observed()
    host["threads_observed"] = observed.get("threads")
    timing |= {
        # into a process that had imported nothing of the framework, so its import is part of it
        "load_seconds": load_seconds,
        "peak_memory_mb": peak_memory_mb(),
        "peak_memory_basis": "peak resident set of the process",
        "observed": observed,
        **others,
        "runtime": spec["runtime"],
        "device": spec["device"],
        "seed": spec["seed"],
    }
    write_json(out / "host.json", host)
    write_json(out / "timing.json", timing)


@contextmanager
def others_at_work() -> Iterator[dict[str, float | None]]:
    """Fills ``others_busy_cores``: cores that other processes kept busy meanwhile, on average.

    Unlike the load average it leaves our own work out, and it covers the measurement exactly.
    """
    from harness.measure.host import busy_seconds

    facts: dict[str, float | None] = {"others_busy_cores": None}
    before, own, start = busy_seconds(), time.process_time(), time.perf_counter()
    yield facts
    after = busy_seconds()
    if before is not None and after is not None:
        others = after - before - (time.process_time() - own)
        facts["others_busy_cores"] = max(0.0, others) / (time.perf_counter() - start)


def check_threads(asked: int, observed: dict[str, Any]) -> None:
    """A timing with other threads than asked for answers another question: an error."""
    if observed.get("threads") != asked:
        raise RuntimeError(
            f"{asked} threads were asked for, but {observed.get('threads')} are observed"
        )


def measure(
    predictor: Predictor, encoded: Encoded, timing: dict[str, Any], seed: int
) -> dict[str, Any]:
    """First call, latency and throughput of a loaded predictor: the body of ``timing.json``."""
    import numpy as np

    from harness.backends.base import pad, sorted_batches
    from harness.measure.latency import measure_latency
    from harness.measure.throughput import best, measure_throughput

    singles = [pad(encoded, np.array([i])) for i in range(len(encoded))]
    start = time.perf_counter()
    predictor.predict(singles[len(singles) // 2])
    first_call_ms = (time.perf_counter() - start) * 1e3
    latency = measure_latency(
        predictor.predict,
        singles,
        seed=seed,
        min_samples=timing["min_samples"],
        max_samples=timing["max_samples"],
        max_seconds=timing["max_seconds"],
        shape=_length,
    )
    points = []
    for batch_size in dict.fromkeys(min(size, len(encoded)) for size in timing["batch_sizes"]):
        features: list[np.ndarray] = list(sorted_batches(encoded, batch_size))
        points.append(
            measure_throughput(
                predictor.predict,
                [pad(encoded, chosen) for chosen in features],
                [len(chosen) for chosen in features],
                batch_size=batch_size,
                seconds=timing["sweep_seconds"],
            )
        )
    top = best(points)
    return {
        "first_call_ms": first_call_ms,
        "latency_ms": latency.samples_ms,
        "samples": len(latency.samples_ms),
        **percentiles(latency.samples_ms),
        "warm_up": vars(latency.warm_up),
        "throughput": [vars(point) for point in points],
        "throughput_per_s": top.examples_per_s if top else None,
        "best_batch_size": top.batch_size if top else None,
        "inputs": len(encoded),
    }


def percentiles(samples_ms: list[float]) -> dict[str, Any]:
    """p50, p90 and p99 in ms; None, with the reason, where there are too few samples."""
    from harness.measure.percentiles import percentile

    facts: dict[str, Any] = {}
    for name, q in _PERCENTILES.items():
        facts[name], needed = percentile(samples_ms, q)
        if facts[name] is None:
            facts[f"{name}_reason"] = f"{len(samples_ms)} samples; a 95% upper bound needs {needed}"
    return facts


def _length(batch: Batch) -> int:
    """Padded length, which decides what compilers and allocators see; 0 for raw text."""
    return batch["input_ids"].shape[1] if "input_ids" in batch else 0


def _say(error: Exception, status: int) -> int:
    text = " ".join(str(error).split())
    print(f"{type(error).__name__}: {text}" if status == FAILED else text, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
