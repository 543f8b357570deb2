"""The suite file: what is accepted, and what a mistake is answered with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.errors import RequestError
from harness.suite import Settings, Suite, load_suite, suite_folders
from tests.conftest import MAJORITY_SUITE as GOOD


def complaint(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(RequestError) as caught:
        load_suite(str(path))
    return str(caught.value).replace(str(path), "mine.yaml")


def test_a_minimal_suite_outside_the_repository_loads(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    loaded = load_suite(str(path))
    assert loaded.suite.suite == "mine"
    assert loaded.where("tasks", 0, "type") == f"{path}:6"


def test_an_unknown_device_is_told_the_known_ones(tmp_path: Path) -> None:
    assert complaint(tmp_path, GOOD + "devices: [cpu, gpu]\n") == (
        "mine.yaml:12: devices.1: no such device; known: auto, cpu, cuda, cuda:N (got 'gpu')"
    )
    block = GOOD.replace("recipe: baseline", "devices: ['cuda:x'], recipe: baseline")
    assert complaint(tmp_path, block).startswith("mine.yaml:11: matrix.0.devices.0: no such")
    (tmp_path / "mine.yaml").write_text(GOOD + "devices: [auto, cpu, cuda, 'cuda:1']\n")
    assert len(load_suite(str(tmp_path / "mine.yaml")).suite.devices) == 4


@pytest.mark.parametrize("name", sorted(p.stem for p in suite_folders()[-1].glob("*.yaml")))
def test_shipped_suites_load(name: str) -> None:
    assert load_suite(name).suite.suite == name


def test_unknown_suite_names_the_nearest_one() -> None:
    with pytest.raises(RequestError, match="unknown suite 'nlpp': did you mean 'nlp'"):
        load_suite("nlpp")


def test_missing_file_is_named() -> None:
    with pytest.raises(RequestError, match=r"no suite file 'nowhere/x.yaml'"):
        load_suite("nowhere/x.yaml")


def test_yaml_syntax_error_has_file_and_line(tmp_path: Path) -> None:
    message = complaint(tmp_path, GOOD.replace("type: text-classification", "type: [oops"))
    assert message.startswith("mine.yaml:7: not valid YAML")


def test_unknown_key_has_file_line_and_a_guess(tmp_path: Path) -> None:
    message = complaint(tmp_path, GOOD.replace("    type:", "    tipe: x\n    type:"))
    assert message == "mine.yaml:6: unknown key 'tipe'; did you mean 'type'?"


def test_unknown_nested_key_lists_the_known_ones(tmp_path: Path) -> None:
    message = complaint(tmp_path, GOOD + "timing: {zzz: 1}\n")
    assert message.startswith("mine.yaml:12: unknown key 'zzz'; known: batch_sizes")


def test_duplicate_ids_are_refused(tmp_path: Path) -> None:
    twice = GOOD.replace(
        "  - {id: majority, kind: majority}\n", "  - {id: majority, kind: majority}\n" * 2
    )
    assert complaint(tmp_path, twice) == "mine.yaml:2: models: duplicate id 'majority'"


def test_duplicate_yaml_keys_are_refused(tmp_path: Path) -> None:
    assert complaint(tmp_path, GOOD + "suite: again\n") == "mine.yaml:12: duplicate key 'suite'"


def test_a_pypi_model_without_digest_is_refused(tmp_path: Path) -> None:
    text = GOOD.replace("kind: majority", "source: 'pypi:a==1!b'")
    assert complaint(tmp_path, text).startswith(
        "mine.yaml:3: models.0: a `pypi:` source needs `sha256`"
    )


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("source: 'hf:acme/tiny@main', mirrors: ['hf:acme/copy@main']", "`mirrors` need `sha256`"),
        (
            "files: {a.json: {source: 'path:a.json'}}, mirrors: ['path:b']",
            "`mirrors` belong to `source`",
        ),
    ],
)
def test_mirrors_of_a_model_that_would_not_be_tried_are_refused(
    tmp_path: Path, model: str, said: str
) -> None:
    text = GOOD.replace("tasks:\n", f"  - {{id: m, {model}}}\ntasks:\n", 1)
    assert complaint(tmp_path, text).startswith(f"mine.yaml:4: models.1: {said}")


PROBED = GOOD.replace(
    "  - {models: [majority]",
    "  - {models: [m], tasks: [toy], recipe: linear-probe, SETTINGS}\n  - {models: [majority]",
).replace("tasks:\n", "  - {id: m, source: 'path:m'}\ntasks:\n", 1)


@pytest.mark.parametrize(
    ("settings", "ignored"),
    [
        ("settings: {learning_rate: 1e-3}", "learning_rate"),
        ("settings: {C: 1.0, epochs: 4}", "epochs"),
        ("settings: {l1: 0.1}", "l1"),
        ("settings: {fit_dtype: bfloat16}", "fit_dtype"),
        ("settings: {hidden: [8], dropout: 0.1}", "dropout"),
        ("settings: {hidden: [8], patience: 2}", "patience"),
        ("settings: {hidden: [8], C: 2.0}", "C"),
        ("settings_by_task: {toy: {weight_decay: 0.1}}", "weight_decay"),
    ],
)
def test_a_setting_that_a_linear_probe_would_ignore_is_refused(
    tmp_path: Path, settings: str, ignored: str
) -> None:
    message = complaint(tmp_path, PROBED.replace("SETTINGS", settings))
    assert message.startswith(f"mine.yaml:12: {ignored!r} changes nothing in this linear probe")


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ("linear-probe: {learning_rate: [1e-3]}", "'learning_rate' changes nothing in this linear"),
        ("linear-probe: {C: [1], hidden: [[], [8]], epochs: [2, 4]}", ""),
        ("linear-probe: {C: [1], hidden: [[8]]}", "'C' changes nothing in this linear probe"),
        ("linear-probe: {C: [1, -1]}", "C: Input should be greater than 0"),
        ("fine-tune: {learning_rat: [1e-3]}", "unknown setting 'learning_rat'"),
        ("baseline: {C: []}", "C: no values to try"),
    ],
)
def test_a_search_over_settings_that_mean_nothing_is_refused(
    tmp_path: Path, space: str, said: str
) -> None:
    text = PROBED.replace("SETTINGS", "settings: {label_smoothing: 0.1}")
    text += f"tune:\n  space:\n    {space}\n"
    if said:
        line = text.count("\n")
        assert complaint(tmp_path, text).startswith(f"mine.yaml:{line}: {said}")
    else:
        (tmp_path / "mine.yaml").write_text(text)
        assert load_suite(str(tmp_path / "mine.yaml")).suite.tune is not None


@pytest.mark.parametrize(
    "settings",
    [
        "settings: {C: 0.1, label_smoothing: 0.1, fit_dtype: float32}",
        "settings: {C: 0.1, augment: {flip: true}, epochs: 4}",
        "settings: {hidden: [8], epochs: 4, batch_size: 8, learning_rate: 1e-3}",
    ],
)
def test_settings_that_a_linear_probe_takes_are_accepted(tmp_path: Path, settings: str) -> None:
    (tmp_path / "mine.yaml").write_text(PROBED.replace("SETTINGS", settings))
    load_suite(str(tmp_path / "mine.yaml"))


def test_a_recipes_setting_counts_where_one_of_its_entries_takes_it(tmp_path: Path) -> None:
    text = PROBED + "settings: {linear-probe: {C: 0.1}}\n"
    trained = "settings: {hidden: [8], epochs: 4}"
    message = complaint(tmp_path, text.replace("SETTINGS", trained))
    assert message.startswith("mine.yaml:14: 'C' changes nothing")
    other = "  - {models: [m], tasks: [toy], recipe: linear-probe, frameworks: [tensorflow]}\n"
    path = tmp_path / "mine.yaml"
    path.write_text(
        text.replace("SETTINGS", trained).replace("settings: {linear", other + "settings: {linear")
    )
    load_suite(str(path))


def test_a_pypi_data_file_without_digest_is_refused(tmp_path: Path) -> None:
    message = complaint(tmp_path, GOOD.replace("path:test.csv", "pypi:a==1!test.csv"))
    assert message.startswith("mine.yaml:7: tasks.0.data: test: a `pypi:` source needs `sha256`")


def test_unknown_model_in_the_matrix(tmp_path: Path) -> None:
    message = complaint(tmp_path, GOOD.replace("models: [majority]", "models: [minority]"))
    assert message == "mine.yaml:11: unknown model 'minority'; defined here: majority"


def test_unknown_setting_has_file_and_line(tmp_path: Path) -> None:
    message = complaint(tmp_path, GOOD + "settings:\n  baseline:\n    learing_rate: 1\n")
    assert message.startswith("mine.yaml:14: unknown setting 'learing_rate'; known: epochs")


def test_wrong_type_says_what_was_given(tmp_path: Path) -> None:
    message = complaint(tmp_path, GOOD + "threads: many\n")
    assert message.startswith("mine.yaml:12: threads: ") and "got 'many'" in message


def test_unknown_task_type_is_refused_at_planning(tmp_path: Path) -> None:
    from harness.plan import Machine, Options, make_plan

    path = tmp_path / "mine.yaml"
    path.write_text(GOOD.replace("text-classification", "text-clasification"))
    loaded = load_suite(str(path))
    with pytest.raises(RequestError) as caught:
        make_plan(loaded, Options(), {}, Machine("host", gpu=False, cores=2))
    assert str(caught.value).startswith(
        f"{path}:6: unknown task type 'text-clasification'; did you mean 'text-classification'?"
    )


def test_learning_rates_in_exponent_form_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD + "settings:\n  fine-tune: {learning_rate: 2e-4}\n")
    assert load_suite(str(path)).suite.settings["fine-tune"] == {"learning_rate": 2e-4}


def test_python_tags_in_yaml_are_data_never_code(tmp_path: Path) -> None:
    message = complaint(tmp_path, GOOD + "title: !!python/object/apply:os.system ['true']\n")
    assert message.startswith("mine.yaml:12: the YAML tag ")


def test_json_schema_knows_every_key() -> None:
    schema = Suite.model_json_schema()
    assert set(schema["properties"]) == set(Suite.model_fields)
    json.dumps(schema)
    entry = schema["$defs"]["Entry"]["properties"]
    for given in (
        schema["properties"]["settings"]["additionalProperties"],
        entry["settings"],
        entry["settings_by_task"]["additionalProperties"],
    ):
        assert set(given["properties"]) == set(Settings.model_fields)


@pytest.mark.parametrize("what", ["samples", "seconds"])
def test_a_minimum_above_its_maximum_is_refused(tmp_path: Path, what: str) -> None:
    text = GOOD + f"timing: {{min_{what}: 1000, max_{what}: 400}}\n"
    assert complaint(tmp_path, text) == (
        f"mine.yaml:12: timing: min_{what} (1000) is more than max_{what} (400)"
    )
