"""The small protocol between a plan and whatever works it.

*What* to work is an `Assignment`: one fit with the runs that it feeds, as data that any host can
read. *How* it is worked, stage by stage, is `harness.execute.walk`, the same everywhere. *Where* is
an `Executor`: this machine (``local``), or a cluster. An executor is one file, registered in the
entry-point group ``harness.executors``.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from harness.errors import RequestError
from harness.execute.report import Reporter
from harness.plan import Fit, Machine, Plan, Run
from harness.records.store import ANSWERS, Store, status_of
from harness.suite import Limits, Model, TaskEntry, Timing

if TYPE_CHECKING:
    from harness.execute.walk import Walker


@dataclass(frozen=True)
class Assignment:
    """One fit and its runs, with all that a host needs to work them."""

    fit: Fit
    base: Path  # the folder of the suite file, which `path:` sources start from
    timing: Timing
    limits: Limits
    trust_remote_code: bool = False

    @classmethod
    def of(cls, plan: Plan, fit: Fit) -> Assignment:
        suite = plan.loaded.suite
        base = plan.loaded.path.resolve().parent
        return cls(fit, base, suite.timing, suite.limits, plan.options.trust_remote_code)

    def dumps(self) -> str:
        """JSON, to travel."""
        fit = self.fit
        return json.dumps(
            {
                "fit": {
                    "fit_id": fit.fit_id,
                    "spec": fit.spec,
                    "model": fit.model.model_dump(mode="json"),
                    "task": fit.task.model_dump(mode="json"),
                    "auto_key": fit.auto_key,
                    "runs": [asdict(run) for run in fit.runs],
                },
                "base": str(self.base),
                "timing": self.timing.model_dump(mode="json"),
                "limits": self.limits.model_dump(mode="json"),
                "trust_remote_code": self.trust_remote_code,
            }
        )

    @classmethod
    def loads(cls, text: str) -> Assignment:
        data = json.loads(text)
        fit = data["fit"] | {
            "model": Model.model_validate(data["fit"]["model"]),
            "task": TaskEntry.model_validate(data["fit"]["task"]),
            "runs": [Run(**run) for run in data["fit"]["runs"]],
        }
        return cls(
            Fit(**fit),
            Path(data["base"]),
            Timing.model_validate(data["timing"]),
            Limits.model_validate(data["limits"]),
            data["trust_remote_code"],
        )


@dataclass(frozen=True)
class Place:
    """Where work happens on one host: the records, the cache, the machine."""

    store: Store
    cache: Path
    machine: Machine
    retry: bool = False  # failures are tried again
    refit: bool = False  # what the cache lost of complete records is made again

    def settled(self, record: Path) -> bool:
        """Complete, and not a failure that ``retry`` asks to try again."""
        facts = status_of(record)
        return facts is not None and not (self.retry and facts.get("status") not in ANSWERS)


@dataclass(frozen=True)
class ExecutorOptions:
    """What the command line says of an executor; each takes what concerns it."""

    jobs: int | None = None  # fits at a time, at most
    devices: tuple[str, ...] = ()  # the only ones to use: cpu, cuda:0, cuda:1, ...; empty: all
    address: str = ""  # of a cluster
    store: str = ""  # URL where hosts share what fits made; empty: each keeps its own


@dataclass
class Outcome:
    """What an execution did."""

    done: int = 0
    kept: int = 0  # complete before
    bad: list[tuple[str, str, str]] = field(default_factory=list)  # what, status, reason
    seconds: float = 0.0

    def add(self, other: Outcome) -> None:
        self.done += other.done
        self.kept += other.kept
        self.bad += other.bad

    @property
    def exit_status(self) -> int:
        return 1 if any(status not in ANSWERS for _, status, _ in self.bad) else 0


class Executor(ABC):
    """Has assignments worked. Use it as a context manager, so that nothing outlives it."""

    name: ClassVar[str]
    #: options that it cannot honour, and what to do instead
    refuses: ClassVar[Mapping[str, str]] = MappingProxyType({})

    def __init__(self, place: Place, reporter: Reporter, options: ExecutorOptions) -> None:
        """`RequestError` for options that it cannot honour."""
        asked = vars(options) | {"refit": place.refit}
        for option, why in self.refuses.items():
            if asked[option]:
                raise RequestError(f"--{option} {why}")
        self.place = place
        self.reporter = reporter
        self.options = options

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @abstractmethod
    def work(self, assignments: Sequence[Assignment]) -> Outcome:
        """Work all; a failure of one is its record's and the outcome's, the others go on.

        Raises `RequestError` where nothing can go on (a full disk, a damaged checkpoint).
        """

    def take_over(self, walker: Walker) -> bool:
        """Whether it goes on with what prepared the plan, whose workers are warm, and closes it."""
        return False

    def close(self) -> None:  # noqa: B027
        """End everything that was started."""
