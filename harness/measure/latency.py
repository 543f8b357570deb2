"""Latency at batch 1: LoadGen's SingleStream in blocks, until the median is known well enough."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from harness.measure.blocks import NO_WATCH, Block, Draw, Watch
from harness.measure.loadgen import System, Verdict, run_test
from harness.measure.warming import ROUND, WarmUp, warm_up
from harness.stats.medians import relative_half_width
from harness.stats.steady import steady_from

T = TypeVar("T")

#: Blocks below which there is no 95% interval of their median, and no test of steadiness.
MIN_BLOCKS = 6
#: Queries of a block: LoadGen's early stopping of a median needs 11, and calls a test of fewer
#: INVALID.
MIN_QUERIES = 12
#: A block lasts this long where the inputs allow it. Calls are slower after LoadGen's start: of
#: MiniLM in PyTorch on two cores the first two by an eighth, and some 15 until they are as fast as
#: those of a plain loop. Blocks of 12 calls had medians 4% above such a loop's, of 24 calls 2% with
#: `SETTLE_SECONDS` before them, of 96 calls 1%.
BLOCK_SECONDS = 0.3
#: Calls that a block's test begins with, untimed, for this long and no more than so many.
SETTLE_SECONDS, SETTLE_CALLS = 0.02, 3
#: Disturbed blocks that are repeated, as a share of `MIN_BLOCKS`; later ones are marked and kept.
MAX_REPEATS = MIN_BLOCKS
#: Samples of one launch at most, whatever ``min_seconds`` says: `timing.json` holds each of them.
MOST_SAMPLES = 50_000
#: What a clock of nanoseconds tells apart, in ms: a block's median is not less.
RESOLUTION_MS = 1e-6
#: Time of repeated inputs over that of fresh ones below which answers are taken to be cached.
#: MLPerf's audit TEST04 compares the same two and allows 10%, on accelerators; on a CPU a repeated
#: input also finds warmer data caches.
CACHED = 0.5


@dataclass(frozen=True)
class Limits:
    """When sampling ends: precise enough, or a limit.

    ``within`` is the relative half-width of the median's 95% interval that is asked for. No
    fewer than ``min_samples`` and ``min_seconds``, no more than ``max_samples`` or ``max_seconds``
    of sampling; ``min_samples`` goes before ``max_seconds``, and ``min_seconds`` before
    ``max_samples`` (up to `MOST_SAMPLES`).
    """

    min_samples: int
    max_samples: int
    max_seconds: float
    min_seconds: float = 0.0
    within: float = 0.02


@dataclass(frozen=True)
class Latency:
    """Samples of the steady, undisturbed blocks, and how they came about."""

    samples_ms: list[float]
    blocks: list[Block]
    steady: bool
    first_steady: int  # index of the first block that counts
    within: float | None  # half-width of the median's interval, relative; None: too few blocks
    stopped: str
    verdict: Verdict
    warm_up: WarmUp
    unique_inputs: bool
    repeat_ratio: float | None
    loadgen_p50_ms: float | None

    @property
    def answers_cached(self) -> bool | None:
        """True where repeated inputs are answered suspiciously faster; None: not looked at."""
        return None if self.repeat_ratio is None else self.repeat_ratio < CACHED

    @property
    def disturbed_share(self) -> float:
        """Of all blocks, those repeated included."""
        return sum(block.disturbed for block in self.blocks) / len(self.blocks)

    def as_dict(self) -> dict[str, Any]:
        """Its part of ``timing.json``."""
        return {
            "latency_ms": self.samples_ms,
            "samples": len(self.samples_ms),
            "latency_blocks": [
                block.as_dict(number >= self.first_steady)
                for number, block in enumerate(self.blocks)
            ],
            "steady": self.steady,
            "latency_p50_within": self.within,
            "stopped": self.stopped,
            "verdict": self.verdict.word,
            "verdict_reason": self.verdict.reason,
            "warm_up": vars(self.warm_up),
            "unique_inputs": self.unique_inputs,
            "repeat_ratio": self.repeat_ratio,
            "answers_cached": self.answers_cached,
            "disturbed_share": self.disturbed_share,
            "loadgen_p50_ms": self.loadgen_p50_ms,
        }


def measure_latency(
    call: Callable[[T], object],
    inputs: Sequence[T],
    *,
    seed: int,
    limits: Limits,
    shapes: Sequence[Hashable] | None = None,
    sizes: np.ndarray | None = None,
    watch: Watch = NO_WATCH,
) -> Latency:
    """Time ``call`` on single inputs, closed loop, in blocks drawn by ``seed``.

    ``sizes`` (one number an input, its length) makes blocks alike. ``shapes`` (one an input) tell
    which share a compiled program or an allocation: each shape is called once before the first
    sample, as far as ``max_seconds`` allow. Inputs of the warm-up are not measured where there are
    enough others, so that a runtime which remembers answers has none ready.
    """
    if not inputs:
        raise ValueError("there is no input to time")
    if sizes is None:
        sizes = np.ones(len(inputs))
    if shapes is None:
        shapes = [None] * len(inputs)
    warming, measured = _parted(shapes, seed)
    if len(measured) < MIN_QUERIES:  # else a test of three inputs takes 130 blocks for its samples
        measured = np.tile(measured, -(-MIN_QUERIES // len(measured)))
    with no_garbage_collection():
        first = [inputs[i] for i in warming]
        warm = warm_up(
            call, first, shapes=[shapes[i] for i in warming], max_seconds=limits.max_seconds
        )
        cost = _cost(call, first[:ROUND])
        spare = first[0]
        del first
        draw = Draw(measured, sizes, _queries(cost, limits, len(measured)), seed)
        apart = not set(warming) & set(measured.tolist())
        ratio = _repeat_ratio(call, inputs, draw) if apart else None
        blocks: list[Block] = []
        verdicts: list[Verdict] = []
        medians: list[float] = []
        watch.begin()
        while True:
            block, verdict, median = _block(call, inputs, draw, spare)
            host, disturbed = watch.end_block()
            repeats = sum(b.repeated for b in blocks)
            blocks.append(
                Block(
                    block.samples_ms,
                    block.seconds,
                    disturbed,
                    disturbed and repeats < MAX_REPEATS,
                    host,
                )
            )
            if not blocks[-1].repeated:
                verdicts.append(verdict)
                medians.append(median)
            state = _state(blocks)
            if stopped := _stop(state, limits):
                break
    return Latency(
        samples_ms=state.samples,
        blocks=blocks,
        steady=state.steady,
        first_steady=state.first,
        within=state.within,
        stopped=stopped,
        verdict=_together(verdicts, state.seconds, limits.min_seconds),
        warm_up=warm,
        unique_inputs=apart and not draw.repeats,
        repeat_ratio=ratio,
        loadgen_p50_ms=statistics.median(medians),
    )


@dataclass(frozen=True)
class _State:
    samples: list[float]
    seconds: float  # of all blocks that were not repeated
    taken: int  # samples of these
    steady: bool
    first: int
    within: float | None


def _state(blocks: Sequence[Block]) -> _State:
    """What the blocks so far amount to: the steady part, or all where there is none."""
    counted = [(number, block) for number, block in enumerate(blocks) if not block.repeated]
    medians = [max(block.median_ms, RESOLUTION_MS) for _, block in counted]
    start = steady_from(medians, MIN_BLOCKS)
    kept = counted[start or 0 :]
    return _State(
        samples=[sample for _, block in kept for sample in block.samples_ms],
        seconds=sum(block.seconds for _, block in counted),
        taken=sum(len(block.samples_ms) for _, block in counted),
        steady=start is not None,
        first=kept[0][0] if kept else len(blocks),
        within=relative_half_width([block.median_ms for _, block in kept]),
    )


def _stop(state: _State, limits: Limits) -> str:
    """Why sampling ends here; empty: it goes on."""
    if not state.samples:
        return ""
    long_enough = state.seconds >= limits.min_seconds
    if (
        state.steady
        and state.within is not None
        and state.within <= limits.within
        and len(state.samples) >= limits.min_samples
        and long_enough
    ):
        return "interval"
    if state.taken >= (limits.max_samples if long_enough else MOST_SAMPLES):
        return "max_samples"
    if state.seconds >= limits.max_seconds and state.taken >= limits.min_samples:
        return "max_seconds"
    return ""


def _parted(shapes: Sequence[Hashable], seed: int) -> tuple[list[int], np.ndarray]:
    """(indices to warm up with, indices to measure): apart where half of the inputs stay to be
    measured, else the same."""
    order = np.random.default_rng(seed).permutation(len(shapes))
    firsts = {shapes[i]: int(i) for i in reversed(order)}
    warming = list(dict.fromkeys([*(int(i) for i in order[:ROUND]), *firsts.values()]))
    if len(warming) * 2 <= len(shapes):
        return warming, np.setdiff1d(order, warming)
    return warming, order


def _cost(call: Callable[[T], object], inputs: Sequence[T]) -> float:
    """Seconds of a call, the median of a few."""
    costs = []
    for item in inputs:
        start = time.perf_counter()
        call(item)
        costs.append(time.perf_counter() - start)
    return statistics.median(costs)


def _queries(cost: float, limits: Limits, inputs: int) -> int:
    """Queries of a block: long enough to mean something, `MIN_BLOCKS` of them within the limits.

    Where ``min_seconds`` asks for more samples than ``max_samples``, blocks grow, and not their
    number; where it asks for more than there are inputs, these come again all the same.
    """
    cost = max(cost, 1e-9)
    block = min(BLOCK_SECONDS, limits.max_seconds / MIN_BLOCKS)
    longest = max(block, limits.min_seconds / (2 * MIN_BLOCKS))
    wanted = max(MIN_QUERIES, int(longest / cost))
    samples = max(limits.max_samples, int(min(limits.min_seconds / cost, MOST_SAMPLES)))
    if limits.min_seconds <= cost * inputs:
        samples = min(samples, inputs)
    most = max(1, samples // MIN_BLOCKS)
    return min(wanted, inputs, max(most, min(MIN_QUERIES, samples)))


def _block(
    call: Callable[[T], object], inputs: Sequence[T], draw: Draw, spare: T
) -> tuple[Block, Verdict, float]:
    """One LoadGen test over the next inputs; its samples, verdict, and LoadGen's own median.

    LoadGen issues each input once (``performance_issue_unique``). Samples are the call's own time;
    LoadGen's median holds the way there and back too. ``spare`` is called first, untimed, within
    the test: what happens between blocks, and LoadGen's start, leave other data in the caches.
    LoadGen's first latency holds these calls, which does not move its median.
    """
    chosen = [inputs[i] for i in draw.block()]
    clock = time.perf_counter_ns
    stamps: list[tuple[int, int]] = []
    record = stamps.append

    def answer(index: int) -> None:
        if not stamps:
            _settle(call, spare)
        item = chosen[index]
        start = clock()
        call(item)
        record((start, clock()))

    result = run_test(
        System(answer),
        len(chosen),
        scenario="SingleStream",
        settings={
            "performance_issue_unique": True,
            "min_query_count": len(chosen),
            "max_query_count": len(chosen),
            "single_stream_target_latency_percentile": 0.5,
        },
    )
    samples = [(end - start) / 1e6 for start, end in stamps]
    seconds = (stamps[-1][1] - stamps[0][0]) / 1e9
    return Block(samples, seconds), result.verdict, result.percentile_ms(50) or 0.0


def _settle(call: Callable[[T], object], spare: T) -> None:
    end = time.perf_counter() + SETTLE_SECONDS
    for _ in range(SETTLE_CALLS):
        call(spare)
        if time.perf_counter() >= end:
            break


def _repeat_ratio(call: Callable[[T], object], inputs: Sequence[T], draw: Draw) -> float | None:
    """Least time of fresh inputs' second calls over that of their first ones.

    The least, because a busy neighbour only ever adds: medians of eight calls can differ by a
    factor on a crowded machine. None where fresh inputs are too few.
    """
    fresh = draw.block()[:ROUND]
    if draw.repeats or len(fresh) < ROUND:
        return None
    rounds = []
    for _ in range(2):
        times = []
        for index in fresh:
            item = inputs[index]
            start = time.perf_counter_ns()
            call(item)
            times.append(time.perf_counter_ns() - start)
        rounds.append(min(times))
    return rounds[1] / rounds[0]


def _together(verdicts: Sequence[Verdict], seconds: float, min_seconds: float) -> Verdict:
    """VALID where every block is and they last long enough together; else the first reason, and
    how many share that fate."""
    bad = [verdict for verdict in verdicts if not verdict.valid]
    if bad:
        return Verdict(False, f"{len(bad)} of {len(verdicts)} blocks: {bad[0].reason}")
    if seconds < min_seconds:
        reason = f"minimum duration not met: {seconds:.3g} of {min_seconds:g} s"
        return Verdict(False, reason)
    return Verdict(True)


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Collect once, then keep the collector away: its pauses are not the model's."""
    enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if enabled:
            gc.enable()
