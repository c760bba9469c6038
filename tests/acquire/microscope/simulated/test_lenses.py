"""The true lenses: what image shift, focus and beam tilt do, against what they are told, in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.acquire.microscope.port import Landmarks, Picture, Purpose
from lamella.acquire.microscope.simulated import SimulatedMicroscope
from lamella.acquire.microscope.simulated.lenses import TrueLenses
from lamella.acquire.world import load_world
from lamella.acquire.world_tables import OpticsTable

TRACK = Purpose(kind="track")


def lenses(seed: int = 1, **terms: object) -> TrueLenses:
    return TrueLenses(OpticsTable.model_validate(terms), np.random.default_rng(seed))


def microscope(seed: int = 3, **changes: object) -> SimulatedMicroscope:
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return SimulatedMicroscope(load_world("rigid", named), seed, targets=4)


def places(picture: Picture) -> np.ndarray:
    assert isinstance(picture.content, Landmarks)
    return picture.content.places_um


def test_an_image_shift_is_longer_and_turned_by_what_the_world_says() -> None:
    signs = set()
    for seed in range(12):
        lens = lenses(seed, shift_scale_error=0.005, shift_turn_error=0.3)
        lens.shift(np.array([6.0, 0.0]))
        x, y = lens.shift_um
        assert np.hypot(x, y) in (pytest.approx(6.03), pytest.approx(5.97))
        assert abs(np.rad2deg(np.arctan2(y, x))) == pytest.approx(0.3)
        signs.add((np.hypot(x, y) > 6, y > 0))
    assert len(signs) == 4


def test_the_error_acts_on_what_is_told_and_shows_in_the_picture() -> None:
    scope = microscope(optics__shift_scale_error=0.01)
    before = places(scope.expose("track_low", TRACK)).copy()
    scope.shift_image(0.5, 0.0)
    moved = before - places(scope.expose("track_low", TRACK))
    np.testing.assert_allclose(moved[:, 1], 0.0, atol=1e-12)
    assert abs(moved[:, 0] - 0.5) == pytest.approx(0.005)
    assert scope.status().image_shift_um == (0.5, 0.0)


def test_hysteresis_is_between_the_two_sides_that_a_shift_comes_from() -> None:
    lens = lenses(shift_hysteresis=0.01)
    for step in ([1.0, 0.0], [0.0, 1.0], [0.6, 0.8]):
        way = np.array(step)
        ends = []
        for start in (-3.0, 3.0):
            lens.shift(start * way)
            lens.shift(np.zeros(2))
            ends.append(lens.shift_um)
        # Each lags behind by the half of it, towards where it came from.
        np.testing.assert_allclose(ends[0], -0.005 * way, atol=1e-6)
        np.testing.assert_allclose(ends[1], 0.005 * way, atol=1e-6)
    lens.shift(np.array([0.002, 0.0]))
    lens.shift(np.array([0.0, 0.0]))
    before = lens.shift_um
    lens.shift(np.array([0.001, 0.0]))
    np.testing.assert_allclose(lens.shift_um, before, atol=1e-12)  # less than the play moves nothing


def test_a_bent_shift_errs_as_its_square() -> None:
    lens = lenses(shift_bend=0.08)
    for way in (np.array([1.0, 0.0]), np.array([0.6, 0.8])):
        errors = [np.linalg.norm(lens.shift_of(length * way) - length * way) for length in (2.0, 4.0, 8.0)]
        np.testing.assert_allclose(np.array(errors) / errors[2], [1 / 16, 1 / 4, 1.0])
        assert errors[2] <= 0.08


def test_a_change_of_focus_is_not_the_stages_height() -> None:
    for seed in range(4):
        scope = microscope(seed, optics__focus_scale_error=0.05, stage__move_error=0.0)
        record = Purpose(kind="record", target=0, tilt=0)

        def defocus(scope: SimulatedMicroscope = scope, record: Purpose = record) -> float:
            scope.expose("record", record)
            return scope.truth.views[-1].defocus_um

        scope.focus(2.0)
        first = defocus()
        scope.focus(5.0)
        by_lens = defocus() - first
        scope.move_stage(0.0, 0.0, -3.0 * scope.calibrations.hand)
        by_stage = defocus() - by_lens - first
        assert by_lens in (pytest.approx(3.15), pytest.approx(2.85))
        assert by_stage == pytest.approx(-3.0)


def test_focus_is_set_with_the_error_stated_anew_each_time() -> None:
    lens = lenses(focus_noise=0.05, focus_offset=(0.3, 0.3))
    found = []
    for _ in range(2000):
        lens.focus(3.0)
        found.append(lens.defocus_um)
    assert abs(np.mean(found) - 3.0) == pytest.approx(0.3, abs=0.005)
    assert np.std(found) == pytest.approx(0.05, rel=0.06)
    assert abs(np.corrcoef(found[1:], found[:-1])[0, 1]) < 0.08


def test_a_beam_tilts_wrong_scale_passes_for_defocus() -> None:
    scope = microscope(optics__beam_tilt_scale_error=0.04)
    scope.focus(3.0)
    straight = places(scope.expose("focus", TRACK)).copy()
    scope.tilt_beam(0.0, 10.0)
    off = places(scope.expose("focus", TRACK)) - straight
    np.testing.assert_allclose(off[:, 0], 0.0, atol=1e-12)
    assert off[0, 1] in (pytest.approx(0.03 * 1.04), pytest.approx(0.03 * 0.96))


def test_the_true_tilt_axis_lies_beside_the_calibrated_one() -> None:
    scope = microscope(optics__tilt_axis_error=0.2)
    before = places(scope.expose("track_low", TRACK)).copy()
    scope.shift_image(0.0, 0.5)
    x, y = (before - places(scope.expose("track_low", TRACK)))[0]
    assert abs(np.rad2deg(np.arctan2(x, y))) == pytest.approx(0.2)
    assert np.hypot(x, y) == pytest.approx(0.5)
