"""A run that is killed at any moment goes on where it was, and leaves no half file under a good name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from lamella.errors import ProjectError
from lamella.formats.mrc import read_mrc
from lamella.workflow.ledger import Ledger
from lamella.workflow.plan import line_of_jobs
from lamella.workflow.project import Project
from lamella.workflow.record_name import RecordName
from lamella.workflow.runner import run_jobs


def start(project: Project, toys: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(toys / "toy_line.py"), str(project.root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )


def kill(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait(20)


def read_until(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"the run ended without saying {text!r}")


def finish_and_check(project: Project) -> dict[str, tuple[str, ...]]:
    result = run_jobs(project, line_of_jobs(project, project.read_settings()))
    assert result.exit_code == 0, result.failures
    for name in "ABC":
        raw, _ = read_mrc(project.root.parent / f"data/{name}.mrc")
        np.testing.assert_allclose(read_mrc(project.root / f"denoise/{name}.mrc")[0], -2.0 * raw[:6], rtol=1e-6)
    leftovers = [path for path in project.root.rglob(".*") if ".lamella-part" in path.name]
    assert leftovers == []
    return {str(entry.job.target): entry.made for entry in result.jobs}


def slow_down(project: Project, pause: float) -> None:
    settings = project.read_settings()
    settings.change(RecordName("clean"), {"pause": pause})
    settings.save()


def counts(project: Project) -> dict[str, int]:
    return {path.stem: int(path.read_text()) for path in project.root.parent.glob("*.count")}


def test_finished_series_are_not_done_again(project, toy_line):
    slow_down(project, 0.1)
    process = start(project, Path(toy_line.__file__).parent)
    read_until(process, "clean: A done")
    time.sleep(0.4)  # now it is in the middle of B
    kill(process)
    assert (project.root / "clean/A.mrcs").is_file()
    assert not (project.root / "clean/B.mrcs").exists()
    assert not (project.root / "clean/tilt_series.star").exists()
    made = finish_and_check(project)
    assert made["motion"] == ()
    assert made["clean"] == ("B", "C")
    assert counts(project) == {"A": 1, "B": 1, "C": 1}
    with Ledger(project.ledger_path) as ledger:
        assert [run["state"] for run in ledger.runs()] == ["killed", "done"]


def test_lock_of_a_living_run_holds_and_that_of_a_killed_one_is_free(project, toy_line):
    slow_down(project, 0.1)
    process = start(project, Path(toy_line.__file__).parent)
    read_until(process, "clean from")
    with pytest.raises(ProjectError, match=f"by process {process.pid}"):
        run_jobs(project, line_of_jobs(project, project.read_settings()))
    kill(process)
    finish_and_check(project)


def test_workers_die_with_the_process_that_started_them(project, toy_line):
    slow_down(project, 0.5)
    text = project.settings_path.read_text()
    project.settings_path.write_text(text.replace("workers = 1", "workers = 2"))
    process = start(project, Path(toy_line.__file__).parent)
    read_until(process, "clean from")
    children: list[psutil.Process] = []
    deadline = time.monotonic() + 60
    while len(list((project.root / "clean").glob(".*lamella-part*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    kill(process)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert [child for child in alive if "spawn_main" in " ".join(child.cmdline())] == []
    project.settings_path.write_text(text.replace("pause = 0.5", "pause = 0.0"))
    finish_and_check(project)


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.4])
def test_killed_after_any_delay(project, toy_line, delay):
    slow_down(project, 0.01)
    process = start(project, Path(toy_line.__file__).parent)
    read_until(process, "motion")
    time.sleep(delay)
    kill(process)
    finish_and_check(project)


def test_killed_while_making_something_again_never_mixes_old_and_new(project, toy_line):
    finish_and_check(project)
    settings = project.read_settings()
    settings.change(RecordName("clean"), {"factor": 5.0, "pause": 0.1})
    settings.save()
    process = start(project, Path(toy_line.__file__).parent)
    read_until(process, "clean: A done")
    time.sleep(0.4)
    kill(process)
    # the user goes back: A was made with 5, B and C still stand with 2; B was begun, so nothing may be taken on trust
    settings.change(RecordName("clean"), {"factor": 2.0, "pause": 0.0})
    settings.save()
    made = finish_and_check(project)
    assert made["clean"] == ("A", "B")
