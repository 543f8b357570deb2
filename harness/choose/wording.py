"""An answer in words for a terminal, and as JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.boards import wording
from harness.choose.answer import Answer, decisions
from harness.choose.evidence import Candidate, Evidence
from harness.choose.gather import Gathered
from harness.choose.interpretability import readable
from harness.choose.names import few, name_of, short_name
from harness.choose.question import BOUNDS, SCORE_ALONE, Bound, Question
from harness.choose.reasons import Reasons, figures, host_text

#: run ids of a candidate that are written out
_RUNS = 6


def sentences(
    question: Question,
    evidence: Evidence,
    answer: Answer,
    said: Reasons,
    gathered: Gathered,
    sources: list[str],
) -> list[tuple[str, list[str]]]:
    """(heading, lines): the answer as a terminal shows it."""
    names = gathered.task_names
    parts: list[tuple[str, list[str]]] = [
        ("Question", [_asked(question)]),
        ("Evidence", [*_evidence(evidence, names, question), *sources, *_skipped(gathered)]),
    ]
    best = answer.recommended
    if best is None:
        parts.append(("Nothing satisfies this", _nothing(question, evidence, answer)))
    else:
        parts.append(
            ("Recommended", [name_of(best), figures(best, evidence), _cited(best), *said.why])
        )
        other = answer.runner_up
        if other is not None:
            lines = [name_of(other), figures(other, evidence), _cited(other)]
            parts.append(
                ("Runner-up", lines + [f"prefer it when {p}" for p in said.prefer_runner_up])
            )
        else:
            parts.append(("Runner-up", ["none: nothing else is within the bounds"]))
    parts.append(("Excluded", _excluded(question, evidence, answer)))
    hosts = sorted({str(r["host_id"]) for c in _shown(answer) for r in c.rows if r["host_id"]})
    known = [host_text(gathered.hosts[h]) for h in hosts if h in gathered.hosts]
    parts.append(("Measured on", known))
    parts.append(("Only estimated", said.estimated))
    parts.append(("To be surer, measure", said.measure))
    return [(heading, lines) for heading, lines in parts if lines]


def as_json(
    question: Question,
    evidence: Evidence,
    answer: Answer,
    said: Reasons,
    gathered: Gathered,
) -> dict[str, Any]:
    """Everything that the terminal shows, for programs."""
    return {
        "question": question.as_json(),
        **decisions(evidence, answer),
        "candidates": {
            c.key: {
                "name": name_of(c),
                "values": dict(c.values),
                "score_low": min((r["score_low"] for r in c.rows if r["score_low"] is not None),
                                 default=None),
                "readable": readable(c),
                "timed_on": sorted({r["host_id"] for r in c.rows if r["host_id"]}),
                "row_ids": [row["row_id"] for row in c.rows],
                "runs": c.runs,
            }
            for c in evidence.candidates
        },
        "why": said.why,
        "prefer_runner_up_when": said.prefer_runner_up,
        "only_estimated": said.estimated,
        "measure": said.measure,
        "read": [str(path) for path in gathered.read],
        "skipped": [{"folder": str(path), "reason": why} for path, why in gathered.skipped],
        "damaged_runs": sum(count for count, _ in gathered.damaged),
        "failed": [
            {"row_id": row["row_id"], "status": row["status"], "reason": row["reason"]}
            for row in evidence.unscored
        ],
    }  # fmt: skip


def bounds_text(question: Question) -> list[str]:
    """Each bound that was asked, in words."""
    parts = [f"on {question.device}"] if question.device else []
    for name, bound in BOUNDS.items():
        value = question.bound(name)
        if value is not None:
            sign = ">=" if bound.criterion.more else "<="
            parts.append(f"{bound.criterion.label} {sign} {_asked_amount(bound, value)}")
    return parts


def _asked(question: Question) -> str:
    parts = [question.task]
    if question.examples:
        parts.append(f"{question.examples:,} training examples")
    parts += bounds_text(question)
    if dict(question.weights) != SCORE_ALONE:
        parts.append("weights " + ", ".join(f"{k} {v:g}" for k, v in question.weights.items()))
    return "; ".join(parts)


def _asked_amount(bound: Bound, value: float) -> str:
    """As it was given, but large counts shortened."""
    shown = wording.count(value) if value >= 1e5 else f"{value:g}"
    return f"{shown} {bound.criterion.unit}".rstrip()


def _evidence(evidence: Evidence, names: Mapping[str, str], question: Question) -> list[str]:
    lines = []
    for task, suite in evidence.boards.items():
        rows = [r for c in evidence.candidates for r in c.rows if r["task"] == task]
        size = max((r["train_examples"] or 0 for r in rows), default=0)
        fitted = f", fitted on up to {size:,.0f} examples" if size else ""
        name = wording.clean(names.get(task, task))
        lines.append(f"{name} (suite {suite}): {len(rows)} candidates{fitted}")
    for suite, task in evidence.unused:
        why = (
            "further from the asked training size" if question.examples
            else f"suite {evidence.boards[task]} has more training examples, or more candidates"
        )  # fmt: skip
        lines.append(f"not used: {task} in suite {suite}: {why}")
    for task, count in evidence.thin.items():
        name = wording.clean(names.get(task, task))
        lines.append(f"not compared on {name}: {count} candidates there; --task {task} asks for it")
    return lines


def _skipped(gathered: Gathered) -> list[str]:
    lines = [f"skipped {path}: {why}" for path, why in gathered.skipped]
    if len(lines) > 1:
        lines.append(f"{len(lines)} folders skipped")
    for count, folder in gathered.damaged:
        lines.append(f"{folder}: {count} damaged runs do not count")
    return lines


def _nothing(question: Question, evidence: Evidence, answer: Answer) -> list[str]:
    asked = "; ".join(bounds_text(question))
    lines = [f"no candidate satisfies: {asked}"]
    if answer.nearest is not None:
        near = next(e for e in answer.excluded if e.candidate.key == answer.nearest.key)
        lines.append(f"the nearest is {name_of(answer.nearest)}")
        lines += [_broken(near.candidate, name, question) for name in near.broken]
        lines.append(_cited(answer.nearest))
    else:
        lines.append(_nowhere_near(evidence, answer))
    return lines


def _nowhere_near(evidence: Evidence, answer: Answer) -> str:
    """No candidate ran on the asked device, or none was measured on all that was asked."""
    there = [e for e in answer.excluded if "device" not in e.broken]
    if there:
        lacking = sorted({_flag(name) for e in there for name in e.unmeasured})
        return f"no candidate was measured on all of: {', '.join(lacking)}"
    devices = sorted({str(c["device"]) for c in evidence.candidates})
    return f"nothing was measured on that device; there is evidence on: {', '.join(devices)}"


def _broken(candidate: Candidate, name: str, question: Question) -> str:
    bound = BOUNDS[name]
    value = candidate.values[bound.criterion.name] or 0.0
    asked = _asked_amount(bound, question.bound(name) or 0.0)
    return f"its {bound.criterion.label} is {bound.criterion.amount(value)}, you asked {asked}"


def _excluded(question: Question, evidence: Evidence, answer: Answer) -> list[str]:
    groups: dict[str, list[Candidate]] = {}
    for e in answer.excluded:
        for name in e.broken:
            groups.setdefault(_flag(name), []).append(e.candidate)
        for name in e.unmeasured:
            groups.setdefault(f"{_flag(name)} (not measured)", []).append(e.candidate)
    lines = [
        f"{len(members)} by {flag}: {few([short_name(c) for c in members])}"
        for flag, members in groups.items()
    ]
    if evidence.partial:
        missing = [f"{key} (lacks {', '.join(tasks)})" for key, tasks in evidence.partial.items()]
        lines.append(f"{len(missing)} with partial evidence, not ranked: {few(missing)}")
    if evidence.unscored:
        bad = [f"{r['model']} {r['recipe']} on {r['task']} ({r['status']})"
               for r in evidence.unscored]  # fmt: skip
        lines.append(f"{len(bad)} without a score: {few(bad)}")
    if evidence.floors:
        floors = sorted({wording.clean(r.get("model_name") or r["model"]) for r in evidence.floors})
        lines.append(f"never recommended, it only guesses: {', '.join(floors)}")
    return lines


def _flag(name: str) -> str:
    return "--device" if name == "device" else BOUNDS[name].flag


def _cited(candidate: Candidate) -> str:
    runs = candidate.runs
    more = f" and {len(runs) - _RUNS} more" if len(runs) > _RUNS else ""
    return f"runs {', '.join(runs[:_RUNS])}{more}"


def _shown(answer: Answer) -> list[Candidate]:
    return [c for c in (answer.recommended, answer.runner_up, answer.nearest) if c is not None]
