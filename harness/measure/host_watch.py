"""Whether a block of a measurement was disturbed from outside, and by what.

A `HostWatch` is asked before the first block and after every one. It multiplies two small matrices
(`harness.measure.reference_speed`) and reads the host's counters; what it does itself between two
blocks is in neither of them.
"""

from __future__ import annotations

import os
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.measure import gpu_state, host_state
from harness.measure.host_state import ROOT, Counters, read_counters, read_levels
from harness.measure.reference_speed import (
    NEUTRAL,
    Product,
    flops_per_second,
    in_neutral_products,
    neutral_product,
)

#: Fastest of five products against the best of this launch. Medians of equal launches of a model
#: differ by 3.3% (coefficient of variation) on a shared machine; five times that is no noise.
SLOWER_BY = 0.15
#: Cores that others keep busy. An idle Linux of 2 cores shows 0.01 to 0.05; one busy process 1.
OTHERS_CORES = 0.2
#: On a large machine there is always somebody: this share of its cores, where that is more.
OTHERS_SHARE = 0.02
#: Counters of /proc move in ticks of 10 ms, and a process is charged a whole one: fewer than this
#: many are no evidence, however short the block.
LEAST_TICKS = 5
#: Seconds in which that many ticks are `OTHERS_CORES`. Shorter blocks cannot be told apart:
#: neighbours that are this long together share a verdict.
LEAST_SECONDS = 0.25
#: Share of the machine's core time given to other guests: above it, more than the 2% to which a
#: median's interval is asked to be narrow.
STEAL_SHARE = 0.02
#: Share of the block in which a computing thread could have run and had no core. Two threads of a
#: model wait 1.8 to 2.3% of the time on two cores that nobody else uses, since the load generator
#: runs there too; beside a hog 6 to 50%. TensorFlow's many threads wait 19% for one another, so it
#: counts only where others kept that share of a core busy. How often threads made way is recorded
#: and judged by nobody: on an idle Linux the kernel's own threads interrupt 50 times a second.
WAITING_SHARE = 0.05
#: Share of the block for which the CPU quota stopped us: like `STEAL_SHARE`.
THROTTLED_SHARE = 0.02
#: A launch counts as disturbed with more than this share of such blocks: with fewer, the median and
#: the 90th percentile still stand on undisturbed ones.
DISTURBED_SHARE = 0.1


@dataclass(frozen=True)
class Block:
    """One block as the host's counters show it; what cannot be read is None."""

    seconds: float
    reference: dict[str, float]  # FLOP/s by product, the lower of before and after
    others_busy_cores: float | None
    others_ticks: float | None
    steal_share: float | None
    switches_per_s: float | None
    throttled_share: float | None
    waiting_share: float | None
    gpu_slowdowns: list[str] = field(default_factory=list)
    reasons: tuple[str, ...] = ()

    @property
    def disturbed(self) -> bool:
        return bool(self.reasons)


def reasons(block: Block, best: dict[str, float], cores: int) -> tuple[str, ...]:
    """Why the block counts as disturbed; () if it does not.

    ``best`` is the best speed of each product in this launch.
    """
    found = []
    for name, speed in block.reference.items():
        if speed < best[name] * (1 - SLOWER_BY):
            found.append("reference speed")
            break
    if _others_took(block, max(OTHERS_CORES, OTHERS_SHARE * cores)):
        found.append("other processes")
    stolen_ticks = (block.steal_share or 0) * cores * block.seconds * host_state.TICKS_PER_SECOND
    if (block.steal_share or 0) > STEAL_SHARE and stolen_ticks >= LEAST_TICKS:
        found.append("steal")
    others_unknown = block.others_busy_cores is None
    if (block.waiting_share or 0) > WAITING_SHARE and (
        others_unknown or _others_took(block, WAITING_SHARE)
    ):
        found.append("preempted")
    if (block.throttled_share or 0) > THROTTLED_SHARE:
        found.append("CPU quota")
    slowed = [name for name in block.gpu_slowdowns if name not in gpu_state.OWN_LIMITS]
    if slowed:
        found.append("GPU slowed down: " + ", ".join(slowed))
    return tuple(found)


def _others_took(block: Block, busy_cores: float) -> bool:
    """True where other processes kept more than that many cores busy, by enough ticks to tell."""
    return (block.others_busy_cores or 0) > busy_cores and (block.others_ticks or 0) >= LEAST_TICKS


def between(
    before: Counters, after: Counters, seconds: float, cores: int, threads: int = 1
) -> Block:
    """What two readings of the counters say of the time between them."""
    busy, own = _rise(before.busy_s, after.busy_s), _rise(before.own_s, after.own_s)
    others = None if busy is None or own is None else max(0.0, busy - own)
    steal = _rise(before.steal_s, after.steal_s)
    switches = _rise(before.involuntary_switches, after.involuntary_switches)

    def per(amount: float | None, whole: float) -> float | None:
        return None if amount is None else amount / max(whole, 1e-9)

    return Block(
        seconds=seconds,
        reference={},
        others_busy_cores=per(others, seconds),
        others_ticks=None if others is None else round(others * host_state.TICKS_PER_SECOND),
        steal_share=per(steal, seconds * cores),
        switches_per_s=per(switches, seconds * max(1, threads)),
        throttled_share=per(_rise(before.throttled_s, after.throttled_s), seconds),
        waiting_share=per(_rise(before.waiting_s, after.waiting_s), seconds * max(1, threads)),
    )


def _rise(before: float | None, after: float | None) -> float | None:
    """What a counter grew by; a thread's end may make one smaller."""
    return None if before is None or after is None else max(0.0, after - before)


class HostWatch:
    """Watches the host over the blocks of one measurement, in the process that measures.

    ``products`` are timed at every call, beside NumPy's: keep them to one or two. ``threads`` is
    what the measured code computes with. ``gpu`` is N of the ``cuda:N`` in use, or None.
    """

    def __init__(
        self,
        products: Sequence[Product] = (),
        *,
        threads: int = 1,
        gpu: int | None = None,
        root: Path = ROOT,
    ) -> None:
        self._products = [neutral_product(), *products]
        self._threads, self._gpu, self._root = threads, gpu, root
        self._cores = os.cpu_count() or 1  # of the machine, as /proc/stat counts
        self._blocks: list[Block] = []
        self._speeds: dict[str, list[float]] = {p.name: [] for p in self._products}
        self._levels: list[dict[str, Any]] = []
        self._begun: tuple[Counters, float] | None = None
        self._spans: list[tuple[tuple[Counters, float], tuple[Counters, float]]] = []
        self._whole: Block | None = None

    def begin(self) -> None:
        """Before the first block, or after a pause that is to be in none."""
        self._look()
        self._begun = read_counters(self._root), time.perf_counter()

    def end_block(self) -> Block:
        """After a block; the next one begins when this returns.

        Its first reading comes before anything else, so the block is what happened since the last
        call. The caches hold other data afterwards: leave the next call of the model out.
        """
        if self._begun is None:
            raise RuntimeError("begin() comes before the first block")
        now, counters = time.perf_counter(), read_counters(self._root)
        before, start = self._begun
        speeds_before = {name: speeds[-1] for name, speeds in self._speeds.items()}
        slowdowns = self._look()
        block = replace(
            between(before, counters, now - start, self._cores, self._threads),
            reference={n: min(s, self._speeds[n][-1]) for n, s in speeds_before.items()},
            gpu_slowdowns=slowdowns,
        )
        self._blocks.append(block)
        self._spans.append((self._begun, (counters, now)))
        block = replace(block, reasons=self._reasons(block, *self._latest()))
        self._begun = read_counters(self._root), time.perf_counter()
        return block

    def finish(self) -> None:
        """After the last block: judge the whole, waiting where it was too short for a judgement."""
        if not self._spans:
            return
        first = self._spans[0][0]
        time.sleep(max(0.0, LEAST_SECONDS - (time.perf_counter() - first[1])))
        self._whole = self._between(first, (read_counters(self._root), time.perf_counter()))

    def _between(self, begin: tuple[Counters, float], end: tuple[Counters, float]) -> Block:
        found = between(begin[0], end[0], end[1] - begin[1], self._cores, self._threads)
        return replace(found, reasons=reasons(found, {}, self._cores))

    def _reasons(self, block: Block, first: int, last: int) -> tuple[str, ...]:
        """Of a block: its own, and where it is short those of blocks ``first`` to ``last``."""
        own = reasons(block, self._best(), self._cores)
        if block.seconds >= LEAST_SECONDS:
            return own
        shared = self._between(self._spans[first][0], self._spans[last][1])
        if shared.seconds < LEAST_SECONDS and self._whole is not None:
            shared = self._whole
        return tuple(dict.fromkeys(own + shared.reasons))

    def _latest(self) -> tuple[int, int]:
        """The fewest latest blocks that are long enough together, or all."""
        last = first = len(self._spans) - 1
        while first and self._spans[last][1][1] - self._spans[first][0][1] < LEAST_SECONDS:
            first -= 1
        return first, last

    def _neighbours(self) -> list[tuple[int, int]]:
        """For each block the run of neighbours that it is judged with: cut where one is long
        enough, the rest at the end joined to the last."""
        runs: list[tuple[int, int]] = []
        first = 0
        for last, (_, end) in enumerate(self._spans):
            if end[1] - self._spans[first][0][1] >= LEAST_SECONDS:
                runs.append((first, last))
                first = last + 1
        if first < len(self._spans):
            start = runs.pop()[0] if runs else 0
            runs.append((start, len(self._spans) - 1))
        return [run for run in runs for _ in range(run[0], run[1] + 1)]

    def _look(self) -> list[str]:
        """Reference speeds, levels, and why the GPU is slowed down now."""
        for product in self._products:
            self._speeds[product.name].append(flops_per_second(product))
        level = asdict(read_levels(self._root))
        gpu = None if self._gpu is None else gpu_state.gpu_level(self._gpu)
        if gpu is not None:
            level["gpu"] = asdict(gpu)
        self._levels.append(level)
        return list(gpu.slowdowns or ()) if gpu is not None else []

    def _best(self) -> dict[str, float]:
        return {name: max(speeds) for name, speeds in self._speeds.items() if speeds}

    @property
    def blocks(self) -> list[Block]:
        """All blocks, judged by the best reference speed of the whole launch and short ones with
        their neighbours; after `finish`, too few of these by the whole."""
        return [
            replace(block, reasons=self._reasons(block, *run))
            for block, run in zip(self._blocks, self._neighbours(), strict=True)
        ]

    @property
    def neutral_speed(self) -> float:
        """Median FLOP/s of the neutral product over the launch."""
        return statistics.median(self._speeds[NEUTRAL])

    def relative(self, latency_ms: float | None) -> float | None:
        """`in_neutral_products` at the median speed of this launch."""
        return None if latency_ms is None else in_neutral_products(latency_ms, self.neutral_speed)

    def summary(self) -> dict[str, Any]:
        """``host_watch`` of ``timing.json``: shares in 0 to 1, speeds in FLOP/s."""
        blocks = self.blocks
        disturbed = [block for block in blocks if block.disturbed]
        share = len(disturbed) / len(blocks) if blocks else None
        seen = host_state.sources(self._root)
        return {
            "disturbed": None if share is None else share > DISTURBED_SHARE,
            "disturbed_share": share,
            "disturbed_blocks": len(disturbed),
            "blocks": len(blocks),
            "why": dict(Counter(reason for b in disturbed for reason in b.reasons)),
            "reference_flops_per_s": {
                name: {"median": statistics.median(s), "lowest": min(s), "highest": max(s)}
                for name, s in self._speeds.items()
                if s
            },
            **{
                key: getattr(self._whole, key)
                if self._whole is not None
                else _mean([getattr(block, key) for block in blocks])
                for key in ("others_busy_cores", "steal_share", "switches_per_s",
                            "throttled_share", "waiting_share")
            },
            "before": self._levels[0] if self._levels else None,
            "after": self._levels[-1] if self._levels else None,
            "unavailable": sorted(name for name, there in seen.items() if not there),
        }  # fmt: skip


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
