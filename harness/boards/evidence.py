"""What stands behind a row, for the page to open: runs, training, host, scores by class, errors.

Everything comes from the records; texts of examples only where a caller brings them (data under
a licence is not ours to publish). Sizes are bounded, and what is left out is said: see `LIMITS`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.boards import wording
from harness.boards.collect import Records, Row, Run
from harness.boards.hosts import hosts_of
from harness.boards.predictions import calibration, read_predictions, slices, wrong_examples

#: Bounds on one page, so that results stay small enough for git: bytes of all evidence; classes
#: that are listed; classes whose confusions are a matrix (else the commonest are listed);
#: epochs; launches; wrong examples named; characters of an example's text
LIMITS = {
    "bytes": 2_000_000, "classes": 60, "matrix": 16, "confusions": 30, "epochs": 40,
    "launches": 20, "wrong": 40, "text": 300,
}  # fmt: skip

Block = dict[str, Any]
#: task id to texts by example id
Texts = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Evidence:
    """``rows``: row_id to blocks; ``left_out``: how many rows' evidence did not fit the page;
    ``recorded``: False for rows that came without records."""

    rows: dict[str, list[Block]]
    left_out: int
    recorded: bool = True


def gather(
    folder: Path,
    records: Records,
    row_ids: Sequence[str],
    texts: Texts | None = None,
    *,
    beside: bool = True,
) -> Evidence:
    """Evidence of rows in the given order, as far as the page's bytes reach.

    ``beside``: whether the page will lie beside the records, so that it can link them.
    A block is ``{"title", "facts": [[label, text], ...]}`` or ``{"title", "head", "rows"}`` (a
    table of strings, perhaps with ``note`` and ``shade``: 0 to 1 a cell).
    """
    by_id = {row.flat["row_id"]: row for row in records.rows}
    found: dict[str, list[Block]] = {}
    spent = 0
    for number, row_id in enumerate(row_ids):
        row = by_id.get(row_id)
        if row is None:
            continue
        blocks = of_row(folder, records, row, (texts or {}).get(row.flat["task"]), beside=beside)
        spent += len(json.dumps(blocks, ensure_ascii=False).encode())
        if spent > LIMITS["bytes"]:
            return Evidence(found, len(row_ids) - number)
        found[row_id] = blocks
    return Evidence(found, 0)


def of_row(
    folder: Path,
    records: Records,
    row: Row,
    texts: Mapping[str, str] | None = None,
    *,
    beside: bool = True,
) -> list[Block]:
    """All blocks of one row; scores by class, errors and slices are those of its first good run."""
    blocks = [
        _runs(folder if beside else None, row),
        _training(row),
        *_epochs(row),
        *_launches(row),
        _host(row),
    ]
    first = next(iter(row.ok), None)
    if first is not None:
        which = "" if len(row.runs) == 1 else f" (seed {first.seed})"
        frame = read_predictions(folder / "runs" / first.run_id / "predictions.parquet")
        blocks += _metrics(first, which)
        blocks += _confusion(first, which)
        if frame is not None:
            blocks += _calibration(frame, which)
            blocks += _slices(frame, first, which)
            blocks += _wrong(frame, which, texts)
    return [block for block in blocks if block.get("facts") or block.get("rows")]


def _runs(folder: Path | None, row: Row) -> Block:
    """The row's runs, each with the file of its record that says most: the page links it."""
    head = ["seed", "run", "fit", "status", "score", *(["record"] if folder else [])]
    lines = []
    for run in row.runs:
        status = run.status + (f": {wording.clean(run.reason)}" if run.reason else "")
        score = wording.score(run.metrics.get("score"))
        line = [str(run.seed), run.run_id, run.fit_id, status, score]
        if folder:
            files = (f"runs/{run.run_id}/{name}.json" for name in ("metrics", "status"))
            line.append(next((f for f in files if (folder / f).is_file()), wording.NOTHING))
        lines.append(line)
    note = f"harness show {row.flat['row_id']} prints them whole."
    return {"title": "Runs", "head": head, "rows": lines, "note": note}


def _training(row: Row) -> Block:
    first = next((run for run in row.runs if run.fit), None)
    if first is None:
        return {}
    fit, settings = first.fit, first.fit_spec.get("settings") or {}
    given = ", ".join(
        f"{key} {value}" for key, value in sorted(settings.items()) if value not in (None, [], {})
    )
    facts = [
        ("examples", _of(fit.get("train_examples"), fit.get("train_available"))),
        ("time", _time(fit)),
        ("dtype", first.fit_spec.get("fit_dtype")),
        ("training score", wording.score(fit.get("train_score"))),
        ("validation score", wording.score(fit.get("validation_score"))),
        ("stopped", fit.get("stopped")),
        ("settings", given),
    ]
    return _facts("Training", facts)


def _time(fit: Mapping[str, Any]) -> str:
    if fit.get("seconds") is None:
        return f"none: {fit['seconds_reason']}" if fit.get("seconds_reason") else ""
    return f"{wording.significant(fit['seconds'])} s"


def _of(part: Any, whole: Any) -> str:
    if part is None:
        return ""
    return f"{part:,}" + (f" of {whole:,}" if whole and whole != part else "")


def _epochs(row: Row) -> list[Block]:
    first = next((run for run in row.runs if run.fit.get("epochs")), None)
    if first is None:
        return []
    epochs = first.fit["epochs"]
    lines = [
        [
            str(epoch.get("epoch", number + 1)),
            wording.significant(epoch.get("loss")),
            wording.score(epoch.get("validation_score")),
        ]
        for number, epoch in enumerate(epochs[-LIMITS["epochs"] :])
    ]
    title = "Epochs" if len(row.runs) == 1 else f"Epochs (seed {first.seed})"
    note = f"the last {len(lines)} of {len(epochs)}" if len(lines) < len(epochs) else ""
    return [_table(title, ["epoch", "training loss", "validation score"], lines, note)]


def _launches(row: Row) -> list[Block]:
    head = [
        "host", "seed", "p50, ms", "p90, ms", "examples/s", "batch", "memory, MB", "samples",
        "remarks",
    ]  # fmt: skip
    lines = []
    for run in row.ok:
        for timing, host in run.measurements:
            samples = timing.get("samples", timing.get("latency_ms"))
            count = len(samples) if isinstance(samples, list) else samples
            lines.append(
                [
                    str(host.get("host_id") or wording.NOTHING),
                    str(run.seed),
                    *(
                        wording.significant(timing.get(key))
                        for key in ("latency_p50_ms", "latency_p90_ms", "throughput_per_s")
                    ),
                    str(timing.get("best_batch_size") or wording.NOTHING),
                    wording.significant(timing.get("peak_memory_mb")),
                    wording.NOTHING if count is None else str(count),
                    _remarks(timing),
                ]
            )
    if not any(line[-1] for line in lines):
        head.pop()
        lines = [line[:-1] for line in lines]
    kept = lines[: LIMITS["launches"]]
    note = f"the first {len(kept)} of {len(lines)}" if len(kept) < len(lines) else ""
    return [_table("Timed launches, each a fresh process", head, kept, note)]


def _remarks(timing: Mapping[str, Any]) -> str:
    """Why a launch's figures may be doubted."""
    found = {
        "not steady": timing.get("steady") is False,
        "INVALID": timing.get("verdict") == "INVALID",
        "throughput INVALID": timing.get("throughput_verdict") == "INVALID",
        "host disturbed": (timing.get("host_watch") or {}).get("disturbed") is True,
        "answers cached": timing.get("answers_cached") is True,
    }
    notes = [str(note) for note in timing.get("notes") or []]
    return "; ".join([word for word, holds in found.items() if holds] + notes)


def _host(row: Row) -> Block:
    host_id = row.flat.get("host_id")
    host = hosts_of(row.ok).get(str(host_id))
    if host is None:
        return _facts("Host", [("host", host_id)])
    facts = [
        ("host", host_id),
        ("processor", host.get("cpu")),
        ("cores", host.get("cores")),
        ("memory", f"{host['memory_gb']} GB" if host.get("memory_gb") else ""),
        ("GPU", host.get("gpu") or "none"),
        ("system", host["os"]),
        ("threads", _threads(host)),
        ("load average", wording.span(*host["load"]) if host["load"] else ""),
        ("Python", host["python"]),
        ("repository at", host["commits"]),
        ("libraries", ", ".join(f"{name} {v}" for name, v in host["libraries"].items())),
    ]
    return _facts("Host", facts)


def _threads(host: Mapping[str, Any]) -> str:
    asked, seen = host.get("threads_asked"), host.get("threads_observed")
    if asked is None:
        return ""
    return f"{asked} asked" + (f", {seen} observed" if seen is not None else "")


def _metrics(run: Run, which: str) -> list[Block]:
    metrics = run.metrics.get("metrics") or {}
    plain = [
        (name.replace("_", " "), f"{value:,.4g}")
        for name, value in sorted(metrics.items())
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    blocks = [_facts(f"All metrics{which}", plain)]
    for key, noun in (("per_class", "class"), ("per_type", "type")):
        classes = metrics.get(key)
        if not isinstance(classes, Mapping) or not classes:
            continue
        names = sorted(classes, key=lambda name: -(classes[name].get("support") or 0))
        kept = names[: LIMITS["classes"]]
        lines = [
            [
                wording.clean(name),
                *(wording.score(classes[name].get(x)) for x in ("precision", "recall", "f1")),
                str(classes[name].get("support", wording.NOTHING)),
            ]
            for name in kept
        ]
        note = f"the {len(kept)} largest of {len(names)}" if len(kept) < len(names) else ""
        head = [noun, "precision", "recall", "F1", "examples"]
        blocks.append(_table(f"Scores by {noun}{which}", head, lines, note))
    return blocks


def _confusion(run: Run, which: str) -> list[Block]:
    """The matrix of few classes; of many, the commonest confusions."""
    matrix = (run.metrics.get("metrics") or {}).get("confusion")
    if not isinstance(matrix, list) or not matrix:
        return []
    labels = [wording.clean(label) for label in run.fit.get("labels") or []]
    if len(labels) != len(matrix):
        labels = [str(i + 1) for i in range(len(matrix))]
    title = f"Confusion matrix{which}"
    if len(matrix) <= LIMITS["matrix"]:
        lines = [[labels[i], *map(str, line)] for i, line in enumerate(matrix)]
        shade = [
            [None, *(round(value / max(sum(line), 1), 3) for value in line)] for line in matrix
        ]
        table = _table(title, ["true \\ predicted", *labels], lines, "")
        return [table | {"shade": shade, "note": "rows: true class; columns: predicted class"}]
    pairs = sorted(
        ((value, i, j) for i, line in enumerate(matrix) for j, value in enumerate(line) if i != j),
        key=lambda pair: (-pair[0], pair[1], pair[2]),
    )
    shown = [pair for pair in pairs[: LIMITS["confusions"]] if pair[0]]
    lines = [[labels[i], labels[j], str(value)] for value, i, j in shown]
    note = f"{len(matrix)} classes are too many for a matrix: the commonest confusions"
    return [_table(f"Confusions{which}", ["true", "predicted", "examples"], lines, note)]


def _calibration(frame: Mapping[str, Any], which: str) -> list[Block]:
    found = calibration(frame)
    if found is None:
        return []
    error, bins = found
    lines = [
        [f"{low:.1f} to {high:.1f}", str(n), wording.score(said), wording.score(right)]
        for low, high, n, said, right in bins
    ]
    note = f"expected calibration error {error:.3f} (10 bins of equal width)"
    head = ["said probability", "examples", "mean said", "share right"]
    return [_table(f"Calibration{which}", head, lines, note)]


def _slices(frame: Mapping[str, Any], run: Run, which: str) -> list[Block]:
    unit = run.metrics.get("input_length_unit") or "tokens"
    blocks = []
    for found in slices(frame, len(run.fit.get("labels") or [])):
        name = found.name
        noun = f"input length, {unit}" if name == "input_length" else name.replace("_", " ")
        lines = [
            [
                wording.clean(part),
                str(n),
                wording.score(score),
                wording.interval(low, high) or wording.NOTHING,
            ]
            for part, n, score, low, high in found.lines
        ]
        note = ""
        if found.other_values:
            note = (
                f"the {len(lines)} most frequent values; {found.other_values:,} others have "
                f"{found.other_examples:,} examples"
            )
        head = [noun, "examples", "score", "95% interval"]
        blocks.append(_table(f"Score by {noun}{which}", head, lines, note))
    return blocks


def _wrong(frame: Mapping[str, Any], which: str, texts: Mapping[str, str] | None) -> list[Block]:
    found, total = wrong_examples(frame, LIMITS["wrong"])
    head = ["example", "true", "predicted", "said"] + (["text"] if texts is not None else [])
    lines = []
    for example, target, prediction, said in found:
        line = [example, target, prediction, wording.score(said)]
        if texts is not None:
            line.append(_cut(texts.get(example, "not found in the local data"), LIMITS["text"]))
        lines.append(line)
    sure = any(said is not None for *_, said in found)
    if not sure:
        head.pop(3)
        for line in lines:
            line.pop(3)
    note = f"{total:,} examples do not have the full score"
    if len(lines) < total:
        first = "the surest errors" if sure else "the largest losses"
        note += f"; these are {len(lines)} of them, {first} first"
    return [_table(f"Examples that it got wrong{which}", head, lines, note)]


def _cut(text: str, most: int) -> str:
    text = wording.clean(text)
    return text if len(text) <= most else text[: most - 3] + "..."


def _facts(title: str, facts: Sequence[tuple[str, Any]]) -> Block:
    kept = [[label, wording.clean(text)] for label, text in facts if text not in (None, "", "-")]
    return {"title": title, "facts": kept}


def _table(title: str, head: list[str], rows: list[list[str]], note: str) -> Block:
    block: Block = {"title": title, "head": head, "rows": rows}
    return block | {"note": note} if note else block
