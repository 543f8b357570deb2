"""Peak memory of this process."""

from __future__ import annotations

import sys
from pathlib import Path


def peak_memory_mb(status: Path = Path("/proc/self/status")) -> float:
    """The largest resident set so far, in MB (1e6 bytes).

    On Linux it is ``VmHWM``, which begins anew with each program; ``ru_maxrss`` is inherited
    through exec, so that a small process started by a large one would report the large one.
    """
    try:
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6  # macOS counts bytes
