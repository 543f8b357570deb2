"""A latency as anybody would take it by hand: load, warm up, call, look at the clock.

``python plain_loop.py ORDER.json ANSWER.json``. ORDER: ``model`` (a checkpoint's folder, or an
ONNX file), ``inputs`` (a file of ids, (count, tokens)), ``threads``, ``samples``. ANSWER:
``latency_ms``. Nothing of the harness is imported here.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

WARM_UP = 30


def in_pytorch(folder: str, threads: int) -> Callable[[np.ndarray], object]:
    # the peer's model call: the checkpoint's own class, in float32, from ids on
    import torch

    # a CPU build of PyTorch beside a torchvision for CUDA: its import would fail
    sys.modules["torchvision"] = None  # type: ignore[assignment]  # means: there is none
    from transformers import AutoModel

    torch.set_num_threads(threads)
    model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()

    def call(ids: np.ndarray) -> object:
        with torch.inference_mode():
            tensor = torch.from_numpy(ids)
            hidden = model(input_ids=tensor, attention_mask=torch.ones_like(tensor))
            return hidden.last_hidden_state.numpy()

    return call


def in_onnxruntime(file: str, threads: int) -> Callable[[np.ndarray], object]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = {given.name for given in session.get_inputs()}

    def call(ids: np.ndarray) -> object:
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        if "token_type_ids" in names:
            feed["token_type_ids"] = np.zeros_like(ids)
        return session.run(None, feed)

    return call


def main(order_file: str, answer_file: str) -> None:
    order: dict[str, Any] = json.loads(Path(order_file).read_text())
    if hasattr(os, "sched_setaffinity"):  # the cores that a launch of ours is kept on
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-order["threads"] :])
    load = in_onnxruntime if order["model"].endswith(".onnx") else in_pytorch
    call = load(order["model"], order["threads"])
    inputs = [row[None].astype(np.int64) for row in np.load(order["inputs"])]
    for item in inputs[:WARM_UP]:
        call(item)
    times = []
    for number in range(order["samples"]):
        item = inputs[(WARM_UP + number) % len(inputs)]
        start = time.perf_counter_ns()
        call(item)
        times.append((time.perf_counter_ns() - start) / 1e6)
    Path(answer_file).write_text(json.dumps({"latency_ms": times}))


if __name__ == "__main__":
    main(*sys.argv[1:])
