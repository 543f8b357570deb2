"""Our launches, a plain loop and optimum-benchmark time the same model, taking turns.

    .venv/bin/python -m tests.benchmarks.peer_comparison [--rounds 3] [--onnxruntime] [--json FILE]

MiniLM from the checkpoint folder of suite `nlp`, batch 1, 32 tokens, 2 threads, float32, PyTorch.
A round launches every arm forth and back (A B C C B A), so three rounds are six launches an arm.
The peer runs by its own defaults (ten seconds of calls), but for at least as many samples as the
others take. It draws its token ids itself and repeats them; the others go through 1,024 inputs of
the same length. It lives in an environment of its own outside the repository (``--venv``), made
here where it is missing: it needs older libraries than ours. Exit status 1: a bound was missed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends.base import ArtifactInfo
from harness.data.arrays import save_encoded
from harness.execute.environment import thread_environment
from harness.execute.launches import launch, specification
from harness.measure.percentiles import percentile, samples_needed
from harness.measure.waiting import wait
from harness.records.files import read_json, write_json
from harness.sources.cache import default_cache
from harness.stages.fetch import fetch_model
from harness.stats.log_ratio import welch_log_ratio
from harness.suite import Timing, load_suite
from harness.tasks.base import Encoded, Ragged

#: Version 0.6.0 fails to import with transformers 5 and with datasets 5. PyTorch is ours.
TORCH = importlib.metadata.version("torch").partition("+")[0]
PEER = {"optimum-benchmark": "0.6.0", "transformers": "4.57.6", "torch": TORCH}
PEER_RANGES = ["datasets<5"]

#: Inputs enough that a launch of up to 800 samples, warm-up included, meets none twice.
TOKENS, INPUTS, TIMEOUT_SECONDS = 32, 1024, 900
#: Ours against the plain loop, and seconds of a launch against the peer's.
BOUNDS = {"p50": 0.05, "p99": 0.20}
HERE = Path(__file__).parent

#: One launch: the samples in ms, and further facts for the raw figures.
Arm = Callable[[], tuple[list[float], dict[str, Any]]]


@dataclass(frozen=True)
class Launch:
    arm: str
    seconds: float  # from start to end of its processes
    p50_ms: float
    p99_ms: float | None  # None: too few steady samples
    samples_ms: list[float]
    facts: dict[str, Any]


def peer_python(folder: Path) -> Path:
    """The peer's interpreter; makes its environment where it is missing (pip, about 3 minutes)."""
    python = folder / "bin" / "python"
    if not python.is_file():
        print(f"making {folder} for optimum-benchmark ...", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True)
        wanted = [f"{name}=={version}" for name, version in PEER.items()] + PEER_RANGES
        subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
    ask = "import importlib.metadata as m, sys; print(*map(m.version, sys.argv[1:]))"
    found = subprocess.run([python, "-c", ask, *PEER], capture_output=True, text=True)
    versions = [text.partition("+")[0] for text in found.stdout.split()]
    if found.returncode or versions != list(PEER.values()):
        raise SystemExit(
            f"{folder} holds {found.stdout.strip() or found.stderr.strip().splitlines()[-1]}, not "
            f"{PEER}: remove it, or name another folder with --venv"
        )
    return python


def checkpoint() -> Path:
    """The folder that suite `nlp` fetches for MiniLM."""
    loaded = load_suite("nlp")
    model = next(m for m in loaded.suite.models if m.id == "minilm")
    folder = fetch_model(model, default_cache(), loaded.path.parent)
    assert folder is not None
    return folder


def make_artifact(model: Path, scratch: Path, exported: bool) -> None:
    """The checkpoint with an untrained head of eight classes as an artifact, and its inputs."""
    from harness.backends.torch import models
    from harness.backends.torch.export import export_onnx

    labels = [f"class{number}" for number in range(8)]
    info = ArtifactInfo(
        "transformer", "torch", "text-classification", "pooled", 8, "mean", labels, TOKENS
    )
    models.save(models.build(info, model, seed=1), info, scratch / "artifact", model)
    if exported:
        export_onnx(scratch / "artifact", scratch / "onnx")
    vocabulary = json.loads((model / "config.json").read_text())["vocab_size"]
    ids = np.random.default_rng(1).integers(1000, vocabulary, (INPUTS, TOKENS))
    np.save(scratch / "ids.npy", ids)
    encoded = Encoded(
        {"input_ids": Ragged.of(list(ids))}, {}, np.arange(INPUTS), np.zeros(INPUTS, bool)
    )
    save_encoded(scratch / "inputs.npz", encoded)


def process(
    command: Sequence[str | Path], order: Mapping[str, Any], scratch: Path, **environment: str
) -> dict[str, Any]:
    """What a process writes that is given ``order``; we are blocked meanwhile."""
    asked, answer, log = (scratch / name for name in ("order.json", "answer.json", "arm.log"))
    answer.unlink(missing_ok=True)
    write_json(asked, dict(order))
    with open(log, "wb") as output:
        running = subprocess.Popen(
            [*command, asked, answer], stdout=output, stderr=subprocess.STDOUT, cwd=scratch,
            env=thread_environment(order["threads"]) | environment,
        )  # fmt: skip
        try:
            code = wait(running, TIMEOUT_SECONDS)
        except BaseException:
            running.kill()
            raise
    found = read_json(answer)
    if code or found is None:
        tail = log.read_text(errors="replace").strip().splitlines()[-5:]
        raise SystemExit(f"{command[1]} ended with exit status {code}:\n" + "\n".join(tail))
    return found


def arms(args: argparse.Namespace, python: Path, model: Path, scratch: Path) -> dict[str, Arm]:
    """Name to launch, in the order of a round."""
    order = {"threads": args.threads, "samples": args.samples, "tokens": TOKENS}

    def peer() -> tuple[list[float], dict[str, Any]]:
        found = process(
            [python, HERE / "peer_arm.py"],
            order | {"model": str(model), "seconds": args.peer_seconds}, scratch,
            HF_HUB_OFFLINE="1", LOG_TO_FILE="0", LOG_LEVEL="WARNING",
        )  # fmt: skip
        reported = {f"reported_{key}": found[key] for key in ("p50_ms", "p99_ms")}
        return found["latency_ms"], reported

    def loop(what: Path) -> Arm:
        def once() -> tuple[list[float], dict[str, Any]]:
            asked = order | {"model": str(what), "inputs": str(scratch / "ids.npy")}
            found = process([sys.executable, HERE / "plain_loop.py"], asked, scratch)
            return found["latency_ms"], {}

        return once

    def ours(runtime: str) -> Arm:
        spec = specification(
            runtime=runtime, artifact=scratch / "artifact", exports=scratch / "onnx",
            inputs=scratch / "inputs.npz", device="cpu", threads=args.threads, seed=1,
            # blocks before the series had settled do not count: room for as many again
            timing=Timing(min_samples=args.samples, max_samples=2 * args.samples),
            # `harness time --scenario single-stream`: the others take no throughput either
            scenarios=["single-stream"],
        )  # fmt: skip

        def once() -> tuple[list[float], dict[str, Any]]:
            timing = launch(spec, scratch / "spec.json", scratch / "out", scratch / "launch.log")
            keys = ("disturbed_share", "others_busy_cores", "steady", "stopped", "host_watch")
            return timing["latency_ms"], {key: timing.get(key) for key in keys}

        return once

    found = {"peer": peer, "loop": loop(model), "ours": ours("torch")}
    if args.onnxruntime:
        found["loop, ONNX Runtime"] = loop(scratch / "onnx" / "model.onnx")
        found["ours, ONNX Runtime"] = ours("onnxruntime")
    return found


def take(name: str, arm: Arm) -> Launch:
    begin = time.monotonic()
    samples, facts = arm()
    seconds = time.monotonic() - begin
    p50, p99 = (percentile(samples, q)[0] for q in (0.5, 0.99))
    if p50 is None:
        raise SystemExit(f"{name}: {len(samples)} samples carry no median")
    shown = f"no p99 from {len(samples)} samples" if p99 is None else f"p99 {p99:.2f} ms"
    print(f"{name}: p50 {p50:.2f} ms, {shown}, {seconds:.1f} s", file=sys.stderr, flush=True)
    return Launch(name, seconds, p50, p99, samples, facts)


def medians(launches: Sequence[Launch], arm: str) -> dict[str, float]:
    of = [one for one in launches if one.arm == arm]
    return {
        "p50": statistics.median(one.p50_ms for one in of),
        # NaN where no launch carries one, which holds no bound
        "p99": statistics.median([one.p99_ms for one in of if one.p99_ms] or [float("nan")]),
        "seconds": statistics.median(one.seconds for one in of),
        "launches": len(of),
        "samples": min(len(one.samples_ms) for one in of),
    }


#: Which arms are set against which loop.
PAIRS = (("peer", "loop"), ("ours", "loop"), ("ours, ONNX Runtime", "loop, ONNX Runtime"))


def table(launches: Sequence[Launch]) -> str:
    """Medians of launches, and ratios to the plain loop of the same runtime."""
    base = dict(PAIRS)
    found = {arm: medians(launches, arm) for arm in dict.fromkeys(one.arm for one in launches)}
    head = [
        "arm", "p50, ms", "p99, ms", "p50 / loop", "p99 / loop", "seconds a launch", "launches",
        "samples a launch",
    ]  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    for arm, own in found.items():
        loop = found[base.get(arm, arm)]
        cells = [f"{own['p50']:.2f}", f"{own['p99']:.2f}"]
        cells += [f"{own[key] / loop[key]:.2f}" for key in ("p50", "p99")]
        cells += [f"{own['seconds']:.1f}", str(own["launches"]), f"{own['samples']}"]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return "\n".join(lines)


def verdicts(launches: Sequence[Launch]) -> list[tuple[bool, str]]:
    """Every promise: whether it was held, and the figure."""
    found = []
    present = {one.arm for one in launches}
    for arm, loop in PAIRS[1:]:
        if arm not in present:
            continue
        own, other = medians(launches, arm), medians(launches, loop)
        for key, bound in BOUNDS.items():
            ratio = own[key] / other[key]
            text = f"{arm} / {loop}, {key}: {ratio:.3f}, wanted within {bound:.0%}"
            sides = [np.array(_values(launches, name, key)) for name in (loop, arm)]
            if min(map(len, sides)) > 1:
                interval = welch_log_ratio(*sides)
                low, high = np.exp([interval.low, interval.high])
                text += f" (95% interval of the launches {low:.3f}..{high:.3f})"
            found.append((abs(ratio - 1) <= bound, text))
    own, other = medians(launches, "ours"), medians(launches, "peer")
    text = f"a launch of ours takes {own['seconds']:.1f} s, of the peer {other['seconds']:.1f} s"
    found.append((own["seconds"] <= other["seconds"], text))
    return found


def _values(launches: Sequence[Launch], arm: str, key: str) -> list[float]:
    found = [getattr(one, f"{key}_ms") for one in launches if one.arm == arm]
    return [value for value in found if value is not None]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.peer_comparison",
        description="optimum-benchmark, a plain loop and our launches on one model, in turns",
    )
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser.add_argument("--rounds", type=int, default=3, help="A B C C B A each (default: 3)")
    parser.add_argument("--samples", type=int, default=400, help="of a launch (default: 400)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--peer-seconds", type=int, default=10, help="of calls, at least (default: 10, its own)"
    )
    parser.add_argument("--onnxruntime", action="store_true", help="loop and ours there as well")
    parser.add_argument("--venv", type=Path, default=home / "optimum-benchmark-0.6.0")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every sample of every launch")
    args = parser.parse_args(arguments)
    needed = samples_needed(0.99)
    if args.samples < needed:
        parser.error(f"--samples {args.samples}: a p99 needs {needed}")
    if args.rounds < 1 or args.threads < 1:
        parser.error("--rounds and --threads are 1 or more")
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    args = parse(arguments)
    python, model = peer_python(args.venv), checkpoint()
    launches: list[Launch] = []
    with tempfile.TemporaryDirectory(prefix="peer-comparison-") as name:
        scratch = Path(name)
        make_artifact(model, scratch, exported=args.onnxruntime)
        all_arms = arms(args, python, model, scratch)
        for _ in range(args.rounds):
            for arm in [*all_arms, *reversed(all_arms)]:
                launches.append(take(arm, all_arms[arm]))
    print(table(launches))
    found = verdicts(launches)
    print()
    for held, text in found:
        print(f"- {'held' if held else 'MISSED'}: {text}")
    disturbed = [one.facts["disturbed_share"] for one in launches if one.arm.startswith("ours")]
    print(f"- of our blocks {statistics.mean(disturbed):.0%} were disturbed by the host")
    if args.json:
        figures = {
            "schema_version": 1, "threads": args.threads, "tokens": TOKENS, "peer": PEER,
            "launches": [vars(one) for one in launches],
            "verdicts": [{"held": held, "text": text} for held, text in found],
        }  # fmt: skip
        write_json(args.json, figures)
    return 0 if all(held for held, _ in found) else 1


if __name__ == "__main__":
    sys.exit(main())
