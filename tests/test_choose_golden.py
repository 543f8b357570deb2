"""The golden questions: the command, the page's script and a few lines of pandas agree on all."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

import harness.choose
from harness.boards.render_json import render_json
from harness.choose.answer import decide, decisions
from harness.choose.evidence import PValue, select
from harness.choose.form import make_form
from harness.choose.gather import gather
from harness.choose.question import BOUNDS, Question
from tests.chromium import evaluate
from tests.curve_suite import write_curve_suite
from tests.records import write_results

SCRIPT = Path(harness.choose.__file__).with_name("choose.js")
REFERENCE = Path(__file__).parents[1] / "results" / "reference"
NER, TEXT, QA, IMAGE = (
    "token-classification", "text-classification", "question-answering", "image-classification",
)  # fmt: skip

#: (name, records, question): real records first, then simulated ones with missing, partial, tied
GOLDEN: list[tuple[str, str, Question]] = [
    ("the issue's own", "reference", Question(
        NER, examples=1000, device="cpu", max_latency_ms=10, max_size_mb=100, min_score=0.8)),
    ("a baseline ties with the winner", "reference", Question(TEXT)),
    ("ties, and the baseline scores too little", "reference", Question(TEXT, min_score=0.95)),
    ("latency decides among ties", "reference", Question(
        TEXT, max_latency_ms=5, min_score=0.945)),
    ("latency counts most", "reference", Question(
        NER, weights={"score": 1.0, "latency": 3.0}, min_score=0.5)),
    ("score three times latency", "reference", Question(
        QA, weights={"score": 3.0, "latency": 1.0})),
    ("several data sets, partial evidence", "reference", Question(IMAGE, max_size_mb=15)),
    ("one data set by name", "reference", Question("digits", max_memory_mb=200)),
    ("nothing satisfies it", "reference", Question(QA, max_latency_ms=1, min_score=0.99)),
    ("no such device was measured", "reference", Question(NER, device="cuda")),
    ("energy was never measured", "reference", Question(
        NER, weights={"score": 1.0, "energy": 1.0})),
    ("training must be short", "reference", Question(NER, max_fit_seconds=10)),
    ("simulated ties", "simulated", Question(TEXT)),
    ("simulated partial seeds", "simulated", Question(TEXT, max_size_mb=60)),
    ("simulated failures", "simulated", Question(QA, weights={"score": 1.0, "size": 1.0})),
    ("untimed rows under a bound on latency", "untimed", Question(NER, max_latency_ms=8)),
    ("p99 where all carry it", "tails", Question(NER, max_latency_ms=11)),
    ("its attributions were tested", "explained", Question(TEXT, min_score=0.95)),
    ("those of its fit in another runtime", "explained", Question(
        TEXT, max_latency_ms=5, min_score=0.945)),
    ("on one of several data sets", "explained", Question(IMAGE)),
    ("those of the row itself", "own runtimes", Question(NER, min_score=0.5)),
    ("readable, whatever was tested", "explained", Question(TEXT)),
    ("the board's best is out of bounds", "reference", Question(TEXT, max_fit_seconds=30)),
    ("parameters", "reference", Question(IMAGE, max_params=6e6)),
    ("energy", "all measured", Question(NER, max_energy_j=60)),
    ("throughput of the slowest data set", "all measured", Question(
        IMAGE, min_throughput=40, weights={"score": 1.0, "throughput": 2.0})),
    ("server rate", "all measured", Question(TEXT, min_server_rate=25)),
    ("all costs at once", "all measured", Question(
        TEXT, max_energy_j=90, min_throughput=20, min_server_rate=10, max_cold_start_s=20,
        weights={"score": 1.0, "energy": 1.0, "server_rate": 1.0, "cold_start": 1.0})),
    ("cold start was never measured", "simulated", Question(TEXT, max_cold_start_s=2)),
    ("little data", "curves", Question("spam", examples=120)),
    ("much data", "curves", Question(TEXT, examples=1600)),
    ("predictions are not at hand", "flat", Question(TEXT)),
]  # fmt: skip


@dataclass(frozen=True)
class Recorded:
    """``rows`` as leaderboard.json has them, ``pairs`` as statistics.json."""

    rows: list[dict[str, Any]]
    pairs: list[dict[str, Any]]
    p_value: PValue


def fully_measured(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Real rows with invented energies and Server rates: of every third and fourth one none."""
    return [
        row | {"energy_j_per_1000": 7.0 * (number % 17 + 1) if number % 3 else None,
               "server_rate_per_s": 5.0 * (number % 13 + 1) if number % 4 else None,
               "server_percentile": 0.99, "server_latency_bound_ms": 100.0}
        for number, row in enumerate(rows)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recorded]:
    """By name of the record set."""
    folder = tmp_path_factory.mktemp("simulated")
    write_results(folder / "simulated")
    write_curve_suite(folder / "curves")
    found = {}
    for name, place in (("reference", REFERENCE), ("simulated", folder / "simulated"),
                        ("curves", folder / "curves")):  # fmt: skip
        read = gather(place)
        pairs = [family for tested in read.pairs for family in tested.as_json()]
        found[name] = Recorded(json.loads(render_json(read.rows)), pairs, read.p_value)
    real = found["reference"]
    changed = {
        # the real rows with half of their timings lost, and with a p99 for each
        "untimed": [
            row | ({"latency_p50_ms": None, "latency_p90_ms": None} if number % 2 else {})
            for number, row in enumerate(real.rows)
        ],
        "tails": [
            row | {"latency_p99_ms": row["latency_p90_ms"] and 1.2 * row["latency_p90_ms"]}
            for row in real.rows
        ],
        # fine-tuned models run by PyTorch, as `harness explain` measures them, shown or not
        "explained": [
            row | {"faithfulness_aopc": 0.2 + number / 100, "faithfulness_shown": number % 2 == 0,
                   "faithfulness_aopc_random": None if number % 3 == 0 else 0.15}
            if row["runtime"] == "torch" and row["recipe"] != "scratch" else row
            for number, row in enumerate(real.rows)
        ],
    }  # fmt: skip
    changed["all measured"] = fully_measured(real.rows)
    changed["own runtimes"] = [
        row for row in changed["explained"] if row["runtime"] == row["framework"]
    ]
    found |= {name: replace(real, rows=rows) for name, rows in changed.items()}
    found["flat"] = Recorded(real.rows, [], lambda a, b: None)
    return found


@pytest.fixture(scope="module")
def by_page(
    recorded: dict[str, Recorded], tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """What choose.js answers in Chromium, one answer a golden question."""
    asked = json.dumps([[records, question.as_json()] for _, records, question in GOLDEN])
    told = {name: make_form(found.rows, found.pairs).data for name, found in recorded.items()}
    script = SCRIPT.read_text() + f"\nconst RECORDS = {json.dumps(told)}, ASKED = {asked};"
    answers: list[dict[str, Any]] = evaluate(
        script,
        "ASKED.map(([name, q]) => choose(RECORDS[name], q))",
        tmp_path_factory.mktemp("page"),
    )
    return answers


def answered(found: Recorded, question: Question) -> dict[str, Any]:
    evidence = select(found.rows, question, found.p_value)
    return decisions(evidence, decide(evidence, question))


def tied_by_pandas(a: pd.DataFrame, ids: pd.DataFrame, found: Recorded) -> pd.Series:
    """Which of the admissible, the leader first, no test tells from it."""
    fit = a.fit + "/" + a.framework
    own = (a.runtime == a.framework) & (a.dtype != "int8")
    heads = a.assign(own=own, one=fit, name=a.index).sort_values(
        ["own", "score", "name"], ascending=[False, False, True]
    )
    head = heads.drop_duplicates("one").set_index("one").name.to_dict()
    leader = a.index[0]
    head[fit[leader]] = leader

    def ps(x: str, y: str) -> list[float]:
        return [np.nan if p is None else p for p in map(found.p_value, ids.loc[x], ids.loc[y])]

    others = [one for one in head if one != fit[leader]]
    tests = np.array([ps(leader, head[one]) for one in others]).reshape(len(others), ids.shape[1])
    known = ~np.isnan(tests)
    if known.any():
        tests[known] = multipletests(tests[known], method="holm")[1]
    like_leader = {fit[leader]: True} | dict(zip(others, (tests > 0.05).all(axis=1), strict=True))
    alike = [
        name == head[fit[name]] or (np.array(ps(head[fit[name]], name)) > 0.05).all()
        for name in a.index
    ]
    return fit.map(like_leader) & pd.Series(alike, a.index)


def by_pandas(found: Recorded, q: Question) -> dict[str, Any]:
    """The answer again, independently (one board a data set, so no choice among boards)."""
    df = pd.DataFrame(found.rows)
    df = df[(df.task_type == q.task) | (df.task == q.task)]
    df = df[(df.status == "ok") & df.score.notna() & (df.model_kind != "majority")]
    names = ["model", "recipe", "framework", "runtime", "device", "dtype"]
    df["key"] = df[names].astype(str).agg("/".join, axis=1)
    size = df.train_examples.astype(float)
    df["away"] = np.log(size / q.examples).abs() if q.examples else -size
    df = df.sort_values("away").drop_duplicates(["key", "task"]).sort_index()
    df = df[df.groupby("key").task.transform("nunique") == df.groupby("key").task.nunique().max()]
    tail = (
        df.latency_p99_ms.notna().any()
        and not (df.latency_p50_ms.notna() & df.latency_p99_ms.isna()).any()
    )
    columns = {"latency": f"latency_p{99 if tail else 90}_ms", "size": "size_mb",
               "memory": "peak_memory_mb", "fit_time": "fit_seconds",
               "energy": "energy_j_per_1000", "params": "params",
               "cold_start": "first_answer_seconds"}  # fmt: skip
    rates = {"throughput": "throughput_per_s", "server_rate": "server_rate_per_s"}
    df = df.reindex(columns=df.columns.union(list(rates.values())))  # older boards lack one
    group = df.groupby("key")
    g = pd.DataFrame({n: group[c].agg(lambda s: s.astype(float).max(skipna=False))
                      for n, c in columns.items()})  # fmt: skip
    for name, column in rates.items():
        g[name] = group[column].agg(lambda s: s.astype(float).min(skipna=False))
    g["score"] = group.score.mean()
    for name in ("device", "recipe", "framework", "runtime", "dtype"):
        g[name] = group[name].first()
    g["fit"] = group.model.first() + "/" + group.recipe.first()
    bounds = {"latency": q.max_latency_ms, "size": q.max_size_mb, "memory": q.max_memory_mb,
              "fit_time": q.max_fit_seconds, "params": q.max_params,
              "cold_start": q.max_cold_start_s, "energy": q.max_energy_j}  # fmt: skip
    least = {"throughput": q.min_throughput, "server_rate": q.min_server_rate}
    good = (g.device == (q.device or g.device)) & (g.score >= (q.min_score or 0))
    for name, bound in bounds.items():
        good &= (g[name] <= bound) if bound else True
    for name, bound in least.items():
        good &= (g[name] >= bound) if bound else True
    a = g[good].copy()
    if a.empty:
        return {"recommended": None, "runner_up": None, "admissible": [], "aopc": None,
                "tied": []}  # fmt: skip
    a["neural"], a["utility"], a["rounded"] = a.recipe != "baseline", 0.0, a.score.round(6)
    costs = ["neural", "latency", "size", "fit_time", "key"]
    a = a.sort_values(["rounded", *costs], ascending=[False, *[True] * len(costs)])
    tied = tied_by_pandas(a, df.pivot(index="key", columns="task", values="row_id"), found)
    for name, weight in q.weights.items():
        v = a[name] if name == "score" else np.log(a[name]) * (1 if name in rates else -1)
        span = v.max() - v.min()
        u = (v - v.min()) / span if span > 0 else v * 0 + 1
        a.utility += weight * (u.where(~tied, 1.0) if name == "score" else u.fillna(0))
    a["utility"] = (a.utility / sum(q.weights.values())).round(6)
    a = a.reset_index().sort_values(
        ["utility", *costs], ascending=[False, *[True] * len(costs)]
    )  # fmt: skip
    others = a[a.fit != a.fit.iloc[0]] if (a.fit != a.fit.iloc[0]).any() else a.iloc[1:]
    best = df[df.key == a.key.iloc[0]].iloc[0]
    fit = df[(df.model == best.model) & (df.recipe == best.recipe)
             & (df.framework == best.framework)].sort_values(["key", "task"])  # fmt: skip
    fit = pd.concat([fit[fit.key == best.key], fit])
    tested = fit[fit.faithfulness_aopc.notna()] if "faithfulness_aopc" in fit else fit[:0]
    return {
        "aopc": None
        if tested.empty or best.recipe == "baseline"
        else tested.faithfulness_aopc.iloc[0],
        "recommended": a.key.iloc[0],
        "runner_up": others.key.iloc[0] if len(others) else None,
        "admissible": sorted(a.key),
        "tied": sorted(tied.index[tied]),
    }


@pytest.mark.parametrize("number", range(len(GOLDEN)), ids=[name for name, _, _ in GOLDEN])
def test_the_command_and_pandas_agree(number: int, recorded: dict[str, Recorded]) -> None:
    _, records, question = GOLDEN[number]
    ours, theirs = answered(recorded[records], question), by_pandas(recorded[records], question)
    assert ours["recommended"] == theirs["recommended"]
    assert ours["runner_up"] == theirs["runner_up"]
    said = (ours["interpretability"] or {}).get("faithfulness") or {}
    assert said.get("aopc") == theirs["aopc"]
    assert sorted(key for key, _ in ours["ranking"]) == theirs["admissible"]
    assert sorted(ours["tied"]) == theirs["tied"]


@pytest.mark.parametrize("number", range(len(GOLDEN)), ids=[name for name, _, _ in GOLDEN])
def test_the_page_and_the_command_decide_the_same(
    number: int, recorded: dict[str, Recorded], by_page: list[dict[str, Any]]
) -> None:
    _, records, question = GOLDEN[number]
    assert by_page[number] == answered(recorded[records], question)


def test_the_questions_are_of_every_sort(recorded: dict[str, Recorded]) -> None:
    """The golden questions would prove little if all had a plain winner."""
    answers = [answered(recorded[records], question) for _, records, question in GOLDEN]
    assert sum(a["recommended"] is None for a in answers) >= 2
    assert sum(a["nearest"] is not None for a in answers) >= 1
    assert sum(len(a["tied"]) > 1 for a in answers) >= 3
    assert sum(bool(a["untested"]) for a in answers) >= 1
    assert sum(bool(a["partial"]) for a in answers) >= 1
    assert sum(any(e["unmeasured"] for e in a["excluded"]) for a in answers) >= 1
    assert len({a["recommended"] for a in answers}) >= 6
    assert {a["percentile"] for a in answers} == {"p90", "p99"}
    explained = [a["interpretability"] for a in answers if a["interpretability"]]
    assert {e["readable"] for e in explained} == {True, False}
    tested = [e["faithfulness"] for e in explained if e["faithfulness"]]
    assert {t["runtime"] for t in tested} == {"torch"} and len(tested) >= 3
    assert {
        a["recommended"].split("/")[3]
        for a in answers
        if a["interpretability"] and a["interpretability"]["faithfulness"]
    } > {"torch"}


def test_page_and_command_agree_on_random_questions(
    recorded: dict[str, Recorded], tmp_path: Path
) -> None:
    """200 questions with bounds drawn from the values on record, over two suites of one task."""
    draw = np.random.default_rng(5)
    found = recorded["reference"]
    base = fully_measured(found.rows)
    smaller = [
        r
        | {
            "row_id": r["row_id"] + "s",
            "suite": "small",
            "train_examples": 150,
            "score": r["score"] and 0.9 * r["score"],
        }
        for r in base
        if r["model"] != "smollm2"
    ]
    records = base + smaller
    questions = []
    for _ in range(200):

        def value(column: str) -> float | None:
            known = [r[column] for r in records if r[column] is not None]
            return float(draw.choice(known)) if draw.random() < 0.2 else None

        weights = {n: float(draw.integers(1, 4)) for n in ("score", "latency", "size", "memory")
                   if draw.random() < 0.5}  # fmt: skip
        # every bound that there is, each in a fifth of the questions
        bounds = {name: value(bound.criterion.column.format(percentile="p90"))
                  for name, bound in BOUNDS.items()}  # fmt: skip
        question = Question(str(draw.choice([NER, TEXT, QA, IMAGE, "digits"])))
        questions.append(replace(
            question, examples=int(draw.choice([100, 400, 5000])) if draw.random() < 0.5 else None,
            percentile=str(draw.choice(["", "p50", "p90"])), weights=weights or {"score": 1.0},
            **bounds,
        ))  # fmt: skip
    asked = json.dumps([question.as_json() for question in questions])
    told = json.dumps(make_form(records, found.pairs).data)
    script = SCRIPT.read_text() + f"\nconst TOLD = {told}, ASKED = {asked};"
    answers = evaluate(script, "ASKED.map((q) => choose(TOLD, q))", tmp_path)
    ours = [answered(replace(found, rows=records), question) for question in questions]
    assert answers == ours
    assert 40 < sum(a["recommended"] is not None for a in ours) < 200
    broken = {bound for a in ours for e in a["excluded"] for bound in e["broken"]}
    assert broken == set(BOUNDS)
