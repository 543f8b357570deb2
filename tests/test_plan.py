"""Identities: what makes a fit or a run another one, and what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import RequestError
from harness.execute.report import label
from harness.plan import Fit, Machine, Options, Plan, make_plan
from harness.selection import Row, Selection
from harness.stages.job import Job
from harness.stages.prepare import inputs_key
from harness.suite import load_suite

MACHINE = Machine("host", gpu=False, cores=2)

SUITE = """\
suite: mine
models:
  - {id: tfidf, kind: tfidf-logreg, licence: none}
  - {id: majority, kind: majority}
tasks:
  - id: toy
    type: text-classification
    data:
      train: {source: "path:train.csv"}
      test: {source: "path:test.csv"}
    budget: {train: 10, test: 5}
threads: 1
settings:
  baseline: {C: 1.0}
matrix:
  - {models: [tfidf], tasks: [toy], recipe: baseline, settings: {C: 2.0}}
  - {models: [majority], tasks: [toy], recipe: baseline}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train.csv").write_text("text,label\n" + "good,1\nbad,0\n" * 10)
    (tmp_path / "test.csv").write_text("text,label\ngood,1\nbad,0\n")
    return tmp_path


def planned(folder: Path, text: str = SUITE, **options: Any) -> Plan:
    path = folder / "mine.yaml"
    path.write_text(text)
    return make_plan(load_suite(str(path)), Options(**options), {}, MACHINE)


def job_of(fit: Fit, folder: Path) -> Job:
    return Job(
        fit_id=fit.fit_id,
        spec=fit.spec,
        model=fit.model.model_dump(mode="json"),
        task=fit.task.model_dump(mode="json"),
        cache=folder / "cache",
        base=folder,
        record=folder / "record",
    )


def fits(plan: Plan) -> dict[str, Fit]:
    return {fit.model.id: fit for fit in plan.fits}


def test_names_and_licences_do_not_change_an_identity(folder: Path) -> None:
    before = fits(planned(folder))["tfidf"].fit_id
    renamed = SUITE.replace("licence: none", "licence: MIT, name: another")
    assert fits(planned(folder, renamed))["tfidf"].fit_id == before


def test_changing_one_recipe_changes_that_models_fit_only(folder: Path) -> None:
    before, after = fits(planned(folder)), fits(planned(folder, SUITE.replace("C: 2.0", "C: 3.0")))
    assert before["tfidf"].fit_id != after["tfidf"].fit_id
    assert before["majority"].fit_id == after["majority"].fit_id
    assert before["majority"].runs[0].run_id == after["majority"].runs[0].run_id


def test_a_local_metric_is_known_by_what_its_script_says(folder: Path) -> None:
    text = SUITE.replace("    budget:", "    metrics: [mine.py, accuracy]\n    budget:")
    with pytest.raises(RequestError, match=r"mine.yaml:11: no metric script '.*mine\.py'"):
        planned(folder, text)
    script = folder / "mine.py"
    script.write_text("# one\n")
    first = fits(planned(folder, text))["tfidf"]
    script.write_text("# two\n")
    second = fits(planned(folder, text))["tfidf"]
    assert first.fit_id == second.fit_id
    assert first.runs[0].run_id != second.runs[0].run_id
    assert first.runs[0].row_id == second.runs[0].row_id
    of_the_hub = fits(
        planned(folder, SUITE.replace("    budget:", "    metrics: [accuracy]\n    budget:"))
    )
    assert "metric_scripts" not in of_the_hub["tfidf"].runs[0].spec["test"]


def test_row_ids_outlive_a_change_of_recipe(folder: Path) -> None:
    before, after = fits(planned(folder)), fits(planned(folder, SUITE.replace("C: 2.0", "C: 3.0")))
    assert before["tfidf"].runs[0].row_id == after["tfidf"].runs[0].row_id
    assert before["tfidf"].runs[0].run_id != after["tfidf"].runs[0].run_id


def test_a_fit_depends_on_training_data_and_not_on_the_test_split(folder: Path) -> None:
    before = fits(planned(folder))["tfidf"]
    (folder / "test.csv").write_text("text,label\ngood,1\n")
    other_test = fits(planned(folder))["tfidf"]
    assert other_test.fit_id == before.fit_id
    assert other_test.runs[0].run_id != before.runs[0].run_id
    (folder / "train.csv").write_text("text,label\ngood,1\nbad,0\n")
    assert fits(planned(folder))["tfidf"].fit_id != before.fit_id


HELD_OUT = SUITE.replace("budget: {train: 10, test: 5}", "budget: {validation: 4, test: 5}")


@pytest.mark.parametrize(
    ("entry", "options"),
    [
        (HELD_OUT.replace("{C: 2.0}}", "{C: 2.0}, budget: {validation: 2}}"), {}),
        (HELD_OUT.replace("{C: 2.0}}", "{C: 2.0}, budget: {seed: 2}}"), {}),
        (HELD_OUT, {"full": True}),
    ],
)
@pytest.mark.parametrize("change", ["validation: 6", "validation: 4, seed: 5"])
def test_a_fit_depends_on_what_its_task_holds_out_of_train(
    folder: Path, entry: str, options: dict[str, Any], change: str
) -> None:
    """That is the task's budget, whatever the entry or ``--full`` draws of it."""
    before = fits(planned(folder, entry, **options))["tfidf"]
    after = fits(planned(folder, entry.replace("validation: 4", change), **options))["tfidf"]
    assert before.fit_id != after.fit_id
    assert inputs_key(job_of(before, folder)) != inputs_key(job_of(after, folder))


def test_what_is_held_out_is_named_only_where_the_budget_does_not_say_it(folder: Path) -> None:
    assert "held_out" not in fits(planned(folder, HELD_OUT))["tfidf"].spec["task"]
    smaller = HELD_OUT.replace("{C: 2.0}}", "{C: 2.0}, budget: {train: 8}}")
    assert "held_out" not in fits(planned(folder, smaller))["tfidf"].spec["task"]
    full = fits(planned(folder, HELD_OUT, full=True))["tfidf"].spec["task"]
    assert full["held_out"] == {"validation": 4, "seed": 13}
    files = HELD_OUT.replace("test: {", 'validation: {source: "path:test.csv"}\n      test: {')
    assert "held_out" not in fits(planned(folder, files, full=True))["tfidf"].spec["task"]


def test_full_lifts_the_budget(folder: Path) -> None:
    assert fits(planned(folder))["tfidf"].spec["task"]["budget"]["train"] == 10
    full = fits(planned(folder, full=True))["tfidf"].spec["task"]["budget"]
    assert (full["train"], full["validation"], full["test"]) == (None, None, None)


def test_baselines_take_one_seed(folder: Path) -> None:
    assert len(planned(folder, seeds=(1, 2, 3)).fits) == 2


TWO_BY_TWO = SUITE.replace(
    "threads: 1\n",
    """\
  - {id: other, type: text-classification,
     data: {train: {source: "path:train.csv"}, test: {source: "path:test.csv"}}}
threads: 1
""",
).replace("[majority], tasks: [toy]", "[majority], tasks: [toy, other]")


@pytest.mark.parametrize(
    ("only", "wanted"),
    [
        (("majority",), {("majority", "toy"), ("majority", "other")}),
        (("toy",), {("tfidf", "toy"), ("majority", "toy")}),
        (("tfidf", "majority", "toy"), {("tfidf", "toy"), ("majority", "toy")}),
        (("majority", "other", "baseline", "sklearn"), {("majority", "other")}),
    ],
)
def test_names_of_one_kind_add_up_and_kinds_narrow_each_other(
    folder: Path, only: tuple[str, ...], wanted: set[tuple[str, str]]
) -> None:
    plan = planned(folder, TWO_BY_TWO, only=only)
    assert {(fit.model.id, fit.task.id) for fit in plan.fits} == wanted


def test_a_name_that_a_model_and_a_task_bear_asks_for_either(folder: Path) -> None:
    text = TWO_BY_TWO.replace("id: other", "id: tfidf").replace("[toy, other]", "[toy, tfidf]")
    plan = planned(folder, text, only=("tfidf",))
    assert {(fit.model.id, fit.task.id) for fit in plan.fits} == {
        ("tfidf", "toy"), ("majority", "tfidf"),
    }  # fmt: skip


def test_only_refuses_a_misspelt_name_beside_a_right_one(folder: Path) -> None:
    with pytest.raises(RequestError, match=r"--only tdidf: no model or .*; did you mean tfidf\?"):
        planned(folder, only=("toy", "tdidf"))
    with pytest.raises(RequestError, match=r"known: baseline, majority, sklearn, tfidf, toy$"):
        planned(folder, only=("nobody-at-all",))
    with pytest.raises(RequestError, match=r"nothing to run with --only tfidf other: .* together"):
        planned(folder, TWO_BY_TWO, only=("tfidf", "other"))


def test_only_selects_a_row_by_the_beginning_of_its_id() -> None:
    loaded = load_suite("nlp")
    keys = make_plan(loaded, Options(), {}, MACHINE).open_keys
    resolved = dict.fromkeys(keys, "float32")
    whole = {run.run_id: run for _, run in make_plan(loaded, Options(), resolved, MACHINE).runs()}
    wanted = next(run for run in whole.values() if run.row["runtime"] == "onnxruntime")
    one = make_plan(loaded, Options(only=(wanted.row_id[:8],)), resolved, MACHINE)
    runs = [run for _, run in one.runs()]
    assert {run.row_id for run in runs if run.row["runtime"] != "torch"} == {wanted.row_id}
    # the fit's own runtime is what parity is measured against; only the row's runs are timed
    assert {run.row["runtime"] for run in runs} == {"torch", "onnxruntime"}
    assert all(run.spec == whole[run.run_id].spec for run in runs)
    assert {run.row_id for run in runs if run.timed} == {wanted.row_id}
    # before `auto` is measured there are no runs, and the same fits
    opened = make_plan(loaded, Options(only=(wanted.row_id,)), {}, MACHINE)
    assert len(opened.fits) == len(one.fits)


def test_a_beginning_of_several_row_ids_is_refused_and_a_name_is_never_one() -> None:
    rows = [Row({"model": str(i)}) for i in range(1000)]
    by_beginning: dict[str, list[Row]] = {}
    for row in rows[1:]:
        by_beginning.setdefault(row.row_id[:4], []).append(row)
    text, (first, second, *_) = max(by_beginning.items(), key=lambda item: len(item[1]))
    known, called = {"model": {"m", "other"}}, {"model": "m"}
    clear = Selection([first.row_id], known, "mine.yaml")
    assert [row.row_id for row in clear.of(rows, called)] == [rows[0].row_id, first.row_id]
    clear.check()
    selection = Selection([text], known, "mine.yaml")
    assert len(selection.of(rows, called)) > 2
    with pytest.raises(RequestError, match=rf"--only {text} is ambiguous: .*{second.row_id}"):
        selection.check()
    assert Selection([text], {"model": {text}}, "mine.yaml").of(rows, called) == []
    both = Selection([first.row_id, "other"], known, "mine.yaml")
    assert both.of(rows, {"model": "other"}) == rows
    assert [row.row_id for row in both.of(rows, called)] == [rows[0].row_id, first.row_id]
    none = Selection(["0123456789abcdef"], known, "mine.yaml")
    with pytest.raises(RequestError, match=r"--only 0123456789abcdef: no model .* no row_id"):
        none.of(rows, called)
        none.check()


NETWORKS = """\
suite: mine
seeds: [1, 2, 3]
models:
  - {id: net, source: "path:net"}
tasks:
  - id: toy
    type: text-classification
    data: {train: {source: "path:train.csv"}, test: {source: "path:test.csv"}}
  - id: other
    type: text-classification
    data: {train: {source: "path:test.csv"}, test: {source: "path:train.csv"}}
threads: 1
matrix:
  - models: [net]
    tasks: [toy, other]
    recipe: RECIPE
    frameworks: [torch, tensorflow]
    SETTINGS
"""


@pytest.mark.parametrize(
    ("recipe", "settings", "seeds"),
    [
        ("fine-tune", "settings: {fit_dtype: float32}", {"toy": [1, 2, 3], "other": [1, 2, 3]}),
        ("linear-probe", "settings: {C: 0.1}", {"toy": [1], "other": [1]}),
        ("linear-probe", "settings: {augment: {flip: true}}", {"toy": [1], "other": [1]}),
        ("linear-probe", "settings: {hidden: [8]}", {"toy": [1, 2, 3], "other": [1, 2, 3]}),
        ("linear-probe", "settings_by_task: {other: {hidden: [8]}}",
         {"toy": [1], "other": [1, 2, 3]}),
        ("linear-probe", "seeds: [4, 5]", {"toy": [4, 5], "other": [4, 5]}),
    ],
)  # fmt: skip
def test_what_draws_nothing_takes_one_seed(
    folder: Path, recipe: str, settings: str, seeds: dict[str, list[int]]
) -> None:
    (folder / "net").mkdir()
    (folder / "net" / "config.json").write_text("{}")
    text = NETWORKS.replace("RECIPE", recipe).replace("SETTINGS", settings)
    found: dict[tuple[str, str], list[int]] = {}
    for fit in planned(folder, text).fits:
        found.setdefault((fit.task.id, fit.spec["framework"]), []).append(fit.spec["seed"])
    assert found == {(task, f): seeds[task] for task in seeds for f in ("torch", "tensorflow")}


def test_a_framework_that_cannot_fit_a_kind_is_refused_with_file_and_line(folder: Path) -> None:
    wrong = SUITE.replace("recipe: baseline, settings", "recipe: fine-tune, settings")
    with pytest.raises(RequestError, match=r"mine.yaml:16: torch cannot fit models of kind"):
        planned(folder, wrong)


def test_a_missing_data_file_is_named(folder: Path) -> None:
    (folder / "test.csv").unlink()
    with pytest.raises(RequestError, match=r"no such file: .*test.csv"):
        planned(folder)


def test_auto_dtype_stays_open_until_it_is_measured(folder: Path) -> None:
    loaded = load_suite("nlp")
    plan = make_plan(loaded, Options(only=("fine-tune",)), {}, MACHINE)
    assert {fit.fit_id for fit in plan.fits} == {""}
    keys = list(plan.open_keys)
    assert len(keys) == 2  # one a framework: MiniLM is fitted in both
    resolved = make_plan(
        loaded, Options(only=("fine-tune",)), dict.fromkeys(keys, "bfloat16"), MACHINE
    )
    assert not resolved.open_keys
    assert {fit.spec["fit_dtype"] for fit in resolved.fits} == {"bfloat16"}


def test_the_fits_own_runtime_is_always_scored_first() -> None:
    loaded = load_suite("nlp")
    keys = make_plan(loaded, Options(only=("fine-tune",)), {}, MACHINE).open_keys
    plan = make_plan(loaded, Options(only=("fine-tune",)), dict.fromkeys(keys, "float32"), MACHINE)
    # R8's fit also in the other framework: the board shows one set of weights computed by all
    runtimes = {
        ("torch", "reuters-r8"): ["torch", "onnxruntime", "onnxruntime-int8", "tensorflow"],
        ("torch", "conll2003"): ["torch", "onnxruntime", "onnxruntime-int8"],
        ("torch", "conll-mrc"): ["torch", "onnxruntime", "onnxruntime-int8"],
        ("tensorflow", "reuters-r8"): ["tensorflow", "torch"],
        ("tensorflow", "conll2003"): ["tensorflow", "torch"],
    }
    for fit in plan.fits:
        place = fit.spec["framework"], fit.task.id
        assert [run.row["runtime"] for run in fit.runs] == runtimes[place]


def test_fits_in_two_frameworks_are_told_apart_in_progress_lines() -> None:
    plan = make_plan(load_suite("nlp"), Options(), {}, MACHINE)
    names = [label(fit) for fit in plan.fits]
    assert len(set(names)) == len(names)
    assert "minilm fine-tune (tensorflow) on reuters-r8, seed 1" in names
