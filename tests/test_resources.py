"""Which GPU a fit gets, on machines of our own making."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.errors import RequestError
from harness.execute import worker
from harness.execute.base import Assignment, Place
from harness.execute.devices import device_name
from harness.execute.report import PlainReporter
from harness.execute.resources import Resources
from harness.execute.walk import Walker
from harness.plan import Machine, Options, make_plan
from harness.records.store import Store
from harness.suite import load_suite
from tests.conftest import MAJORITY_SUITE

TWO_GPUS = Machine("host", gpu=True, cores=8)


@pytest.fixture
def on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Assignment]:
    """A fit on each device, on a machine whose CUDA shows GPUs 4 and 6."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text("text,label\n" + "good,1\nbad,0\n" * 10)
    devices = ("cpu", "cuda", "cuda:0", "cuda:1", "cuda:7")
    (tmp_path / "mine.yaml").write_text(
        MAJORITY_SUITE + f"threads: 1\ndevices: [{', '.join(map(repr, devices))}]\n"
    )
    plan = make_plan(load_suite(str(tmp_path / "mine.yaml")), Options(), {}, TWO_GPUS)
    return {fit.spec["device"]: Assignment.of(plan, fit) for fit in plan.fits}


def test_a_numbered_gpu_is_held_and_named_by_the_fit_itself(on: dict[str, Assignment]) -> None:
    resources = Resources.of(TWO_GPUS, ())
    numbered = resources.take(on["cuda:1"], 0)
    assert numbered is not None
    # the process sees both, so that its cuda:1 is what the suite means by it
    assert (numbered.gpu, numbered.held) == (None, "6")
    assert resources.take(on["cuda:1"], 0) is None
    other = resources.take(on["cuda"], 0)
    assert other is not None and (other.gpu, other.held) == ("4", "4")
    assert resources.take(on["cuda:0"], 0) is None
    assert resources.take(on["cuda"], 0) is None
    resources.give_back(other)
    assert resources.take(on["cuda:0"], 0) is not None
    resources.give_back(numbered)
    assert resources.free_gpus == ["6"]


def test_the_cpu_and_a_gpu_that_is_not_there_hold_none(on: dict[str, Assignment]) -> None:
    resources = Resources.of(TWO_GPUS, ())
    for device in ("cpu", "cuda:7"):
        share = resources.take(on[device], 0)
        assert share is not None and (share.gpu, share.held) == (None, None)
    assert resources.free_gpus == ["4", "6"]


def test_a_numbered_gpu_shares_the_cores_as_any_other(on: dict[str, Assignment]) -> None:
    resources = Resources.of(TWO_GPUS, ())
    resources.cores = 1
    on["cuda:1"].fit.spec["threads"] = 8
    assert resources.cores_of(on["cuda:1"]) == 1


def test_a_gpu_that_devices_leaves_out_is_refused(on: dict[str, Assignment]) -> None:
    resources = Resources.of(TWO_GPUS, ("cpu", "cuda:4"))
    resources.check([on["cpu"], on["cuda"], on["cuda:0"]])
    with pytest.raises(RequestError, match=r"--devices leaves out cuda:1.*needs; add"):
        resources.check([on["cuda:1"]])


@pytest.mark.parametrize(
    ("visible", "asked", "given", "name"),
    [
        (None, "cpu", None, "cpu"),
        (None, "cuda", None, "cuda:0"),
        (None, "cuda:1", None, "cuda:1"),
        ("4,6", "cpu", "6", "cpu"),
        ("4,6", "cuda", None, "cuda:4"),
        ("4,6", "cuda", "6", "cuda:6"),
        ("4,6", "cuda:1", None, "cuda:6"),
        ("4,6", "cuda:7", None, "cuda:7"),
    ],
)
def test_processes_that_see_other_gpus_wait_for_each_other_on_one_card(
    visible: str | None, asked: str, given: str | None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock of a card is named as the driver does, whatever its number is to a process."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert device_name(asked, given) == name


def test_a_process_that_fits_on_a_gpu_computes_no_reference(
    on: dict[str, Assignment], tmp_path: Path
) -> None:
    """TensorFlow sees, once it has started, the GPU or none: references are the CPU's."""
    place = Place(Store(tmp_path / "results", "mine"), tmp_path / "cache", TWO_GPUS)
    walker = Walker(place, PlainReporter(), "4")
    for device in ("cuda", "cuda:1"):
        fit = on[device].fit
        fits = walker.worker("tensorflow", fit)
        references = walker.worker("tensorflow", fit, "reference")
        assert fits is walker.worker("tensorflow", fit, "score") and fits is not references
        assert references is walker.worker("tensorflow", on["cpu"].fit)
    assert len(walker.workers) == 3


@pytest.mark.parametrize("used", [True, False])
def test_after_a_stage_pytorch_gives_the_gpu_back_if_it_used_it(
    used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its warm process would keep what a fit took, while another process is timed."""
    freed: list[bool] = []
    cuda = SimpleNamespace(is_initialized=lambda: used, empty_cache=lambda: freed.append(True))
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    worker._leave_gpu()
    assert freed == [True] * used
