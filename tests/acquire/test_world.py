"""Worlds: files with every parameter and its unit, clear words about what is wrong in one, and ranges that widen."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path

import pytest

from lamella.acquire.acquire_settings import AcquireSettings
from lamella.acquire.world import WORLDS, World, load_world, wider_world, world_text
from lamella.errors import InputError, SettingsError


@pytest.mark.parametrize("name", WORLDS)
def test_a_named_world_is_a_file_of_every_parameter_with_its_unit(name: str) -> None:
    text = resources.files("lamella.acquire").joinpath("worlds", f"{name}.toml").read_text(encoding="utf-8")
    world = load_world(name)
    body = text[text.index("[stage]") :]
    assert body == world_text(world)
    assert World.model_validate(tomllib.loads(text)) == world


@pytest.mark.parametrize("name", WORLDS)
def test_a_worlds_session_is_one_that_there_can_be(name: str) -> None:
    settings = AcquireSettings.model_validate(load_world(name).session)
    assert len(settings.tilt_scheme()) == 41


def test_the_world_rigid_has_no_error() -> None:
    world = load_world("rigid")
    assert wider_world(world, 3.0) == world


def test_the_world_bisect_stays_within_what_is_known_of_stages() -> None:
    world = load_world("bisect")
    for pair, (least, most) in {
        world.stage.settling: (0.05, 0.3),
        world.stage.drift: (0.5, 2.0),
        world.stage.wander: (0.05, 0.15),
        world.stage.jump: (0.3, 1.0),
        world.stage.axis_offset: (0.0, 1.0),
        world.grid.pretilt: (5.0, 10.0),
    }.items():
        assert least <= pair[0] <= pair[1] <= most
    assert world.stage.settling_time == 60
    assert world.stage.jump_rate == 0.025
    assert world.stage.drift_time <= 480
    assert (world.optics.shift_scale_error, world.optics.shift_turn_error) == (0.005, 0.3)
    assert (world.optics.shift_hysteresis, world.optics.focus_scale_error) == (0.01, 0.05)
    assert world.grid.target_height == 0.3
    assert 0.2 <= world.stage.settling_random <= 0.6


def test_overrides_and_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[stage]\nwander = [0.1, 0.2]\n[session]\ntilt_step = 6.0\n", encoding="utf-8")
    world = load_world(path, {"stage.jump_rate": 0.5, "session.dose": 2.0})
    assert world.stage.wander == (0.1, 0.2)
    assert world.stage.jump_rate == 0.5
    assert world.session == {"tilt_step": 6.0, "dose": 2.0}
    assert world.presets["record"].dose == 3.0


def test_a_wider_world_draws_from_wider_ranges() -> None:
    world = load_world("bisect")
    wider = wider_world(world, 2.0)
    assert wider.stage.wander == (world.stage.wander[0] / 2, 2 * world.stage.wander[1])
    assert wider.optics.shift_scale_error == 2 * world.optics.shift_scale_error
    assert (wider.timing, wider.targets, wider.stage.settling_time) == (world.timing, world.targets, 60)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("stage.wandr", (0.1, 0.2), "did you mean wander"),
        ("stage.wander", (0.2, 0.1), "least to its greatest"),
        ("stage.wander", (-0.2, 0.1), "neither below 0"),
        ("stage.settling_random", 1.5, "less than or equal to 1"),
        ("stage.settling_time", float("nan"), "finite"),
        ("session.dose", float("inf"), "finite"),
        ("stge.wander", 1.0, "did you mean stage"),
        ("wander", 1.0, "table.field"),
        ("stage.wander.x", 1.0, "no table"),
        ("faults.script", [{"kind": "earthquake"}], "dark-image"),
        ("stage.settling_time", True, "true is no number"),
        ("stage.settling_time", "60", "text, not a number"),
        ("stage.settling_time", "60 s", "units are not written"),
        ("stage.wander", (0.0, 1e300), "beyond 1e"),
        ("stage.wander", ("0.1", 0.2), "text, not a number"),
        ("stage.wander", 0.1, "least, greatest"),
        ("stage.wander", [0.1], "least, greatest"),
        ("stage.wander", [0.1, 0.2, 0.3], "least, greatest"),
        ("presets.record.beam", 1e308, "beyond 1e"),
    ],
)
def test_what_is_wrong_is_said(key: str, value: object, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load_world("bisect", {key: value})


def test_no_such_world_and_no_toml(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean bisect"):
        load_world("bisekt")
    bad = tmp_path / "bad.toml"
    bad.write_text("[stage\n", encoding="utf-8")
    with pytest.raises(InputError, match="no TOML"):
        load_world(bad)
