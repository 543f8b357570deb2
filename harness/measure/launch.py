"""One timing of one run, in a fresh process: ``python -m harness.measure.launch SPEC.json OUT``.

``SPEC.json``: ``runtime`` (a registered name), ``artifact`` and ``exports`` (folders), ``device``,
``threads``, ``inputs`` (a file of `harness.data.arrays`), ``timing`` (the fields of
`harness.suite.Timing`), ``seed``; perhaps ``started_ns`` (the parent's monotonic clock when it
started us), ``scenarios`` (default: single-stream and offline) and ``remote_code`` (whether the
artifact's own Python code may run; default: no). Writes ``host.json`` and, last,
``timing.json`` into OUT.

Exit status 0: measured; 1: failed; 2: the request is wrong; 3: unsupported here. The reason is the
last line on stderr. Nothing here may import numpy or a framework before `main` has set the
environment from which they size their thread pools.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.backends.base import Batch, Predictor, Runtime
    from harness.measure.launch_passes import BlockWatch
    from harness.tasks.base import Encoded

FAILED, WRONG_REQUEST, UNSUPPORTED = 1, 2, 3

#: Raised when a key of ``timing.json`` changes its meaning; boards and plans do not mix versions.
#: 2: LoadGen's scenarios in blocks of unique inputs, percentiles by Weibull's position.
#: 3: peak memory is this process's own, after its timing.
#: 4: blocks are longer and settle within LoadGen's test: latencies of a few ms are 2 to 3% lower.
TIMING_VERSION = 4

#: Seconds of untimed predictions in which the threads that compute are counted.
PROBE_SECONDS = 0.05

#: What a launch looks at after the clock has stopped, each a pass of its own so that it cannot
#: disturb the timing: functions of (predictor, inputs, specification) that give keys of
#: ``timing.json``, as ``module:function``. Memory first: the others allocate.
FURTHER_PASSES: tuple[str, ...] = (
    "harness.measure.launch_passes:memory",
    "harness.measure.launch_passes:peaks",
    "harness.measure.launch_passes:device_time",
    "harness.measure.launch_passes:energy",
)


def main(arguments: list[str]) -> int:
    from harness.errors import RequestError, Unsupported
    from harness.measure.pinning import set_thread_pools
    from harness.records.files import read_json

    if len(arguments) != 2:
        print("usage: python -m harness.measure.launch SPEC.json OUT_DIR", file=sys.stderr)
        return WRONG_REQUEST
    spec = read_json(Path(arguments[0]))
    if spec is None:
        print(f"{arguments[0]}: no readable JSON object", file=sys.stderr)
        return WRONG_REQUEST
    set_thread_pools(spec["threads"])
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
    from harness.measure.host import host_facts, load_average
    from harness.measure.pinning import pinned
    from harness.records.files import write_json
    from harness.sources import remote_code

    load = load_average()  # before our own work shows in it
    runtime: Runtime = registry.runtimes.get(spec["runtime"])()
    with pinned(spec["threads"]) as cores, remote_code(spec.get("remote_code", False)):
        predictor, encoded, timing = start(runtime, spec)
        timing |= asked_and_observed(runtime, spec, predictor, encoded, cores)
        with others_at_work() as others:
            timing |= measure(
                predictor, encoded, spec["timing"], spec["seed"],
                lambda: make_watch(spec, predictor, encoded),
                spec.get("scenarios", DEFAULT_SCENARIOS),
            )  # fmt: skip
        timing |= others
        for name in FURTHER_PASSES:
            timing |= _function(name)(predictor, encoded, spec | {"idle": timing["idle"]})
    timing |= {key: spec[key] for key in ("runtime", "device", "seed")}
    timing["timing_version"] = TIMING_VERSION
    # only now: these facts take time that a user would not wait for before the first answer
    host = host_facts(spec["threads"], timing["observed"].get("threads"))
    host["load"] = load
    write_json(out / "host.json", host)
    write_json(out / "timing.json", timing)


def start(runtime: Runtime, spec: dict[str, Any]) -> tuple[Predictor, Encoded, dict[str, Any]]:
    """Load, and answer once: the cold start.

    ``load_seconds`` includes the framework's import, as this process had imported nothing of it;
    ``first_answer_seconds`` counts from the start of the process, without the time that we took
    (``preparation_seconds``) to read all test inputs, which nobody's first answer waits for.
    """
    from harness.data.arrays import load_encoded
    from harness.measure.cold_start import seconds_since_start
    from harness.measure.memory_watch import footprint

    prepare = time.perf_counter()
    encoded = load_encoded(Path(spec["inputs"]))
    first = _first_input(encoded)
    idle = footprint()
    begin = time.perf_counter()
    predictor = runtime.load(
        Path(spec["artifact"]),
        Path(spec["exports"]),
        device=spec["device"],
        threads=spec["threads"],
    )
    loaded = time.perf_counter()
    predictor.predict(first)
    answered = time.perf_counter()
    since_start = seconds_since_start(spec.get("started_ns"))
    facts = {
        "first_answer_seconds": since_start and since_start - (begin - prepare),
        "preparation_seconds": begin - prepare,
        "load_seconds": loaded - begin,
        "first_call_ms": (answered - loaded) * 1e3,
        "idle": vars(idle),
    }
    return predictor, encoded, facts


def asked_and_observed(
    runtime: Runtime,
    spec: dict[str, Any],
    predictor: Predictor,
    encoded: Encoded,
    cores: list[int] | None,
) -> dict[str, Any]:
    """``asked``, ``observed`` and ``notes`` on differences; an error where one decides.

    After the first answer: some libraries start their threads with their first work.
    """
    from harness.measure import observed as check

    first = _first_input(encoded)

    def work() -> None:
        end = time.perf_counter() + PROBE_SECONDS
        while time.perf_counter() < end:
            predictor.predict(first)

    observed = predictor.observed() | {
        "batch_size": len(predictor.predict(first)),
        "working_threads": check.working_threads(work),
    }
    check.check_threads(spec["threads"], observed)
    check.check_device(spec["device"], observed)
    check.check_batch(1, observed["batch_size"])
    pools = check.thread_pools()
    asked = {
        "device": spec["device"],
        "dtype": runtime.dtype,
        "threads": spec["threads"],
        "cores": cores,
        "batch_size": 1,
    }
    return {
        "asked": asked,
        "observed": observed | ({"pools": pools} if pools else {}),
        "notes": check.notes(asked, observed, pools),
    }


def make_watch(spec: dict[str, Any], predictor: Predictor, encoded: Encoded) -> BlockWatch:
    """What looks at the host between blocks; after a look the model is called once, untimed."""
    from harness.devices import gpu_index, is_gpu
    from harness.measure.host_watch import HostWatch
    from harness.measure.launch_passes import BlockWatch

    gpu = gpu_index(spec["device"]) or 0 if is_gpu(spec["device"]) else None
    first = _first_input(encoded)
    return BlockWatch(HostWatch(threads=spec["threads"], gpu=gpu), lambda: predictor.predict(first))


def _first_input(encoded: Encoded) -> Batch:
    """The one that is answered first, and between measurements: from the middle, of any length."""
    import numpy as np

    from harness.backends.base import pad

    return pad(encoded, np.array([len(encoded) // 2]))


@contextmanager
def others_at_work() -> Iterator[dict[str, float | None]]:
    """Fills ``others_busy_cores``: cores that other processes kept busy meanwhile, on average.

    Unlike the load average it leaves our own work out, and it covers the measurement exactly; as in
    ``host_watch``, time that the hypervisor gave to other guests is not in it.
    """
    from harness.measure.host_state import processor_times

    facts: dict[str, float | None] = {"others_busy_cores": None}
    before, own, start = processor_times()[0], time.process_time(), time.perf_counter()
    yield facts
    after = processor_times()[0]
    if before is not None and after is not None:
        others = after - before - (time.process_time() - own)
        facts["others_busy_cores"] = max(0.0, others) / (time.perf_counter() - start)


#: What suites measure.
DEFAULT_SCENARIOS = ("single-stream", "offline")


def measure(
    predictor: Predictor,
    encoded: Encoded,
    timing: dict[str, Any],
    seed: int,
    new_watch: Callable[[], BlockWatch],
    scenarios: tuple[str, ...] | list[str] = DEFAULT_SCENARIOS,
) -> dict[str, Any]:
    """The scenarios asked for, one after the other: most of the body of ``timing.json``."""
    facts: dict[str, Any] = {"inputs": len(encoded), "scenarios": list(scenarios)}
    for name in scenarios:
        function, key = SCENARIOS[name]
        watch = new_watch()
        facts |= _function(function)(predictor, encoded, timing, seed, watch)
        facts |= watch.facts(key)
        if name == "single-stream":
            facts["latency_p50_products"] = watch.watch.relative(facts["latency_p50_ms"])
    return facts


#: Scenario to (the function that measures it, given predictor, inputs, timing, seed and watch; the
#: key for what its watch saw).
SCENARIOS = {
    "single-stream": ("harness.measure.scenarios:single_stream", "host_watch"),
    "offline": ("harness.measure.scenarios:offline", "throughput_host_watch"),
    "server": ("harness.measure.scenarios:server", "server_host_watch"),
}


def _function(name: str) -> Callable[..., dict[str, Any]]:
    from importlib import import_module

    module, _, function = name.partition(":")
    found: Callable[..., dict[str, Any]] = getattr(import_module(module), function)
    return found


def _say(error: Exception, status: int) -> int:
    text = " ".join(str(error).split())
    print(f"{type(error).__name__}: {text}" if status == FAILED else text, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
