"""Regret of `choose --data` on five data sets it has not seen, and what its shortlist is worth.

    python -m tests.benchmarks.choose_study --banking PATH/train.csv --time 4m --rows 1000

For each set: `choose --data` picks; then every candidate is fitted on all of the training examples
and scored on the same test examples. Regret is the score of the best candidate minus that of the
pick. Beside it: the mean over all candidates (a random pick's expectation), and the largest model
(by parameters; of its recipes, the better). Kendall's tau compares LogME with the best real score
of each shortlisted backbone. Takes about an hour on two quiet cores; prints a Markdown table.
"""

from __future__ import annotations

import argparse
import csv
import json
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
from harness.suite import load_suite

Rows = list[tuple[str, str]]


def data_sets(banking: Path, count: int, seed: int) -> dict[str, Rows]:
    """Five labelled sets of at most ``count`` texts: intents in three cuts, news in two."""
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
    draw = random.Random(seed)
    return {name: draw.sample(rows, min(count, len(rows))) for name, rows in sets.items()}


def regrets(scores: dict[str, float], pick: str, largest: Sequence[str]) -> dict[str, float]:
    """Best score minus that of the pick, of a random candidate, of the largest model's best."""
    best = max(scores.values())
    return {
        "choose": best - scores[pick],
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


def study(name: str, file: Path, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """One data set: the pick, and what all candidates really score."""
    command = [
        sys.executable, "-m", "harness.cli", "choose", "--data", str(file), "--candidates",
        args.candidates, "--time", args.time, "--results", str(folder / "picked"), "--json",
    ]  # fmt: skip
    told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    pick = "/".join(told["recommended"].split("/")[:2])
    own = own_data(load_suite(args.candidates), file, "text-classification", None, None)
    place = Place(Store(folder / "all", own.loaded.suite.suite), default_cache(), this_machine())
    reporter = make_reporter()
    loaded = own.at(list(own.arms), own.train_examples)
    plan = make_plan(loaded, Options(), {}, place.machine)
    with LocalExecutor(place, reporter, ExecutorOptions()) as executor:
        execute(plan, place, executor, reporter)
    rows = [r for r in ranked(collect(place.store.folder)) if r["score"] is not None]
    scores = {f"{r['model']}/{r['recipe']}": r["score"] for r in rows if r["model"] != "majority"}
    most = max(r["params"] or 0 for r in rows)
    largest = [f"{r['model']}/{r['recipe']}" for r in rows if r["params"] == most]
    estimates = told["search"]["estimates"]
    pairs = [
        (facts["logme"], max(s for k, s in scores.items() if k.split("/")[0] == model))
        for model, facts in estimates.items()
        if facts["logme"] is not None
    ]
    return {"set": name, "pick": pick, "scores": scores, "pairs": pairs,
            **regrets(scores, pick, largest)}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--banking", type=Path, required=True, help="Banking77's train.csv")
    parser.add_argument("--folder", type=Path, default=Path("choose-study"))
    parser.add_argument("--candidates", default="nlp")
    parser.add_argument("--time", default="4m")
    parser.add_argument("--rows", type=int, default=1000)
    args = parser.parse_args()
    found = []
    for name, rows in data_sets(args.banking, args.rows, seed=7).items():
        folder = args.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / f"{name}.csv", "w", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
        found.append(study(name, folder / f"{name}.csv", folder, args))
    (args.folder / "study.json").write_text(json.dumps(found, indent=2))
    print("| data set | pick | regret, points | random pick | largest model |")
    print("| --- | --- | ---: | ---: | ---: |")
    for one in found:
        figures = " | ".join(f"{100 * one[k]:.1f}" for k in ("choose", "random", "largest"))
        print(f"| {one['set']} | {one['pick']} | {figures} |")
    means = " | ".join(
        f"{100 * np.mean([o[k] for o in found]):.1f}" for k in ("choose", "random", "largest")
    )
    print(f"| mean | | {means} |")
    tau, low, high = tau_interval([one["pairs"] for one in found])
    print(f"\nKendall's tau of LogME with real scores: {tau:.2f} [{low:.2f}, {high:.2f}]")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
