"""`--data`, `--budget`, `--launches`: what a command line changes of a suite, and of identities."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from harness.errors import RequestError
from harness.overrides import overridden, parse_budget, parse_data, timed
from harness.plan import Machine, Options, Plan, make_plan
from harness.suite import Budget, Data, LoadedSuite, TaskEntry, load_suite

MACHINE = Machine("host", gpu=False, cores=2)

SUITE = """\
suite: mine
models:
  - {id: majority, kind: majority}
  - {id: tfidf, kind: tfidf-logreg}
tasks:
  - id: toy
    type: text-classification
    data:
      train: {source: "path:train.csv"}
      validation: {source: "path:dev.csv"}
      test: {source: "path:test.csv"}
      options: {encoding: latin-1}
      format: csv
    options: {text: body}
    budget: {train: 10, test: 5, seed: 3}
    licence: MIT
    url: https://example.org
  - id: other
    type: text-classification
    data: {train: {source: "path:other.csv"}}
matrix:
  - {models: [majority], tasks: [toy, other], recipe: baseline, budget: {train: 7, validation: 2}}
  - {models: [tfidf], tasks: [toy], recipe: baseline}
"""


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedSuite:
    folder = tmp_path / "suite"
    folder.mkdir()
    for name in ("train", "dev", "test", "other"):
        (folder / f"{name}.csv").write_text("body,label\n" + f"{name} good,1\nbad,0\n" * 9)
    (folder / "mine.yaml").write_text(SUITE)
    return load_suite(str(folder / "mine.yaml"))


def task_of(loaded: LoadedSuite, name: str = "toy") -> TaskEntry:
    return next(task for task in loaded.suite.tasks if task.id == name)


def data_from(loaded: LoadedSuite, source: Path | str) -> Data:
    """The task's data after `--data toy=SOURCE`."""
    return task_of(overridden(loaded, parse_data([f"toy={source}"]), {})).data


def sources(data: Data) -> dict[str, str]:
    """Each split's source."""
    refs = {name: getattr(data, name) for name in ("train", "validation", "test")}
    return {name: ref.source for name, ref in refs.items() if ref}


def files(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".png":
            Image.new("L", (2, 2), len(name)).save(path)
        else:
            path.write_text("body,label\ngood,1\nbad,0\n")
    return folder


# --- arguments --------------------------------------------------------------------------------


def test_a_source_without_a_scheme_is_a_path() -> None:
    pairs = ["toy=a/b.csv", "pets=hf:datasets/x/y@main", "r8=path:c.csv", "eq=a=b.csv"]
    assert parse_data(pairs) == {
        "toy": "path:a/b.csv",
        "pets": "hf:datasets/x/y@main",
        "r8": "path:c.csv",
        "eq": "path:a=b.csv",
    }


@pytest.mark.parametrize("pair", ["toy", "toy=", "=a.csv", "="])
def test_data_without_a_task_or_a_source_is_refused(pair: str) -> None:
    with pytest.raises(RequestError, match=f"^--data {pair}: not of the form TASK=SOURCE$"):
        parse_data([pair])


def test_launches_hold_for_entries_that_name_their_own_and_change_no_identity(
    loaded: LoadedSuite,
) -> None:
    entries = loaded.suite.matrix
    own = entries[0].model_copy(update={"launches": 5})
    suite = loaded.suite.model_copy(update={"matrix": (own, *entries[1:])})
    loaded = loaded.model_copy(update={"suite": suite})

    def runs(one: LoadedSuite) -> dict[str, int]:
        plan = make_plan(one, Options(), {}, MACHINE)
        return {run.run_id: run.launches for fit in plan.fits for run in fit.runs}

    before = runs(loaded)
    assert sorted(before.values()) == [3, 5, 5]
    assert runs(timed(loaded, 0)) == dict.fromkeys(before, 0)


def test_budgets_are_numbers_by_split() -> None:
    assert parse_budget("train=5000,test=2000") == {"train": 5000, "test": 2000}
    assert parse_budget("validation=1,seed=7,") == {"validation": 1, "seed": 7}
    assert parse_budget("") == {}


@pytest.mark.parametrize(
    "part", ["train", "train=", "train=0", "train=-5", "train=1.5", "train=1e3", "trian=5", "=5"]
)
def test_a_bad_budget_is_refused_with_the_known_splits(part: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_budget(f"test=5,{part}")
    assert str(caught.value) == (
        f"--budget {part}: not of the form SPLIT=NUMBER, with train, validation, test, seed "
        "and a number from 1"
    )


# --- data -------------------------------------------------------------------------------------


def test_a_file_is_training_data_and_the_test_split_is_held_out_of_it(
    loaded: LoadedSuite, tmp_path: Path
) -> None:
    path = files(tmp_path, "own.csv") / "own.csv"
    changed = overridden(loaded, parse_data([f"toy={path}"]), {})
    task = task_of(changed)
    assert sources(task.data) == {"train": f"path:{path}"}
    # the reader is found anew, the columns stay
    assert (task.data.format, task.data.options) == (None, {})
    assert task.options == {"text": "body"}
    assert task.licence == f"of path:{path}, given on the command line" and task.url == ""
    assert task_of(changed, "other") == task_of(loaded, "other")
    assert sources(task_of(loaded).data)["train"] == "path:train.csv"  # the suite's own is kept


def test_a_path_starts_from_where_the_user_stands(
    loaded: LoadedSuite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files(tmp_path / "here", "own.csv")
    monkeypatch.chdir(tmp_path / "here")
    expected = {"train": f"path:{tmp_path / 'here' / 'own.csv'}"}
    assert sources(data_from(loaded, "own.csv")) == expected
    monkeypatch.setenv("HOME", str(tmp_path / "here"))
    assert sources(data_from(loaded, "~/own.csv")) == expected


def test_files_in_a_folder_are_known_by_the_names_of_splits(
    loaded: LoadedSuite, tmp_path: Path
) -> None:
    names = {
        "train": "train-00000-of-00001.parquet",
        "validation": "wnut.dev.conll",
        "test": "TEST.csv",
    }
    more = ["README.md", ".train.csv.swp", "contest.csv", "strain.csv", "trained.csv"]
    folder = files(tmp_path / "own", *names.values(), *more)
    assert sources(data_from(loaded, folder)) == {
        name: f"path:{folder / file}" for name, file in names.items()
    }


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train.csv", "test.csv"), {"train": "train.csv", "test": "test.csv"}),
        (("training.csv", "val.csv"), {"train": "training.csv", "validation": "val.csv"}),
        (("my_train.csv", "my_valid.csv"), {"train": "my_train.csv", "validation": "my_valid.csv"}),
        (
            ("train/cat/a.png", "train/dog/b.png", "test/cat/c.png", "test/dog/d.png"),
            {"train": "train", "test": "test"},
        ),
    ],
    ids=["files", "no test", "with a prefix", "image folders"],
)
def test_a_folder_may_hold_some_splits(
    loaded: LoadedSuite, tmp_path: Path, names: tuple[str, ...], splits: dict[str, str]
) -> None:
    folder = files(tmp_path / "own", *names)
    expected = {name: f"path:{folder / file}" for name, file in splits.items()}
    assert sources(data_from(loaded, folder)) == expected


def test_a_folder_of_images_by_class_is_training_data(loaded: LoadedSuite, tmp_path: Path) -> None:
    folder = files(tmp_path / "own", "cat/a.png", "dog/b.png")
    assert sources(data_from(loaded, folder)) == {"train": f"path:{folder}"}


def test_two_files_for_one_split_are_refused(loaded: LoadedSuite, tmp_path: Path) -> None:
    folder = files(tmp_path / "own", "train-1.csv", "train-2.csv", "test.csv")
    with pytest.raises(RequestError) as caught:
        data_from(loaded, folder)
    assert str(caught.value) == (
        f"--data: several train splits in {folder}: train-1.csv, train-2.csv; leave one"
    )


def test_a_folder_with_a_test_split_alone_is_refused(loaded: LoadedSuite, tmp_path: Path) -> None:
    folder = files(tmp_path / "own", "test.csv", "dev.csv")
    with pytest.raises(RequestError, match=r"own holds validation, test but no train split$"):
        data_from(loaded, folder)


def test_tasks_that_train_on_the_same_file_follow(loaded: LoadedSuite, tmp_path: Path) -> None:
    folder = files(tmp_path / "own", "train.csv", "test.csv")
    short = """\
  - id: short
    type: text-classification
    data: {train: {source: "path:train.csv"}, test: {source: "path:dev.csv"}}
    options: {text: title}
matrix:
"""
    loaded.path.write_text(SUITE.replace("matrix:\n", short))
    three = load_suite(str(loaded.path))
    changed = overridden(three, parse_data([f"toy={folder}"]), {})
    assert task_of(changed, "short").data.train == task_of(changed).data.train
    assert task_of(changed, "short").options == {"text": "title"}
    assert task_of(changed, "other").data == task_of(three, "other").data
    # what is said of a task itself goes before
    own = files(tmp_path, "own.csv") / "own.csv"
    changed = overridden(three, parse_data([f"toy={folder}", f"short={own}"]), {})
    assert sources(task_of(changed, "short").data) == {"train": f"path:{own}"}
    assert sources(task_of(changed).data)["train"] == f"path:{folder / 'train.csv'}"


def test_a_task_that_validates_on_its_test_split_still_does(
    loaded: LoadedSuite, tmp_path: Path
) -> None:
    # as published recipes that have no validation split do
    loaded.path.write_text(SUITE.replace("path:dev.csv", "path:test.csv"))
    both = load_suite(str(loaded.path))
    folder = files(tmp_path / "own", "train.csv", "test.csv")
    test = f"path:{folder / 'test.csv'}"
    assert sources(data_from(both, folder)) == {
        "train": f"path:{folder / 'train.csv'}",
        "validation": test,
        "test": test,
    }
    assert "validation" not in sources(data_from(both, folder / "train.csv"))  # nothing to share
    assert "validation" not in sources(data_from(loaded, folder))


def test_what_is_not_there_is_named(loaded: LoadedSuite, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=f"--data: no such file or folder: {tmp_path}/none"):
        data_from(loaded, tmp_path / "none")
    with pytest.raises(RequestError, match=r"--data: no task 'toys' .* it has \['toy', 'other'\]"):
        overridden(loaded, {"toys": "path:a.csv"}, {})


def test_a_data_set_of_a_hub_has_train_and_test_and_a_file_of_it_is_one(
    loaded: LoadedSuite,
) -> None:
    whole = "hf:datasets/uoft-cs/cifar10@main"
    assert sources(data_from(loaded, whole)) == {"train": f"{whole}!train", "test": f"{whole}!test"}
    one = f"{whole}!plain_text/train.parquet"
    assert sources(data_from(loaded, one)) == {"train": one}


def test_a_derivation_stays(loaded: LoadedSuite, tmp_path: Path) -> None:
    derived = SUITE.replace("format: csv", "derive: mrc-from-ner\n      derive_options: {a: 1}")
    loaded.path.write_text(derived)
    data = data_from(load_suite(str(loaded.path)), files(tmp_path, "own.csv") / "own.csv")
    assert (data.derive, data.derive_options) == ("mrc-from-ner", {"a": 1})


# --- budgets ----------------------------------------------------------------------------------


def test_budgets_hold_for_every_task_and_over_what_the_matrix_says(loaded: LoadedSuite) -> None:
    changed = overridden(loaded, {}, parse_budget("train=8,test=4"))
    assert task_of(changed).budget == Budget(train=8, test=4, seed=3)
    assert task_of(changed, "other").budget == Budget(train=8, test=4)
    assert changed.suite.matrix[0].budget == {"validation": 2}
    assert task_of(changed).data == task_of(loaded).data
    assert loaded.suite.matrix[0].budget == {"train": 7, "validation": 2}


def planned(loaded: LoadedSuite) -> Plan:
    return make_plan(loaded, Options(), {}, MACHINE)


def test_the_plan_is_made_with_them(loaded: LoadedSuite) -> None:
    before = [fit.spec["task"]["budget"] for fit in planned(loaded).fits]
    assert [budget["train"] for budget in before] == [7, 7, 10]
    changed = planned(overridden(loaded, {}, parse_budget("train=8")))
    assert [fit.spec["task"]["budget"]["train"] for fit in changed.fits] == [8, 8, 8]
    assert [fit.spec["task"]["budget"]["validation"] for fit in changed.fits] == [2, 2, None]
    assert where_of(changed) == where_of(planned(loaded))  # messages still name file and line


def where_of(plan: Plan) -> str:
    return plan.loaded.where("matrix", 1)


# --- identities -------------------------------------------------------------------------------


def ids(plan: Plan) -> dict[tuple[str, str], str]:
    return {(fit.model.id, fit.task.id): fit.fit_id for fit in plan.fits}


def test_other_data_is_another_fit_and_leaves_other_tasks_alone(
    loaded: LoadedSuite, tmp_path: Path
) -> None:
    files(tmp_path, "own/train.csv", "own/test.csv")
    before = ids(planned(loaded))
    after = ids(planned(overridden(loaded, parse_data([f"toy={tmp_path / 'own'}"]), {})))
    assert before["majority", "other"] == after["majority", "other"]
    assert before["majority", "toy"] != after["majority", "toy"]
    assert before["tfidf", "toy"] != after["tfidf", "toy"]
    assert "" not in {*before.values(), *after.values()}


def test_the_same_bytes_elsewhere_are_the_same_fit(loaded: LoadedSuite, tmp_path: Path) -> None:
    first, second = (files(tmp_path / name, "own.csv") / "own.csv" for name in ("a", "b"))
    plans = [planned(overridden(loaded, parse_data([f"toy={p}"]), {})) for p in (first, second)]
    assert ids(plans[0]) == ids(plans[1])
    second.write_text("body,label\nfine,1\nbad,0\n")
    again = planned(overridden(loaded, parse_data([f"toy={second}"]), {}))
    assert ids(again)["tfidf", "toy"] != ids(plans[0])["tfidf", "toy"]


def test_an_image_folder_is_known_by_its_names_and_contents(
    loaded: LoadedSuite, tmp_path: Path
) -> None:
    folder = files(tmp_path / "own", "cat/a.png", "dog/b.png")

    def fit_id() -> str:
        return ids(planned(overridden(loaded, parse_data([f"toy={folder}"]), {})))["tfidf", "toy"]

    first = fit_id()
    (folder / "cat" / ".DS_Store").write_text("x")
    assert fit_id() == first
    (folder / "cat" / "a.png").rename(folder / "dog" / "a.png")  # another label for it
    moved = fit_id()
    Image.new("L", (2, 2), 99).save(folder / "dog" / "b.png")
    assert len({first, moved, fit_id()}) == 3


def test_a_held_out_test_split_makes_its_budget_a_part_of_the_fit(loaded: LoadedSuite) -> None:
    def with_test(size: int) -> Plan:
        return planned(overridden(loaded, {}, {"test": size}))

    few, many = with_test(4), with_test(6)
    # `other` has no test file: what is held out of training is decided by the budget.
    assert ids(few)["majority", "other"] != ids(many)["majority", "other"]
    assert ids(few)["majority", "toy"] == ids(many)["majority", "toy"]
    runs = [
        {fit.task.id: fit.runs[0].run_id for fit in plan.fits if fit.model.id == "majority"}
        for plan in (few, many)
    ]
    assert runs[0]["toy"] != runs[1]["toy"]


# --- two of a row -----------------------------------------------------------------------------


def with_matrix(loaded: LoadedSuite, *more: str) -> Plan:
    loaded.path.write_text(SUITE + "".join(f"  - {line}\n" for line in more))
    return planned(load_suite(str(loaded.path)))


@pytest.mark.parametrize("difference", ["settings: {C: 3.0}", "budget: {train: 4}"])
def test_two_entries_that_differ_in_settings_alone_are_refused_with_both_places(
    loaded: LoadedSuite, difference: str
) -> None:
    # Boards know rows by model, task, recipe, ...: they would pass for two seeds of one.
    with pytest.raises(RequestError) as caught:
        with_matrix(loaded, f"{{models: [tfidf], tasks: [toy], recipe: baseline, {difference}}}")
    assert str(caught.value) == (
        f"{loaded.path}:24: tfidf baseline on toy stands at {loaded.path}:23 already, with other "
        "settings; give one of them a model or task id of its own"
    )


def test_settings_by_task_differ_too(loaded: LoadedSuite) -> None:
    by_task = "settings_by_task: {toy: {C: 3.0}}"
    with pytest.raises(RequestError, match=r"mine\.yaml:24: tfidf .* at .*mine\.yaml:23 already"):
        with_matrix(loaded, f"{{models: [tfidf], tasks: [toy], recipe: baseline, {by_task}}}")


def test_the_same_entry_twice_and_other_seeds_are_no_conflict(loaded: LoadedSuite) -> None:
    entry = "{models: [tfidf], tasks: [toy], recipe: baseline}"
    assert len(with_matrix(loaded, entry).fits) == len(planned(loaded).fits)
    seeded = "{models: [tfidf], tasks: [toy], recipe: baseline, seeds: [2], settings: {C: 3.0}}"
    assert len(with_matrix(loaded, seeded).fits) == len(planned(loaded).fits) + 1
