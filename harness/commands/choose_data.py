"""``harness choose --data``: shortlist on the user's own data, then fit the best few in time."""

from __future__ import annotations

import argparse
import json
import math
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.choose.answer import decide
from harness.choose.evidence import select
from harness.choose.gather import gather
from harness.choose.halving import duration, expected_seconds, rungs, survivors
from harness.choose.own_data import Arm, OwnData, own_data
from harness.choose.question import BOUNDS, Question, task_named, weights_from
from harness.choose.reasons import reasons
from harness.choose.wording import as_json, sentences
from harness.commands.board import render
from harness.commands.context import this_machine
from harness.errors import RequestError
from harness.execute.base import Assignment, ExecutorOptions, Place
from harness.execute.conduct import disk_told, execute, fit_only, resolve
from harness.execute.local import LocalExecutor
from harness.execute.preflight import preflight
from harness.execute.process import StageFailed
from harness.execute.report import make_reporter
from harness.execute.walk import Walker
from harness.plan import Options, Plan, make_plan
from harness.records.files import read_json, write_json
from harness.records.store import Store, status_of
from harness.sources import default_cache
from harness.suite import load_suite

#: the one task type whose own data can be read from a single table today
TYPE = "text-classification"
#: models whose frozen features are worth a fine-tuning, by LogME: the better half, but two at least
FEWEST_MODELS = 2
#: examples whose features are computed for the shortlist
SHORTLIST_EXAMPLES = 400
#: arms of the board that answers, besides the best baseline
FINALISTS = 2
#: a training step is a forward pass and a backward one of about twice its work
PASSES_PER_EPOCH = 3.0
#: share of the search that the shortlist may take
SHORTLIST_SHARE = 0.5
#: share of the time that is kept for scoring and timing the finalists
KEPT_FOR_BOARD = 0.25


@dataclass
class Search:
    """A search under way: what was estimated, fitted, and left out for want of time."""

    own: OwnData
    walker: Walker
    seconds: float  # for the search, from the start
    deadline: float
    estimates: dict[str, dict[str, Any]] = field(default_factory=dict)
    fits: list[dict[str, Any]] = field(default_factory=list)
    untried: list[str] = field(default_factory=list)

    @property
    def left(self) -> float:
        return self.deadline - time.monotonic()

    def plan(self, arms: list[Arm], train: int, launches: int = 0) -> Plan:
        loaded = self.own.at(arms, train, launches=launches)
        resolved = (read_json(self.resolved) or {}).get("entries", {})
        dtypes = {key: entry["fit_dtype"] for key, entry in resolved.items()}
        return make_plan(loaded, Options(), dtypes, self.place.machine)

    @property
    def place(self) -> Place:
        return self.walker.place

    @property
    def resolved(self) -> Path:
        return self.place.store.results / "resolved.json"

    def shortlist(self) -> list[Arm]:
        """Arms of the models whose features fit the labels best, and all baselines."""
        models = list(dict.fromkeys(arm.model for arm in self.own.arms if not arm.baseline))
        size = min(SHORTLIST_EXAMPLES, self.own.train_examples)
        for model in models:
            arm = next(a for a in self.own.arms if a.model == model)
            probe = Arm(model, "linear-probe", _probe_of(arm))
            begun = time.monotonic()
            if self.left <= self.seconds * (1 - SHORTLIST_SHARE):
                self.estimates[model] = {
                    "logme": None,
                    "logme_reason": "its share of the time was up",
                }
                continue
            try:
                facts = self._similarity(self.plan([probe], size))
            except StageFailed as failure:
                if failure.status == "request":
                    raise RequestError(failure.reason) from None
                facts = {"logme": None, "logme_reason": failure.reason}
            self.estimates[model] = facts | {"seconds": time.monotonic() - begun}
        known = {m: f["logme"] for m, f in self.estimates.items() if f["logme"] is not None}
        order = sorted(known, key=lambda m: (-known[m], m))
        kept = order[: max(FEWEST_MODELS, math.ceil(len(order) / 2))]
        arms = [arm for arm in self.own.arms if arm.baseline]
        return arms + [a for model in kept for a in self.own.arms if a.model == model]

    def halve(self, arms: list[Arm]) -> list[Arm]:
        """Fit on more and more data; each time the better half and the best baseline go on."""
        alive = arms
        baselines = [arm.name for arm in arms if arm.baseline]
        for train in rungs(self.own.train_examples):
            scores = {}
            waiting = [arm for arm in alive if not arm.baseline]
            if self.fits and waiting and min(self._takes(a, train) for a in waiting) > self.left:
                self.untried += [f"{arm.name} on {train} examples" for arm in waiting]
                break  # out of time: the former rung decides
            # the cheap ones first, so that a short time still compares several
            for arm in sorted(alive, key=lambda a: (not a.baseline, self._takes(a, train))):
                if not arm.baseline and self._takes(arm, train) > self.left:  # those cost seconds
                    self.untried.append(f"{arm.name} on {train} examples")
                    continue
                score = self._fit(arm, train)
                if score is not None:
                    scores[arm.name] = score
            alive = [arm for arm in alive if self.largest(arm)]
            if not scores:
                break  # out of time: the former rung decides
            kept = survivors(scores, baselines)
            order = sorted(scores, key=lambda name: (name not in kept, -scores[name], name))
            alive = [next(a for a in alive if a.name == name) for name in order if name in kept]
        neural = [arm for arm in alive if not arm.baseline][:FINALISTS]
        return neural + [arm for arm in alive if arm.baseline][:1]

    def _similarity(self, plan: Plan) -> dict[str, Any]:
        """What the stage says of the plan's only fit; recorded in the search alone."""
        (fit,) = resolve(plan, self.walker, self.resolved).fits
        assignment = Assignment.of(plan, fit)
        job = self.walker.job(assignment, self.place.store.fit(fit.fit_id))
        self.walker.reporter.stage("similarity", fit)
        return self.walker.call(assignment, fit.spec["framework"], "similarity", job)

    def largest(self, arm: Arm) -> int:
        """The largest training set that an arm was fitted on."""
        return max((f["train"] for f in self.fits if f["arm"] == arm.name), default=0)

    def _takes(self, arm: Arm, train: int) -> float:
        """Expected seconds of a fit: from the arm's last one, else from its model's features."""
        done = [f for f in self.fits if f["arm"] == arm.name]
        if done:
            return expected_seconds(done[-1]["wall_seconds"], done[-1]["train"], train)
        facts = self.estimates.get(arm.model, {})
        if facts.get("logme") is None:
            return 0.0
        passes = 1.0
        if arm.recipe != "linear-probe":
            settings = self.own.loaded.suite.settings.get(arm.entry.recipe, {}) | arm.entry.settings
            passes = PASSES_PER_EPOCH * settings.get("epochs", 3)
        return expected_seconds(passes * facts["seconds"], facts["examples"], train)

    def _fit(self, arm: Arm, train: int) -> float | None:
        begun = time.monotonic()
        fit, facts = fit_only(self.plan([arm], train), self.walker, self.resolved)
        status = status_of(self.place.store.fit(fit.fit_id)) or {}
        score = facts.get("validation_score") if status.get("status") == "ok" else None
        self.fits.append(
            {"arm": arm.name, "model": arm.model, "recipe": arm.recipe, "train": train,
             "fit_id": fit.fit_id, "status": status.get("status", "failed"),
             "reason": status.get("reason", ""), "validation_score": score,
             "wall_seconds": time.monotonic() - begun}
        )  # fmt: skip
        return score


def _probe_of(arm: Arm) -> Any:
    return arm.entry.model_copy(update={"recipe": "linear-probe", "settings": {}, "frameworks": ()})


def choose_on_data(args: argparse.Namespace) -> int:
    seconds = duration(args.time)
    if task_named(args.type or TYPE, [TYPE], []) != TYPE:
        raise RequestError(
            f"--type {args.type}: --data reads {TYPE} only; for others write a suite"
        )
    weights = weights_from(args.weights) if args.weights else {"score": 1.0}
    own = own_data(load_suite(args.candidates), args.data, TYPE, args.text, args.label)
    store = Store(args.results, own.loaded.suite.suite)
    store.check_writable()
    reporter = make_reporter()
    place = Place(store, default_cache(), this_machine())
    try:
        with disk_told(place):
            plan = make_plan(own.loaded, Options(), {}, place.machine)
            preflight(plan, plan.fits, place.cache, reporter)
            begun = time.monotonic()  # downloads do not count
            with closing(Walker(place, reporter)) as walker:
                share = seconds * (1 - KEPT_FOR_BOARD)
                search = Search(own, walker, share, begun + share)
                finalists = search.halve(search.shortlist())
            if not finalists:
                raise RequestError(
                    f"--time {args.time}: nothing could be fitted in it; {_why(search)}"
                )
            train = min(search.largest(arm) for arm in finalists)
            with LocalExecutor(place, reporter, ExecutorOptions()) as executor:
                execute(search.plan(finalists, train, launches=1), place, executor, reporter)
    finally:
        reporter.close()
    trace = {
        "estimates": search.estimates, "fits": search.fits, "untried": search.untried,
        "train_available": own.train_examples, "train_of_board": train,
        "finalists": [arm.name for arm in finalists], "seconds": time.monotonic() - begun,
    }  # fmt: skip
    write_json(store.folder / "search.json", trace)
    render(store.folder, None, quiet=True)
    return _answer(args, own, weights, trace)


def _why(search: Search) -> str:
    failed = [f"{f['arm']}: {f['reason']}" for f in search.fits if f["status"] != "ok"]
    return "; ".join(failed) or "give it more"


def _answer(
    args: argparse.Namespace, own: OwnData, weights: dict[str, float], trace: dict[str, Any]
) -> int:
    gathered = gather(args.results, (own.loaded.suite.suite,))
    question = Question(
        task=own.task, device=args.device, percentile=args.percentile or "",
        price_per_hour=args.price_per_hour, weights=weights,
        **{name: getattr(args, name) for name in BOUNDS},
    )  # fmt: skip
    evidence = select(gathered.rows, question)
    answer = decide(evidence, question)
    said = reasons(evidence, answer, question, gathered.task_names)
    folder = args.results / own.loaded.suite.suite
    if args.json:
        told = as_json(question, evidence, answer, said, gathered)
        print(json.dumps(told | {"search": trace}, indent=2))
    else:
        from harness.commands.choose import print_parts

        print_parts([("Search", search_lines(trace, folder))])
        print_parts(sentences(question, evidence, answer, said, gathered, []))
    return 0 if answer.recommended is not None else 2


def search_lines(trace: dict[str, Any], folder: Path) -> list[str]:
    """What the search saw, for people."""
    lines = []
    for model, facts in sorted(
        trace["estimates"].items(), key=lambda item: -(item[1]["logme"] or -math.inf)
    ):
        if facts["logme"] is None:
            lines.append(f"{model}: no estimate ({facts['logme_reason']})")
            continue
        tokens = ""
        if facts.get("fertility") is not None:
            tokens = f", {facts['fertility']:.2f} tokens a word"
            tokens += f", {100 * facts['unknown_share']:.1f}% unknown"
        lines.append(f"{model}: LogME {facts['logme']:.3f}{tokens}")
    for fit in trace["fits"]:
        score = fit["validation_score"]
        shown = (
            f"validation {score:.3f}" if score is not None else f"{fit['status']}: {fit['reason']}"
        )
        lines.append(
            f"{fit['arm']} on {fit['train']:,} examples: {shown}, {fit['wall_seconds']:.0f} s"
        )
    lines += [f"not tried, the time was up: {what}" for what in trace["untried"]]
    lines.append(
        f"board on {trace['train_of_board']:,} of {trace['train_available']:,} training examples: "
        f"{folder / 'leaderboard.html'}; the search: {folder / 'search.json'}"
    )
    return lines
