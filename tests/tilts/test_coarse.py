from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lamella.geometry import TiltGeometry
from lamella.records import ArrayImages
from lamella.tilts.coarse import PairCorrelator, coarse_shifts, is_compact, telling_pairs
from lamella.tilts.compare import geometry_error
from lamella.tilts.working import prepare

Simulate = Callable[..., Any]


def nominal(simulated: Any, axis: float | None = None) -> TiltGeometry:
    series = simulated.series
    return TiltGeometry.from_angles(series.nominal_tilt_deg, series.nominal_axis_deg if axis is None else axis)


def test_one_pair_against_a_shift_by_whole_pixels(rng: np.random.Generator) -> None:
    """Two untilted views of one scene, cut 7 and −4 pixels apart."""
    scene = rng.normal(size=(200, 200))
    scene = np.fft.irfft2(
        np.fft.rfft2(scene)
        * np.exp(-((np.hypot(*np.meshgrid(np.fft.rfftfreq(200), np.fft.fftfreq(200))) / 0.06) ** 2)),
        s=(200, 200),
    )
    scene = scene + 0.02 * scene.std() * rng.normal(size=scene.shape)
    first, second = scene[30:158, 30:158], scene[23:151, 34:162]
    images = prepare(ArrayImages(np.stack([first, second, first]).astype(np.float32)), 10.0, 128)
    geometry = TiltGeometry.from_angles([0.0, 0.0, 0.0])
    # what stands at row r in the first stands at r + 7 in the second, which has to move by −7
    pair = PairCorrelator(images).pair(geometry, 0, 1, None)
    np.testing.assert_allclose(pair.shift_ang, [40.0, -70.0], atol=2.5)
    assert pair.height > 0.8
    # told of that shift, nothing is left
    told = geometry.with_terms(x_shift_ang=[0, -40, 0], y_shift_ang=[0, 70, 0])
    np.testing.assert_allclose(PairCorrelator(images).pair(told, 0, 1, 30.0).shift_ang, 0, atol=3.5)


@pytest.mark.parametrize(("shift_px", "noise"), [(10, 0.0), (10, 3.0), (50, 1.0)])
def test_shifts_up_to_forty_percent_of_the_field(simulate: Simulate, shift_px: float, noise: float) -> None:
    simulated = simulate(size=128, views=31, shift_px=shift_px, noise=noise, particles=300)
    images = prepare(ArrayImages(simulated.images), 10.0, 128)
    found = coarse_shifts(images, nominal(simulated, axis=85.0))
    error = geometry_error(found.geometry, simulated.truth, simulated.points)
    assert error.rms_ang < 15
    assert geometry_error(nominal(simulated, 85.0), simulated.truth, simulated.points).rms_ang > 3 * error.rms_ang


def test_the_least_tilted_view_stays(simulate: Simulate) -> None:
    simulated = simulate(size=128, views=21, noise=1.0)
    found = coarse_shifts(prepare(ArrayImages(simulated.images), 10.0, 128), nominal(simulated)).geometry
    np.testing.assert_allclose(found.shifts_ang()[10], 0, atol=1e-9)


def test_views_of_nothing_but_noise_do_not_break_the_chain(simulate: Simulate, rng: np.random.Generator) -> None:
    simulated = simulate(size=128, views=31, shift_px=20, particles=300)
    stack = simulated.images.copy()
    bad = [7, 22]
    stack[bad] = rng.normal(size=(2, 128, 128))
    found = coarse_shifts(prepare(ArrayImages(stack), 10.0, 128), nominal(simulated, 85.0))
    good = np.setdiff1d(np.arange(31), bad)
    error = geometry_error(found.geometry.select(good), simulated.truth.select(good), simulated.points)
    assert error.rms_ang < 15
    to_bad = np.isin(found.pairs, bad).any(axis=1)
    assert np.median(found.significance[~to_bad]) > 2 * np.median(found.significance[to_bad])


def test_the_order_of_the_views_does_not_matter(simulate: Simulate, rng: np.random.Generator) -> None:
    simulated = simulate(size=128, views=15, noise=1.0)
    order = rng.permutation(15)
    straight = coarse_shifts(prepare(ArrayImages(simulated.images), 10.0, 128), nominal(simulated)).geometry
    shuffled = coarse_shifts(
        prepare(ArrayImages(simulated.images[order]), 10.0, 128), nominal(simulated).select(order)
    ).geometry
    np.testing.assert_allclose(shuffled.shifts_ang(), straight.shifts_ang()[order], atol=1e-3)


def test_a_film_is_told_from_a_compact_object(simulate: Simulate) -> None:
    for compact in (False, True):
        simulated = simulate(size=128, views=31, max_tilt=72, shift_px=0, noise=0.3, compact=compact, particles=200)
        images = prepare(ArrayImages(simulated.images), 10.0, 128)
        assert is_compact(images, nominal(simulated, 85.0)) == compact


def test_telling_pairs_are_steep_and_begin_with_the_less_tilted() -> None:
    geometry = TiltGeometry.from_angles(np.linspace(-60, 60, 41))
    pairs = telling_pairs(geometry, 8)
    assert (np.abs(geometry.y_tilt_deg[pairs]).max(axis=1) >= 51).all()
    assert (np.abs(geometry.y_tilt_deg[pairs[:, 0]]) <= np.abs(geometry.y_tilt_deg[pairs[:, 1]])).all()


def test_two_beads_on_one_face_do_not_lead_a_crowd(simulate: Simulate) -> None:
    """Beads far apart match each other too, and lie deeper than the crowd between the faces."""
    simulated = simulate(size=128, views=31, shift_px=8, noise=3.0, particles=200)
    stack, dark = simulated.images.copy(), 60 * simulated.images.std()
    beads = np.array([[-260.0, -200.0, 600.0], [240.0, 220.0, 600.0]])
    places = simulated.truth.project(beads) / 10.0 + 64
    row, column = np.mgrid[:128, :128]
    for image, centres in zip(stack, places, strict=True):
        for x, y in centres:
            image -= dark * np.exp(-((column - x) ** 2 + (row - y) ** 2) / (2 * 4.0**2))
    found = coarse_shifts(prepare(ArrayImages(stack), 10.0, 128), nominal(simulated, 85.0)).geometry
    assert geometry_error(found, simulated.truth, simulated.points).rms_ang < 50
