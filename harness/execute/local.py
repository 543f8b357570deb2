"""The local executor: works assignments on this machine, as many at a time as it carries.

With one at a time they are worked in the plan's order, framework by framework, so that one warm
process serves many. With more, the longest go first: what is begun last decides how long all wait.
Threads belong to a fit's specification, so how many run at a time changes no result.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import ClassVar

from harness.errors import RequestError
from harness.execute.base import Assignment, Executor, ExecutorOptions, Outcome, Place
from harness.execute.claims import Claim, claim
from harness.execute.estimates import Estimates
from harness.execute.report import Reporter
from harness.execute.resources import Resources, Share
from harness.execute.walk import Walker

#: seconds between two looks at whether what others hold has become free
RETRY_SECONDS = 0.5
#: seconds that threads have to end after an error of one: a stage that is interrupted takes up to
#: 6; one that waits until another command has measured is not waited for
END_SECONDS = 15.0


class LocalExecutor(Executor):
    """Threads that each walk one assignment at a time; their workers are processes."""

    name: ClassVar[str] = "local"
    refuses: ClassVar[Mapping[str, str]] = {
        "address": "names a cluster; --executor local works on this machine",
        "store": "shares what fits made between the nodes of a cluster, and --executor local works "
        "on this machine alone, where its cache (HARNESS_CACHE) keeps them; leave it out",
    }

    def __init__(self, place: Place, reporter: Reporter, options: ExecutorOptions) -> None:
        super().__init__(place, reporter, options)
        self._resources = Resources.of(place.machine, options.devices)
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._walkers: list[Walker] = []
        self._warm: Walker | None = None
        self._pending: deque[Assignment] = deque()
        self._estimates = Estimates(place.store)

    def take_over(self, walker: Walker) -> bool:
        if self._warm is not None:
            self._warm.close()
        self._walkers.append(walker)
        self._warm = walker
        return True

    def work(self, assignments: Sequence[Assignment]) -> Outcome:
        if not assignments:
            return Outcome()
        self._resources.check(assignments)
        jobs = self._jobs(assignments)
        warm, self._warm = self._warm, None
        if warm is not None and jobs > 1:
            warm.close()  # of this thread, while others work
            warm = None
        if jobs > 1:
            assignments = sorted(assignments, key=self._estimates.seconds, reverse=True)
        self._pending = deque(assignments)
        outcome = Outcome()
        if jobs <= 1:
            self._work_off(outcome, warm)
            return outcome
        return self._in_threads(jobs, outcome)

    def close(self) -> None:
        self._stopped.set()
        for walker in self._walkers:
            walker.close()

    def _jobs(self, assignments: Sequence[Assignment]) -> int:
        """How many at a time: as the cores carry, at most as many as asked for."""
        carried = self._resources.at_a_time(assignments)
        asked = self.options.jobs
        if asked and carried < min(asked, len(assignments)):
            self.reporter.note(
                f"--jobs {asked}: {carried} at a time, as each fit has "
                f"{assignments[0].fit.spec['threads']} threads and there are "
                f"{self.place.machine.cores} cores; `threads:` in the suite says otherwise"
            )
        return min(carried, asked or carried, len(assignments))

    def _in_threads(self, jobs: int, outcome: Outcome) -> Outcome:
        outcomes = [Outcome() for _ in range(jobs)]
        errors: list[BaseException] = []

        def run(mine: Outcome) -> None:
            try:
                self._work_off(mine)
            except BaseException as error:
                errors.append(error)
                self._stopped.set()

        # daemons: one that waits for a lock must not keep an interrupted command alive
        threads = [threading.Thread(target=run, args=(o,), daemon=True) for o in outcomes]
        for thread in threads:
            thread.start()
        left = END_SECONDS
        while left > 0 and (alive := [thread for thread in threads if thread.is_alive()]):
            alive[0].join(RETRY_SECONDS)
            if self._stopped.is_set():
                for walker in self._walkers:
                    walker.interrupt()  # the stage ends at once; what is complete is kept
                left -= RETRY_SECONDS
        for mine in outcomes:
            outcome.add(mine)
        if errors:
            raise next((e for e in errors if isinstance(e, RequestError)), errors[0])
        return outcome

    def _work_off(self, outcome: Outcome, walker: Walker | None = None) -> None:
        """Take assignments until none is left; ``walker``: one of this thread, to begin with."""
        try:
            while (taken := self._take()) is not None:
                assignment, held, share = taken
                try:
                    if walker is None or walker.gpu != share.gpu:
                        if walker is not None:
                            walker.close()
                        walker = Walker(self.place, self.reporter, share.gpu, self._stopped.is_set)
                        self._walkers.append(walker)
                    outcome.add(walker.work(assignment))
                finally:
                    held.release()
                    with self._changed:
                        self._resources.give_back(share)
                        self._changed.notify_all()
        finally:
            if walker is not None:
                walker.close()

    def _take(self) -> tuple[Assignment, Claim, Share] | None:
        """The next assignment that the machine carries and nobody else works on; None: no more."""
        while not self._stopped.is_set():
            with self._changed:
                if not self._pending:
                    return None
                for assignment in self._pending:
                    share = self._resources.take(assignment, self._estimates.bytes(assignment))
                    if share is None:
                        continue
                    held = claim(self.place, assignment.fit.fit_id)
                    if held is not None:
                        self._pending.remove(assignment)  # the loop ends with it
                        return assignment, held, share
                    self._resources.give_back(share)
                self._changed.wait(RETRY_SECONDS)
        return None
