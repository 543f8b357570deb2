"""What commands share: the suite, the machine, and what `auto` came to on it."""

from __future__ import annotations

import argparse
import os

from harness.overrides import overridden, parse_budget, parse_data, timed
from harness.plan import Machine, Options, Plan, make_plan
from harness.records.resolved import dtypes, read_resolved
from harness.suite import load_suite


def this_machine() -> Machine:
    from harness.measure.host import available_cores, has_gpu, host_id

    return Machine(host_id(), has_gpu(), _cores(available_cores()))


def _cores(available: int) -> int:
    """Cores that `threads: 0` means: fewer where the user's ``OMP_NUM_THREADS`` says so."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return min(available, int(asked)) if asked.isdigit() and int(asked) > 0 else available


def plan_of(args: argparse.Namespace, launches: int | None = None) -> Plan:
    """The plan of the suite that the arguments name, on this host; ``launches`` None: its own."""
    loaded = load_suite(args.suite)
    if args.data or args.budget:
        loaded = overridden(loaded, parse_data(args.data), parse_budget(args.budget))
    if launches is not None:
        loaded = timed(loaded, launches)
    options = Options(
        full=args.full,
        seeds=args.seeds,
        only=tuple(args.only),
        trust_remote_code=args.trust_remote_code,
    )
    resolved = dtypes(
        read_resolved(args.results / "resolved.json"), retry=getattr(args, "retry", False)
    )
    return make_plan(loaded, options, resolved, this_machine())
