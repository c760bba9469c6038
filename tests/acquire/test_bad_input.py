"""What users get wrong: refused with what is wrong, where, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamella.acquire import AcquireSettings, replay_session, run_session
from lamella.acquire.microscope.simulated import SimulatedMicroscope
from lamella.acquire.simulated_session import simulate_session, simulated_targets
from lamella.acquire.targets import read_targets
from lamella.acquire.world import load_world
from lamella.errors import InputError, SettingsError


def test_a_world_without_a_way_to_record(tmp_path: Path) -> None:
    path = tmp_path / "world.toml"
    path.write_text("[presets.track]\ndose = 0.5\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"presets\.record"):
        simulate_session(load_world(path), 1, targets=2)


def test_a_replay_with_no_such_predictor(tmp_path: Path) -> None:
    scope = SimulatedMicroscope(load_world("rigid"), 1, targets=1)
    run_session(scope, simulated_targets(scope), AcquireSettings(tilts=(0.0,)), tmp_path / "s")
    with pytest.raises(SettingsError, match=r"'best'.*'shared'"):
        replay_session(tmp_path / "s", "best")


def test_a_script_that_is_none() -> None:
    with pytest.raises(SettingsError, match=r"\[\[faults.script\]\]"):
        load_world("bisect", {"faults.script": 3})


def test_a_setting_that_is_none_and_a_grid_that_stands_upright() -> None:
    with pytest.raises(SettingsError, match="no setting 'tilt_stp'; did you mean tilt_step"):
        simulate_session(load_world("rigid", {"session.tilt_stp": 3.0}), 1, targets=2)
    with pytest.raises(SettingsError, match="70° at most"):
        load_world("rigid", {"grid.pretilt": (80.0, 90.0)})


def test_settings_that_do_not_go_together_name_no_single_one() -> None:
    with pytest.raises(SettingsError, match="the session: 3 shots"):
        simulate_session(load_world("rigid"), 1, targets=2, overrides={"shots": 3})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no such file"),
        ("name,x_um,y_um\nT1,abc,0\n", "^targets.csv, target 1: x_um is 'abc'; give a number in µm$"),
        ("name,x_um,y_um\nT1,0\n", "y_um is ''"),
        ("name,x_um,y_um\nT1,inf,0\n", "no number"),
    ],
)
def test_a_table_of_targets_that_is_none(
    text: str | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path("targets.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=words):
        read_targets("targets.csv")
