"""The simulated microscope: an ideal one shows each target where geometry says, one seed is one microscope."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.acquire.microscope.port import Landmarks, Microscope, Purpose
from lamella.acquire.microscope.simulated import SimulatedMicroscope
from lamella.acquire.world import load_world
from lamella.errors import InputError, SettingsError
from lamella.geometry import TiltGeometry

TRACK = Purpose(kind="track")
REFERENCE = Purpose(kind="reference", tilt=-1)


def _places(picture: object) -> np.ndarray:
    assert isinstance(picture.content, Landmarks)  # type: ignore[attr-defined]
    return picture.content.places_um  # type: ignore[attr-defined]


def test_it_is_a_microscope() -> None:
    microscope: Microscope = SimulatedMicroscope(load_world("rigid"), 0)
    assert microscope.calibrations.presets["record"].field_um == pytest.approx((0.671, 0.945), abs=1e-3)
    assert microscope.limits.image_shift_um == 15.0


def test_in_the_rigid_world_every_target_is_where_geometry_says() -> None:
    microscope = SimulatedMicroscope(load_world("rigid"), 4, targets=25)
    microscope.expose("track", REFERENCE)
    angles = np.arange(-60.0, 61.0, 3.0)
    places = np.column_stack([microscope.targets_um, np.zeros(25)])
    expected = TiltGeometry.from_angles(angles).project(places)
    for number, angle in enumerate(angles):
        microscope.tilt(angle)
        for target in range(25):
            microscope.shift_image(*expected[number, target])
            microscope.focus(3.0 - microscope.calibrations.hand * -places[target, 0] * np.sin(np.deg2rad(angle)))
            microscope.expose("record", Purpose(kind="record", target=target, tilt=number))
    offsets = np.array([view.offset_um for view in microscope.truth.views])
    np.testing.assert_allclose(offsets, 0.0, atol=1e-12)
    np.testing.assert_allclose([view.defocus_um for view in microscope.truth.views], 3.0, atol=1e-12)


def test_landmarks_move_as_points_of_the_specimen() -> None:
    microscope = SimulatedMicroscope(load_world("rigid", {"grid.pretilt": (8.0, 8.0)}), 2, targets=4)
    middle = _places(microscope.expose("track", TRACK)).copy()
    place = microscope.appears_um(np.zeros((1, 3)))[0]
    microscope.shift_image(0.1, -0.05)
    np.testing.assert_allclose(_places(microscope.expose("track", TRACK)), middle - [0.1, -0.05], atol=1e-12)
    microscope.shift_image(0.0, 0.0)
    microscope.tilt(30.0)
    tilted = _places(microscope.expose("track", TRACK))
    np.testing.assert_allclose(tilted[:, 1], middle[:, 1], atol=1e-12)
    cosine, sine = np.cos(np.deg2rad(30.0)), np.sin(np.deg2rad(30.0))
    heights = (tilted[:, 0] - middle[:, 0] * cosine) / sine
    # The features lie on one plane, inclined by 8°.
    slopes = np.linalg.lstsq(middle, heights - place[2], rcond=None)[0]
    assert np.rad2deg(np.arctan(np.hypot(*slopes))) == pytest.approx(8.0, abs=1e-6)


def test_a_tilted_beam_displaces_by_the_defocus() -> None:
    microscope = SimulatedMicroscope(load_world("rigid"), 2, targets=4)
    microscope.focus(2.5)
    straight = _places(microscope.expose("focus", TRACK))
    microscope.tilt_beam(10.0, 0.0)
    np.testing.assert_allclose(_places(microscope.expose("focus", TRACK)) - straight, [[0.025, 0.0]] * 9, atol=1e-12)


def test_errors_of_matching_have_the_size_stated() -> None:
    microscope = SimulatedMicroscope(load_world("rigid", {"optics.matching": 10.0}), 2, targets=4)
    pictures = [microscope.expose("track", TRACK) for _ in range(400)]
    means = np.array([_places(picture).mean(axis=0) for picture in pictures])
    assert means.std(axis=0) == pytest.approx(10 * 1.64e-4, rel=0.15)
    assert np.std([_places(p)[0] for p in pictures], axis=0) == pytest.approx(pictures[0].content.sd_um, rel=0.15)
    half = microscope.expose("track", TRACK, exposure_s=0.15)
    assert half.content.sd_um == pytest.approx(np.sqrt(2) * pictures[0].content.sd_um)


def test_features_outside_the_field_are_somewhere_in_it() -> None:
    microscope = SimulatedMicroscope(load_world("rigid"), 2, targets=4)
    microscope.expose("track", TRACK)
    microscope.shift_image(5.0, 0.0)
    lost = _places(microscope.expose("track", TRACK))
    assert np.abs(lost).max() < 0.5
    assert lost.std() > 0.1


def test_one_seed_is_one_microscope() -> None:
    def told(seed: int) -> np.ndarray:
        microscope = SimulatedMicroscope(load_world("bisect"), seed)
        microscope.tilt(6.0)
        microscope.shift_image(*microscope.targets_um[7])
        return _places(microscope.expose("track", TRACK))

    np.testing.assert_array_equal(told(5), told(5))
    assert np.abs(told(5) - told(6)).max() > 0.01


def test_the_true_places_are_those_of_the_last_reference() -> None:
    microscope = SimulatedMicroscope(load_world("bisect"), 8)
    microscope.move_stage(0.0, 0.0, 2.0)
    for wait in (0.0, 300.0):
        microscope.wait(wait)
        microscope.expose("track", REFERENCE)
    true = microscope.truth.places_um
    seen = np.array([microscope.appears_um(true[target])[:2] for target in range(25)])
    # What is left between the middle of the exposure and now is drift.
    scale, turn = 0.005 * 8, np.deg2rad(0.3) * 8
    assert np.abs(seen - microscope.targets_um).max() < np.hypot(scale, turn) + 0.01
    microscope.expose("record", Purpose(kind="record", target=3, tilt=0))
    assert microscope.truth.places_um[3] is not None
    assert np.array_equal(microscope.truth.places_um[3], true[3])


def test_times_add_up() -> None:
    microscope = SimulatedMicroscope(load_world("rigid"), 0)
    timing = microscope.world.timing
    microscope.tilt(30.0)
    assert microscope.time_s == pytest.approx(timing.tilt + 30.0 / timing.tilt_speed)
    before = microscope.time_s
    microscope.shift_image(1.0, 0.0)
    microscope.focus(2.0)
    microscope.expose("record", Purpose(kind="record", target=0, tilt=0))
    assert microscope.time_s - before == pytest.approx(timing.shift + timing.focus + 0.7 + timing.readout)


def test_free_targets_keep_their_distance() -> None:
    world = load_world("rigid", {"targets.arrangement": "free", "targets.distance": 1.4})
    places = SimulatedMicroscope(world, 3, targets=25).targets_um
    away = np.hypot(*(places[:, None] - places).transpose(2, 0, 1)) + 99 * np.eye(25)
    assert away.min() >= 1.4
    assert np.hypot(*places.T).max() <= 8.0
    with pytest.raises(SettingsError, match="no room"):
        SimulatedMicroscope(world, 3, targets=500)


def test_what_are_no_targets_is_refused() -> None:
    for places in ([[np.nan, 0.0]], [1.0, 2.0], [[1.0]]):
        with pytest.raises(InputError, match="places"):
            SimulatedMicroscope(load_world("rigid"), 0, targets=places)
    with pytest.raises(SettingsError):
        SimulatedMicroscope(load_world("rigid"), 0, targets=0)
    with pytest.raises(InputError, match="seed"):
        SimulatedMicroscope(load_world("rigid"), -1)
