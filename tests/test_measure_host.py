"""Host facts, from recorded system files and from this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from harness.measure import host


def test_the_id_depends_on_the_hardware_alone():
    assert host.host_facts(1)["host_id"] == host.host_facts(7, 3)["host_id"] == host.host_id()
    assert len(host.host_id()) == 12
    assert int(host.host_id(), 16) >= 0


def test_another_cpu_is_another_host(monkeypatch):
    before = host.host_id()
    monkeypatch.setattr(host, "cpu_model", lambda: "Another CPU")
    assert host.host_id() != before


def test_facts_name_what_a_record_needs():
    facts = host.host_facts(2, 2)
    assert (facts["threads_asked"], facts["threads_observed"]) == (2, 2)
    assert {"cpu", "cores", "memory_gb", "gpu", "os", "python", "libraries", "load"} <= set(facts)
    assert 1 <= facts["cores"] <= (os.cpu_count() or 1)
    assert "numpy" in facts["libraries"]


@pytest.mark.parametrize(
    ("content", "cpus"), [("150000 100000\n", 1.5), ("max 100000\n", None), ("400000 100000", 4.0)]
)
def test_the_cpu_quota_of_cgroup_v2(tmp_path, content, cpus):
    (tmp_path / "cpu.max").write_text(content)
    assert host._cpu_quota(tmp_path) == cpus


def test_the_cpu_quota_of_cgroup_v1(tmp_path):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    quota = tmp_path / "cpu" / "cpu.cfs_quota_us"
    quota.write_text("-1\n")
    assert host._cpu_quota(tmp_path) is None
    quota.write_text("250000\n")
    assert host._cpu_quota(tmp_path) == 2.5


def test_a_quota_below_one_cpu_leaves_one_core(tmp_path):
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert host.available_cores(tmp_path) == 1


def test_memory_is_the_lesser_of_machine_and_cgroup_in_whole_gb(tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       16384000 kB\nMemFree:  1 kB\n")
    assert host.memory_gb(meminfo, tmp_path) == 17.0  # 16,384,000 * 1024 / 1e9 = 16.8
    (tmp_path / "memory.max").write_text("4000000000\n")
    assert host.memory_gb(meminfo, tmp_path) == 4.0
    (tmp_path / "memory.max").write_text("max\n")
    assert host.memory_gb(meminfo, tmp_path) == 17.0


def test_the_cpu_name_is_the_first_model_name(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor: 0\nmodel name\t: Fast CPU @ 3 GHz\nflags: x\n")
    assert host.cpu_model(tmp_path / "cpuinfo") == "Fast CPU @ 3 GHz"


def test_hidden_gpus_are_none(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert host.gpus() == []
    assert not host.has_gpu()


def test_a_gpu_without_memory_of_its_own_is_a_gpu(monkeypatch):
    """A GB10 shares the CPU's memory, and its driver tells none."""

    class Nvml:
        class NVMLError(Exception):
            pass

        nvmlInit = nvmlShutdown = staticmethod(lambda: None)
        nvmlDeviceGetCount = staticmethod(lambda: 2)
        nvmlDeviceGetHandleByIndex = staticmethod(int)
        nvmlDeviceGetName = staticmethod(lambda handle: ("NVIDIA GB10", "NVIDIA H200")[handle])

        @classmethod
        def nvmlDeviceGetMemoryInfo(cls, handle):
            if handle == 0:
                raise cls.NVMLError("Not Supported")
            return SimpleNamespace(total=150.8e9)

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", Nvml)
    assert host.gpus() == ["NVIDIA GB10", "NVIDIA H200 151 GB"]
    assert host.has_gpu()


def test_missing_distributions_have_no_version():
    assert list(host.library_versions(["numpy", "no-such-distribution"])) == ["numpy"]


def test_git_state_tells_commit_and_changes(tmp_path):
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert host.git_state(tmp_path) == (None, None)
    git("init", "-q")
    assert host.git_state(tmp_path) == (None, None)
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-q", "-m", "one")
    commit = git("rev-parse", "HEAD")
    assert host.git_state(tmp_path) == (commit, False)
    (tmp_path / "file").write_text("2")
    assert host.git_state(tmp_path) == (commit, True)
