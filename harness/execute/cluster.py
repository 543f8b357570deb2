"""What executors beyond this machine share: what they ask of a node, and what they do on one."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from harness.devices import gpu_index, is_gpu
from harness.errors import RequestError
from harness.execute.base import Assignment, Outcome, Place
from harness.execute.claims import claim
from harness.execute.conduct import complete, disk_told
from harness.execute.report import PlainReporter, Reporter
from harness.execute.walk import Walker, failures_of, launches_left
from harness.plan import Machine, Run, fit_versions, run_versions
from harness.records.store import Store
from harness.sources.cache import in_use

#: how often an assignment is worked anew after its node or its process was lost
NODE_LOSSES = 3


@dataclass(frozen=True)
class Needs:
    """What all stages of an assignment can be worked with."""

    cpus: int
    gpus: int
    memory_bytes: int | None  # of one stage; None: the suite sets no limit

    @classmethod
    def of(cls, assignment: Assignment) -> Needs:
        """`RequestError` for a further GPU: a fit sees the one alone that it is given."""
        fit, gigabytes = assignment.fit, assignment.limits.memory_gb
        spec = fit.spec
        if gpu_index(spec["device"]):
            raise RequestError(
                f"{fit.model.id} on {fit.task.id} asks for {spec['device']}, and a cluster gives a "
                "fit one GPU, whichever is free; write `cuda` under `devices:`"
            )
        return cls(
            spec["threads"],
            1 if is_gpu(spec["device"]) else 0,
            int(gigabytes * 1e9) if gigabytes else None,
        )


def left_to_work(
    place: Place, assignments: Sequence[Assignment]
) -> tuple[list[Assignment], Outcome]:
    """Assignments with work left, and the outcome of those that have none.

    A plan knows the measurements of the host that it is made on; on a cluster other hosts make
    them, so a run counts as timed where any one has timed it.
    """
    left, outcome = [], Outcome()
    for assignment in assignments:
        if settled(place, assignment):
            outcome.kept += len(assignment.fit.runs)
            outcome.add(failures_of(place, assignment.fit))
        else:
            left.append(assignment)
    return left, outcome


def settled(place: Place, assignment: Assignment) -> bool:
    """Every record is complete, wherever its runs were timed."""
    return complete(assignment.fit, Walker(place, PlainReporter()), _launches_left_anywhere)


def _launches_left_anywhere(place: Place, run: Run) -> int:
    measurements = place.store.run(run.run_id) / "measurements"
    hosts = {folder.name.rsplit("-", 1)[0] for folder in measurements.glob("[!.]*-*")}
    return min(
        launches_left(replace(place, machine=replace(place.machine, host_id=host)), run)
        for host in hosts | {place.machine.host_id}
    )


def check_versions(assignment: Assignment) -> None:
    """`RequestError` where this node's installation is not the one that the plan was made with:
    its records would stand under identities that name the other's releases."""
    fit = assignment.fit
    kind, task = fit.model.kind, fit.task.type
    pairs = [(fit.spec["versions"], fit_versions(fit.spec["framework"], kind, task))]
    pairs += [
        (run.spec["versions"], run_versions(run.row["runtime"], kind, task)) for run in fit.runs
    ]
    other = {
        f"{name} {here.get(name, 'not known')} (planned: {version})"
        for planned, here in pairs
        for name, version in planned.items()
        if _release(here.get(name)) != _release(version)
    }
    if other:
        raise RequestError(
            f"other versions are installed here than where the run was planned: "
            f"{', '.join(sorted(other))}; install the same on every node, or plan with those"
        )


def _release(version: Any) -> str:
    """Without the build: a node with GPUs may have ``2.13.0+cu130`` where others have ``+cpu``."""
    return str(version).partition("+")[0]


def work_here(
    assignment: Assignment,
    store: Store,
    cache: Path,
    retry: bool,
    refit: bool,
    log: TextIO,
    work: Callable[[Walker, Assignment], Outcome] = Walker.work,
    before: Sequence[str] = (),
) -> dict[str, Any]:
    """Work an assignment on the node that this process runs on; ``before``: how it was lost before.

    Plain data: the outcome's ``done``, ``kept`` and ``bad``, and the ``host``; or the ``host`` and
    ``request``, what is wrong with the request.
    """
    from harness.measure.host import available_cores, has_gpu, host_id

    # a cluster hides the GPUs that were not given to us; a host's name tells of all it has
    given = os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    machine = Machine(host_id(), has_gpu(), available_cores())
    place = Place(store, cache, machine, retry, refit)
    held = claim(place, assignment.fit.fit_id, wait=True)
    assert held is not None
    walker = Walker(place, PlainReporter(log), given or None, lost=list(before))
    try:
        check_versions(assignment)
        with in_use(cache), disk_told(place):
            outcome = work(walker, assignment)
    except RequestError as error:
        return {"host": machine.host_id, "request": str(error)}
    finally:
        walker.close()
        held.release()
        if given is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = given
    facts = {"done": outcome.done, "kept": outcome.kept, "bad": outcome.bad}
    return facts | {"host": machine.host_id}


def outcome_of(facts: dict[str, Any], assignment: Assignment, reporter: Reporter) -> Outcome:
    """What `work_here` said, back on this side; `RequestError` where nothing can go on."""
    if "request" in facts:
        raise RequestError(f"on host {facts['host']}: {facts['request']}")
    fit = assignment.fit
    reporter.note(f"{fit.model.id} {fit.spec['recipe']} on {fit.task.id}: host {facts['host']}")
    return Outcome(facts["done"], facts["kept"], [tuple(bad) for bad in facts["bad"]])


def lost(assignment: Assignment, reason: str) -> Outcome:
    """Nothing is recorded: the next run of the same command tries again."""
    return Outcome(bad=[(f"fit {assignment.fit.fit_id}", "failed", reason)])
