"""``harness tune``: choose settings on the validation split, with equal trials for every model.

A model is tuned on each task by each recipe in each framework that the suite fits it in, once: with
the first of its seeds and devices. The test split is never read. Every trial is a fit with its own
record under ``results/<suite>/tune/``; the choice is printed as YAML to paste into the suite.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from harness.commands.arguments import add_results, add_suite_selection
from harness.commands.context import plan_of, this_machine
from harness.errors import RequestError
from harness.execute.base import Place
from harness.execute.conduct import disk_told, fit_only
from harness.execute.preflight import preflight
from harness.execute.report import make_reporter
from harness.execute.walk import Walker
from harness.plan import Fit, Machine, Plan, frameworks_of, make_plan, training_sizes
from harness.printable import framework_aside
from harness.records.files import write_json
from harness.records.store import Store, status_of
from harness.sources import default_cache
from harness.sources.cache import in_use
from harness.suite import Entry

EXAMPLE = "harness tune nlp --only minilm"

#: of a grid, which is drawn from in memory
MAX_POINTS = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_results(parser)
    add_suite_selection(parser)


def run(args: argparse.Namespace) -> int:
    plan = plan_of(args)
    tune = plan.loaded.suite.tune
    if tune is None or not tune.space:
        raise RequestError(f"{plan.loaded.path}: the suite has no `tune` with a `space`")
    store = Store(args.results / plan.loaded.suite.suite, "tune")
    store.check_writable()
    reporter = make_reporter()
    trials: list[dict[str, Any]] = []
    try:
        cache = default_cache()
        place = Place(store, cache, this_machine())
        walker = Walker(place, reporter)
        with disk_told(place), in_use(cache), closing(walker):
            preflight(plan, plan.fits, cache, reporter)
            for entry in entries(plan, tune.space):
                for settings in draw_trials(tune.space[entry.recipe], tune.trials, tune.seed):
                    resolved = args.results / "resolved.json"
                    trials.append(_trial(walker, resolved, plan, entry, settings))
    finally:
        reporter.close()
    best = choose(trials)
    write_json(store.folder / "trials.json", {"trials": trials, "chosen": best})
    if args.json:
        print(json.dumps({"trials": trials, "chosen": best}, indent=2))
        return 0
    for trial in sorted(trials, key=lambda t: (t["model"], t["task"], _name(t), -t["score"])):
        print(
            f"{trial['score']:.4f}  {trial['seconds']:6.1f} s  {_name(trial)} on {trial['task']}  "
            f"{json.dumps(trial['settings'])}"
        )
    print(f"\n# chosen on validation, {tune.trials} trials each; records in {store.folder}")
    print(yaml.safe_dump(best, sort_keys=False), end="")
    return 0


def draw_trials(space: dict[str, list[Any]], count: int, seed: int) -> list[dict[str, Any]]:
    """``count`` different points of a grid, drawn by seed (the whole grid if it is smaller)."""
    names = sorted(space)
    points = math.prod(len(space[name]) for name in names)
    if points > MAX_POINTS:
        raise RequestError(f"`tune.space`: {points} points, over the limit of {MAX_POINTS}")
    grid = [
        dict(zip(names, values, strict=True))
        for values in itertools.product(*(space[name] for name in names))
    ]
    order = np.random.default_rng(seed).permutation(len(grid))[:count]
    return [grid[i] for i in sorted(order)]


def choose(trials: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Best settings by ``model recipe`` (with the framework, if not the usual one) and task; of
    equal scores the cheaper fit wins."""
    best: dict[str, dict[str, dict[str, Any]]] = {}
    ranked = sorted(trials, key=lambda t: (-t["score"], t["seconds"]))
    for trial in ranked:
        group = best.setdefault(_name(trial), {})
        group.setdefault(trial["task"], trial["settings"])
    return best


def _name(trial: dict[str, Any]) -> str:
    return f"{trial['model']} {trial['recipe']}{framework_aside(trial['framework'])}"


def entries(plan: Plan, space: dict[Any, Any]) -> list[Entry]:
    """One entry, of one fit, for each model, task, recipe and framework of the plan that has a
    search space."""
    found: dict[tuple[str, str, str, str], Entry] = {}
    for fit in plan.fits:
        model, task, recipe, framework = key = (
            fit.model.id, fit.task.id, fit.spec["recipe"], fit.spec["framework"],
        )  # fmt: skip
        if recipe in space and key not in found:
            source = next(
                e
                for e in plan.loaded.suite.matrix
                if model in e.models and task in e.tasks and recipe == e.recipe
                and framework in frameworks_of(e)
            )  # fmt: skip
            update: dict[str, Any] = {
                "models": (model,),
                "tasks": (task,),
                "frameworks": (framework,),
                "devices": (fit.spec["device"],),
                "runtimes": (),
                "seeds": (fit.spec["seed"],),
                "settings": source.settings | source.settings_by_task.get(task, {}),
                "settings_by_task": {},  # a trial's settings override those of the suite
            }
            sizes = training_sizes(fit.task, source, plan.options.full)
            if len(sizes) > 1:  # settings are chosen on all the data that there will be
                update["budget"] = source.budget | {"train": sizes[-1]}
            found[key] = source.model_copy(update=update)
    return list(found.values())


def _trial(
    walker: Walker, resolved: Path, plan: Plan, entry: Entry, settings: dict[str, Any]
) -> dict[str, Any]:
    """Fit one point; a fit that failed or diverged scores zero and says why."""
    trial_entry = entry.model_copy(update={"settings": entry.settings | settings})
    fit, facts = fit_only(plan_of_one(plan, trial_entry, walker.place.machine), walker, resolved)
    return _facts(fit, settings, facts, walker)


def plan_of_one(plan: Plan, entry: Entry, machine: Machine) -> Plan:
    """The plan of the one fit of an entry of `entries`."""
    suite = plan.loaded.suite.model_copy(update={"matrix": (entry,)})
    loaded = plan.loaded.model_copy(update={"suite": suite})
    # what the command line selects stands in the entry
    return make_plan(loaded, replace(plan.options, only=(), seeds=()), {}, machine)


def _facts(
    fit: Fit, settings: dict[str, Any], facts: dict[str, Any], walker: Walker
) -> dict[str, Any]:
    status = status_of(walker.place.store.fit(fit.fit_id)) or {}
    return {
        "model": fit.model.id,
        "task": fit.task.id,
        "recipe": fit.spec["recipe"],
        "framework": fit.spec["framework"],
        "settings": settings,
        "fit_id": fit.fit_id,
        "status": status.get("status", "failed"),
        "reason": status.get("reason", ""),
        "score": facts.get("validation_score", 0.0),
        "seconds": facts.get("seconds") or status.get("seconds", 0.0),
    }
