"""The smaller commands."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from harness.commands.doctor import conflicts
from harness.commands.tune import choose, draw_trials, entries, plan_of_one
from harness.plan import Machine, Options, make_plan
from harness.suite import load_suite
from tests.conftest import Harness
from tests.hub import serve
from tests.test_sources_pypi import make_wheel

SUITE = """\
suite: mine
models:
  - {id: tfidf, kind: tfidf-logreg}
tasks:
  - id: toy
    type: text-classification
    data:
      train: {source: "path:train.csv"}
      test: {source: "path:test.csv"}
threads: 1
timing: {launches: 0}
tune: {trials: 3, space: {baseline: {C: [0.0001, 0.01, 1, 100], ngrams: [[1, 1], [1, 2]]}}}
matrix:
  - {models: [tfidf], tasks: [toy], recipe: baseline}
"""


def write_suite(folder: Path) -> None:
    (folder / "mine.yaml").write_text(SUITE)
    rows = [f"a good day {i},yes\na bad day {i},no" for i in range(30)]
    (folder / "train.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    (folder / "test.csv").write_text("text,label\ngood,yes\nbad,no\n")


def test_plan_tells_what_is_to_do_and_what_is_done(harness: Harness, tmp_path: Path) -> None:
    write_suite(tmp_path)
    (before,) = json.loads(harness("plan", "mine.yaml", "--json").out)
    assert (before["fit"], before["run"]) == ("to do", "to do")
    assert harness("run", "mine.yaml").status == 0
    (after,) = json.loads(harness("plan", "mine.yaml", "--json").out)
    assert (after["fit"], after["run"]) == ("ok", "ok")
    assert "1 fits, 1 runs, 0 to do" in harness("plan", "mine.yaml").out


def test_tune_tries_the_given_number_and_prints_yaml_to_paste(
    harness: Harness, tmp_path: Path
) -> None:
    write_suite(tmp_path)
    answer = harness("tune", "mine.yaml", "--json")
    assert answer.status == 0, answer.err
    told = json.loads(answer.out)
    assert len(told["trials"]) == 3
    best = max(trial["score"] for trial in told["trials"])
    chosen = told["chosen"]["tfidf baseline"]["toy"]
    assert any(t["settings"] == chosen and t["score"] == best for t in told["trials"])
    assert len(list((tmp_path / "results/mine/tune/fits").iterdir())) == 3
    # The second time every trial is there already, and the text form is YAML.
    text = harness("tune", "mine.yaml").out
    assert yaml.safe_load(text.partition("# chosen")[2].partition("\n")[2]) == told["chosen"]
    # No run was made: nothing read the test split.
    assert not (tmp_path / "results/mine/tune/runs").exists()


def test_trials_are_different_points_drawn_by_seed() -> None:
    space = {"a": [1, 2, 3], "b": [10, 20]}
    drawn = draw_trials(space, 4, seed=0)
    assert drawn == draw_trials(space, 4, seed=0)
    assert len({tuple(trial.items()) for trial in drawn}) == 4
    assert len(draw_trials(space, 99, seed=0)) == 6


def test_of_equal_scores_the_cheaper_settings_win() -> None:
    common = {
        "model": "m", "recipe": "fine-tune", "task": "t", "framework": "torch", "score": 0.9
    }  # fmt: skip
    trials = [
        common | {"settings": {"epochs": 3}, "seconds": 30.0},
        common | {"settings": {"epochs": 2}, "seconds": 20.0},
        common | {"settings": {"epochs": 1}, "seconds": 10.0, "score": 0.8},
    ]
    assert choose(trials) == {"m fine-tune": {"t": {"epochs": 2}}}


def test_tune_takes_several_names(harness: Harness, tmp_path: Path) -> None:
    write_suite(tmp_path)
    text = SUITE.replace("models:\n", "models:\n  - {id: other, kind: tfidf-logreg}\n")
    text = text.replace("models: [tfidf]", "models: [tfidf, other]")
    (tmp_path / "mine.yaml").write_text(text)
    answer = harness("tune", "mine.yaml", "--only", "tfidf", "other", "--seeds", "1,2", "--json")
    assert answer.status == 0, answer.err
    told = json.loads(answer.out)
    assert len(told["trials"]) == 6 and {*told["chosen"]} == {"tfidf baseline", "other baseline"}


@pytest.mark.parametrize("only", [(), ("net", "torch", "tensorflow"), ("tensorflow",)])
def test_each_framework_is_tuned_and_each_trial_is_one_fit(
    tmp_path: Path, only: tuple[str, ...]
) -> None:
    write_suite(tmp_path)
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "config.json").write_text("{}")
    (tmp_path / "mine.yaml").write_text(
        SUITE.replace("kind: tfidf-logreg", 'source: "path:net"').replace(
            "{models: [tfidf], tasks: [toy], recipe: baseline}",
            "{models: [tfidf], tasks: [toy], recipe: fine-tune, devices: [cpu, cuda], "
            "seeds: [1, 2], frameworks: [torch, tensorflow], settings: {epochs: 7}}",
        ).replace("{baseline: {C: [0.0001, 0.01, 1, 100], ngrams: [[1, 1], [1, 2]]}}",
                  "{fine-tune: {epochs: [1, 2]}}").replace("tfidf", "net")
    )  # fmt: skip
    machine = Machine("host", gpu=True, cores=2)
    plan = make_plan(load_suite(str(tmp_path / "mine.yaml")), Options(only=only), {}, machine)
    trials = [plan_of_one(plan, entry, machine) for entry in entries(plan, {"fine-tune": {}})]
    fits = [fit for trial in trials for fit in trial.fits]
    wanted = ["tensorflow"] if only == ("tensorflow",) else ["torch", "tensorflow"]
    assert [fit.spec["framework"] for fit in fits] == wanted
    assert {(fit.spec["device"], fit.spec["seed"]) for fit in fits} == {("cpu", 1)}
    assert {fit.spec["settings"]["epochs"] for fit in fits} == {7}


def test_the_choice_of_another_framework_goes_by_its_name() -> None:
    common = {"model": "m", "recipe": "fine-tune", "task": "t", "seconds": 1.0, "score": 0.9}
    trials = [
        common | {"framework": "torch", "settings": {"epochs": 3}},
        common | {"framework": "tensorflow", "settings": {"epochs": 2}},
    ]
    assert choose(trials) == {
        "m fine-tune": {"t": {"epochs": 3}}, "m fine-tune (tensorflow)": {"t": {"epochs": 2}},
    }  # fmt: skip


def test_doctor_tells_frameworks_and_host(harness: Harness) -> None:
    told = json.loads(harness("doctor", "--json").out)
    assert told["frameworks"]["torch"]["version"]
    assert "CPUExecutionProvider" in told["frameworks"]["onnxruntime"]["providers"]
    assert told["host"]["cores"] >= 1
    assert told["conflicts"] == []
    assert "harness doctor" not in harness("doctor").err


def test_doctor_tells_two_builds_that_own_one_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("buildone", "buildone_gpu"):
        facts = tmp_path / f"{name}-1.0.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (facts / "top_level.txt").write_text("buildone\n")
    monkeypatch.syspath_prepend(tmp_path)
    (told,) = conflicts(["buildone", "numpy"])
    assert told.startswith("buildone and buildone_gpu are installed on top of each other")


#: the discard port, where nothing listens, in place of every index, hub and proxy
CLOSED = "http://127.0.0.1:9"
NO_NETWORK = {
    "PIP_INDEX_URL": f"{CLOSED}/simple", "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": "",
    "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0", "HF_ENDPOINT": CLOSED,
    "http_proxy": CLOSED, "https_proxy": CLOSED, "no_proxy": "",
}  # fmt: skip


def test_fetch_then_run_without_a_network(harness: Harness, tmp_path: Path) -> None:
    """One split from an index, one from a branch of a hub; neither answers when it runs."""
    write_suite(tmp_path)
    train, test = ((tmp_path / f"{split}.csv").read_bytes() for split in ("train", "test"))
    links = tmp_path / "links"
    make_wheel(links, {"tiny_model/train.csv": train})
    source = "pypi:tiny-model==1.0!tiny_model/train.csv"
    text = SUITE.replace(
        '"path:train.csv"', f'"{source}", sha256: {hashlib.sha256(train).hexdigest()}'
    )
    text = text.replace("path:test.csv", "hf:datasets/acme/moods@main!test.csv")
    (tmp_path / "mine.yaml").write_text(text)
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").unlink()
    alone = {"HF_HOME": str(tmp_path / "hf")}
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(links), "PIP_CONFIG_FILE": os.devnull}
    with serve(tmp_path / "repositories") as hub:
        hub.add("datasets/acme/moods", {"test.csv": test})
        fetched = harness("fetch", "mine.yaml", HF_ENDPOINT=hub.url, **pip, **alone)
    assert fetched.status == 0 and "needs no network now" in fetched.out, fetched.err
    answer = harness("run", "mine.yaml", **NO_NETWORK, **alone)
    assert answer.status == 0, answer.err
    assert "1 runs made" in answer.out
    # the network was gone indeed
    shutil.rmtree(tmp_path / "cache")
    refused = harness("run", "mine.yaml", "--refit", **NO_NETWORK, **alone)
    assert refused.status == 2 and "could not be reached" in refused.err


@pytest.mark.skipif(not find_spec("tensorflow"), reason="Keras fetches its own weights")
@pytest.mark.parametrize("limit", ["1800", "4"], ids=["refused", "silent"])
def test_kerass_weights_without_a_network_are_one_clear_error(
    harness: Harness, tmp_path: Path, limit: str
) -> None:
    """Recipe (a) of the suite: nobody answers, or somebody takes the call and says nothing."""
    (tmp_path / "data" / "a").mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        proxy = CLOSED if limit == "1800" else f"http://127.0.0.1:{silent.getsockname()[1]}"
        answer = harness(
            "run", "cifar10", "--only", "vgg16-classic", "--data", f"cifar10={tmp_path / 'data'}",
            **NO_NETWORK | {"https_proxy": proxy, "http_proxy": proxy},
            HARNESS_FETCH_SECONDS=limit,
        )  # fmt: skip
    assert answer.status == 2 and "Traceback" not in answer.err, answer.err
    said = answer.err.strip().splitlines()[-1]
    assert said.startswith("harness: keras:VGG16@")
    assert ("cannot be had" if limit == "1800" else "the download stands still") in said
    assert not list(tmp_path.glob("results/cifar10/fits/*"))


def test_digest_prints_what_a_suite_wants(harness: Harness, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\n")
    told = json.loads(harness("digest", f"path:{tmp_path}/a.csv", "--json").out)
    assert told == {"a.csv": hashlib.sha256(b"text,label\n").hexdigest()}


def test_schema_is_json_schema(harness: Harness) -> None:
    schema = json.loads(harness("schema").out)
    assert schema["type"] == "object" and "models" in schema["properties"]


@pytest.mark.alone
def test_help_answers_at_once(harness: Harness) -> None:
    times = sorted(harness("--help").seconds for _ in range(5))
    assert times[0] < 0.4


def test_show_and_board_of_nothing_say_so(harness: Harness) -> None:
    assert "no record in results begins with 'abc'" in harness("show", "abc").err
    assert "no records of a suite 'nlp'" in harness("board", "nlp").err
