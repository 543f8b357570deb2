"""Time, memory and energy: the log-ratio over process launches of one and the same host.

Launches that took turns (``harness compare --rerun``) are compared pair by pair. Launches of two
separate sessions differ by the hour as well, and nothing within either tells by how much: their
interval is widened by `SESSION_SD`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from harness.compare.rule import (
    SENSIBLE,
    Change,
    agrees,
    is_worse,
    units_to_decide,
)
from harness.compare.sides import Launch, SideRow, alike
from harness.stats.log_ratio import Estimate, one_sided_p, paired_log_ratio, welch_log_ratio

#: Standard deviation of log time from one session to another on a shared machine. Public runners:
#: 0.3% within a job, 26% between jobs; on the development machine matrix products moved by a
#: factor of three within an hour. 8% is the tame end: an idle machine of one's own has less
#: (``--session-noise 0.01``).
SESSION_SD = 0.08
#: Launches a side that ``--rerun`` makes first, and as many again to confirm a suspicion.
DEFAULT_LAUNCHES = 10
#: Standard deviation of a launch's log median where none is measured: 3.3% between 36 equal
#: launches of a plain loop on the development machine.
ASSUMED_LAUNCH_SD = 0.033

#: metric to +1 where more is worse, -1 where less is
WORSE = {
    "latency_p50_ms": 1,
    "throughput_per_s": -1,
    "peak_memory_mb": 1,
    "energy_j_per_1000": 1,
}
#: meters of these wander with the machine's hour; memory does not
TIMED = frozenset({"latency_p50_ms", "throughput_per_s", "energy_j_per_1000"})


@dataclass(frozen=True)
class SpeedChange:
    """``change`` is a log-ratio, positive where HEAD is worse; ``agreed`` for both directions.

    ``refused`` says why nothing can be said of this metric at all.
    """

    change: Change
    base: float | None
    head: float | None
    basis: str = ""
    needs: str = ""
    agreed: bool = True
    agreed_better: bool = True
    refused: str = ""


def speed_change(
    base: SideRow, head: SideRow, metric: str, margin: float, session_sd: float = SESSION_SD
) -> SpeedChange | None:
    """None where neither side has the metric."""
    a, b = _with(base.launches, metric), _with(head.launches, metric)
    if not a and not b:
        return None
    if not a or not b:
        side = "BASE" if not a else "HEAD"
        return _nothing(a, b, metric, f"{side} has no launch that measured it")
    hosts = {x.host_id for x in a} & {x.host_id for x in b}
    if not hosts:
        one, other = a[0].host_id, b[0].host_id
        return _nothing(
            a, b, metric,
            f"different hosts ({one} and {other}) are never compared in time; "
            "--rerun times both here, taking turns",
        )  # fmt: skip
    host = max(hosts, key=lambda h: min(_count(a, h), _count(b, h)))
    a = [x for x in a if x.host_id == host]
    b = [x for x in b if x.host_id == host]
    versions = [sorted({x.version for x in side}) for side in (a, b)]
    a, b = alike(a, b)
    if not a:
        old, new = (", ".join(map(str, found)) for found in versions)
        return _nothing(
            [], [], metric,
            f"timings of version {old} and of version {new} do not mean the same; "
            "--rerun times both anew",
        )  # fmt: skip
    timed = metric in TIMED
    pairs = paired(a, b)
    if pairs:
        a, b = [p[0] for p in pairs], [p[1] for p in pairs]
    first, confirmation = split(a), split(b)
    parts = [
        (_values(x, metric), _values(y, metric)) for x, y in zip(first, confirmation, strict=True)
    ]
    judged = judge(parts[0], parts[1], WORSE[metric], margin, timed, bool(pairs), session_sd)
    whole, change = judged.whole, judged.change
    how = "pairs of launches, taking turns" if pairs else "launches a side, not taking turns"
    return SpeedChange(
        change,
        float(np.median(_values(a, metric))),
        float(np.median(_values(b, metric))),
        f"{whole.count} {how}",
        _needs(whole, margin, timed, bool(pairs), session_sd),
        judged.agreed,
        judged.agreed_better,
    )


def paired(a: Sequence[Launch], b: Sequence[Launch]) -> list[tuple[Launch, Launch]]:
    """Launches of both sides that took turns, by session and pair; first ones first."""
    mates = {(x.session, x.pair): x for x in b if x.session}
    found = [(x, mates[x.session, x.pair]) for x in a if x.session and (x.session, x.pair) in mates]
    return sorted(found, key=lambda p: (p[0].part != "first", p[0].session, p[0].pair))


def split(launches: Sequence[Launch]) -> tuple[list[Launch], list[Launch]]:
    """First launches and their confirmation: as marked, else the earlier and the later half."""
    marked = [x for x in launches if x.part != "first"]
    if marked:
        return [x for x in launches if x.part == "first"], marked
    if any(x.session for x in launches):  # took turns, and there was nothing to confirm
        return list(launches), []
    half = (len(launches) + 1) // 2
    return list(launches[:half]), list(launches[half:])


class Judged(NamedTuple):
    """What launches say, over all of them, and whether their two parts agree."""

    whole: Estimate
    change: Change  # of ``whole``, positive where worse
    agreed: bool
    agreed_better: bool


#: figures of BASE's and of HEAD's launches
Part = tuple[np.ndarray, np.ndarray]


def judge(
    first: Part,
    confirmation: Part,
    sign: int,
    margin: float,
    timed: bool,
    in_pairs: bool,
    session_sd: float,
) -> Judged:
    """The estimate over both parts; for timings a verdict needs the rule's first two conditions
    in the first part already, and `harness.compare.rule.agrees` in the second."""

    def estimate(part: Part) -> Estimate:
        if in_pairs:
            return paired_log_ratio(*part)
        return welch_log_ratio(*part, session_sd if timed else 0.0)

    whole = estimate(
        (np.concatenate([first[0], confirmation[0]]), np.concatenate([first[1], confirmation[1]]))
    )
    change = _worse(whole, sign)
    if not timed:
        return Judged(whole, change, True, True)
    if not all(len(side) for part in (first, confirmation) for side in part):
        return Judged(whole, change, False, False)
    start, second = _worse(estimate(first), sign), estimate(confirmation)
    again = _worse(second, sign)
    return Judged(
        whole,
        change,
        is_worse(start, margin) and agrees(again, one_sided_p(second, sign), margin),
        is_worse(start.flipped(), margin)
        and agrees(again.flipped(), one_sided_p(second, -sign), margin),
    )


def _worse(estimate: Estimate, sign: int) -> Change:
    change = Change(estimate.value, estimate.low, estimate.high, estimate.p_value)
    return change if sign > 0 else change.flipped()


def _needs(
    estimate: Estimate, margin: float, timed: bool, in_pairs: bool, session_sd: float
) -> str:
    """What would decide: launches, or an interleaved run."""
    if timed and not in_pairs and session_sd > 0:
        return "an interleaved run of both (--rerun)"
    spread = estimate.spread
    about = ""
    if not np.isfinite(spread):
        spread, about = (
            ASSUMED_LAUNCH_SD * np.sqrt(2),
            f" (if launches spread by {ASSUMED_LAUNCH_SD:.1%})",
        )
    total = units_to_decide(estimate.value, float(spread), margin)
    if timed and total is not None:
        total *= 2  # half of them confirm
    if total is None or total - estimate.count > SENSIBLE:
        return "a quieter host: the change lies near the margin, or launches spread too far"
    more = max(1, total - estimate.count)
    return f"about {more} more launch{'es' * (more > 1)} a side{about}"


def _nothing(a: list[Launch], b: list[Launch], metric: str, why: str) -> SpeedChange:
    nan = float("nan")
    values = [float(np.median(_values(x, metric))) if x else None for x in (a, b)]
    return SpeedChange(Change(nan, nan, nan), values[0], values[1], refused=why)


def _with(launches: Sequence[Launch], metric: str) -> list[Launch]:
    return [
        x
        for x in launches
        if isinstance(x.timing.get(metric), (int, float)) and x.timing[metric] > 0
    ]


def _values(launches: Sequence[Launch], metric: str) -> np.ndarray:
    return np.array([float(x.timing[metric]) for x in launches])


def _count(launches: Sequence[Launch], host: str) -> int:
    return sum(x.host_id == host for x in launches)
