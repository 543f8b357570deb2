"""What else changed between two sides of a row: likely causes, likeliest first.

Only what the records state. A cause is named with both values; which of several it was, a
comparison cannot tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.compare.finding import Kind
from harness.compare.sides import SideRow

#: keys of a specification's ``versions`` that are ours, not a library's
STAGES = frozenset({"prepare", "fit", "export", "score", "backend", "task", "runtime"})


def causes(base: SideRow, head: SideRow, kind: Kind) -> tuple[str, ...]:
    """Differences that can move this kind of metric, the likeliest first."""
    threads = _threads(base, head)
    model, settings, data = _weights(base, head), _settings(base, head), _data(base, head)
    used, others = _libraries(base, head)
    if kind == "quality":
        found = [*model, *data, *settings, *_runtime(base, head), *used, *_seeds(base, head)]
    elif kind == "fact":
        found = [*model, *settings, *_runtime(base, head), *data, *used, *_seeds(base, head)]
    else:
        found = [
            *threads, *_runtime(base, head), *model, *used, *_host(base, head), *others,
            *_neighbours(base, head),
        ]  # fmt: skip
        if not found:
            found = [*settings, *data]
    found += _harness(base, head)
    return tuple(dict.fromkeys(found))


def _fit(side: SideRow) -> Mapping[str, Any]:
    return next((run.fit_spec for run in side.row.ok if run.fit_spec), {})


def _run(side: SideRow) -> Mapping[str, Any]:
    return side.specs[0] if side.specs else {}


def _differ(what: str, a: Any, b: Any) -> list[str]:
    return [f"{what} {_say(a)} to {_say(b)}"] if a != b and not (a is None or b is None) else []


def _say(value: Any) -> str:
    text = str(value)
    return text[:12] if len(text) == 64 else text


def _threads(base: SideRow, head: SideRow) -> list[str]:
    def of(side: SideRow) -> Any:
        observed = {
            launch.host.get("threads_observed") or launch.host.get("threads_asked")
            for launch in side.launches
        }
        observed.discard(None)
        return observed.pop() if len(observed) == 1 else _run(side).get("threads")

    return _differ("threads", of(base), of(head))


def _runtime(base: SideRow, head: SideRow) -> list[str]:
    a, b = base.flat, head.flat
    return [
        *_differ("runtime", a.get("runtime"), b.get("runtime")),
        *_differ("dtype", a.get("dtype"), b.get("dtype")),
        *_differ("fit dtype", a.get("fit_dtype"), b.get("fit_dtype")),
    ]


def _weights(base: SideRow, head: SideRow) -> list[str]:
    """Pretrained weights, their tokenizer and configuration, by digest or revision."""
    a, b = ((_fit(s).get("model") or {}) for s in (base, head))
    found = []
    files_a, files_b = (m.get("files") or {} for m in (a, b))
    for name in sorted(files_a.keys() | files_b.keys()):
        one, other = files_a.get(name), files_b.get(name)
        if one != other and (files_a or files_b):
            label = "weights" if name == "*" or name.endswith(("safetensors", "gguf")) else name
            found.append(f"{label} {_say(one or 'none')} to {_say(other or 'none')}")
    for key in ("kind", "pooling", "architecture", "image"):
        found += _differ(key, a.get(key), b.get(key))
    return found


def _settings(base: SideRow, head: SideRow) -> list[str]:
    a, b = ((_fit(s).get("settings") or {}) for s in (base, head))
    found = []
    for key in sorted(a.keys() & b.keys()):
        found += _differ(f"setting {key}", a[key], b[key])
    task_a, task_b = ((_fit(s).get("task") or {}) for s in (base, head))
    for key in ("max_length", "stride"):
        found += _differ(key, task_a.get(key), task_b.get(key))
    return found


def _data(base: SideRow, head: SideRow) -> list[str]:
    a, b = ((_fit(s).get("task") or {}) for s in (base, head))
    found = []
    for split in ("train", "validation"):
        one, other = (t.get("data", {}).get(split) for t in (a, b))
        found += _differ(f"{split} data", one, other)
    for split in ("train", "validation", "test", "seed"):
        one, other = (t.get("budget", {}).get(split) for t in (a, b))
        if one != other and a and b:
            found.append(f"budget of {split} {one or 'all'} to {other or 'all'}")
    return found


def _libraries(base: SideRow, head: SideRow) -> tuple[list[str], list[str]]:
    """Changed versions: of libraries that the row's own stages load, and of others installed."""

    def used(side: SideRow) -> dict[str, Any]:
        versions = (_fit(side).get("versions") or {}) | (_run(side).get("versions") or {})
        return {k: v for k, v in versions.items() if k not in STAGES}

    def installed(side: SideRow) -> dict[str, Any]:
        hosts = [launch.host for launch in side.launches]
        hosts += [run.fit.get("host") or {} for run in side.row.ok]
        found = dict(next((h["libraries"] for h in hosts if h.get("libraries")), {}))
        python = next((h.get("python") for h in hosts if h.get("python")), None)
        return found | ({"Python": python} if python else {})

    def changed(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
        return [f"{k} {a[k]} to {b[k]}" for k in sorted(a.keys() & b.keys()) if a[k] != b[k]]

    own = changed(used(base), used(head))
    return own, [x for x in changed(installed(base), installed(head)) if x not in own]


def _host(base: SideRow, head: SideRow) -> list[str]:
    def of(side: SideRow, key: str) -> Any:
        return next((x.host.get(key) for x in side.launches if x.host.get(key)), None)

    found = []
    for key, label in (("cpu", "CPU"), ("gpu", "GPU"), ("cores", "cores"), ("os", "system")):
        found += _differ(label, of(base, key), of(head, key))
    return found


def _neighbours(base: SideRow, head: SideRow) -> list[str]:
    """Cores kept busy by others: named where they differ by half a core or more."""

    def of(side: SideRow) -> float | None:
        busy = [x.timing.get("others_busy_cores") for x in side.launches]
        known = [float(b) for b in busy if b is not None]
        return sum(known) / len(known) if known else None

    a, b = of(base), of(head)
    if a is None or b is None or abs(a - b) < 0.5:
        return []
    return [f"other processes kept {a:.1f} and {b:.1f} cores busy"]


def _seeds(base: SideRow, head: SideRow) -> list[str]:
    a, b = (sorted({run.seed for run in s.row.ok}) for s in (base, head))
    if a == b or all(run.fit_spec.get("recipe") == "baseline" for run in base.row.ok):
        return []
    return _differ("seeds", ", ".join(map(str, a)), ", ".join(map(str, b)))


def _harness(base: SideRow, head: SideRow) -> list[str]:
    def versions(side: SideRow) -> dict[str, Any]:
        found = (_fit(side).get("versions") or {}) | (_run(side).get("versions") or {})
        return {k: v for k, v in found.items() if k in STAGES}

    a, b = versions(base), versions(head)
    return [
        f"stage {k} version {a[k]} to {b[k]}" for k in sorted(a.keys() & b.keys()) if a[k] != b[k]
    ]
