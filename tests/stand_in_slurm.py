"""A Slurm of one machine, in one file: ``sbatch``, ``srun``, ``sacct`` and ``scancel``.

`install` puts the four commands into a folder for PATH. ``sbatch`` keeps what was asked for as JSON
and has the script run, array tasks one after another, each in a process group of its own; a job's
state is a file that says what Slurm would. `end` ends a running task as Slurm does, in any state.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

COMMANDS = ("sbatch", "srun", "sacct", "scancel")


def install(folder: Path) -> dict[str, str]:
    """The environment in which this is the Slurm; its jobs lie in ``folder/jobs``."""
    (folder / "bin").mkdir(parents=True)
    (folder / "jobs").mkdir()
    for command in COMMANDS:
        script = folder / "bin" / command
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" {command} "$@"\n')
        script.chmod(0o755)
    return {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "STAND_IN": str(folder / "jobs")}


def submissions(folder: Path) -> list[dict[str, str]]:
    """The options of every ``sbatch`` so far, in order."""
    files = sorted((folder / "jobs").glob("*.json"), key=lambda file: int(file.stem))
    return [json.loads(file.read_text()) for file in files]


def states(folder: Path) -> dict[str, str]:
    """Every task's state, by its id."""
    return {file.stem: file.read_text() for file in sorted((folder / "jobs").glob("*.state"))}


def end(folder: Path, task: str, state: str) -> None:
    """Kill a running task; what Slurm says of it afterwards is ``state``."""
    jobs = folder / "jobs"
    _write(jobs / f"{task}.state", state)
    os.killpg(int((jobs / f"{task}.pid").read_text()), signal.SIGKILL)


def _write(path: Path, text: str) -> None:
    scratch = path.with_suffix(f".new-{os.getpid()}")
    scratch.write_text(text)
    scratch.rename(path)


def _sbatch(jobs: Path, script: str) -> int:
    text = Path(script).read_text()
    options = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(.*))?$", text, re.MULTILINE))
    number = 1 + len(list(jobs.glob("*.json")))
    _write(jobs / f"{number}.json", json.dumps(options))
    array = re.match(r"0-(\d+)", options.get("array", ""))
    tasks = [f"{number}_{i}" for i in range(int(array[1]) + 1)] if array else [str(number)]
    for task in tasks:
        _write(jobs / f"{task}.state", "PENDING")
    (jobs / f"{number}.sh").write_text(text)
    subprocess.Popen(
        [sys.executable, __file__, "controller", str(jobs / f"{number}.sh"), *tasks],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    print(f"Submitted batch job {number}")
    return 0


def _controller(jobs: Path, script: str, *tasks: str) -> int:
    for task in tasks:
        state = jobs / f"{task}.state"
        if state.read_text() != "PENDING":
            continue
        number, _, index = task.partition("_")
        environment = os.environ | {"SLURM_JOB_ID": number, "SLURM_NTASKS": "1"}
        if index:
            environment |= {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": index}
        process = subprocess.Popen(["/bin/bash", script], env=environment, start_new_session=True)
        _write(jobs / f"{task}.pid", str(process.pid))
        _write(state, "RUNNING")
        code = process.wait()
        if state.read_text() == "RUNNING":  # nobody has ended it
            _write(state, "FAILED" if code else "COMPLETED")
    return 0


def _srun(jobs: Path, *arguments: str) -> int:
    """The task itself, in this process; ``%A``, ``%a``, ``%j`` and ``%t`` as Slurm has them."""
    job = os.environ["SLURM_JOB_ID"]
    names = {"%A": job, "%a": os.environ.get("SLURM_ARRAY_TASK_ID", ""), "%j": job, "%t": "0"}
    rest = list(arguments)
    while rest[0].startswith("--"):
        option = rest.pop(0)
        if option in ("--output", "--error"):
            path = re.sub("%[Aajt]", lambda found: names[found[0]], rest.pop(0))
            target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(target, 1 if option == "--output" else 2)
    os.execvp(rest[0], rest)


def _sacct(jobs: Path, *arguments: str) -> int:
    wanted = {value for option, value in pairwise(arguments) if option == "-j"}
    print("JobID|State|NodeList")
    for file in sorted(jobs.glob("*.state")):
        if file.stem.partition("_")[0] in wanted:
            print(f"{file.stem}|{file.read_text()}|here")
            print(f"{file.stem}.batch|{file.read_text()}|here")
    return 0


def _scancel(jobs: Path, *tasks: str) -> int:
    """SIGTERM, and SIGKILL after Slurm's ``KillWait`` (a tenth of its 30 seconds)."""
    running = []
    for task in tasks:
        state = jobs / f"{task}.state"
        if state.read_text() == "RUNNING":
            running.append(int((jobs / f"{task}.pid").read_text()))
        if state.read_text() in ("PENDING", "RUNNING"):
            _write(state, f"CANCELLED by {os.getuid()}")
    for number, wait in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 0.0)):
        for group in running:
            try:
                os.killpg(group, number)
            except ProcessLookupError:
                continue
        time.sleep(wait if running else 0.0)
    return 0


def main() -> int:
    name, *arguments = sys.argv[1:]
    command: Any = {
        "sbatch": _sbatch, "srun": _srun, "sacct": _sacct, "scancel": _scancel,
        "controller": _controller,
    }[name]  # fmt: skip
    return int(command(Path(os.environ["STAND_IN"]), *arguments))


if __name__ == "__main__":
    raise SystemExit(main())
