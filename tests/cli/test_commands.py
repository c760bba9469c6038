"""The command line's own manners: help, exit codes, one clear line for every mistake."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lamella.cli import main
from lamella.cli.commands import COMMANDS
from lamella.formats.mrc import write_mrc
from lamella.workflow.steps import LINE

EVERY_COMMAND = [*COMMANDS, *(step.name for step in LINE)]


def lamella(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lamella", *map(str, words)], capture_output=True, text=True, check=False, **options
    )


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("lamella: ")
    return lines[0]


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    path = tmp_path / "TS_1.mrc"
    write_mrc(path, np.random.default_rng(1).normal(100, 10, (11, 32, 48)).astype(np.float32), 10.0)
    (tmp_path / "TS_1.rawtlt").write_text("\n".join(f"{angle}" for angle in range(-50, 51, 10)) + "\n")
    return path


def new_words(stack: Path, project: Path) -> list[str]:
    words = ["new", project, "--stack", stack, "--angles", stack.with_suffix(".rawtlt")]
    return [str(word) for word in [*words, "--pixel-size", "10", "--tilt-axis", "85"]]


@pytest.fixture
def project(stack: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    path = stack.parent / "P"
    assert main(new_words(stack, path)) == 0
    capsys.readouterr()
    return path


@pytest.mark.parametrize("command", ["", *EVERY_COMMAND])
def test_every_command_has_help(command, capsys):
    assert main([*command.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Usage: lamella")
    assert max(map(len, text.splitlines())) <= 120


def test_root_help_names_every_command(capsys):
    assert main([]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in EVERY_COMMAND)


@pytest.mark.parametrize("command", ["run", "align", "ctf"])
def test_help_answers_quickly(command):
    def work_s() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    times = []
    for _ in range(5):
        begin = work_s()
        assert lamella(command, "--help").returncode == 0
        times.append(work_s() - begin)
    # one process on one core: its processor time is what it takes where nothing else runs
    assert min(times) < 0.4


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from lamella.cli import main; main(['align', '--help']);"
        "print([name for name in ('torch', 'numba', 'scipy', 'numpy', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_of_a_step_tells_units_bounds_and_defaults(capsys):
    assert main(["clean", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--max-fraction VALUE" in text
    assert "[> 0, ≤ 0.2] (default: 0.01)" in text
    assert "[in px, ≥ 1, ≤ 6] (default: 2.1)" in text


def test_version(capsys):
    import lamella as package

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"lamella {package.__version__}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ruin"], "did you mean run?"),
        (["run", "P", "--form", "clean"], "did you mean --from?"),
        (["run"], "PROJECT"),
        (["run", "nowhere"], "make it with `lamella new`"),
        (["status", "nowhere"], "there is no such project"),
        (["run", "P", "extra"], "extra"),
        (["new", "Q"], "either --mdoc or --stack"),
        (["new", "Q", "--mdoc", "*.nothing"], "matches no file"),
        (["new", "Q", "--stack", "no.mrc", "--angles", "-60,3", "--pixel-size", "1", "--tilt-axis", "0"], "no.mrc"),
        (["export", "P", "out"], "--format"),
        (["simulate", "S", "--preset", "quik"], "did you mean quick?"),
        (["simulate", "S", "--set", "pixel_sice=3"], "did you mean pixel_size?"),
        (["simulate", "S", "--set", "dose"], "write it as --set"),
        (["convert", "a.mrc"], "TARGET"),
    ],
)
def test_misuse_is_one_line_and_exit_code_2(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert said in one_line(capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--to", "clen"], "did you mean clean?"),
        (["run", "--set", "clean.peek=3"], "did you mean peak?"),
        (["run", "--set", "clean.peak=-3"], "give in SD, > 0 (default 10"),
        (["run", "--set", "clean.peak"], "has no value"),
        (["run", "--set", "clena.peak=3"], "did you mean clean?"),
        (["run", "--set", "run.reprot=false"], "did you mean report?"),
        (["run", "--set", "run.workers=0"], "≥ 1"),
        (["run", "--only", "TS_2"], "did you mean TS_1?"),
        (["run", "--from", "align", "--to", "clean"], "comes before"),
        (["run", "--executor", "slurm"], "executor"),
        (["run", "--workers", "0"], "≥ 1"),
        (["clean", "--exclude", "0"], "exclude"),
        (["clean", "--peak", "many"], "peak"),
        (["clean", "--peek", "3"], "did you mean --peak?"),
        (["clean", "--as", "../out"], "not the name of a record"),
        (["clean", "--as", "peak"], "name of a setting"),
        (["clean", "--input", "nothing"], "not the name of a record"),
        (["align"], "--to clean"),
        (["import", "path", "--format", "imodd"], "did you mean imod?"),
        (["export", "out", "--format", "imod"], "no record align yet"),
    ],
)
def test_misuse_of_a_project_is_one_line_and_exit_code_2(words, said, project, capsys):
    before = (project / "lamella.toml").read_text()
    assert main([words[0], str(project), *words[1:]]) == 2
    assert said in one_line(capsys)
    assert (project / "lamella.toml").read_text() == before


def test_run_sets_how_it_runs_too(project, capsys):
    assert main(["run", str(project), "--to", "motion", "--set", "run.report=false"]) == 0
    assert "run.report = false" in capsys.readouterr().out
    assert not (project / "report").exists()
    assert main(["run", str(project), "--to", "motion", "--report"]) == 0  # for this once
    assert (project / "report").exists()
    assert "\nreport = false" in (project / "lamella.toml").read_text()


def test_new_refuses_a_folder_that_holds_something(project, stack, capsys):
    assert main(new_words(stack, project)) == 2
    assert "exists and is not empty" in one_line(capsys)
    (stack.parent / "empty").mkdir()
    assert main(new_words(stack, stack.parent / "empty")) == 0


def test_new_tells_what_it_assumed_and_keeps_it(project, stack, capsys):
    assert main([*new_words(stack, stack.parent / "Q"), "--voltage", "300", "--json"]) == 0
    *_, last = capsys.readouterr().out.splitlines()
    told = json.loads(last)
    assert told["series"] == ["TS_1"]
    assert any("amplitude contrast" in note["text"] for note in told["notes"])
    from lamella.workflow.ledger import Ledger

    with Ledger(stack.parent / "Q/lamella.db") as ledger:
        assert len(ledger.notes()) == len(told["notes"])


@pytest.mark.parametrize("missing", ["--angles", "--pixel-size", "--tilt-axis"])
def test_new_wants_what_no_assumption_is_safe_for(missing, stack, capsys, tmp_path):
    words = new_words(stack, tmp_path / "Q")
    place = words.index(missing)
    assert main(words[:place] + words[place + 2 :]) == 2
    assert f"{missing} is missing" in one_line(capsys)
    assert not (tmp_path / "Q").exists()


def test_angles_that_start_with_a_minus(stack, tmp_path, capsys):
    words = new_words(stack, tmp_path / "Q")
    words[words.index("--angles") + 1] = "-50,10"
    assert main(words) == 0
    assert "tilts -50° to 50°" in capsys.readouterr().out


def test_settings_given_are_kept_and_told(project, capsys):
    assert main(["run", str(project), "--to", "motion", "--set", "clean.exclude=2,3", "--no-report"]) == 0
    assert "clean.exclude = [2, 3]" in capsys.readouterr().out
    from lamella.workflow.project import Project
    from lamella.workflow.record_name import RecordName

    assert Project(project).read_settings().settings(RecordName("clean")).exclude == (2, 3)


def test_json_is_the_last_line(project, capsys):
    assert main(["run", str(project), "--to", "motion", "--no-report", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["steps"][0]["made"] == ["TS_1"]
    assert main(["status", str(project), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    states = {row["record"]: row["state"] for row in rows}
    assert states["motion"] == "passed on"
    assert states["align"] == "to do"


def test_reader_that_goes_away_is_no_error(project):
    code = f"{sys.executable} -m lamella status {project} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_unforeseen_error_is_one_line_and_exit_code_1(project, capsys, monkeypatch):
    monkeypatch.delenv("LAMELLA_DEBUG", raising=False)

    def broken(*_):
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr("lamella.workflow.status.project_status", broken)
    assert main(["status", str(project)]) == 1
    assert "unforeseen RuntimeError: first line;" in one_line(capsys)


def test_console_script_is_the_same_command(project):
    script = Path(sys.executable).with_name("lamella")
    if not script.exists():
        pytest.skip("lamella is not installed as a script here")
    done = subprocess.run([script, "status", str(project)], capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0
    assert "TS_1" in done.stdout
