"""``--executor ray --address HOST:PORT``: assignments as tasks of a Ray cluster (extra ``ray``).

A task works one assignment on one node: in a scratch folder of that node, from what this side has
of its records, and hands the record files back. Only this side writes into the results folder,
the status last, so a node that is lost in mid-task leaves nothing behind, and the task is made anew
elsewhere. Nodes keep caches of their own (``HARNESS_CACHE`` of the environment in which ``ray
start`` was called), filled by the same verified downloads; `harness.execute.shared` hands what fits
made from one to the other. ``path:`` sources must lie at the same place on every node.
"""

from __future__ import annotations

import io
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from harness.errors import RequestError
from harness.execute.base import Assignment, Executor, ExecutorOptions, Outcome, Place
from harness.execute.cluster import (
    NODE_LOSSES,
    Needs,
    left_to_work,
    lost,
    outcome_of,
    work_here,
)
from harness.execute.preflight import persistently
from harness.execute.report import Reporter
from harness.execute.shared import SharedStore
from harness.execute.walk import Walker
from harness.records.files import write_bytes
from harness.records.locks import acquire
from harness.records.secrets import redacted
from harness.records.store import Store
from harness.stages.fetch import fetch_model
from harness.stages.prepare import fetch_task

#: tasks that Ray has at a time: each holds an open lock file, of which systems allow about 1,024
IN_FLIGHT = 512
#: seconds between two looks at whether a fit that others work on has become free
RETRY_SECONDS = 0.5
#: seconds that tasks have to hand over what they completed, when another one's error ends them all:
#: a stage is interrupted, terminated, killed within 6
END_SECONDS = 30.0
#: completes a record, so it is written after all other files of its folder
_LAST = "status.json"
_BOUNDED = (
    "bounds this machine; --executor ray takes what the cluster offers: bound that by `ray start "
    "--num-cpus N --num-gpus N`"
)

Files = dict[str, bytes]


class RayExecutor(Executor):
    """Submits all, and writes down what comes back as it comes."""

    name: ClassVar[str] = "ray"
    refuses: ClassVar[Mapping[str, str]] = {
        "jobs": _BOUNDED,
        "devices": _BOUNDED,
        "refit": "fills the cache of this machine, and with --executor ray each node has its own; "
        "leave --executor out",
    }

    def __init__(self, place: Place, reporter: Reporter, options: ExecutorOptions) -> None:
        super().__init__(place, reporter, options)
        # Ray begins a task anew for ever whose worker its memory monitor ended: `max_retries` does
        # not count those. Read by its library when that is loaded
        os.environ.setdefault("RAY_task_oom_retries", str(NODE_LOSSES))
        try:
            import ray
        except ImportError:
            raise RequestError(
                "--executor ray: needs Ray: pip install 'pretrained-harness[ray]'"
            ) from None
        self._store_url = ""
        if options.store:
            store = SharedStore(options.store)
            store.check()
            self._store_url = store.absolute().url  # nodes work in folders of their own
        self._ray: Any = ray
        self._ours = not ray.is_initialized()
        if self._ours:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            try:
                _answers(options.address)
                # without an address, a cluster of this machine alone
                ray.init(
                    address=options.address or None,
                    log_to_driver=False,
                    logging_level=logging.WARNING,
                )
            except (OSError, ValueError, RuntimeError) as error:
                raise _no_cluster(options.address, error) from None

    def work(self, assignments: Sequence[Assignment]) -> Outcome:
        assignments, outcome = left_to_work(self.place, assignments)
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        for assignment in assignments:
            _check_room(assignment, nodes)
        pending = deque(assignments)
        held: dict[Any, tuple[Assignment, int]] = {}
        try:
            while pending or held:
                outcome.add(self._submit_free(pending, held))
                # with no timeout where only its own tasks can bring it on
                ready, _ = self._ray.wait(
                    list(held), num_returns=1, timeout=RETRY_SECONDS if pending else None
                )
                for reference in ready:
                    assignment, lock = held.pop(reference)
                    try:
                        outcome.add(self._receive(reference, assignment))
                    finally:
                        os.close(lock)
                if pending and not ready and not held:
                    time.sleep(RETRY_SECONDS)
        except RequestError:
            self._bring_home(held)
            raise
        finally:
            for reference, (_, lock) in held.items():
                self._ray.cancel(reference, force=True)
                os.close(lock)
        return outcome

    def close(self) -> None:
        if self._ours:
            self._ray.shutdown()

    def _submit_free(
        self, pending: deque[Assignment], held: dict[Any, tuple[Assignment, int]]
    ) -> Outcome:
        """Submit what nobody works on, from ``pending`` into ``held``; the outcome of what others
        have worked off meanwhile.

        No lock is waited for: it may be one of our own (two assignments can share a fit), or that
        of a command which works for hours, while our tasks end and are to be received.
        """
        outcome = Outcome()
        for _ in range(len(pending)):
            if len(held) >= IN_FLIGHT:
                break
            assignment = pending.popleft()
            # the records' lock only: the cache's is that of the node which works it
            lock = acquire(self.place.store.lock(assignment.fit.fit_id), wait=False)
            if lock is None:
                pending.append(assignment)
                continue
            left, worked_off = left_to_work(self.place, [assignment])
            outcome.add(worked_off)
            if left:
                held[self._submit(assignment)] = assignment, lock
            else:
                os.close(lock)
        return outcome

    def _bring_home(self, held: Collection[Any]) -> None:
        """Records that tasks have completed, before they are ended: an error of one node is no
        reason to lose the work of others."""
        for reference in held:
            self._ray.cancel(reference)  # as Ctrl-C, upon which `work_on_node` returns what it has
        ready, _ = self._ray.wait(list(held), num_returns=len(held), timeout=END_SECONDS)
        for reference in ready:
            try:
                files, _ = self._ray.get(reference)
            except self._ray.exceptions.RayError:  # it was never begun, or lost
                continue
            write_records(self.place, files)

    def _submit(self, assignment: Assignment) -> Any:
        """The future of one assignment, with what it needs as Ray's resources."""
        needs = _resources(assignment)
        remote = self._ray.remote(
            num_cpus=needs["CPU"],
            num_gpus=needs["GPU"],
            memory=needs.get("memory"),
            max_retries=NODE_LOSSES,
        )(work_on_node)
        store = self.place.store
        return remote.remote(
            assignment.dumps(),
            store.suite,
            self.place.retry,
            _files_of(store, assignment),
            self._store_url,
        )

    def _receive(self, reference: Any, assignment: Assignment) -> Outcome:
        try:
            files, facts = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            return _lost(assignment, f"{type(error.cause).__name__}: {error.cause}")
        except self._ray.exceptions.RayError as error:
            return _lost(assignment, (str(error).splitlines() or [type(error).__name__])[0])
        write_records(self.place, files)
        for note in facts["notes"]:
            self.reporter.note(note)
        return outcome_of(facts, assignment, self.reporter)


def _check_room(assignment: Assignment, nodes: Sequence[Mapping[str, float]]) -> None:
    """`RequestError` for what no node of the cluster can carry: Ray would wait for ever.

    ``nodes``: the resources of each.
    """
    needs = _resources(assignment)
    if any(all(node.get(k, 0) >= v for k, v in needs.items()) for node in nodes):
        return
    fit = assignment.fit
    asked = ", ".join(f"{value:g} {name}" for name, value in needs.items() if value)
    has = "; ".join(", ".join(f"{node.get(name, 0):g} {name}" for name in needs) for node in nodes)
    raise RequestError(
        f"--executor ray: {fit.model.id} on {fit.task.id} needs {asked}, and no node has that "
        f"(the nodes: {has}); `threads:` and `limits: {{memory_gb: ...}}` in the suite say "
        "what a fit takes (`threads: 0` is all cores of this machine)"
    )


def _no_cluster(address: str, error: Exception) -> RequestError:
    """What keeps us from a cluster; a difference of versions takes Ray several lines to say."""
    reason = " ".join(str(error).split())[:500] or type(error).__name__
    if reason.startswith("Version mismatch"):
        return RequestError(
            f"--executor ray: the cluster at {address!r} is another than this environment: "
            f"{reason}; install the same Python and the same Ray here and on every node"
        )
    return RequestError(
        f"--executor ray: no cluster at {address!r}: {reason}; start one with "
        "`ray start --head`, and name it by --address HOST:6379"
    )


def _answers(address: str) -> None:
    """`OSError` where nothing listens at HOST:PORT, which Ray takes over a minute to say."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=5).close()


def _resources(assignment: Assignment) -> dict[str, float]:
    """What Ray shall set aside: cores, GPUs, and bytes where the suite bounds them."""
    needs = Needs.of(assignment)
    named: dict[str, float] = {"CPU": needs.cpus, "GPU": needs.gpus}
    return named | ({"memory": needs.memory_bytes} if needs.memory_bytes else {})


def _lost(assignment: Assignment, reason: str) -> Outcome:
    return lost(assignment, f"nothing came back from its node: {reason}")


def _folders(store: Store, assignment: Assignment) -> list[Path]:
    runs = [store.run(run.run_id) for run in assignment.fit.runs]
    return [store.fit(assignment.fit.fit_id), *runs]


def _files_of(store: Store, assignment: Assignment) -> Files:
    """All record files of an assignment, by their path within the suite's folder."""
    return {
        path.relative_to(store.folder).as_posix(): path.read_bytes()
        for folder in _folders(store, assignment)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def write_records(place: Place, files: Mapping[str, bytes]) -> None:
    """Record files as a node sent them; records that are complete here stay as they are, but for
    failures that were to be tried again."""
    store = place.store
    done = {
        folder
        for name in files
        if place.settled(folder := store.folder.joinpath(*Path(name).parts[:2]))
    }
    for name in sorted(files, key=lambda name: (name.endswith(_LAST), name)):
        path = store.folder / name
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise RequestError(f"a node sent a record file named {name!r}")
        new_measurement = "measurements" in path.parts and not path.exists()
        if store.folder.joinpath(*Path(name).parts[:2]) not in done or new_measurement:
            write_bytes(path, files[name])


def work_on_node(
    assignment_text: str, suite: str, retry: bool, known: Files, store_url: str
) -> tuple[Files, dict[str, Any]]:
    """Runs on a node: (record files, what `work_here` says and ``notes`` for the user)."""
    import tempfile

    from harness.sources import default_cache

    assignment = Assignment.loads(assignment_text)
    with tempfile.TemporaryDirectory(prefix="harness-") as scratch:
        store = Store(Path(scratch), suite)
        for name, content in known.items():
            write_bytes(store.folder / name, content)
        notes: list[str] = []
        work = partial(_work_fetched, store_url, notes)
        try:
            facts = work_here(assignment, store, default_cache(), retry, False, io.StringIO(), work)
        except KeyboardInterrupt:  # `ray.cancel`: nobody asks for the facts any more
            facts = {}
        # what was complete before something went wrong goes home as well
        return _files_of(store, assignment), facts | {"notes": notes}


def _work_fetched(
    store_url: str, notes: list[str], walker: Walker, assignment: Assignment
) -> Outcome:
    """Work it with what it needs from the network in this node's cache, fetched by this process:
    workers are not given the node's tokens."""
    fit, place = assignment.fit, walker.place
    records = [place.store.fit(fit.fit_id), *(place.store.run(run.run_id) for run in fit.runs)]
    if not all(map(walker.done, records)):  # to time what is scored needs none of it
        model = partial(
            fetch_model,
            fit.model,
            place.cache,
            assignment.base,
            trust_remote_code=assignment.trust_remote_code,
            planned=fit.spec["model"]["files"],
        )
        data = partial(fetch_task, fit.task, place.cache, assignment.base)
        for fetch in (model, data):
            persistently(fetch, assignment.limits.retries, walker.reporter)
    return _work_shared(store_url, notes, walker, assignment)


def _work_shared(
    store_url: str, notes: list[str], walker: Walker, assignment: Assignment
) -> Outcome:
    """Work it from what other hosts have shared, and share what comes of it.

    Sharing saves work and no more: a store that fails is told in ``notes``.
    """
    from harness.stages.fit import fit_is_cached

    if not store_url:
        return walker.work(assignment)
    shared, fit_id = SharedStore(store_url), assignment.fit.fit_id
    folder = walker.job(assignment, Path()).fit_folder
    if not fit_is_cached(folder):
        with _told(notes, f"--store {store_url}: fit {fit_id} was not fetched"):
            shared.fetch(fit_id, folder)
    outcome = walker.work(assignment)
    if fit_is_cached(folder):
        with _told(notes, f"--store {store_url}: fit {fit_id} was not shared"):
            shared.push(fit_id, folder)
    return outcome


@contextmanager
def _told(notes: list[str], what: str) -> Iterator[None]:
    """An exception of the block as a note; each file system raises its own."""
    try:
        yield
    except Exception as error:
        notes.append(redacted(f"{what} ({type(error).__name__}: {error})"))
