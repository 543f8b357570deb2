"""Two sides to findings: join rows, estimate every change, hold false discoveries down, decide."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from harness.boards import wording
from harness.compare.causes import causes
from harness.compare.facts import facts
from harness.compare.failures import failures
from harness.compare.finding import OUTCOMES, Finding, Kind, Report
from harness.compare.margins import GROUPS, margin_of
from harness.compare.quality import quality_change
from harness.compare.rule import decide
from harness.compare.sides import Side, SideRow
from harness.compare.speed import SESSION_SD, WORSE, SpeedChange, speed_change
from harness.errors import RequestError
from harness.selection import begins
from harness.stats.discoveries import benjamini_hochberg


@dataclass(frozen=True)
class Options:
    """What the command line changes: margins over the suite's, and what is compared."""

    margins: Mapping[str, float] = field(default_factory=dict)
    session_sd: float = SESSION_SD
    #: BASE's runtime to the one that stands for it in HEAD
    replace: Mapping[str, str] = field(default_factory=dict)
    #: only rows whose row_id begins so, or whose model, task or runtime is so called
    only: tuple[str, ...] = ()


#: nothing changed on the command line
DEFAULT = Options()


@dataclass
class _Open:
    """A finding whose verdict waits for the q-values of all."""

    finding: Finding
    change: Any  # Change
    agreed: bool = True
    agreed_better: bool = True
    in_logs: bool = False


def compare(base: Side, head: Side, options: Options = DEFAULT) -> Report:
    """The report on two sides. Raises `RequestError` where they share no row, or where a row's
    test sets are not the same data."""
    pairs, only_base, only_head = join_rows(base, head, options)
    margins = {**head.margins, **options.margins}
    waiting: list[_Open] = []
    settled: list[Finding] = []
    for a, b in pairs:
        _refuse_other_test_set(a, b)
        for one in _row(a, b, margins, options.session_sd):
            (waiting if isinstance(one, _Open) else settled).append(one)  # type: ignore[arg-type]
    q_values = benjamini_hochberg([w.change.p_value for w in waiting])
    for one, q in zip(waiting, q_values, strict=True):
        settled.append(_decide(one, q))
    order = {row.row_id: i for i, (row, _) in enumerate(pairs)}
    settled.sort(key=lambda f: (OUTCOMES.index(f.verdict), order[f.row_id], f.kind))
    by_pair = {a.row_id: (a, b) for a, b in pairs}
    blamed = ("regression", "improved", "inconclusive", "changed")
    findings = tuple(
        replace(f, causes=causes(*by_pair[f.row_id], f.kind)) if f.verdict in blamed else f
        for f in settled
    )
    return Report(
        base.name,
        head.name,
        findings,
        comparisons=len(waiting),
        only_base=tuple(row_name(r) for r in only_base),
        only_head=tuple(row_name(r) for r in only_head),
        notes=(*base.notes, *head.notes, *_moved_margins(base, head, options)),
        differences=tuple(
            dict.fromkeys(cause for a, b in pairs for cause in causes(a, b, "speed"))
        ),
    )


def _moved_margins(base: Side, head: Side, options: Options) -> list[str]:
    """A change may widen the margins by which it is judged: not without a word."""
    moved = [
        f"{name} {_margin(base, name)} to {_margin(head, name)}"
        for name in sorted(base.margins.keys() | head.margins.keys())
        if name not in options.margins and base.margins.get(name) != head.margins.get(name)
    ]
    return [f"the suite's margins changed, and HEAD's count: {', '.join(moved)}"] if moved else []


def _margin(side: Side, name: str) -> str:
    return f"{100 * side.margins[name]:g}%" if name in side.margins else "default"


def join_rows(
    base: Side, head: Side, options: Options
) -> tuple[list[tuple[SideRow, SideRow]], list[SideRow], list[SideRow]]:
    """Common rows by row_id (or by the replaced runtime), and what only one side has."""
    left = {k: r for k, r in base.rows.items() if wanted(r, options)}
    right = {k: r for k, r in head.rows.items() if wanted(r, options) or options.replace}
    if options.replace:
        pairs = []
        places = {_place(r.flat): r for r in right.values()}
        for row in left.values():
            new = options.replace.get(str(row.flat["runtime"]))
            if new and (mate := places.get(_place(dict(row.flat) | {"runtime": new}))):
                pairs.append((row, mate))
        if not pairs:
            wish = ", ".join(f"{a}={b}" for a, b in options.replace.items())
            raise RequestError(f"--replace {wish}: no row of BASE has its counterpart in HEAD")
        return pairs, [], []
    pairs = [(row, right[key]) for key, row in left.items() if key in right]
    if not pairs:
        raise RequestError(
            f"no common row: {_some(base)} in {base.name}; {_some(head)} in {head.name}. Rows are "
            "joined by suite, model, task, recipe, framework, runtime, device and dtype"
            + (f", of which --only {' '.join(options.only)} asks for some" if options.only else "")
        )
    return (
        pairs,
        [r for k, r in left.items() if k not in right],
        [r for k, r in right.items() if k not in left],
    )


def wanted(row: SideRow, options: Options) -> bool:
    """Whether ``--only`` asks for a row, by a name or by the beginning of its row_id."""
    names = {str(row.flat.get(k)) for k in ("model", "task", "runtime", "recipe", "framework")}
    return not options.only or any(
        name in names or begins(row.row_id, name) for name in options.only
    )


def _place(flat: Mapping[str, Any]) -> tuple[Any, ...]:
    keys = ("suite", "model", "task", "recipe", "framework", "runtime", "device")
    return tuple(flat.get(key) for key in keys)


def _some(side: Side) -> str:
    names = [row_name(row) for row in side.rows.values()]
    return f"{len(names)} rows ({', '.join(names[:2])}{', ...' if len(names) > 2 else ''})"


def row_name(row: SideRow) -> str:
    """One line that tells a row from the others of its suite."""
    flat = row.flat
    parts = [flat["model"], flat["recipe"], "on", flat["task"], "in"]
    if flat["framework"] not in (flat["runtime"], "torch"):
        parts.append(f"{flat['framework']} by")
    parts.append(flat["runtime"])
    if flat["device"] != "cpu":
        parts += ["on", flat["device"]]
    return wording.clean(" ".join(str(p) for p in parts))


def _refuse_other_test_set(base: SideRow, head: SideRow) -> None:
    def digests(side: SideRow) -> set[str]:
        found = {(spec.get("test") or {}).get("file") for spec in side.specs}
        return {str(d) for d in found if d}

    a, b = digests(base), digests(head)
    if a and b and a.isdisjoint(b):
        raise RequestError(
            f"{row_name(base)}: the test set is not the same data under the same name "
            f"{base.flat['task']!r}: BASE's digest is {', '.join(sorted(a))}, HEAD's "
            f"{', '.join(sorted(b))}. Scores on different tests are not comparable; give the new "
            "test set a task id of its own"
        )


def _row(
    a: SideRow, b: SideRow, margins: Mapping[str, float], session_sd: float
) -> list[_Open | Finding]:
    """All findings on one row."""
    common: dict[str, Any] = {"row_id": a.row_id, "row": row_name(a), "task": str(a.flat["task"])}
    found: list[_Open | Finding] = [*failures(common, a, b)]
    if not a.row.ok or not b.row.ok:
        return found
    name = str(a.flat["score_name"] or "score")
    margin = margin_of(name, "quality", margins)
    quality = quality_change(a, b, margin)
    if quality is not None:
        facts_of = Finding(
            **common, kind="quality", metric=name, verdict="inconclusive", base=quality.base,
            head=quality.head, margin=margin, worse=-1, basis=quality.basis, needs=quality.needs,
        )  # fmt: skip
        found.append(_Open(facts_of, quality.change))
    for metric in WORSE:
        group = GROUPS[metric]
        margin = margin_of(metric, group, margins)
        speed = speed_change(a, b, metric, math.log1p(margin), session_sd)
        if speed is not None:
            found.append(_speed(common, metric, group, margin, speed))  # type: ignore[arg-type]
    for fact in facts(a, b, margins):
        found.append(
            Finding(
                **common, kind="fact", metric=fact.metric, verdict=fact.verdict, base=fact.base,
                head=fact.head, change=fact.change, margin=fact.margin,
            )
        )  # fmt: skip
    return found


def _speed(
    common: dict[str, Any], metric: str, kind: Kind, margin: float, speed: SpeedChange
) -> _Open | Finding:
    finding = Finding(
        **common, kind=kind, metric=metric, verdict="inconclusive", base=speed.base,
        head=speed.head, margin=margin, worse=WORSE[metric], basis=speed.basis, needs=speed.needs,
    )  # fmt: skip
    if speed.refused:
        return replace(finding, verdict="not compared", reason=speed.refused)
    if not speed.change.known:
        sign = WORSE[metric]
        return replace(
            finding,
            change=math.expm1(sign * speed.change.value),
            reason="one launch a side says nothing about noise",
        )
    return _Open(finding, speed.change, speed.agreed, speed.agreed_better, in_logs=True)


def _decide(one: _Open, q: float) -> Finding:
    finding = one.finding
    margin = float(finding.margin or 0.0)
    decision = decide(
        one.change,
        math.log1p(margin) if one.in_logs else margin,
        q=q,
        confirmable=finding.kind in ("speed", "energy"),
        agreed=one.agreed,
        agreed_better=one.agreed_better,
    )
    own = one.change if finding.worse > 0 else one.change.flipped()
    show = math.expm1 if one.in_logs else float
    done = decision.verdict in ("regression", "improved", "equivalent")
    return replace(
        finding,
        verdict=decision.verdict,
        reason=decision.reason,
        change=show(own.value) if math.isfinite(own.value) else None,
        low=show(own.low) if own.known else None,
        high=show(own.high) if own.known else None,
        p_value=one.change.p_value,
        q_value=q,
        needs="" if done else finding.needs,
    )
