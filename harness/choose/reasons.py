"""What speaks for an answer, what is only estimated, and what to measure to be surer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.boards import wording
from harness.choose.answer import Answer
from harness.choose.evidence import Candidate, Evidence
from harness.choose.family import SUITED, family_of
from harness.choose.interpretability import interpretability, readable
from harness.choose.names import fit_names, name_of
from harness.choose.question import BOUNDS, CRITERIA, OWN_DATA_TYPE, SCORE_ALONE, Question
from harness.choose.ties import p_values, verdict

#: training sizes further apart than this are another point of the learning curve
FAR_IN_SIZE = 2.0
#: tied fits that are written out
NAMED_TIES = 6
#: a training score so much above the test score is worth a word (10 points)
LARGE_GAP = 0.10


@dataclass(frozen=True)
class Reasons:
    """Sentences, each from columns of the rows that the answer cites."""

    why: list[str]
    prefer_runner_up: list[str]
    estimated: list[str]
    measure: list[str]


def reasons(
    evidence: Evidence,
    answer: Answer,
    question: Question,
    task_names: Mapping[str, str],
    here: str | None = None,
) -> Reasons:
    """``here``: host_id of this machine, to say when a cost was measured on another one."""
    best = answer.recommended
    if best is None:
        return Reasons([], [], [], [])
    return Reasons(
        why=_why(best, evidence, answer, question, task_names),
        prefer_runner_up=_prefer(best, answer.runner_up, evidence),
        estimated=_estimated(best, evidence, answer, question, here),
        measure=_measure(best, evidence, answer, question, here),
    )


def figures(candidate: Candidate, evidence: Evidence) -> str:
    """One line of a candidate's numbers."""
    values = candidate.values
    rows = candidate.rows
    metric = wording.metric_name(rows[0]["score_name"])
    parts = [f"{wording.score(values['score'])} {metric}"]
    if len(rows) > 1:
        parts[0] = f"mean {parts[0]} of {len(rows)} data sets"
    elif rows[0]["score_low"] is not None:
        low, high = wording.score(rows[0]["score_low"]), wording.score(rows[0]["score_high"])
        parts[0] += f" ({low} to {high})"
    labels = {"latency": evidence.percentile, "size": ""}
    for name, criterion in CRITERIA.items():
        value = values[name]
        if value is not None and name != "score":
            label = labels.get(name, criterion.label)
            parts.append(f"{label} {criterion.amount(value)}".strip() + _condition(name, rows))
    return ", ".join(parts)


def _condition(criterion: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """What a Server rate was judged by."""
    if criterion != "server_rate":
        return ""
    bounds = {(row["server_percentile"], row["server_latency_bound_ms"]) for row in rows}
    if len(bounds) > 1:
        return " (under different bounds)"
    ((share, bound),) = bounds
    return f" ({share:.0%} within {bound:g} ms)"


def _why(
    best: Candidate,
    evidence: Evidence,
    answer: Answer,
    question: Question,
    task_names: Mapping[str, str],
) -> list[str]:
    lines = []
    if len(best.rows) > 1:
        for row in best.rows:
            lines.append(
                f"on {task_names.get(row['task'], row['task'])}: {wording.score(row['score'])} "
                f"{wording.interval(row['score_low'], row['score_high'])}".rstrip()
            )
    lines += _ties(best, answer, question)
    lines += _gains(best, evidence)
    gaps = [
        row["train_score"] - row["score"] for row in best.rows if row["train_score"] is not None
    ]
    if gaps:
        much = (
            ": it overfits, more data or regularisation may help" if max(gaps) > LARGE_GAP else ""
        )
        lines.append(f"training score minus test score: {wording.points(max(gaps))} points{much}")
    if readable(best):
        lines.append("a linear model: its weights are readable by themselves, one a word and class")
    else:
        lines += _faithfulness(best, evidence)
    if question.price_per_hour is not None:
        lines += _price(best, question.price_per_hour)
    suited = SUITED.get(str(best.rows[0].get("task_type")))
    family = family_of(best.rows[0])
    if suited and family:
        alike = family.name == suited[0]
        fits = "as this one is" if alike else f"this one is {family.name}, yet it scored"
        lines.append(f"{suited[1]}, {fits} ({family.basis}; a prior, the scores decide)")
    return lines


def _ties(best: Candidate, answer: Answer, question: Question) -> list[str]:
    lead = answer.leader
    assert lead is not None
    lines = [_beside_leader(best, lead, answer, question)]
    if answer.untested:
        lines.append(
            f"not tested against {name_of(lead)}, whose score is the highest within bounds "
            "(fitted on other examples, or predictions are not at hand): "
            + fit_names(answer.untested, NAMED_TIES)
        )
    return lines


def _beside_leader(best: Candidate, lead: Candidate, answer: Answer, question: Question) -> str:
    """How the recommended stands to the highest score."""
    top = "the highest score within bounds"
    if best.key not in {c.key for c in answer.tied}:
        behind = (lead.values["score"] or 0) - (best.values["score"] or 0)
        points = wording.points(behind, signed=False, decimals=1)
        return f"{points} points behind {top}, {name_of(lead)}; your weights prefer it"
    others = [c for c in answer.tied if c.fit not in (best.fit, lead.fit)]
    names = fit_names(others, NAMED_TIES)
    if best.fit != lead.fit:
        score = wording.score(lead.values["score"])
        beside = f", nor {names}" if others else ""
        cheaper = "a linear baseline" if best.baseline else "the cheapest of them"
        why = cheaper if dict(question.weights) == SCORE_ALONE else "what your weights prefer"
        return (
            f"tied with {top} ({name_of(lead)}, {score}): paired tests do not tell it from "
            f"that{beside}; recommended as {why}"
        )
    if best.key != lead.key:
        top = f"of the fit with {top} ({name_of(lead)}), and not told from it"
    if others:
        return f"{top}; paired tests do not tell it from {names}"
    told = any(c.fit != lead.fit for c, _ in answer.ranking) and not answer.untested
    return f"{top}; paired tests tell it from every other fit within them" if told else top


def _gains(best: Candidate, evidence: Evidence) -> list[str]:
    """Points over the best linear baseline, over training from scratch, over guessing."""
    lines = []
    for text, others in (
        ("the best linear baseline", [c for c in evidence.candidates if c.baseline]),
        (
            "the same model from scratch",
            [c for c in evidence.candidates
             if c["recipe"] == "scratch" and c["model"] == best["model"]],
        ),
    ):  # fmt: skip
        others = [c for c in others if c.key != best.key]
        if others and best["recipe"] != "scratch" and not best.baseline:
            most = max(c.values["score"] or 0 for c in others)
            lines.append(f"{wording.points((best.values['score'] or 0) - most)} points over {text}")
    floors: dict[str, float] = {}
    for row in evidence.floors:  # one a data set, however many sizes and devices it was run on
        floors[row["task"]] = max(row["score"], floors.get(row["task"], 0.0))
    if len(floors) == len(best.rows):
        floor = sum(floors.values()) / len(floors)
        lines.append(f"{wording.points((best.values['score'] or 0) - floor)} points over guessing")
    return lines


def _faithfulness(best: Candidate, evidence: Evidence) -> list[str]:
    found = interpretability(best, evidence)["faithfulness"]
    if found is None:
        return []
    against = f" (random order: {found['random']:.3f})" if found["random"] is not None else ""
    sure = "" if found["shown"] else "; not shown to be better than random"
    elsewhere = found["runtime"] != best["runtime"]
    where = f", measured in runtime {found['runtime']}" if elsewhere else ""
    return [
        f"attributions on {found['task']}: AOPC comprehensiveness {found['aopc']:.3f}{against}"
        f"{sure}{where}"
    ]


def _price(best: Candidate, price: float) -> list[str]:
    lines = []
    seconds, rate = best.values["fit_time"], best.values["throughput"]
    if seconds is not None:
        cost = seconds / 3600 * price
        lines.append(f"one fit costs {wording.significant(cost, 2)} at {price:g} an hour")
    if rate:
        cost = 1e6 / rate / 3600 * price
        lines.append(
            f"a million predictions cost {wording.significant(cost, 2)} at full throughput"
        )
    return lines


def _prefer(best: Candidate, other: Candidate | None, evidence: Evidence) -> list[str]:
    """On what the runner-up is the better one."""
    if other is None:
        return []
    lines = []
    gain = (other.values["score"] or 0) - (best.values["score"] or 0)
    if gain > 0:
        sure = {
            True: "no test tells them apart",
            False: "a paired test tells them apart",
            None: "not tested against each other",
        }[verdict(p_values(best, other, evidence.p_value))]
        points = wording.points(gain, signed=False, decimals=1)
        lines.append(f"{points} points more score matter ({sure})")
    for name, criterion in CRITERIA.items():
        mine, its = best.values[name], other.values[name]
        if name == "score" or mine is None or its is None:
            continue
        if its > mine if criterion.more else its < mine:
            lines.append(
                f"{criterion.label} counts most: {criterion.amount(its)} instead of "
                f"{criterion.amount(mine)}"
            )
    if readable(other) and not readable(best):
        lines.append("its decisions must be readable: it is a linear model")
    return lines or ["it has no advantage on what was measured: only if the first cannot be used"]


def _estimated(
    best: Candidate, evidence: Evidence, answer: Answer, question: Question, here: str | None
) -> list[str]:
    lines = []
    rows = best.rows
    if all(row["seeds_ok"] == 1 for row in rows) and not best.baseline:
        lines.append("the score: one seed, its interval covers the test examples only")
    low = min((row["score_low"] for row in rows if row["score_low"] is not None), default=None)
    if question.min_score is not None and low is not None and low < question.min_score:
        lines.append(
            f"that it keeps the bound of {question.min_score:g}: its interval reaches down to "
            f"{wording.score(low)}"
        )
    for row in rows:
        size = row.get("train_examples")
        if question.examples and size and _far(size, question.examples):
            lines.append(
                f"the score on {question.examples:,.0f} examples: it was fitted on {size:,.0f} "
                f"({row['task']})"
            )
    sizes = {
        row["train_examples"]
        for c in evidence.candidates for row in c.rows if row.get("train_examples")
    }  # fmt: skip
    if sizes and _far(min(sizes), max(sizes)):
        fewer = sorted(
            {c.rows[0].get("model_name") or c["model"]
             for c in evidence.candidates for row in c.rows
             if row.get("train_examples") and _far(row["train_examples"], max(sizes))}
        )  # fmt: skip
        lines.append(
            f"the comparison with {wording.listed([wording.clean(f) for f in fewer])}, fitted on "
            f"{min(sizes):,.0f} examples where others had {max(sizes):,.0f}"
        )
    if any(row["launches"] == 1 for row in rows):
        lines.append("the timings: one launch, and launches differ by some per cent")
    if evidence.percentile == "p90" and question.max_latency_ms is not None:
        lines.append("the tail of latency: judged by p90, some samples are too few for a p99")
    hosts = {row["host_id"] for row in rows if row["host_id"]}
    if here and hosts and here not in hosts:
        lines.append("all costs on this machine: they were measured on another host")
    elsewhere = [
        c for c in evidence.candidates
        if any(row["host_id"] and row["host_id"] not in hosts for row in c.rows)
    ]  # fmt: skip
    if hosts and elsewhere:
        lines.append(
            "the comparison of costs with candidates that another host timed: "
            + fit_names(elsewhere, NAMED_TIES)
        )
    missing = [
        name for name in question.weights if question.weights[name] and best.values[name] is None
    ]
    if missing:
        lines.append(f"{', '.join(missing)}: weighted but not measured, counted as worst")
    return lines


def _measure(
    best: Candidate, evidence: Evidence, answer: Answer, question: Question, here: str | None
) -> list[str]:
    suite = best.rows[0]["suite"]
    lines = []
    searched = suite.startswith("choose-")  # made by `choose --data`: no suite file to run again
    fits = {(c["model"], c["recipe"]) for c in answer.tied}
    if searched:
        lines.append("more seeds and training sizes, in a suite of your own (docs/suites.md)")
    elif len(fits) > 1 or all(row["seeds_ok"] == 1 for row in best.rows):
        more = (
            "to tell the tied fits apart" if len(fits) > 1 else "for an interval that covers seeds"
        )
        lines.append(f"harness run {suite} --seeds 1,2,3   # {more}")
    hosts = {row["host_id"] for row in best.rows if row["host_id"]}
    if here and hosts and here not in hosts:
        models = sorted({c["model"] for c in (best, answer.runner_up) if c is not None})
        lines.append(f"harness run {suite} --only {' '.join(models)}   # its costs on this machine")
    unmeasured = {name: e.candidate for e in answer.excluded for name in e.unmeasured}
    served = unmeasured.pop("min_server_rate", None)
    if served is not None:
        lines.append(
            # a recorded launch holds the scenarios of the run's others, too
            f"harness time {served.runs[0]} --scenario single-stream --scenario offline "
            "--scenario server --record   # and so for each candidate without a server rate"
        )
    if unmeasured:
        what = ", ".join(BOUNDS[name].criterion.label for name in sorted(unmeasured))
        lines.append(f"harness run {suite}   # {what} of candidates without that evidence")
    if evidence.partial:
        lines.append(
            f"the missing data sets of {len(evidence.partial)} candidates with partial evidence"
        )
    if best.rows[0].get("task_type") == OWN_DATA_TYPE and not searched:
        lines.append(
            f"harness choose --data mine.csv --type {OWN_DATA_TYPE} --candidates {suite} "
            "--time 10m   # on your own data"
        )
    return lines


def _far(a: float, b: float) -> bool:
    return abs(math.log(a / b)) > math.log(FAR_IN_SIZE)


def host_text(facts: Mapping[str, Any]) -> str:
    """``2 cores of AMD EPYC 9B14``."""
    return f"{facts.get('cores', '?')} cores of {wording.clean(facts.get('cpu', 'unknown CPU'))}"
