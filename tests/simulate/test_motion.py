"""Motion within a view: what it is asked to be, and that the frames show it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lamella.records import LocalMotion
from lamella.simulate import record_series, true_motion
from lamella.simulate.warp import warp

from .test_microscope import EMPTY, PLAIN, centroid, change, microscope, specimen_of

MOVING = change(
    PLAIN,
    frames=5,
    frame_format="mrc",
    tilt_step=40.0,
    tilt_range=40.0,
    motion_start=60.0,
    motion_drift=40.0,
    motion_jitter=3.0,
    local_motion=4.0,
    doming=10.0,
)


def test_every_frame_shows_the_true_motion_to_a_hundredth_of_a_pixel() -> None:
    """Bodies at several places: each stands where the record's geometry and motion put it."""
    places = np.array([[0.0, 0.0, 0.0], [300.0, -250.0, 100.0], [-250.0, 350.0, -80.0], [150.0, 400.0, 0.0]])
    specimen = specimen_of(MOVING, places, weight=2e5, sigma=22.0)
    shot = microscope(specimen, MOVING)
    series, motion = shot.series, shot.motion
    assert series.geometry is not None
    assert motion is not None
    seen = 0
    for view in range(len(series)):
        still = series.geometry.project(places)[view] / 10.0 + (64, 56)
        moved = motion[view].displacement(still)
        for frame, image in enumerate(shot.expected_frames(view)):
            dark = 1 - image.astype(float) / (3.0 / 5 * 100)
            for body in range(len(places)):
                x, y = expected = still[body] + moved[frame, body]
                apart = np.linalg.norm(np.delete(still, body, axis=0) - still[body], axis=1).min()
                if apart > 18 and 14 < x < 113 and 14 < y < 97:
                    found = centroid(dark, expected, 8)
                    assert np.hypot(*(found - expected)) < 0.01
                    seen += 1
    assert seen > 20
    assert np.abs(motion[0].local.displacement(np.array([[20.0, 20.0], [100.0, 90.0]]))).max() > 0.2


def test_motion_starts_at_nothing_and_is_quick_at_first() -> None:
    settings = change(MOVING, frames=20, motion_jitter=0.0, motion_drift=0.0, tilt_step=2.0)
    motion = true_motion(settings, record_series(settings))
    steps = np.array([np.linalg.norm(np.diff(one.global_px, axis=0), axis=1) for one in motion])
    assert all((one.global_px[0] == 0).all() for one in motion)
    assert all(not one.local.coefficients_px[0].any() for one in motion)
    assert steps[:, 0].mean() > 4 * steps[:, 10].mean()
    total = np.array([one.global_px[-1] * 10.0 for one in motion])
    # from the middle of the first frame to that of the last, of a motion with this rms
    share = np.exp(-0.025 * 3.0 / 0.5) - np.exp(-0.975 * 3.0 / 0.5)
    assert np.sqrt((total**2).sum(axis=1).mean()) == pytest.approx(60.0 * share, rel=0.4)


def test_views_have_in_common_what_was_asked_for() -> None:
    for shared in (0.0, 1.0):
        settings = change(MOVING, motion_shared=shared, motion_jitter=0.0, tilt_step=1.0)
        last = np.array([one.global_px[-1] for one in true_motion(settings, record_series(settings))])
        common = np.linalg.norm(last.mean(axis=0)) / np.sqrt((last**2).sum(axis=1).mean())
        assert common == pytest.approx(shared, abs=0.3)


def test_a_dome_shows_only_where_the_specimen_is_tilted() -> None:
    settings = change(MOVING, local_motion=0.0, tilt_offset=0.0, x_tilt=0.0, tilt_noise=0.0)
    series = record_series(settings)
    motion = true_motion(settings, series)
    middle, edge = np.array([63.5, 55.5]), np.array([63.5, 0.0])
    for view, tilt in enumerate(series.nominal_tilt_deg):
        local = motion[view].local.displacement(np.stack([middle, edge]))[-1]
        across = np.linalg.norm(local[0] - local[1])
        if abs(tilt) < 1:
            assert across < 1e-6
        else:
            course = 1 - np.exp(-np.array([0.1, 0.9]) / 0.6)
            share = np.diff(course)[0] / (1 - np.exp(-1 / 0.6))
            late = 0.3 + 0.7 * np.exp(-series.pre_exposure[view] / 30)
            assert across == pytest.approx(1.0 * np.sin(np.deg2rad(40)) * late * share, rel=0.05)


def test_local_motion_has_no_part_that_is_global() -> None:
    settings = change(MOVING, doming=0.0, tilt_step=4.0)
    grid = np.stack(np.meshgrid(np.linspace(0, 127, 30), np.linspace(0, 111, 30)), axis=-1)
    for one in true_motion(settings, record_series(settings)):
        moved = one.local.displacement(grid)[-1] * 10.0
        assert np.abs(moved.mean(axis=(0, 1))).max() < 2.0
        assert np.sqrt((moved**2).sum(axis=-1).mean()) < 16.0


def test_warping_is_exact_below_the_last_frequencies() -> None:
    """Waves of four pixels and more, moved by a field that grows across the frame."""
    rng = np.random.default_rng(2)
    size, room = 96, 16
    waves = rng.uniform(-0.25, 0.25, (12, 2))
    phases = rng.uniform(0, 2 * np.pi, 12)

    def pattern(x, y):
        return sum(np.cos(2 * np.pi * (a * x + b * y) + p) for (a, b), p in zip(waves, phases, strict=True))

    y, x = np.mgrid[-room : size + room, -room : size + room].astype(float)
    image = pattern(x, y).astype(np.float32)
    local = LocalMotion(rng.normal(scale=1.5, size=(1, 2, 4, 4)), (size, size))
    shown = warp(image, local, 0, (room, room), (0.0, 0.0))
    # points that were at whole pixels stand at displaced places of the frame: the inverse, by iteration
    y, x = np.mgrid[:size, :size].astype(float)
    target = np.stack([x, y], axis=-1)
    source = target
    for _ in range(60):
        source = target - local.displacement(source)[0]
    expected = pattern(source[..., 0], source[..., 1])
    assert np.abs(shown - expected)[4:-4, 4:-4].max() < 0.02 * np.abs(expected).max()


def test_the_grain_of_ice_goes_with_the_dose() -> None:
    """Correlation of frames N apart at k: exp(−2 π² k² u² N), with u = 1 Å per e/Å²."""
    settings = change(
        PLAIN, ice_noise=1.0, frames=4, frame_format="mrc", pixel_size=3.0, dose=8.0, tilt_range=0.0, size=256,
        width=0, height=0, motion_start=0.0, motion_drift=0.0, motion_jitter=0.0, local_motion=0.0, doming=0.0,
    )  # fmt: skip
    frames = np.array(list(microscope(EMPTY, settings).expected_frames(0)))
    terms = np.fft.rfft2(frames - frames.mean(axis=(1, 2), keepdims=True))
    k = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256)) / 3.0
    for low, high in ((0.03, 0.05), (0.08, 0.1), (0.13, 0.15)):
        ring = (k > low) & (k < high)
        power = (np.abs(terms[0][ring]) ** 2).sum()
        for later in (1, 3):
            found = (terms[0][ring] * terms[later][ring].conj()).real.sum() / power
            assert found == pytest.approx(np.exp(-2 * np.pi**2 * ((low + high) / 2) ** 2 * 2.0 * later), abs=0.08)


def test_the_film_moves_with_the_specimen() -> None:
    from lamella.simulate.film import Film

    film = Film(
        normal_deg=(0.0,), distance_ang=(0.0,), z_ang=0.0, thickness_ang=4000.0, roughness_ang=0.0, softness_ang=60.0
    )
    settings = change(
        MOVING, tilt_range=0.0, local_motion=0.0, doming=0.0, shift=0.0, drift=0.0, x_tilt=0.0, tilt_offset=0.0,
        deformation=0.0, axis=0.0, axis_variation=0.0,
    )  # fmt: skip
    shot = microscope(dataclasses.replace(EMPTY, film=film), settings)
    assert shot.motion is not None
    edges = []
    for image in shot.expected_frames(0):
        line = image[40:70].mean(axis=0)
        level = (line[10] + line[-10]) / 2
        place = int(np.flatnonzero(line < level)[0])
        edges.append(place - (level - line[place]) / (line[place - 1] - line[place]))
    np.testing.assert_allclose(np.diff(edges), np.diff(shot.motion[0].global_px[:, 0]), atol=0.1)
