"""Pictures of the simulated microscope, measured: places, contrast transfer, electron statistics, damage."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lamella.simulate import Gaussians, SimulateSettings, build_specimen, expose, mean_counts, record_series
from lamella.simulate.microscope import acquisition_order, interaction_per_volt_ang

PLAIN = SimulateSettings(
    width=128,
    height=112,
    pixel_size=10.0,
    thickness=800.0,
    particles=0,
    vesicles=0,
    beads=0,
    tilt_step=10.0,
    shift=60.0,
    x_tilt=3.0,
    ctf=False,
    damage=False,
    noise=False,
    mean_free_path=0.0,
    amplitude_contrast=0.07,
)
WAVELENGTH_300KV = 0.019687  # Å, from tables


def specimen_of(settings: SimulateSettings, places, weight: float = 2e5, sigma: float = 25.0):
    places = np.atleast_2d(np.asarray(places, dtype=float))
    cloud = Gaussians(places, np.full(len(places), weight), np.full(len(places), sigma))
    return dataclasses.replace(build_specimen(settings), matter=cloud)


@pytest.mark.parametrize("ctf", [False, True])
def test_a_point_is_seen_where_the_geometry_puts_it(ctf: bool) -> None:
    """Centroid of the darkening in every view, with shifts, axis, x-tilt and tilt offset, to 0.05 px."""
    settings = PLAIN.model_copy(update={"ctf": ctf, "defocus": 5000.0, "defocus_spread": 0.0})
    point = np.array([90.0, -150.0, 120.0])
    series = record_series(settings)
    specimen = specimen_of(settings, point)
    expected = series.geometry.project(point) / settings.pixel_size
    y, x = np.mgrid[: settings.height, : settings.width]
    for view in range(len(series)):
        dark = 1 - mean_counts(specimen, series, settings, view) / (settings.dose * settings.pixel_size**2)
        near = np.hypot(x - 64 - expected[view, 0], y - 56 - expected[view, 1]) < 16
        weight = np.where(near, dark**2 if ctf else dark, 0.0)
        found = (
            np.array([(weight * x).sum() - 64 * weight.sum(), (weight * y).sum() - 56 * weight.sum()]) / weight.sum()
        )
        assert np.hypot(*(found - expected[view])) < 0.05


def test_the_darkening_is_the_projected_potential() -> None:
    settings = PLAIN.model_copy(update={"tilt_range": 0.0, "shift": 0.0})
    specimen = specimen_of(settings, [0.0, 0.0, 0.0])
    image = mean_counts(specimen, record_series(settings), settings, 0)
    contrast = 1 - image.astype(float) / (settings.dose * 100)
    assert interaction_per_volt_ang(300.0) == pytest.approx(6.53e-4, rel=2e-3)  # rad/(V·Å), tables
    assert contrast.sum() * 100 == pytest.approx(6.53e-4 * 2e5, rel=5e-3)


def transfer(settings: SimulateSettings, height_ang: float, **changes):
    """Radial frequency and measured transfer: the spectrum with CTF over the one without."""
    settings = settings.model_copy(
        update={"tilt_range": 0.0, "shift": 0.0, "x_tilt": 0.0, "tilt_offset": 0.0, "axis_variation": 0.0}
        | {"width": 256, "height": 256, "defocus_spread": 0.0, "pixel_size": 6.0, **changes}
    )
    specimen = specimen_of(settings, [0.0, 0.0, height_ang], weight=2e3, sigma=6.0)
    series = record_series(settings)
    spectra = []
    for ctf in (True, False):
        image = mean_counts(specimen, series, settings.model_copy(update={"ctf": ctf}), 0).astype(float)
        spectra.append(np.fft.rfft2(np.fft.ifftshift(image - image[0, 0])).real)
    k = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256)) / settings.pixel_size
    keep = (k > 0.004) & (k < 0.075)
    order = np.argsort(k[keep])
    return k[keep][order], (spectra[0][keep] / spectra[1][keep])[order]


def formula(k, defocus_ang: float, cs_mm: float = 2.7, amplitude: float = 0.07):
    """2 sin(χ + arcsin A), χ = π λ Δf k² − π/2 Cs λ³ k⁴: written out here, not taken from the package."""
    chi = np.pi * WAVELENGTH_300KV * defocus_ang * k**2 - np.pi / 2 * cs_mm * 1e7 * WAVELENGTH_300KV**3 * k**4
    return 2 * np.sin(chi + np.arcsin(amplitude))


def test_contrast_transfer_has_its_zeros_where_the_formula_puts_them() -> None:
    k, measured = transfer(PLAIN, 0.0, defocus=25000.0)
    np.testing.assert_allclose(measured, formula(k, 25000.0), atol=0.03)
    fine = np.linspace(k[0], k[-1], 20001)
    zeros = fine[1:][np.diff(np.sign(formula(fine, 25000.0))) != 0]
    crossings = k[1:][np.diff(np.sign(measured)) != 0]
    assert len(zeros) >= 2
    for zero in zeros:
        assert np.abs(crossings - zero).min() < 0.5 / (256 * 6.0)  # within half a sample


@pytest.mark.parametrize("hand", [-1, 1])
def test_defocus_grows_by_hand_times_depth(hand: int) -> None:
    k, measured = transfer(PLAIN, 3000.0, defocus=20000.0, hand=hand)
    np.testing.assert_allclose(measured, formula(k, 20000.0 + hand * 3000.0), atol=0.06)
    assert np.abs(measured - formula(k, 20000.0 - hand * 3000.0)).max() > 0.5


def test_mass_is_dark_and_a_bead_darker() -> None:
    settings = PLAIN.model_copy(update={"ctf": True, "beads": 1, "particles": 1, "tilt_range": 0.0, "shift": 0.0})
    series, specimen = record_series(settings), build_specimen(settings)
    image = mean_counts(specimen, series, settings, 0) / (settings.dose * 100)

    def level(point):
        x, y = series.geometry.project(point)[0] / 10
        return float(image[round(y) + 56 - 2 : round(y) + 59, round(x) + 64 - 2 : round(x) + 67].mean())

    assert level(specimen.beads_ang[0]) < 0.5
    assert level(specimen.particles_in_view().places_ang[0]) < 0.99


def test_electrons_are_counted_by_poisson() -> None:
    settings = PLAIN.model_copy(update={"noise": True, "tilt_range": 20.0})
    series, specimen = record_series(settings), build_specimen(settings)
    counts = np.stack([expose(specimen, series, settings, view) for view in range(len(series))]).astype(float)
    expected = 3.0 * 100
    n = counts.size
    assert (counts == np.rint(counts)).all()
    assert counts.mean() == pytest.approx(expected, abs=5 * np.sqrt(expected / n))
    assert counts.var() == pytest.approx(expected, rel=5 * np.sqrt(2 / n))
    third = ((counts - counts.mean()) ** 3).mean()
    assert third == pytest.approx(expected, rel=0.35)  # a Gaussian of this spread has 0
    assert abs(np.corrcoef(counts[0].ravel(), counts[1].ravel())[0, 1]) < 0.05


def test_tilted_views_are_dimmer_by_the_path_through_the_ice() -> None:
    settings = PLAIN.model_copy(update={"mean_free_path": 3000.0, "x_tilt": 0.0, "tilt_offset": 0.0, "tilt_noise": 0.0})
    series, specimen = record_series(settings), build_specimen(settings)
    levels = [mean_counts(specimen, series, settings, view).mean() / 300 for view in (0, len(series) // 2)]
    assert levels == pytest.approx([np.exp(-800 / 3000 / np.cos(np.deg2rad(60))), np.exp(-800 / 3000)], rel=1e-4)


def test_later_views_have_lost_fine_detail() -> None:
    """Ratio of spectra of the last to the first exposure follows exp(−N / 2 Ne) of Grant & Grigorieff."""
    settings = PLAIN.model_copy(update={"damage": True, "tilt_step": 60.0, "dose": 20.0, "width": 112})
    settings = settings.model_copy(update={"tilt_range": 60.0})
    series, specimen = record_series(settings), specimen_of(settings, [0.0, 0.0, 0.0], sigma=10.0)
    last = int(np.argmax(series.pre_exposure))
    assert series.pre_exposure[last] == 40.0
    spectra = []
    for damage in (True, False):
        image = mean_counts(specimen, series, settings.model_copy(update={"damage": damage}), last).astype(float)
        spectra.append(np.abs(np.fft.rfft2(image - np.median(image))))
    k = np.hypot(np.fft.fftfreq(112)[:, None], np.fft.rfftfreq(112)) / 10.0
    ring = (k > 0.024) & (k < 0.026)
    critical = 0.24499 * 0.025**-1.6649 + 2.8141
    expected = np.exp(-40 / 2 / critical) * (1 - np.exp(-20 / 2 / critical)) / (20 / 2 / critical)
    assert spectra[0][ring].sum() / spectra[1][ring].sum() == pytest.approx(expected, rel=0.02)


def test_the_order_is_dose_symmetric() -> None:
    np.testing.assert_array_equal(acquisition_order(12, 3), [0, 3, -3, -6, 6, 9, -9, -12, 12])
    np.testing.assert_array_equal(acquisition_order(0, 3), [0])
    assert len(acquisition_order(60, 3)) == 41
    assert acquisition_order(0.3, 0.1).max() == pytest.approx(0.3)


def test_the_record_is_the_truth_that_was_asked_for() -> None:
    settings = PLAIN.model_copy(update={"tilt_step": 3.0, "nominal_axis": 85.0, "axis": 86.7, "axis_variation": 0.1})
    series = record_series(settings)
    geometry = series.geometry
    assert (np.diff(series.nominal_tilt_deg) > 0).all()
    assert geometry.z_rot_deg.mean() == pytest.approx(86.7)
    assert geometry.z_rot_deg.std() == pytest.approx(0.1)
    assert np.abs(np.diff(geometry.z_rot_deg)).max() < 0.05  # a slow change
    np.testing.assert_allclose(geometry.y_tilt_deg - series.nominal_tilt_deg, settings.tilt_offset)
    assert geometry.x_shift_ang.std() == pytest.approx(60.0, rel=0.4)
    np.testing.assert_allclose(series.pre_exposure, 3.0 * (series.place - 1))
    by_time = series.nominal_tilt_deg[np.argsort(series.place)]
    np.testing.assert_allclose(by_time, acquisition_order(60, 3), atol=0.1)
