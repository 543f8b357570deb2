"""`harness compare` on real record files: joins, refusals, causes, renderers, baselines."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.compare.baseline import open_baseline, save
from harness.compare.finding import OUTCOMES, Finding, Report
from harness.compare.judge import Options, compare
from harness.compare.sides import read_side
from harness.records.files import read_json, write_json
from tests.conftest import Harness
from tests.records import write_results

ROOT = Path(__file__).parent.parent


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_results(tmp_path / "base", size=400, trouble=False)


@pytest.fixture
def head(base: Path, tmp_path: Path) -> Path:
    shutil.copytree(base.parent, tmp_path / "head")
    return tmp_path / "head" / "demo"


def run_of(results: Path, model: str, task: str, runtime: str) -> list[Path]:
    plan = json.loads((results / "plan.json").read_text())
    for row in plan["rows"]:
        named = row["row"]
        if (named["model"], named["task"], named["runtime"]) == (model, task, runtime):
            return [results / "runs" / run["run_id"] for run in row["runs"]]
    raise LookupError(model)


def edit(path: Path, **changes: Any) -> None:
    write_json(path, (read_json(path) or {}) | changes)


def launches(run: Path, values: list[float], **facts: Any) -> None:
    """Launches with these median latencies instead of the run's own."""
    folder = run / "measurements"
    kept = read_json(next(iter(sorted(folder.glob("*")))) / "host.json") or {}
    shutil.rmtree(folder)
    for i, value in enumerate(values):
        place = folder / f"{kept['host_id']}-{i + 1}"
        timing = {"latency_p50_ms": value, "throughput_per_s": 1e3 / value}
        write_json(place / "timing.json", timing)
        write_json(place / "host.json", kept | {k: v for k, v in facts.items() if k != "session"})
        if "session" in facts:
            part = "first" if i < len(values) / 2 else "confirmation"
            write_json(place / "pairing.json", {"session": "s", "pair": i, "part": part})


def report(base: Path, head: Path, **options: Any) -> Report:
    return compare(read_side("base", base), read_side("head", head), Options(**options))


def only(found: Report, metric: str, row: str) -> Finding:
    (finding,) = [f for f in found.findings if f.metric == metric and row in f.row]
    return finding


def test_the_same_records_are_equivalent_in_quality_and_the_same_in_facts(base: Path) -> None:
    found = report(base, base)
    assert not found.regressed
    quality = [f for f in found.findings if f.kind == "quality"]
    assert quality and {f.verdict for f in quality} == {"equivalent"}
    assert {f.verdict for f in found.findings if f.kind == "fact"} == {"same"}


def break_predictions(run: Path, share: float) -> None:
    """Make that share of all examples wrong that were right."""
    path = run / "predictions.parquet"
    table = pq.read_table(path)
    num = np.array(table["score_num"].to_pylist())
    right = np.flatnonzero(num)
    num[np.random.default_rng(1).choice(right, round(share * len(num)), replace=False)] = 0
    place = table.schema.get_field_index("score_num")
    pq.write_table(table.set_column(place, "score_num", pa.array(num)), path)
    metrics = read_json(run / "metrics.json") or {}
    den = np.array(table["score_den"].to_pylist())
    write_json(run / "metrics.json", metrics | {"score": float(num.sum() / den.sum())})


def test_a_loss_of_quality_is_found_in_the_row_that_lost(base: Path, head: Path) -> None:
    for run in run_of(head, "minilm", "topics", "onnxruntime"):
        break_predictions(run, 0.04)
    found = report(base, head)
    (bad,) = found.of("regression")
    assert bad.kind == "quality" and bad.row == "minilm fine-tune on topics in onnxruntime"
    assert bad.change == pytest.approx(-0.04, abs=1e-3)
    assert bad.low is not None and bad.high is not None and bad.low < -0.04 < bad.high < 0


@pytest.mark.parametrize("count", [1, 3])
def test_another_random_seed_alone_is_no_regression(tmp_path: Path, count: int) -> None:
    sides = [
        write_results(
            tmp_path / f"{first}", size=400, trouble=False,
            seeds_of=lambda task, recipe, first=first: tuple(range(first, first + count)),  # type: ignore[misc]
        )
        for first in (1, 11)
    ]  # fmt: skip
    found = report(*sides)
    assert not [f for f in found.of("regression") if f.kind == "quality"]
    moved = only(found, "accuracy", "minilm fine-tune on topics in torch")
    assert moved.change != 0 and any(cause.startswith("seeds ") for cause in moved.causes)


def interleave(base: Path, head: Path, factor: float, noise: float = 0.03) -> None:
    rng = np.random.default_rng(5)
    drift = np.exp(np.cumsum(rng.normal(0, 0.1, 20)))  # the host moves; both sides see it
    for results, times in ((base, 1.0), (head, factor)):
        (run, *_) = run_of(results, "tfidf", "topics", "sklearn")
        values = 0.4 * times * drift * np.exp(rng.normal(0, noise, 20))
        launches(run, list(values), session="s")


def test_launches_that_took_turns_show_a_slowdown_through_a_drifting_host(
    base: Path, head: Path
) -> None:
    interleave(base, head, 1.10)
    found = report(base, head)
    slow = only(found, "latency_p50_ms", "tfidf")
    assert slow.verdict == "regression" and slow.change == pytest.approx(0.10, abs=0.03)
    assert only(found, "throughput_per_s", "tfidf").verdict == "regression"
    assert found.comparisons == len([f for f in found.findings if f.q_value is not None])


def test_a_margin_may_be_widened(base: Path, head: Path) -> None:
    interleave(base, head, 1.10)
    found = report(base, head, margins={"latency_p50_ms": 0.2})
    assert only(found, "latency_p50_ms", "tfidf").verdict == "equivalent"


def test_a_slowdown_that_the_confirmation_does_not_show_is_inconclusive(
    base: Path, head: Path
) -> None:
    for results, slow in ((base, 1.0), (head, 1.3)):
        (run, *_) = run_of(results, "tfidf", "topics", "sklearn")
        values = 0.4 * np.exp(np.random.default_rng(6).normal(0, 0.01, 20))
        values[:10] *= slow
        launches(run, list(values), session="s")
    found = only(report(base, head), "latency_p50_ms", "tfidf")
    assert found.verdict == "inconclusive" and "confirmation" in found.reason


def test_separate_sessions_call_only_what_an_hour_of_the_host_cannot_explain(
    base: Path, head: Path
) -> None:
    (old, *_), (new, *_) = (
        run_of(results, "tfidf", "topics", "sklearn") for results in (base, head)
    )
    steady = 0.4 * np.exp(np.random.default_rng(7).normal(0, 0.01, 10))
    launches(old, list(steady))
    launches(new, list(steady * 1.12))
    found = only(report(base, head), "latency_p50_ms", "tfidf")
    assert found.verdict == "inconclusive" and "--rerun" in found.needs
    quiet = only(report(base, head, session_sd=0.01), "latency_p50_ms", "tfidf")
    assert quiet.verdict == "regression"
    launches(new, list(steady * 1.7), threads_observed=1, threads_asked=1)
    found = only(report(base, head), "latency_p50_ms", "tfidf")
    assert found.verdict == "regression" and found.causes[0] == "threads 2 to 1"


def test_different_hosts_are_not_compared_in_time(base: Path, head: Path) -> None:
    (run, *_) = run_of(head, "tfidf", "topics", "sklearn")
    for host in run.glob("measurements/*/host.json"):
        edit(host, host_id="ffff0000")
    found = only(report(base, head), "latency_p50_ms", "tfidf")
    assert found.verdict == "not compared" and "--rerun" in found.reason
    assert only(report(base, head), "f1_entity", "minilm fine-tune on entities in torch")


def test_one_launch_a_side_says_how_many_would_decide(base: Path, head: Path) -> None:
    for results in (base, head):
        (run, *_) = run_of(results, "tfidf", "topics", "sklearn")
        launches(run, [0.4], session="s")
    found = only(report(base, head), "latency_p50_ms", "tfidf")
    assert found.verdict == "inconclusive"
    assert "about" in found.needs and "more launches" in found.needs


def test_an_upgraded_library_and_changed_weights_are_named(base: Path, head: Path) -> None:
    interleave(base, head, 1.5)
    (run, *_) = run_of(head, "tfidf", "topics", "sklearn")
    for host in run.glob("measurements/*/host.json"):
        edit(host, libraries={"torch": "2.13.0", "onnxruntime": "1.32.0"})
    plan = json.loads((head / "plan.json").read_text())
    fit_id = next(r["runs"][0]["fit_id"] for r in plan["rows"] if r["row"]["model"] == "tfidf")
    for results, digest in ((base, "a" * 64), (head, "b" * 64)):
        edit(
            results / "fits" / fit_id / "spec.json", model={"files": {"model.safetensors": digest}}
        )
    slow = only(report(base, head), "latency_p50_ms", "tfidf")
    assert f"weights {'a' * 12} to {'b' * 12}" in slow.causes
    assert "onnxruntime 1.31.1 to 1.32.0" in slow.causes


def test_a_row_that_now_fails_is_a_regression_and_a_grown_file_too(base: Path, head: Path) -> None:
    (run, *_) = run_of(head, "majority", "topics", "sklearn")
    write_json(run / "status.json", {"status": "failed", "reason": "no such kernel"})
    (other, *_) = run_of(head, "majority", "entities", "sklearn")
    edit(other / "metrics.json", size_mb=1.0)
    found = report(base, head)
    failed = only(found, "status", "majority baseline on topics")
    assert failed.verdict == "regression" and failed.reason == "no such kernel"
    assert only(found, "size_mb", "majority baseline on entities").verdict == "regression"


def test_a_runtime_may_stand_for_another(base: Path) -> None:
    found = report(base, base, replace={"onnxruntime": "onnxruntime-int8"})
    int8 = only(found, "accuracy", "minilm fine-tune on topics")
    assert int8.change is not None and int8.change != 0
    assert (
        int8.causes[0] == "runtime onnxruntime to onnxruntime-int8" or int8.verdict == "equivalent"
    )


# -- refusals -----------------------------------------------------------------------------------


def test_bad_requests_are_one_clear_message(base: Path, head: Path, harness: Harness) -> None:
    nothing = harness("compare", base.parent, "nosuch")
    assert nothing.status == 2 and "no baseline" in nothing.err and "git revision" in nothing.err
    other = harness("compare", base.parent, head.parent, "--margin", "sped=3%")
    assert other.status == 2 and "latency_p50_ms" in other.err
    plan = read_json(head / "plan.json") or {}
    for row in plan["rows"]:
        row["row_id"] = "x" + row["row_id"]
    write_json(head / "plan.json", plan)
    unrelated = harness("compare", base.parent, head.parent)
    assert unrelated.status == 2 and "no common row" in unrelated.err
    for answer in (nothing, other, unrelated):
        assert "Traceback" not in answer.err


def test_another_test_set_under_the_same_name_is_refused_with_both_digests(
    base: Path, head: Path, harness: Harness
) -> None:
    for results, digest in ((base, "1" * 64), (head, "2" * 64)):
        (run, *_) = run_of(results, "tfidf", "topics", "sklearn")
        write_json(run / "spec.json", {"test": {"file": digest, "size": 600}})
    answer = harness("compare", base.parent, head.parent)
    assert answer.status == 2 and "1" * 64 in answer.err and "2" * 64 in answer.err


@pytest.mark.parametrize("where", ["plan.json", "timing.json"])
def test_records_of_a_newer_schema_are_refused(
    base: Path, head: Path, harness: Harness, where: str
) -> None:
    path = sorted(head.rglob(where))[0]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 99}))
    answer = harness("compare", base.parent, head.parent)
    assert answer.status == 2 and "newer" in answer.err and "99" in answer.err


# -- renderers ----------------------------------------------------------------------------------


def test_every_form_of_the_report_tells_the_regression(
    base: Path, head: Path, harness: Harness, tmp_path: Path
) -> None:
    interleave(base, head, 1.3)
    summary = tmp_path / "summary.md"
    answer = harness(
        "compare", base.parent, head.parent, "--json", "--annotations",
        "--markdown", tmp_path / "c.md", "--junit", tmp_path / "c.xml",
        GITHUB_STEP_SUMMARY=str(summary),
    )  # fmt: skip
    assert answer.status == 3
    found = json.loads(answer.out)
    assert found["verdict"] == "regression" and found["comparisons"] > 10
    assert {f["metric"] for f in found["findings"] if f["verdict"] == "regression"} == {
        "latency_p50_ms",
        "throughput_per_s",
    }
    comment = (tmp_path / "c.md").read_text()
    assert comment == summary.read_text()
    assert "### Regressions" in comment and "latency p50" in comment and "+" in comment
    assert f"{found['comparisons']} comparisons tested" in comment
    suite = ElementTree.parse(tmp_path / "c.xml").getroot()[0]
    assert suite.get("failures") == "2" == str(len(suite.findall("testcase/failure")))
    assert int(suite.get("tests") or 0) == len(found["findings"])
    errors = [line for line in answer.err.splitlines() if line.startswith("::error ")]
    assert len(errors) == 2 and all("95%25 interval" in line for line in errors)
    shown = harness("compare", base.parent, head.parent)
    assert shown.status == 3 and "2 regressions in 1 row." in shown.out


@pytest.mark.parametrize(
    ("text", "never"),
    [
        ("<img src=x>", "<img"),
        ("@everyone", "@everyone"),
        ("a | b", " | b |"),
        ("![x](http://example.org/x.png)", "![x]"),
        ("[see](http://example.org)", "](http"),
        ("fixes #12, owner/name#12 and GH-12", "#12,"),
        ("GH-12", "GH-12"),
        ("https://example.org www.example.org", "https://"),
        ("www.example.org", "www.e"),
        ("`rm` **now** ~~not~~ &lt;b&gt;", "&lt;b"),
    ],
)
def test_names_and_reasons_are_never_read_as_markup(base: Path, text: str, never: str) -> None:
    from harness.compare.render_markdown import markdown

    found = report(base, base)
    evil = replace(found.findings[0], row=text, reason=text, verdict="regression")
    shown = markdown(replace(found, findings=(evil,), notes=(text,), only_base=(text,)))
    assert not re.search(rf"(?<!\\){re.escape(never)}", shown)


def test_a_comment_is_never_longer_than_github_takes(base: Path) -> None:
    from harness.compare.render_markdown import markdown

    found = report(base, base)
    long = replace(found.findings[0], row="[" * 300, reason="_" * 5000)
    many = tuple(replace(long, verdict=verdict) for verdict in OUTCOMES for _ in range(200))
    text = markdown(
        replace(found, findings=many, notes=("(" * 900,) * 500, only_head=("!" * 900,) * 99)
    )
    assert len(text) < 65_536
    assert "### Regressions" in text and "more: see the JSON report." in text
    assert text.count("<details>") == text.count("</details>") == 4


# -- where sides come from ----------------------------------------------------------------------


def test_a_baseline_says_what_its_records_say(
    base: Path, head: Path, harness: Harness, tmp_path: Path
) -> None:
    interleave(base, head, 1.3)
    results = base.parent
    saved = harness("baseline", "save", "v1", "--results", results)
    assert saved.status == 0, saved.err
    assert harness("baseline", "save", "v1", "--results", results).status == 2
    assert "v1: demo" in harness("baseline", "list", "--results", results).out
    assert "tfidf" in harness("baseline", "show", "v1", "--results", results).out
    from_records = harness("compare", results, head.parent, "--json")
    from_baseline = harness("compare", "v1", head.parent, "--json", "--results", results)
    assert from_baseline.status == from_records.status == 3
    one, other = (json.loads(a.out)["findings"] for a in (from_records, from_baseline))
    assert one == other
    size = (results / "baselines" / "v1.tar.xz").stat().st_size
    whole = sum(p.stat().st_size for p in base.rglob("*") if p.is_file())
    assert size < whole / 4
    assert harness("baseline", "rm", "v1", "--results", results).status == 0
    assert harness("baseline", "show", "v1", "--results", results).status == 2


def test_a_truncated_baseline_is_refused(base: Path, harness: Harness) -> None:
    results = base.parent
    save(results, "v1", None, {})
    archive = results / "baselines" / "v1.tar.xz"
    archive.write_bytes(archive.read_bytes()[:-100])
    answer = harness("compare", "v1", results, "--results", results)
    assert answer.status == 2 and "damaged" in answer.err and "Traceback" not in answer.err


def test_the_same_records_make_the_same_baseline(base: Path) -> None:
    results = base.parent
    save(results, "a", None, {})
    save(results, "b", None, {})
    a, b = ((results / "baselines" / f"{n}.tar.xz").read_bytes() for n in "ab")
    assert a == b
    with open_baseline(results, "a") as folder:
        assert read_side("a", folder).rows.keys() == read_side("r", results).rows.keys()


def test_a_git_revision_is_a_side(base: Path, head: Path, harness: Harness, tmp_path: Path) -> None:
    repository = tmp_path  # where the command runs

    def git(*arguments: str) -> None:
        who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", *who, *arguments], cwd=repository, check=True, capture_output=True)

    git("init", "-q")
    shutil.move(base.parent, repository / "results")
    git("add", "results")
    git("commit", "-qm", "records")
    for run in run_of(head, "minilm", "topics", "onnxruntime"):
        break_predictions(run, 0.04)
    answer = harness("compare", "HEAD", head.parent)
    assert answer.status == 3 and "1 regression in 1 row." in answer.out
    assert harness("compare", "HEAD", "HEAD:results").status == 0
    missing = harness("compare", "HEAD:nothing", head.parent)
    assert missing.status == 2 and "nothing" in missing.err
