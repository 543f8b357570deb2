"""``harness choose --data``: shortlist on the user's own data, then fit the best few in time."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.choose.answer import decide
from harness.choose.evidence import select
from harness.choose.gather import gather
from harness.choose.halving import Fitted, duration, useful_size
from harness.choose.own_data import Arm, OwnData, own_data
from harness.choose.question import (
    BOUNDS,
    OWN_DATA_TYPE,
    SCORE_ALONE,
    Question,
    task_named,
    weights_from,
)
from harness.choose.reasons import reasons
from harness.choose.search import Search, board_in_time
from harness.choose.wording import as_json, sentences
from harness.commands.board import render
from harness.commands.context import this_machine
from harness.errors import RequestError
from harness.execute.base import ExecutorOptions, Place
from harness.execute.conduct import disk_told, examine, execute, fit_only
from harness.execute.local import LocalExecutor
from harness.execute.preflight import preflight
from harness.execute.process import StageFailed
from harness.execute.report import make_reporter
from harness.execute.walk import Walker
from harness.measure.host import host_id
from harness.plan import Options, Plan, make_plan
from harness.records.files import write_json
from harness.records.resolved import dtypes, read_resolved
from harness.records.store import Store, status_of
from harness.sources import default_cache
from harness.sources.cache import in_use
from harness.stages.fetch import fetch_model
from harness.suite import load_suite

#: examples whose features are computed for the shortlist
SHORTLIST_EXAMPLES = 400
#: an epoch of fine-tuning takes about twice as long as frozen features of the same texts (MiniLM on
#: Reuters R8 and CoNLL-2003: 2.0 times, in bfloat16)
PASSES_PER_EPOCH = 2.0
#: share of the search that the shortlist may take
SHORTLIST_SHARE = 0.25
#: share of the time that is kept for scoring and timing the finalists
KEPT_FOR_BOARD = 0.25


@dataclass
class Bench:
    """The user's data on this machine: what a search may ask of a candidate, and what it was told.

    ``estimates``: by model; ``fits``: in the order they were made.
    """

    own: OwnData
    walker: Walker
    options: Options
    estimates: dict[str, dict[str, Any]] = field(default_factory=dict)
    fits: list[dict[str, Any]] = field(default_factory=list)

    def plan(self, arms: list[Arm], train: int, launches: int = 0) -> Plan:
        loaded = self.own.at(arms, train, launches=launches)
        resolved = dtypes(read_resolved(self.resolved))
        return make_plan(loaded, self.options, resolved, self.place.machine)

    @property
    def place(self) -> Place:
        return self.walker.place

    @property
    def resolved(self) -> Path:
        return self.place.store.results / "resolved.json"

    def shortlist(self, deadline: float) -> list[Arm]:
        """Neural arms by how well their models' features fit the labels (LogME), the cheaper of one
        model first; models without an estimate last, the smaller first."""
        models = sorted(self.bytes, key=lambda model: (self.bytes[model], model))
        for model in models:  # small ones first, so that a short time still compares several
            left = deadline - time.monotonic()
            self.estimates[model] = (
                self._similarity(model, left)
                if left > 0
                else {"logme": None, "logme_reason": "the shortlist's share of the time was up"}
            )
        known = [model for model in models if self.estimates[model]["logme"] is not None]
        order = sorted(known, key=lambda model: -self.estimates[model]["logme"])
        order += [model for model in models if model not in known]
        arms = [arm for arm in self.own.arms if not arm.baseline]
        return sorted(arms, key=lambda arm: (order.index(arm.model), self.passes(arm)))

    @cached_property
    def bytes(self) -> dict[str, int]:
        """Of each pretrained candidate's files."""
        wanted = {arm.model for arm in self.own.arms if not arm.baseline}
        base = self.own.loaded.path.resolve().parent
        folders = {
            model.id: fetch_model(
                model, self.place.cache, base, trust_remote_code=self.options.trust_remote_code
            )
            for model in self.own.loaded.suite.models
            if model.id in wanted
        }
        return {
            model: sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            for model, folder in folders.items()
            if folder is not None
        }

    def _similarity(self, model: str, seconds: float) -> dict[str, Any]:
        """What the stage says of a model, within about so many seconds."""
        arm = next(arm for arm in self.own.arms if arm.model == model)
        probe = Arm(model, "linear-probe", _probe_of(arm))
        begun = time.monotonic()
        try:
            plan = self.plan([probe], min(SHORTLIST_EXAMPLES, self.own.train_examples))
            facts = examine(plan, self.walker, self.resolved, "similarity", seconds)
        except StageFailed as failure:
            if failure.is_request:
                raise RequestError(failure.reason) from None
            facts = {"logme": None, "logme_reason": failure.reason}
        return facts | {"seconds": time.monotonic() - begun}

    def passes(self, arm: Arm) -> float:
        """Forward passes over the training examples that a fit is worth."""
        if arm.recipe == "linear-probe":
            return 1.0
        settings = self.own.loaded.suite.settings.get(arm.entry.recipe, {}) | arm.entry.settings
        return PASSES_PER_EPOCH * float(settings.get("epochs", 3))

    def guessed(self, arm: Arm, train: int) -> float:
        """Seconds that a fit may take, from the time that its model's features took."""
        rates = self._rates()
        # as slow for its size as any that was measured; 0 where none was: the first fit will tell
        slowest = max((rate / self.bytes[model] for model, rate in rates.items()), default=0.0)
        rate = rates.get(arm.model, slowest * self.bytes[arm.model])
        return float(rate * (self.passes(arm) * train + self.own.validation_examples))

    def _rates(self) -> dict[str, float]:
        """Seconds of a forward pass a text, by model: as its features took, else as its fits did,
        the start of a worker included."""
        rates = {
            fit["model"]: fit["wall_seconds"] / fit["passes"]
            for fit in self.fits
            if fit["status"] == "ok" and fit["model"] in self.bytes
        }
        seconds = {m: facts.get("seconds_per_text") for m, facts in self.estimates.items()}
        return rates | {model: rate for model, rate in seconds.items() if rate}

    def fit(self, arm: Arm, train: int) -> Fitted | None:
        begun = time.monotonic()
        fit, facts = fit_only(self.plan([arm], train), self.walker, self.resolved)
        status = status_of(self.place.store.fit(fit.fit_id)) or {}
        score = facts.get("validation_score") if status.get("status") == "ok" else None
        wall = time.monotonic() - begun
        self.fits.append(
            {"arm": arm.name, "model": arm.model, "recipe": arm.recipe, "train": train,
             "passes": self.passes(arm) * train,
             "fit_id": fit.fit_id, "status": status.get("status", "failed"),
             "reason": status.get("reason", ""), "validation_score": score, "wall_seconds": wall}
        )  # fmt: skip
        if score is None:
            return None
        # features of another framework are in the cache: what this one took is what will count
        trained = wall if facts["seconds"] is None else facts["seconds"]
        return Fitted(train, score, trained, max(wall - trained, 0.0))


def _probe_of(arm: Arm) -> Any:
    return arm.entry.model_copy(update={"recipe": "linear-probe", "settings": {}, "frameworks": ()})


def choose_on_data(args: argparse.Namespace) -> int:
    seconds = duration(args.time)
    if task_named(args.type or OWN_DATA_TYPE, [OWN_DATA_TYPE], []) != OWN_DATA_TYPE:
        raise RequestError(
            f"--type {args.type}: --data reads {OWN_DATA_TYPE} only; for others write a suite"
        )
    weights = weights_from(args.weights) if args.weights else SCORE_ALONE
    own = own_data(load_suite(args.candidates), args.data, OWN_DATA_TYPE, args.text, args.label)
    store = Store(args.results, own.loaded.suite.suite)
    store.check_writable()
    reporter = make_reporter()
    place = Place(store, default_cache(), this_machine())
    try:
        with disk_told(place), in_use(place.cache):
            options = Options(trust_remote_code=args.trust_remote_code)
            plan = make_plan(own.loaded, options, {}, place.machine)
            preflight(plan, plan.fits, place.cache, reporter)
            begun = time.monotonic()  # downloads do not count
            with closing(Walker(place, reporter)) as walker:
                bench = Bench(own, walker, options)
                search = _search(bench, begun, seconds)
                finalists = search.run()
            if not finalists:
                raise RequestError(
                    f"--time {args.time}: nothing could be fitted; {_why(bench.fits)}"
                )
            train = min(search.largest(arm) for arm in finalists)

            def planned(arms: Sequence[Arm]) -> Plan:
                return bench.plan(list(arms), train, launches=1)

            with LocalExecutor(place, reporter, ExecutorOptions()) as executor:
                board, crowded_out = board_in_time(
                    finalists,
                    lambda arms: execute(planned(arms), place, executor, reporter, args.given),
                    lambda arms: len(planned(arms).runs()),
                    begun + seconds,
                )
    finally:
        reporter.close()
    trace = {
        "estimates": bench.estimates, "fits": bench.fits,
        "shortlist": [arm.name for arm in search.shortlist],
        "predicted": {arm.name: search.predicted(arm) for arm in search.shortlist
                      if arm.name in search.fits},
        "untried": [
            f"{name}: {why}" for name, why in (search.left_out | crowded_out).items()
        ],
        "train_available": own.train_examples, "train_of_board": train,
        "finalists": [arm.name for arm in board],
        "seconds": time.monotonic() - begun, "seconds_asked": seconds,
    }  # fmt: skip
    write_json(store.folder / "search.json", trace)
    render(store.folder, None, quiet=True)
    return _answer(args, own, weights, trace)


def _search(bench: Bench, begun: float, seconds: float) -> Search:
    own, share = bench.own, seconds * (1 - KEPT_FOR_BOARD)
    return Search(
        shortlist=bench.shortlist(begun + share * SHORTLIST_SHARE),
        baselines=[arm for arm in own.arms if arm.baseline],
        examples=own.train_examples,
        smallest=useful_size(own.train_examples, own.classes),
        validation=own.validation_examples,
        guessed=bench.guessed,
        fit=bench.fit,
        deadline=begun + share,
        grace=seconds - share,
    )


def _why(fits: list[dict[str, Any]]) -> str:
    failed = [f"{f['arm']}: {f['reason']}" for f in fits if f["status"] != "ok"]
    return "; ".join(failed) or "give it more"


def _answer(
    args: argparse.Namespace, own: OwnData, weights: Mapping[str, float], trace: dict[str, Any]
) -> int:
    gathered = gather(args.results, (own.loaded.suite.suite,), host_id())
    question = Question(
        task=own.task, device=args.device, percentile=args.percentile or "",
        price_per_hour=args.price_per_hour, weights=weights,
        **{name: getattr(args, name) for name in BOUNDS},
    )  # fmt: skip
    evidence = select(gathered.rows, question, gathered.p_value)
    answer = decide(evidence, question)
    said = reasons(evidence, answer, question, gathered.task_names, host_id())
    folder = args.results / own.loaded.suite.suite
    if args.json:
        told = as_json(question, evidence, answer, said, gathered)
        print(json.dumps(told | {"search": trace}, indent=2))
    else:
        from harness.commands.choose import print_parts

        print_parts([("Search", search_lines(trace, folder))])
        print_parts(sentences(question, evidence, answer, said, gathered, []))
    return 0 if answer.recommended is not None else 2


def _similarity_text(facts: dict[str, Any]) -> str:
    """``LogME 0.633, 1.18 tokens a word, 0.0% unknown, perplexity 45 a token``."""
    if facts["logme"] is None:
        return f"no estimate ({facts['logme_reason']})"
    parts = [f"LogME {facts['logme']:.3f}"]
    if facts.get("leep") is not None:
        parts.append(f"LEEP {facts['leep']:.3f} (from its own {facts['leep_classes']} classes)")
    if facts.get("fertility") is not None:
        parts.append(f"{facts['fertility']:.2f} tokens a word")
        parts.append(f"{100 * facts['unknown_share']:.1f}% unknown")
    if facts.get("perplexity") is not None:
        parts.append(f"{facts['perplexity_kind']} {facts['perplexity']:.3g} a token")
    elif "perplexity_reason" in facts:
        parts.append(f"no perplexity: {facts['perplexity_reason']}")
    return ", ".join(parts)


def search_lines(trace: dict[str, Any], folder: Path) -> list[str]:
    """What the search saw, for people."""
    lines = [
        f"{model}: {_similarity_text(facts)}"
        for model, facts in sorted(
            trace["estimates"].items(),
            key=lambda item: (item[1]["logme"] is None, -(item[1]["logme"] or 0.0)),
        )
    ]
    for fit in trace["fits"]:
        score = fit["validation_score"]
        shown = (
            f"validation {score:.3f}" if score is not None else f"{fit['status']}: {fit['reason']}"
        )
        lines.append(
            f"{fit['arm']} on {fit['train']:,} examples: {shown}, {fit['wall_seconds']:.0f} s"
        )
    if trace["train_of_board"] < trace["train_available"]:
        lines += [
            f"{name}: {score:.3f} expected on all {trace['train_available']:,} examples"
            for name, score in trace["predicted"].items()
        ]
    lines += [f"went no further: {what}" for what in trace["untried"]]
    lines.append(f"took {trace['seconds']:.0f} s of {trace['seconds_asked']:.0f} s")
    lines.append(
        f"board on {trace['train_of_board']:,} of {trace['train_available']:,} training examples: "
        f"{folder / 'leaderboard.html'}; the search: {folder / 'search.json'}"
    )
    return lines
