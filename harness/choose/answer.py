"""Candidates to an answer: bounds, utilities, the cheaper of equals.

Everything here, in `evidence`, `ties` and `interpretability` stands once more in ``choose.js``;
change both together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.choose.evidence import Candidate, Evidence, rounded
from harness.choose.interpretability import interpretability
from harness.choose.question import BOUNDS, CRITERIA, Question
from harness.choose.ties import ties


@dataclass(frozen=True)
class Excluded:
    """A candidate out of bounds; ``unmeasured`` are bounds that it has no evidence on."""

    candidate: Candidate
    broken: tuple[str, ...]
    unmeasured: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """``ranking``: admissible candidates with their utility, best first.

    ``leader``: the highest score among them; ``tied``: it and those that no paired test tells from
    it; ``untested``: those that were not tested with it; ``nearest``: where nothing is admissible,
    what breaks the bounds least.
    """

    ranking: tuple[tuple[Candidate, float], ...]
    leader: Candidate | None
    tied: tuple[Candidate, ...]
    untested: tuple[Candidate, ...]
    runner_up: Candidate | None
    excluded: tuple[Excluded, ...]
    nearest: Candidate | None

    @property
    def recommended(self) -> Candidate | None:
        return self.ranking[0][0] if self.ranking else None


def decide(evidence: Evidence, question: Question) -> Answer:
    """The answer; a pure function, the same for the same rows and question."""
    checked = [(c, *_breaches(c, question)) for c in evidence.candidates]
    admissible = [c for c, broken, unmeasured in checked if not broken and not unmeasured]
    excluded = tuple(Excluded(c, b, u) for c, b, u in checked if b or u)
    if not admissible:
        return Answer((), None, (), (), None, excluded, _nearest(excluded, question))
    leader = min(admissible, key=lambda c: (-rounded(_score(c)), _cost(c)))
    found = ties(leader, admissible, evidence.p_value)
    utilities = {c.key: _utility(c, admissible, found.tied, question) for c in admissible}
    order = sorted(admissible, key=lambda c: (-utilities[c.key], _cost(c)))
    return Answer(
        ranking=tuple((c, utilities[c.key]) for c in order),
        leader=leader,
        tied=found.tied,
        untested=found.untested,
        runner_up=_runner_up(order),
        excluded=excluded,
        nearest=None,
    )


def decisions(evidence: Evidence, answer: Answer) -> dict[str, Any]:
    """What was decided, by keys only: the part that ``choose.js`` yields as well."""

    def key(candidate: Candidate | None) -> str | None:
        return candidate.key if candidate else None

    return {
        "boards": dict(evidence.boards),
        "percentile": evidence.percentile,
        "recommended": key(answer.recommended),
        "runner_up": key(answer.runner_up),
        "leader": key(answer.leader),
        "tied": [c.key for c in answer.tied],
        "untested": [c.key for c in answer.untested],
        "ranking": [[c.key, utility] for c, utility in answer.ranking],
        "excluded": [
            {"key": e.candidate.key, "broken": list(e.broken), "unmeasured": list(e.unmeasured)}
            for e in answer.excluded
        ],
        "partial": {k: list(v) for k, v in evidence.partial.items()},
        "nearest": key(answer.nearest),
        "interpretability": answer.recommended and interpretability(answer.recommended, evidence),
    }


def _score(candidate: Candidate) -> float:
    return candidate.values["score"] or 0.0


def _breaches(candidate: Candidate, question: Question) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Bounds that a candidate breaks, and those that it was not measured on."""
    broken, unmeasured = [], []
    if question.device and candidate["device"] != question.device:
        broken.append("device")
    for name, asked in BOUNDS.items():
        limit, value = question.bound(name), candidate.values[asked.criterion.name]
        if limit is None:
            continue
        if value is None:
            unmeasured.append(name)
        elif value < limit if asked.criterion.more else value > limit:
            broken.append(name)
    return tuple(broken), tuple(unmeasured)


def _nearest(excluded: Sequence[Excluded], question: Question) -> Candidate | None:
    """Of those measured on the asked device, the smallest product of the ratios over bounds."""
    known = [e for e in excluded if "device" not in e.broken and not e.unmeasured]
    if not known:
        return None
    found = min(known, key=lambda e: (_excess(e, question), _cost(e.candidate)))
    return found.candidate


def _excess(excluded: Excluded, question: Question) -> float:
    total = 0.0
    for name in excluded.broken:
        criterion = BOUNDS[name].criterion
        bound, value = question.bound(name) or 0.0, excluded.candidate.values[criterion.name] or 0.0
        low, high = (value, bound) if criterion.more else (bound, value)
        total += math.log(high / low) if low > 0 else math.inf
    return rounded(total) if math.isfinite(total) else total


def _utility(
    candidate: Candidate,
    admissible: Sequence[Candidate],
    tied: Sequence[Candidate],
    question: Question,
) -> float:
    total = 0.0
    for name, weight in question.weights.items():
        if name == "score" and any(c.key == candidate.key for c in tied):
            total += weight
        else:
            total += weight * _share(candidate.values[name], name, admissible)
    return rounded(total / sum(question.weights.values()))


def _share(value: float | None, name: str, admissible: Sequence[Candidate]) -> float:
    """0 for the worst of the admissible, 1 for the best; 0 for what was not measured."""
    if value is None:
        return 0.0
    known = [v for c in admissible if (v := c.values[name]) is not None]
    low, high = min(known), max(known)
    if low == high:
        return 1.0
    if name == "score":
        return (value - low) / (high - low)
    tiny = 1e-9  # what costs nothing at all still has a logarithm
    low, high, value = (math.log(max(v, tiny)) for v in (low, high, value))
    share = (high - value) / (high - low)
    return 1.0 - share if CRITERIA[name].more else share


def _cost(candidate: Candidate) -> tuple[bool, float, float, float, str]:
    """Cheaper first: a linear baseline, then latency, size and fit time; names to end it."""
    values = candidate.values
    costs = [math.inf if values[k] is None else values[k] for k in ("latency", "size", "fit_time")]
    return not candidate.baseline, costs[0] or 0.0, costs[1] or 0.0, costs[2] or 0.0, candidate.key


def _runner_up(order: Sequence[Candidate]) -> Candidate | None:
    """The next of another model or recipe; of the same in another framework or runtime if none."""
    first, *others = order

    def same(c: Candidate) -> bool:
        return (c["model"], c["recipe"]) == (first["model"], first["recipe"])

    return next((c for c in others if not same(c)), others[0] if others else None)
