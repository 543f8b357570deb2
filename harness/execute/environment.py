"""The environment of processes that train or measure."""

from __future__ import annotations

import os


def thread_environment(threads: int) -> dict[str, str]:
    """This process's environment with every thread pool set before a framework is imported."""
    count = str(threads)
    return os.environ | {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "TOKENIZERS_PARALLELISM": "false",  # our workers do not fork while tokenising
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONHASHSEED": "0",
    }
