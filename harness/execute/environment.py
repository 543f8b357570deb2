"""The environment of processes that train or measure."""

from __future__ import annotations

import os

from harness.records.secrets import without_secrets
from harness.sources import default_cache

#: glibc's allocator gives large blocks back to the system when they are freed, and every step of a
#: training fetches them anew, page by page: 25,000 page faults a step of MiniLM on 32 documents.
#: Keeping freed memory and asking for huge pages took 6 to 13% off such a step. Ignored elsewhere.
#: Not for processes that measure: what they hold is what a user's process would hold.
_KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


def thread_environment(threads: int) -> dict[str, str]:
    """This process's environment with every thread pool set before a framework is imported.

    Tokens and passwords are left out: what is downloaded with them is here before a worker starts,
    and a worker's log may hold whatever a library prints.
    """
    count = str(threads)
    return without_secrets(os.environ) | {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "TOKENIZERS_PARALLELISM": "false",  # our workers do not fork while tokenising
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # the driver's own numbers, by which NVML is asked too
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        # where transformers puts the code of checkpoints before it imports it
        "HF_MODULES_CACHE": str((default_cache() / "modules").resolve()),
        "PYTHONHASHSEED": "0",
        # `python -m` looks into the working folder first: it would import a user's random.py
        "PYTHONSAFEPATH": "1",
    }


def worker_environment(threads: int) -> dict[str, str]:
    """`thread_environment`, with an allocator set up for training; what is set already stays."""
    return _KEEP_MEMORY | thread_environment(threads)
