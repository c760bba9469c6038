"""`lamella acquire …` from end to end through the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lamella.acquire.session.log import LOG_NAME
from lamella.acquire.world import load_world, world_text
from lamella.cli import main

FEW = ["--tilt-range", "12", "--tilt-step", "6"]  # five tilts


def said(capsys: pytest.CaptureFixture[str]) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def refused(words: list[str], capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    capsys.readouterr()
    assert main(words) == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def planned(folder: Path, *words: str) -> str:
    assert main(["acquire", "plan", str(folder), "--targets", "3", *FEW, *words]) == 0
    return str(folder)


def world_with(path: Path, **fault: object) -> str:
    path.write_text(world_text(load_world("bisect", {"faults.script": [fault]})))
    return str(path)


def events(folder: Path | str) -> list[str]:
    """Lines of the log without its head, which names the world, and without remarks."""
    lines = (Path(folder) / LOG_NAME).read_text().splitlines()[1:]
    return [line for line in lines if not line.startswith('{"note"')]


def test_simulate_tells_its_numbers(capsys):
    assert main(["acquire", "simulate", "--world", "rigid", "--targets", "3", "--seed", "2", *FEW, "--json"]) == 0
    numbers = said(capsys)
    assert set(numbers) == {
        "targeting_um",
        "defocus_um",
        "tracking_nm",
        "targets_finished",
        "targets_lost",
        "minutes_per_series",
    }
    assert numbers["targeting_um"]["median"] < 1e-6
    assert numbers["defocus_um"]["median"] < 1e-3
    assert numbers["tracking_nm"] < 1e-3
    assert (numbers["targets_finished"], numbers["targets_lost"]) == (3, 0)
    assert 0 < numbers["minutes_per_series"] < 10


def test_plan_run_resume_replay_report(tmp_path, capsys):
    folder = planned(tmp_path / "S", "--json")
    plan = said(capsys)
    assert (plan["targets"], plan["tilts"], plan["views"]) == (3, 5, 15)
    assert (tmp_path / "S" / "plan.png").read_bytes().startswith(b"\x89PNG")
    assert main(["acquire", "run", folder, "--json"]) == 0
    ran = said(capsys)
    assert (ran["finished"], ran["views"], ran["left_out"]) == (3, 15, 0)
    before = (tmp_path / "S" / LOG_NAME).read_bytes()
    assert main(["acquire", "resume", folder, "--json"]) == 0
    out = capsys.readouterr().out
    assert "finished" in out.splitlines()[0]
    assert json.loads(out.splitlines()[-1]) == ran
    assert (tmp_path / "S" / LOG_NAME).read_bytes() == before
    assert main(["acquire", "replay", folder, "--predictor", "flat", "--json"]) == 0
    assert said(capsys)["views"] == 15
    assert main(["acquire", "report", folder, "--json"]) == 0
    page = Path(said(capsys)["report"]).read_text()
    assert "true targeting error" in page
    assert page.count("<svg") == 12
    assert "could not be drawn" not in page
    live = (tmp_path / "S" / "live.html").read_text()
    assert "100 % done" in live
    assert "http-equiv" in live
    assert 'content="5"' not in live  # over: nothing more to load


def test_run_refuses_a_session_that_has_begun(tmp_path, capsys):
    folder = planned(tmp_path / "S")
    assert main(["acquire", "run", folder]) == 0
    assert "resume" in refused(["acquire", "run", folder], capsys)
    assert "resume" in refused(["acquire", "plan", folder], capsys)


def test_a_crash_is_one_line_and_resume_finishes_the_same(tmp_path, capsys):
    crash = planned(tmp_path / "C", "--world", world_with(tmp_path / "c.toml", kind="crash", call=200))
    whole = planned(tmp_path / "W")
    assert "lamella acquire resume" in refused(["acquire", "run", crash], capsys, code=1)
    assert main(["acquire", "resume", crash]) == 0
    assert main(["acquire", "run", whole]) == 0
    assert events(crash) == events(whole)


def test_killed_and_resumed_is_the_same(tmp_path):
    killed, whole = planned(tmp_path / "K", "--group", "2"), planned(tmp_path / "W", "--group", "2")
    process = subprocess.Popen(
        [sys.executable, "-m", "lamella", "acquire", "run", killed],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    log, until = tmp_path / "K" / LOG_NAME, time.monotonic() + 60
    while time.monotonic() < until and not (log.exists() and log.stat().st_size > 40_000):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert main(["acquire", "resume", killed]) == 0
    assert main(["acquire", "run", whole]) == 0
    assert events(killed) == events(whole)


def test_nonsense_is_survived(tmp_path, capsys):
    world = world_with(tmp_path / "n.toml", kind="nonsense", tilt=2, times=1)
    assert main(["acquire", "simulate", "--world", world, "--targets", "3", *FEW, "--json"]) == 0
    assert said(capsys)["targets_lost"] == 0


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--dose", "100"], "budget"),
        (["--tilts", "0,3,3"], "3"),
        (["--tilts", "0,90"], "90"),
        (["--world", "bisekt"], "bisect"),
        (["--predictor", "oracle"], "predictor"),
        (["--targets", "0"], "target"),
        (["--targets", "nowhere.csv"], "nowhere.csv"),
    ],
)
def test_bad_plans_are_refused(words, names, tmp_path, capsys):
    line = refused(["acquire", "plan", str(tmp_path / "S"), *words], capsys)
    assert names in line
    assert not (tmp_path / "S").exists()


def test_targets_beyond_the_shift_limit(tmp_path, capsys):
    table = tmp_path / "t.csv"
    table.write_text("name,x_um,y_um\nnear,1,1\nfar,14,14\n")
    line = refused(["acquire", "plan", str(tmp_path / "S"), "--targets", str(table)], capsys)
    assert "far" in line
    assert "19.8" in line


def test_a_preset_that_is_not_calibrated(tmp_path, capsys):
    text = world_text(load_world("bisect"))
    begin = text.index("[presets.track_low]")
    (tmp_path / "w.toml").write_text(text[:begin] + text[text.index("[presets.focus]") :])
    line = refused(["acquire", "plan", str(tmp_path / "S"), "--world", str(tmp_path / "w.toml")], capsys)
    assert "track_low" in line


@pytest.mark.parametrize("verb", ["run", "resume", "replay", "report"])
def test_a_folder_without_a_session(verb, tmp_path, capsys):
    assert str(tmp_path) in refused(["acquire", verb, str(tmp_path)], capsys)


@pytest.mark.parametrize("targets", [1, 9])
@pytest.mark.parametrize(("world", "within"), [("rigid", 0.1), ("bisect", 0.2)])
def test_the_time_planned_is_the_time_taken(world, within, targets, tmp_path, capsys):
    folder = str(tmp_path / "S")
    assert main(["acquire", "plan", folder, "--world", world, "--targets", str(targets), "--json"]) == 0
    planned_min = said(capsys)["minutes"]
    assert main(["acquire", "run", folder, "--json"]) == 0
    assert planned_min == pytest.approx(said(capsys)["minutes"], rel=within)
