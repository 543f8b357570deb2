"""``--executor slurm``: assignments as tasks of Slurm's job arrays, by submitit (extra ``slurm``).

The results folder and the cache lie on a file system that all nodes mount. A job works one
assignment there, in place, with the locks and the records of the local executor; what it says of
its outcome is a JSON file, its *answer*. submitit pickles the call of `work_in_job`, by name, with
one text, and what that returns, which is nothing; no pickle is read on this side.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

from harness import registry
from harness.errors import RequestError
from harness.execute.base import Assignment, Executor, ExecutorOptions, Outcome, Place
from harness.execute.claims import claim
from harness.execute.cluster import (
    NODE_LOSSES,
    Needs,
    left_to_work,
    lost,
    outcome_of,
    settled,
    work_here,
)
from harness.execute.logs import log_tail
from harness.execute.report import Reporter
from harness.execute.walk import fail_next, failures_of
from harness.records.files import read_json, write_json
from harness.records.store import Status, Store

#: seconds between two looks at the jobs: a file's presence each; Slurm itself is asked by submitit,
#: 2, 4, 8 ... seconds apart
POLL_SECONDS = 2.0
#: tasks of one array, at most: Slurm's own default limit (MaxArraySize 1001)
ARRAY_SIZE = 1000
#: seconds of a job beside its stages: interpreters that start from a busy file system, waiting for
#: another job's measurement on the same node
SPARE_SECONDS = 1800.0
#: bytes of a job beside the stage at work: the walk, and a warm worker of another framework (0.8
#: to 1.5 GB with PyTorch and a small model)
SPARE_BYTES = 2_000_000_000
#: how Slurm calls ends that can pass, and those that the same assignment would meet again
_PASSING = ("PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "COMPLETED")  # completed, yet without an answer
#: and states of one that goes on, of which submitit knows only that they are none of those it waits
#: for (https://slurm.schedmd.com/sacct.html, Job State Codes)
_GOING_ON = ("SUSPENDED", "RESIZING")
_FAILURES: Mapping[str, Status] = {
    "TIMEOUT": "timeout", "DEADLINE": "timeout", "OUT_OF_MEMORY": "oom",
}  # fmt: skip
_BOUNDED = (
    "bounds this machine; --executor slurm takes what Slurm gives: bound that by a partition or a "
    "QOS (SBATCH_PARTITION, SBATCH_QOS)"
)


@dataclass(frozen=True)
class _Sent:
    """An assignment on its way."""

    assignment: Assignment
    retry: bool
    losses: tuple[str, ...] = ()  # why it was submitted again
    answer: Path = field(default_factory=Path)


#: -P: never a module that happens to lie in the folder that the job starts in
_PYTHON = f"{shlex.quote(sys.executable)} -P"


class SlurmExecutor(Executor):
    """Submits what asks for the same as one array, and reads the answers as they come."""

    name: ClassVar[str] = "slurm"
    refuses: ClassVar[Mapping[str, str]] = {
        "jobs": _BOUNDED,
        "devices": _BOUNDED,
        "address": "names a Ray cluster; --executor slurm asks the Slurm of this machine",
        "store": "is for nodes with caches of their own; with --executor slurm they share "
        "HARNESS_CACHE",
    }

    def __init__(self, place: Place, reporter: Reporter, options: ExecutorOptions) -> None:
        super().__init__(place, reporter, options)
        # its own logger would write to standard output, where --json is alone
        os.environ.setdefault("SUBMITIT_LOG_LEVEL", "NOCONFIG")
        try:
            import submitit
        except ImportError:
            raise RequestError(
                "--executor slurm: needs submitit: pip install 'pretrained-harness[slurm]'"
            ) from None
        for command in ("sbatch", "srun", "sacct", "scancel"):
            if shutil.which(command) is None:
                raise RequestError(
                    f"--executor slurm: there is no {command} here; run it where jobs are submitted"
                )
        self._submitit: Any = submitit

    def work(self, assignments: Sequence[Assignment]) -> Outcome:
        todo, outcome = left_to_work(self.place, assignments)
        if not todo:
            return outcome
        self._folder, self._numbers = _new_folder(self.place), count()
        held: dict[Any, _Sent] = {}
        whole = True
        try:
            self._submit([_Sent(a, self.place.retry) for a in todo], held)
            while held:
                again = []
                for job in [job for job in held if _ended(job)]:
                    sent = held.pop(job)
                    if facts := read_json(sent.answer):
                        outcome.add(outcome_of(facts, sent.assignment, self.reporter))
                        continue
                    whole = False
                    if (next_try := self._lost(job, sent, outcome)) is not None:
                        again.append(next_try)
                self._submit(again, held)
                if held:
                    time.sleep(POLL_SECONDS)
        finally:
            if held:
                # not one by one: after Ctrl-C nobody wants to wait
                subprocess.run(["scancel", *(job.job_id for job in held)], check=False)
        if whole:
            shutil.rmtree(self._folder, ignore_errors=True)
        else:
            self.reporter.note(f"what the jobs printed lies in {self._folder}")
        return outcome

    def _submit(self, waiting: Iterable[_Sent], held: dict[Any, _Sent]) -> None:
        """Send them out, as an array where they ask for the same; into ``held``, as they go."""
        alike: dict[tuple[Any, ...], list[_Sent]] = {}
        for sent in waiting:
            alike.setdefault(demand(sent.assignment), []).append(sent)
        for (cpus, gpus, memory, minutes), group in alike.items():
            for start in range(0, len(group), ARRAY_SIZE):
                part = [
                    replace(sent, answer=self._folder / f"answer-{next(self._numbers)}.json")
                    for sent in group[start : start + ARRAY_SIZE]
                ]
                try:
                    executor = self._submitit.SlurmExecutor(self._folder, python=_PYTHON)
                    executor.update_parameters(
                        job_name=f"harness-{self.place.store.suite}",
                        cpus_per_task=cpus,
                        time=minutes,
                        array_parallelism=len(part),
                        # since Slurm 22.05 a step has one core unless it is told the number again
                        srun_args=[f"--cpus-per-task={cpus}"],
                        **({"gpus_per_node": gpus} if gpus else {}),
                        **({"mem": memory} if memory else {}),
                    )
                    with _outside_of_a_job():
                        jobs = executor.map_array(work_in_job, [self._order(sent) for sent in part])
                except RuntimeError as error:  # what sbatch said
                    raise RequestError(
                        f"--executor slurm: sbatch takes no job of {cpus} CPUs, {gpus} GPUs, "
                        f"{memory or 'any'} memory, {minutes} minutes: {error}; `threads:` and "
                        "`limits:` in the suite say what a job takes, SBATCH_PARTITION, "
                        "SBATCH_ACCOUNT and SBATCH_TIMELIMIT where and how long"
                    ) from None
                held |= zip(jobs, part, strict=True)
                self.reporter.note(
                    f"job {jobs[0].job_id.split('_')[0]}: {len(jobs)} fits, each {cpus} CPUs, "
                    f"{gpus} GPUs, {memory or 'any'} memory, {minutes} minutes"
                )

    def _order(self, sent: _Sent) -> str:
        """What `work_in_job` is told."""
        place = self.place
        return json.dumps(
            {
                "assignment": sent.assignment.dumps(),
                "results": str(place.store.results.resolve()),
                "suite": place.store.suite,
                "cache": str(place.cache.resolve()),
                "retry": sent.retry,
                "refit": place.refit,
                "losses": sent.losses,
                "answer": str(sent.answer),
            }
        )

    def _lost(self, job: Any, sent: _Sent, outcome: Outcome) -> _Sent | None:
        """What becomes of a job that left no answer: another one, or an outcome."""
        assignment = sent.assignment
        fit = assignment.fit
        state = _final_state(job)
        tail = log_tail(job.paths.stderr)
        reason = f"its job {job.job_id} left no answer ({state})" + (
            f": {tail[-1]}" if tail else ""
        )
        if state in _PASSING and len(sent.losses) < NODE_LOSSES:
            self.reporter.note(f"{reason}; submitted again")
            # where Slurm itself would put it back into the queue, one of the two is enough
            job.cancel(check=False)
            return replace(sent, losses=(*sent.losses, reason))
        if state in _FAILURES and (held := claim(self.place, fit.fit_id)) is not None:
            try:
                recorded = fail_next(self.place, fit, _FAILURES[state], reason, tail)
            finally:
                held.release()
            if recorded and not settled(self.place, assignment):
                return replace(sent, retry=False)  # the rest, without what was just recorded
            if recorded:
                outcome.add(failures_of(self.place, fit))
                return None
        outcome.add(lost(assignment, reason))
        return None


def demand(assignment: Assignment) -> tuple[int, int, str, int]:
    """What a job asks Slurm for: CPUs, GPUs, memory (``--mem``; empty: as the cluster has it), and
    minutes, in which all stages can reach their limits once."""
    needs, limits = Needs.of(assignment), assignment.limits
    seconds = SPARE_SECONDS + limits.fit_seconds + 2 * limits.other_seconds  # reference, facts
    for run in assignment.fit.runs:
        if registry.runtimes.get(run.row["runtime"]).needs == "onnx":
            seconds += limits.other_seconds  # the export
        seconds += limits.score_seconds
        if run.timed:
            seconds += run.launches * limits.time_seconds
    memory = ""
    if needs.memory_bytes:
        memory = f"{math.ceil((needs.memory_bytes + SPARE_BYTES) / 2**20)}M"
    return needs.cpus, needs.gpus, memory, math.ceil(seconds / 60)


def work_in_job(order: str) -> None:
    """Runs in a job: works what `SlurmExecutor` ordered, and writes its answer."""
    # scancel and preemption: unwinding ends what was started; the same records go on elsewhere
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # submitit has Slurm send this before the time is up, to put a job back into the queue: a stage
    # that did not end in all its time would not the next time
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    told = json.loads(order)
    facts = work_here(
        Assignment.loads(told["assignment"]),
        Store(Path(told["results"]), told["suite"]),
        Path(told["cache"]),
        told["retry"],
        told["refit"],
        sys.stdout,
        before=told["losses"],
    )
    write_json(Path(told["answer"]), facts)


@contextmanager
def _outside_of_a_job() -> Iterator[None]:
    """Submit as from a login node where the command itself runs in a job, as it must where those do
    not keep long processes: what Slurm says of our job would be taken for the new one's (``srun``
    refuses ``SLURM_MEM_PER_CPU`` beside the ``SLURM_MEM_PER_NODE`` that we ask for). ``SBATCH_...``
    is the user's own."""
    names = []
    if "SLURM_JOB_ID" in os.environ:
        names = [n for n in os.environ if n.startswith(("SLURM_", "SRUN_")) and n != "SLURM_CONF"]
    ours = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(ours)


def _ended(job: Any) -> bool:
    """submitit waits for jobs that were preempted: it would have put them back itself. And it takes
    those for ended that others' jobs have suspended."""
    ended = bool(job.done())
    state = str(job.state)
    if state.startswith(_GOING_ON) and not job.paths.result_pickle.exists():
        job.watcher._finished.discard(job.job_id)  # else it would never ask for it again
        return False
    return ended or state.startswith("PREEMPTED")


def _final_state(job: Any) -> str:
    """Slurm's word for how it ended (``CANCELLED by 1000`` is ``CANCELLED``)."""
    word = [*str(job.get_info().get("State", "")).upper().split(), "UNKNOWN"][0]
    # an exception is known by submitit's file before Slurm counts the job as ended
    return "FAILED" if word in ("RUNNING", "COMPLETING", "UNKNOWN") else word


def _new_folder(place: Place) -> Path:
    """Where orders, answers and what jobs print are exchanged; `harness gc` knows it as logs."""
    parent = place.cache / "logs" / place.store.suite
    parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="slurm-", dir=parent.resolve()))
