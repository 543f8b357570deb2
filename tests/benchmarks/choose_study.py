"""Regret of `choose --data` on cuts of two sources, and what its shortlist is worth.

Up to four sets are cut from Banking77 (its own CSV), one from Reuters R8's training file, which
suite nlp's settings were tuned on: that one is not unseen.

    python -m tests.benchmarks.choose_study --banking PATH/train.csv --time 4m --rows 1000

For each set: `choose --data` picks, on a cache without fits; then every candidate is fitted on as
many training examples as `choose` had, and scored on fresh test examples, which `choose` has not
seen. Regret is the score of the best candidate minus that of the pick. Beside it: that of the
highest score on the board of `choose` (the rule recommends the cheaper of equals), the mean over
all candidates (a random pick's expectation), and the largest model (by parameters; of its recipes,
the better). Kendall's tau compares LogME with the best real score of each shortlisted backbone.
Prints a Markdown table. Half an hour on two quiet cores; killed, the same command goes on (`--only`
does one set). Another `--time` with the same `--folder` uses the same real scores.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from harness.boards.collect import collect
from harness.boards.rank import ranked
from harness.choose.own_data import own_data
from harness.commands.context import this_machine
from harness.data.read import read_table
from harness.execute.base import ExecutorOptions, Place
from harness.execute.conduct import execute
from harness.execute.local import LocalExecutor
from harness.execute.report import make_reporter
from harness.plan import Options, make_plan
from harness.records.store import Store
from harness.sources import default_cache, fetch_data
from harness.suite import FileRef, load_suite

Rows = list[tuple[str, str]]


def data_sets(banking: Path, count: int, tests: int, seed: int) -> dict[str, tuple[Rows, Rows]]:
    """Five labelled sets of at most ``count`` texts, and up to ``tests`` others of known labels:
    intents in three cuts, first words of questions, news."""
    table = read_table(banking, None, {}, str(banking))
    intents = list(zip(table.columns["text"], table.columns["category"], strict=True))
    first_words = ("what", "how", "why", "can", "i", "my", "is", "do")
    openings = [(t, w) for t, _ in intents if (w := t.split()[0].lower()) in first_words]
    suite = load_suite("nlp")
    task = next(t for t in suite.suite.tasks if t.id == "reuters-r8")
    path = fetch_data(task.data.train, default_cache(), base=suite.path.parent)
    news = read_table(path, "orange-tab", {}, "reuters-r8")
    topics = list(zip(news.columns["Text"], news.columns["Category"], strict=True))
    sets = {
        "banking-all": intents,
        "banking-cards": [row for row in intents if "card" in row[1]],
        "banking-transfers": [row for row in intents if "transfer" in row[1]],
        "banking-openings": [(t.split(maxsplit=1)[-1], w) for t, w in openings],
        "news-small-topics": [row for row in topics if row[1] not in ("earn", "acq")],
    }
    found = {}
    for name, rows in sets.items():
        shuffled = random.Random(seed).sample(rows, len(rows))
        count_here = min(count, len(rows) * 2 // 3)
        labels = {label for _, label in shuffled[:count_here]}
        fresh = [row for row in shuffled[count_here:] if row[1] in labels]
        found[name] = shuffled[:count_here], fresh[:tests]
    return found


def regrets(
    scores: dict[str, float], pick: str, leader: str, largest: Sequence[str]
) -> dict[str, float]:
    """Best score minus that of the pick, of the highest on the board that picked, of a random
    candidate, of the largest model's best."""
    best = max(scores.values())
    return {
        "choose": best - scores[pick],
        "leader": best - scores[leader],
        "random": best - float(np.mean(list(scores.values()))),
        "largest": best - max(scores[name] for name in largest),
    }


def tau_interval(
    pairs: Sequence[Sequence[tuple[float, float]]], seed: int = 0
) -> tuple[float, ...]:
    """Mean Kendall's tau over data sets, with a 95% bootstrap interval over the sets."""
    taus = np.array([kendalltau(*zip(*pair, strict=True)).statistic for pair in pairs])
    taus = taus[np.isfinite(taus)]
    draws = np.random.default_rng(seed).choice(taus, (2000, len(taus))).mean(1)
    return float(taus.mean()), *(float(x) for x in np.quantile(draws, (0.025, 0.975)))


def picked(file: Path, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """What `choose --data` says in the time, with nothing fitted before; said once."""
    told = folder / f"told-{args.time}.json"
    if not told.is_file():
        cache = folder / f"cache-{args.time}"
        cache.mkdir(parents=True, exist_ok=True)
        for name in ("files", "models", "wheels"):
            (default_cache() / name).mkdir(parents=True, exist_ok=True)
            if not (cache / name).exists():
                (cache / name).symlink_to(default_cache() / name)
        command = [
            sys.executable, "-m", "harness.cli", "choose", "--data", str(file), "--candidates",
            args.candidates, "--time", args.time, "--results", str(folder / f"picked-{args.time}"),
            "--json",
        ]  # fmt: skip
        environment = os.environ | {"HARNESS_CACHE": str(cache)}
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
        told.write_bytes(done.stdout)
    answer: dict[str, Any] = json.loads(told.read_text())
    return answer


def real_scores(
    file: Path, fresh: Path, folder: Path, args: argparse.Namespace
) -> list[dict[str, Any]]:
    """Rows of all candidates, fitted on as many examples as `choose` has, scored on ``fresh``."""
    own = own_data(load_suite(args.candidates), file, "text-classification", None, None)
    loaded = own.at(list(own.arms), own.train_examples)
    task = loaded.suite.tasks[0]
    task = task.model_copy(
        update={
            "data": task.data.model_copy(update={"test": FileRef(source=f"path:{fresh}")}),
            "budget": task.budget.model_copy(update={"test": None}),
        }
    )
    suite = loaded.suite.model_copy(update={"tasks": (task,)})
    place = Place(Store(folder / "real", suite.suite), default_cache(), this_machine())
    plan = make_plan(loaded.model_copy(update={"suite": suite}), Options(), {}, place.machine)
    reporter = make_reporter()
    with LocalExecutor(place, reporter, ExecutorOptions()) as executor:
        execute(plan, place, executor, reporter)
    return [r for r in ranked(collect(place.store.folder)) if r["score"] is not None]


def study(name: str, sets: tuple[Rows, Rows], args: argparse.Namespace) -> dict[str, Any]:
    """One data set: the pick, and what all candidates really score."""
    folder = (args.folder / name).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    files = folder / f"{name}.csv", folder / "fresh.csv"
    for path, rows in zip(files, sets, strict=True):
        with open(path, "w", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
    told = picked(files[0], folder, args)
    pick, leader = ("/".join(told[kind].split("/")[:2]) for kind in ("recommended", "leader"))
    rows = real_scores(*files, folder, args)
    scores = {f"{r['model']}/{r['recipe']}": r["score"] for r in rows if r["model"] != "majority"}
    most = max(r["params"] or 0 for r in rows)
    largest = [f"{r['model']}/{r['recipe']}" for r in rows if r["params"] == most]
    estimates = told["search"]["estimates"]
    pairs = [
        (facts["logme"], max(s for k, s in scores.items() if k.split("/")[0] == model))
        for model, facts in estimates.items()
        if facts["logme"] is not None
    ]
    return {
        "set": name, "pick": pick, "scores": scores, "pairs": pairs, "fresh": len(sets[1]),
        "seconds": told["search"]["seconds"], **regrets(scores, pick, leader, largest),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--banking", type=Path, required=True, help="Banking77's train.csv")
    parser.add_argument("--folder", type=Path, default=Path("choose-study"))
    parser.add_argument("--candidates", default="nlp")
    parser.add_argument("--time", default="4m")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--tests", type=int, default=500, help="fresh examples of real scores")
    parser.add_argument("--only", nargs="+", default=[], metavar="SET", help="these data sets")
    args = parser.parse_args()
    sets = data_sets(args.banking, args.rows, args.tests, seed=7)
    if unknown := set(args.only) - set(sets):
        parser.error(f"--only: unknown {', '.join(sorted(unknown))}; known: {', '.join(sets)}")
    found = [study(name, sets[name], args) for name in sets if name in (args.only or sets)]
    (args.folder / f"study-{args.time}.json").write_text(json.dumps(found, indent=2))
    kinds = ("choose", "leader", "random", "largest")
    print(f"| regret, points | pick in {args.time} | took, s | `choose` | its highest score | "
          "random pick | largest |")  # fmt: skip
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for one in found:
        figures = " | ".join(f"{100 * one[kind]:.1f}" for kind in kinds)
        print(f"| {one['set']} | {one['pick']} | {one['seconds']:.0f} | {figures} |")
    means = " | ".join(f"{100 * np.mean([one[kind] for one in found]):.1f}" for kind in kinds)
    print(f"| mean | | | {means} |")
    if len(found) > 1:
        tau, low, high = tau_interval([one["pairs"] for one in found])
        print(f"\nKendall's tau of LogME with real scores: {tau:.2f} [{low:.2f}, {high:.2f}]")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
