"""``harness time``: measure one artifact on demand, in as many fresh processes as are asked for."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import registry
from harness.commands.arguments import add_results, add_trust, positive, positive_number
from harness.commands.context import this_machine
from harness.commands.fitted import fitted, lost
from harness.commands.show import find_run
from harness.errors import RequestError
from harness.execute.base import Place
from harness.execute.claims import claim
from harness.execute.devices import Devices, device_name
from harness.execute.launches import launch, next_measurement, specification, usual_bounds
from harness.execute.memory import limit_bytes
from harness.execute.process import Bounds, StageFailed
from harness.measure.host import available_cores, host_id
from harness.measure.launch import DEFAULT_SCENARIOS
from harness.records.digests import seal
from harness.records.files import read_json
from harness.records.store import Store
from harness.sources import default_cache
from harness.sources.cache import in_use
from harness.stages.export import is_exported
from harness.stages.job import timing_inputs
from harness.suite import Limits, Timing

EXAMPLE = "harness time 3f2a --launches 5 --scenario single-stream"

#: what `harness time noop` measures: no artifact, inputs of our own
NOOP = "noop"

#: figures of a launch, and over launches: key, header, unit
SHOWN = {
    "single-stream": (
        ("latency_p50_ms", "p50", "ms"), ("latency_p90_ms", "p90", "ms"),
        ("latency_p99_ms", "p99", "ms"),
    ),
    "offline": (("throughput_per_s", "throughput", "/s"),),
    "server": (("server_rate_per_s", "rate", "/s"),),
}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """What is to be timed, found from what the user named."""

    name: str
    runtime: str
    artifact: Path
    exports: Path
    inputs: Path
    device: str
    threads: int
    seed: int
    store: tuple[Store, str] | None = None  # and the run_id, where it is a run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_results(parser)
    parser.add_argument(
        "target", metavar="RUN_OR_ARTIFACT",
        help="a run_id or row_id (or its beginning), the folder of a fitted artifact, or `noop` "
        "for the harness itself",
    )  # fmt: skip
    parser.add_argument(
        "--scenario", action="append", choices=("single-stream", "offline", "server"),
        help="repeat for more (default: single-stream and offline)",
    )  # fmt: skip
    parser.add_argument(
        "--launches", type=positive, default=3, metavar="N", help="fresh processes (default: 3)"
    )
    parser.add_argument("--threads", type=positive, metavar="N", help="default: the run's")
    parser.add_argument("--runtime", metavar="NAME", help="default: the run's")
    parser.add_argument("--device", metavar="NAME", help="default: the run's, else cpu")
    parser.add_argument(
        "--latency-bound-ms", type=positive_number, metavar="X",
        help="of the server scenario (default: 100)",
    )  # fmt: skip
    parser.add_argument("--inputs", type=Path, metavar="FILE", help="prepared inputs (.npz)")
    parser.add_argument(
        "--record", action="store_true",
        help="time as the run's suite does, and keep the launches as measurements of the run",
    )  # fmt: skip
    add_trust(parser)


def run(args: argparse.Namespace) -> int:
    args.scenario = list(dict.fromkeys(args.scenario or DEFAULT_SCENARIOS))
    with tempfile.TemporaryDirectory(prefix="harness-time-") as folder, in_use(default_cache()):
        scratch = Path(folder)
        target = _target(args, scratch)
        if args.record:
            _check_record(args, target)
        with _alone(target) if args.record else nullcontext():
            timings = _launches(args, target, scratch)
    if args.json:
        print(json.dumps(_answer(target, args, timings), indent=2, ensure_ascii=False))
    else:
        _print(target, args, timings)
    return 0


def _check_record(args: argparse.Namespace, target: Target) -> None:
    """`RequestError` for what could not stand beside the run's other launches."""
    if target.store is None:
        raise RequestError("--record keeps launches of a run; name a run_id or a row_id")
    if args.threads or args.runtime or args.device or args.inputs:
        raise RequestError(
            "--record keeps launches as the run's own; --threads, --runtime, --device and --inputs "
            "make it another measurement"
        )
    if missing := [name for name in DEFAULT_SCENARIOS if name not in args.scenario]:
        raise RequestError(
            "--record keeps launches as the run's own, and those hold "
            f"{' and '.join(DEFAULT_SCENARIOS)}; add --scenario {' --scenario '.join(missing)}"
        )


@contextmanager
def _alone(target: Target) -> Iterator[None]:
    """While nobody else works on a run; `RequestError` where somebody does: both would number their
    measurements alike."""
    assert target.store is not None
    store, run_id = target.store
    place = Place(store, default_cache(), this_machine())
    held = claim(place, target.artifact.parent.name)
    if held is None:
        raise RequestError(f"another process works on run {run_id}; wait until it is done")
    try:
        yield
    finally:
        held.release()


def _target(args: argparse.Namespace, scratch: Path) -> Target:
    threads = args.threads or available_cores()
    if args.target == NOOP:
        return Target(
            NOOP, _runtime(args.runtime or NOOP, scratch), scratch, scratch, _noop_inputs(scratch),
            args.device or "cpu", threads, 1,
        )  # fmt: skip
    folder = Path(args.target)
    if (folder / "artifact" / "harness.json").is_file():
        folder = folder / "artifact"
    if (folder / "harness.json").is_file():
        return _of_folder(args, folder, threads)
    if "/" in args.target:
        raise RequestError(
            f"{args.target}: no artifact (a folder with harness.json); fitted ones lie in the "
            f"cache under {default_cache() / 'fits'}"
        )
    return _of_run(args)


def _of_run(args: argparse.Namespace) -> Target:
    record, spec = find_run(args.results, args.target)
    row = spec["row"]
    fit = fitted(record, spec)
    if not args.runtime and not is_exported(fit, row["runtime"]):
        raise lost(record, f"the weights that {row['runtime']} loads of run {record.name}")
    if not args.inputs and not any(fit.glob("timing-inputs-*.npz")):
        raise lost(record, f"the test inputs of fit {spec['fit_id']}")
    return Target(
        name=f"{row['model']}, {row['recipe']} on {row['task']}",
        runtime=_runtime(args.runtime or row["runtime"], fit / "onnx"),
        artifact=fit / "artifact",
        exports=fit / "onnx",
        inputs=_inputs(args, fit, timing_inputs(fit, spec)),
        device=args.device or spec["device"],
        threads=args.threads or spec["threads"],
        seed=spec["seed"],
        store=(Store(args.results, record.parent.parent.name), record.name),
    )


def _of_folder(args: argparse.Namespace, artifact: Path, threads: int) -> Target:
    info = read_json(artifact / "harness.json") or {}
    framework = info.get("framework", "torch")
    runtime = args.runtime or registry.backends.get(framework).runtime
    exports = artifact.parent / "onnx"
    if (artifact / "model.onnx").is_file():  # given away by `harness export`
        exports, runtime = artifact, args.runtime or "onnxruntime"
    return Target(
        name=str(artifact),
        runtime=_runtime(runtime, exports),
        artifact=artifact,
        exports=exports,
        inputs=_inputs(args, artifact.parent, None),
        device=args.device or "cpu",
        threads=threads,
        seed=1,
    )


def _runtime(name: str, exports: Path) -> str:
    """The name, checked: it is known, and what it loads is there."""
    runtime = registry.runtimes.get(name, "--runtime")()
    if runtime.needs == "onnx" and not runtime.weights(exports).is_file():
        raise RequestError(
            f"--runtime {name}: {runtime.weights(exports)} is not there; only a suite that lists "
            f"{name} among its `runtimes` exports for it"
        )
    return name


def _inputs(args: argparse.Namespace, fit: Path, named: Path | None) -> Path:
    """Test inputs, as scoring left them beside the fit, or those named by ``--inputs``."""
    if args.inputs:
        if not args.inputs.is_file():
            raise RequestError(f"--inputs {args.inputs}: no such file")
        return Path(args.inputs)
    if named and named.is_file():
        return named
    found = next(iter(sorted(fit.glob("timing-inputs-*.npz"))), None)
    if found is None:
        raise RequestError(
            f"no test inputs beside {fit}: run the suite again, or name a file of prepared inputs "
            "with --inputs (timing-inputs-*.npz beside any fit of the same model)"
        )
    return found


def _noop_inputs(scratch: Path) -> Path:
    """Token ids nobody will look at, in lengths like those of news."""
    import numpy as np

    from harness.data.arrays import save_encoded
    from harness.tasks.base import Encoded, Ragged

    rng = np.random.default_rng(1)
    lengths = np.clip(rng.lognormal(3.5, 0.6, 1024), 4, 128).astype(int)
    rows = [rng.integers(3, 30_000, n) for n in lengths]
    count = len(rows)
    encoded = Encoded({"input_ids": Ragged.of(rows)}, {}, np.arange(count), np.zeros(count, bool))
    save_encoded(scratch / "inputs.npz", encoded)
    return scratch / "inputs.npz"


def _how(args: argparse.Namespace, target: Target) -> tuple[Timing, Bounds]:
    """How to time, and what a launch may take: as the suite of a recorded run says, which its plan
    repeats; else as the defaults do."""
    timing, bounds = Timing(), usual_bounds()
    if args.record and target.store is not None:
        plan = target.store[0].folder / "plan.json"
        facts = read_json(plan) or {}
        if "timing" not in facts or "limits" not in facts:
            raise RequestError(
                f"{plan} does not tell how its suite is timed (an earlier version wrote it); run "
                "the suite again, which keeps what is done, and then this"
            )
        timing, limits = Timing(**facts["timing"]), Limits(**facts["limits"])
        bounds = Bounds(limits.time_seconds, limit_bytes(limits.memory_gb))
    changes: dict[str, Any] = {"launches": args.launches}
    if args.latency_bound_ms is not None:
        changes["latency_bound_ms"] = args.latency_bound_ms
    return timing.model_copy(update=changes), bounds


def _launches(args: argparse.Namespace, target: Target, scratch: Path) -> list[Mapping[str, Any]]:
    timing, bounds = _how(args, target)
    spec = specification(
        runtime=target.runtime, artifact=target.artifact, exports=target.exports,
        inputs=target.inputs, device=target.device, threads=target.threads, timing=timing,
        seed=target.seed, scenarios=args.scenario, remote_code=args.trust_remote_code,
    )  # fmt: skip
    here = host_id()
    timings: list[Mapping[str, Any]] = []
    for number in range(args.launches):
        if not args.json:
            print(f"launch {number + 1} of {args.launches} ...", file=sys.stderr, flush=True)
        place = scratch / f"launch-{number}"
        if args.record and target.store is not None:
            place = next_measurement(*target.store, here)
        try:
            with Devices.of(default_cache()).measuring(device_name(target.device)):
                facts = launch(
                    spec, scratch / "launch.json", place, scratch / "launch.log", bounds=bounds
                )
        except StageFailed as failure:
            raise RequestError(
                f"{target.name} in {target.runtime}: {failure.status}: {failure.reason}"
            ) from None
        if args.record:
            seal(place)
        timings.append(facts)
    return timings


def _answer(
    target: Target, args: argparse.Namespace, timings: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    return {
        "target": target.name,
        "runtime": target.runtime,
        "device": target.device,
        "threads": target.threads,
        "scenarios": args.scenario,
        "over_launches": over_launches(args.scenario, timings),
        "launches": list(timings),
    }


def over_launches(
    scenarios: Sequence[str], timings: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Centre and 95% interval of each shown figure; None where a launch does not carry it."""
    from harness.stats.launches import launch_interval

    found: dict[str, dict[str, Any]] = {}
    for scenario in scenarios:
        for key, _, unit in SHOWN[scenario]:
            values = [t[key] for t in timings if t.get(key) is not None]
            interval = launch_interval(values) if len(values) == len(timings) else None
            found[key] = {
                "unit": unit,
                "centre": interval.centre if interval else None,
                "low": interval.low if interval else None,
                "high": interval.high if interval else None,
            }
    return found


def _print(target: Target, args: argparse.Namespace, timings: Sequence[Mapping[str, Any]]) -> None:
    first = timings[0]
    observed = first["observed"]
    print(f"{target.name} in {target.runtime} on {target.device}, "
          f"{observed.get('threads')} threads, {observed.get('dtype')}")  # fmt: skip
    head = ["launch", "first answer"]
    for scenario in args.scenario:
        head += [f"{name} {unit}" for _, name, unit in SHOWN[scenario]]
    single = "single-stream" in args.scenario
    head += ["samples", "steady", "disturbed", "verdict"] if single else []
    rows = [_row(str(n), t, args.scenario, single) for n, t in enumerate(timings, 1)]
    overall = over_launches(args.scenario, timings)
    if len(timings) > 1:
        low_high = [_interval(figure) for figure in overall.values()]
        rows.append(["95%", "", *low_high, *[""] * (4 if single else 0)])
    _table(head, rows)
    for line in _remarks(args, timings):
        print(line)


def _row(
    number: str, timing: Mapping[str, Any], scenarios: Sequence[str], single: bool
) -> list[str]:
    cells = [number, _seconds(timing.get("first_answer_seconds"))]
    for scenario in scenarios:
        cells += [_figure(timing.get(key)) for key, _, _ in SHOWN[scenario]]
    if single:
        cells += [
            str(timing["samples"]),
            "yes" if timing["steady"] else "no",
            f"{timing['disturbed_share']:.0%}",
            timing["verdict"],
        ]
    return cells


def _remarks(args: argparse.Namespace, timings: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the table cannot say: why a figure is missing or should not be trusted."""
    found: dict[str, None] = {}
    for timing in timings:
        for key in ("latency_p50_ms", "latency_p90_ms", "latency_p99_ms"):
            if reason := timing.get(f"{key}_reason"):
                found[f"no {key.split('_')[1]}: {reason}"] = None
        if timing.get("verdict") == "INVALID":
            found[f"INVALID: {timing['verdict_reason']}"] = None
        if timing.get("throughput_verdict") == "INVALID":
            found[f"throughput INVALID: {timing['throughput_verdict_reason']}"] = None
        if timing.get("steady") is False:
            found["not steady: the latency still changed when sampling ended"] = None
        if timing.get("answers_cached"):
            found["repeated inputs are answered far faster than new ones: answers are cached"] = (
                None
            )
        if timing.get("server_reason"):
            found[f"server: {timing['server_reason']}"] = None
        if "server_rate_per_s" in timing:
            found[
                f"server: the largest Poisson rate at which {timing['server_percentile']:.0%} of "
                f"queries are answered within {timing['server_latency_bound_ms']:g} ms"
            ] = None
        for note in timing.get("notes", []):
            found[f"note: {note}"] = None
    if len(timings) == 1:
        found["one launch has no interval: --launches 3 or more gives one"] = None
    return list(found)


def _interval(figure: Mapping[str, Any]) -> str:
    if figure["low"] is None:
        return "-"
    return f"{_figure(figure['low'])}..{_figure(figure['high'])}"


def _figure(value: float | None) -> str:
    """Three digits that count, without an exponent."""
    if value is None:
        return "-"
    if value >= 100 or value == 0:
        return f"{value:.0f}"
    return f"{value:.3g}" if value >= 0.001 else f"{value:.5f}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))
