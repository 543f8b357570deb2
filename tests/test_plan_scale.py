"""A plan of 100,000 runs: seconds, and less than a gigabyte."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.records.identity import OpenDigest, digest

#: CPU time, which a busy machine does not stretch as it does the clock
CODE = """
import json, sys, time
from harness.measure.memory import peak_memory_mb
from harness.plan import Machine, Options, make_plan
from harness.suite import load_suite
start = time.process_time()
plan = make_plan(load_suite(sys.argv[1]), Options(), {}, Machine("host", False, 2))
seconds = time.process_time() - start
runs = [run for _, run in plan.runs()]
print(json.dumps({
    "seconds": seconds, "runs": len(runs), "different": len({run.run_id for run in runs}),
    "fits": len({fit.fit_id for fit in plan.fits}),
    "mb": peak_memory_mb(),  # ru_maxrss would be the caller's, if that is larger
}))
"""


@pytest.mark.parametrize(
    ("models", "tasks", "seeds", "runtimes"),
    [
        (50, 20, 25, "onnxruntime, onnxruntime-int8"),
        # fits that share nothing but their settings
        (
            250,
            50,
            1,
            "onnxruntime, onnxruntime-int8, torch-compile, noop, tensorflow, tensorflow-xla",
        ),
    ],
)
def test_a_plan_of_100_000_runs_takes_under_5_seconds_and_a_gigabyte(
    tmp_path: Path, models: int, tasks: int, seeds: int, runtimes: str
) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text("text,label\na,b\nc,d\n")
    model = "  - {id: m%d, source: 'pypi:p%d==1!m', sha256: {model.safetensors: b%063x}}"
    task = (
        "  - {id: t%d, type: text-classification, max_length: %d, data: "
        "{train: {source: 'path:train.csv'}, test: {source: 'path:test.csv'}}}"
    )
    everything = (
        f"models: [{', '.join(f'm{i}' for i in range(models))}], "
        f"tasks: [{', '.join(f't{i}' for i in range(tasks))}]"
    )
    (tmp_path / "big.yaml").write_text(
        "\n".join(
            [
                f"suite: big\nseeds: [{', '.join(map(str, range(seeds)))}]\nmodels:",
                *(model % (i, i, i) for i in range(models)),
                "tasks:",
                *(task % (i, i + 8) for i in range(tasks)),
                "matrix:",
                f"  - {{{everything}, recipe: fine-tune, settings: {{fit_dtype: float32}},"
                f" runtimes: [{runtimes}]}}",
                f"  - {{{everything}, recipe: linear-probe, settings: {{hidden: [8]}}}}",
            ]
        )
    )
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path / "big.yaml")], capture_output=True, text=True
    )
    facts = json.loads(done.stdout or "{}")
    assert facts["runs"] == facts["different"] == 100_000, done.stderr
    assert facts["fits"] == 2 * models * tasks * seeds
    assert facts["seconds"] < 5
    assert facts["mb"] < 1000


@pytest.mark.parametrize(
    "mapping",
    [
        {"a": 1, "seed": None, "z": [1, {"seed": 3}]},
        {"a": "\0open seed", "seed": 0},  # a user's text that looks like the mark
        {"seed": "x", "fit_id": ["é"], "": {}},
    ],
)
def test_an_open_digest_is_the_digest(mapping: dict) -> None:
    for seed in (0, -7, 2**63, "text"):
        assert OpenDigest(mapping, ("seed",))(seed=seed) == digest(mapping | {"seed": seed})
    both = OpenDigest(mapping, ("seed", "fit_id"))
    assert both(fit_id="f", seed=1) == digest(mapping | {"seed": 1, "fit_id": "f"})
