"""``--track mlflow:URI``: one MLflow run a run of ours, in an experiment named after the suite.

A run is found again by its tag ``harness.key``, so that mirroring twice makes no second copy; one
whose records are as they were (``harness.state``) is left alone.
"""

from __future__ import annotations

import os
import posixpath
import re
import time
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, ClassVar

from harness.errors import RequestError
from harness.printable import printable
from harness.track.base import Entry, Tracker, TrackingFailed

KEY, STATE = "harness.key", "harness.state"
#: Servers take at most so many at a time, and names of letters, digits and ``_-. :/``.
_PARAMS, _METRICS, _VALUE = 100, 1000, 500
_ODD = re.compile(r"[^\w\-. :/]")
#: a server that does not answer costs seconds, not MLflow's minutes of retries
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


class MlflowTracker(Tracker):
    """``uri``: a server (``http://host:5000``), or whatever else MLflow keeps runs in."""

    name: ClassVar[str] = "mlflow"

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        if find_spec("mlflow") is None:
            raise RequestError(
                "--track mlflow: needs MLflow: pip install 'pretrained-harness[track]'"
            )

    def mirror(self, suite: str, entries: Sequence[Entry]) -> int:
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        import mlflow

        try:
            client = mlflow.MlflowClient(tracking_uri=self.uri)
            experiment = _experiment(client, suite)
            known = _known(client, experiment)
            return sum(_write(client, experiment, entry, known) for entry in entries)
        except Exception as error:  # of its HTTP library, its server, its file systems
            reason = (str(error).splitlines() or [""])[0][:300]
            raise TrackingFailed(
                printable(f"mlflow:{self.uri}: {type(error).__name__}: {reason}")
            ) from error


def _experiment(client: Any, suite: str) -> str:
    found = client.get_experiment_by_name(suite)
    return str(found.experiment_id if found else client.create_experiment(suite))


def _known(client: Any, experiment: str) -> dict[str, tuple[str, str]]:
    """Key to MLflow's run id and the state that it was left in."""
    known: dict[str, tuple[str, str]] = {}
    token = None
    while True:
        page = client.search_runs([experiment], page_token=token, max_results=1000)
        for run in page:
            tags = run.data.tags
            if KEY in tags:
                known[tags[KEY]] = run.info.run_id, tags.get(STATE, "")
        token = page.token
        if not token:
            return known


def _write(client: Any, experiment: str, entry: Entry, known: dict[str, tuple[str, str]]) -> bool:
    """Whether there was anything to write. The state goes last: half a copy is copied again."""
    from mlflow.entities import Metric, Param, RunTag

    run_id, state = known.get(entry.key, ("", ""))
    if state == entry.state:
        return False
    if not run_id:
        created = client.create_run(experiment, run_name=entry.name, tags={KEY: entry.key})
        run_id = created.info.run_id
        known[entry.key] = run_id, ""
    there = client.get_run(run_id)
    # a parameter stands for ever: a model that has got another name keeps its first one there
    texts = {_named(key): value[:_VALUE] for key, value in entry.params.items()}
    params = [Param(k, v) for k, v in texts.items() if k not in there.data.params]
    # the last value is shown, and of two of one moment the larger
    now = max(there.info.start_time, int(1000 * time.time()))
    numbers = {_named(key): value for key, value in entry.metrics.items()}
    metrics = [Metric(k, v, now, 0) for k, v in numbers.items() if there.data.metrics.get(k) != v]
    tags = [RunTag(f"harness.{key}", value[:_VALUE]) for key, value in entry.tags.items()]
    for at in range(0, len(params), _PARAMS):
        client.log_batch(run_id, params=params[at : at + _PARAMS])
    for at in range(0, len(metrics), _METRICS):
        client.log_batch(run_id, metrics=metrics[at : at + _METRICS])
    client.log_batch(run_id, tags=tags)
    for name, path in entry.files.items():
        client.log_artifact(run_id, str(path), name.rpartition("/")[0] or None)
    answered = entry.tags.get("status", "ok") in ("ok", "unsupported", "skipped")
    client.set_terminated(run_id, "FINISHED" if answered else "FAILED")
    client.set_tag(run_id, STATE, entry.state)
    return True


def _named(key: str) -> str:
    """A name that every MLflow server takes; labels hold anything."""
    name = _ODD.sub("_", key)[:240]
    # a path only in its shortest form, which a label like http://x is not
    return name if posixpath.normpath(name) == name else name.replace("/", "_")
