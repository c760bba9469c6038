"""Pictures of the simulated microscope, measured: places, contrast transfer, electron statistics, damage."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lamella.errors import SettingsError
from lamella.simulate import (
    Bodies,
    Gaussians,
    Microscope,
    SimulateSettings,
    build_specimen,
    expose,
    mean_counts,
    record_series,
    true_motion,
)
from lamella.simulate.contrast import TemplateSpectra
from lamella.simulate.mount import mount
from lamella.simulate.templates import ball_template, cloud_template
from lamella.simulate.transfer import interaction_per_volt_ang
from lamella.simulate.transmission import ice_transmission

PLAIN = SimulateSettings(
    width=128,
    height=112,
    pixel_size=10.0,
    thickness=800.0,
    particles=0,
    vesicles=0,
    beads=0,
    ice_noise=0.0,
    tilt_step=10.0,
    shift=60.0,
    x_tilt=3.0,
    ctf=False,
    damage=False,
    noise=False,
    frames=0,
    detector="ideal",
    hot_pixels=0,
    dead_pixels=0,
    xrays=0.0,
    mean_free_path=0.0,
    amplitude_contrast=0.07,
    astigmatism=0.0,
    astigmatism_variation=0.0,
    source_angle=0.0,
    focal_spread=0.0,
)
STRAIGHT = {
    "tilt_range": 0.0,
    "shift": 0.0,
    "x_tilt": 0.0,
    "tilt_offset": 0.0,
    "axis_variation": 0.0,
    "drift": 0.0,
    "deformation": 0.0,
    "defocus_spread": 0.0,
    "tilt_noise": 0.0,
}
WAVELENGTH_300KV = 0.019687  # Å, from tables


def change(settings: SimulateSettings, **values) -> SimulateSettings:
    return SimulateSettings.model_validate({**settings.model_dump(), **values})


EMPTY = build_specimen(PLAIN)


def specimen_of(settings: SimulateSettings, places, weight: float = 2e5, sigma: float = 25.0):
    """Bodies that are single Gaussians, so that every picture is known."""
    places = np.atleast_2d(np.asarray(places, dtype=float))
    template = cloud_template("ball", Gaussians(np.zeros((1, 3)), [weight], [sigma]), settings.pixel_size)
    bodies = Bodies(places_ang=places, angles_deg=np.zeros_like(places), template=np.zeros(len(places), dtype=np.int64))
    return dataclasses.replace(EMPTY, templates=(template,), bodies=bodies)


def microscope(specimen, settings: SimulateSettings, **fields) -> Microscope:
    series = record_series(settings)
    return Microscope(
        mounted=mount(specimen),
        series=series,
        settings=settings,
        motion=true_motion(settings, series) if settings.movies else None,
        spectra=TemplateSpectra(specimen),
        **fields,
    )


def centroid(dark: np.ndarray, near: np.ndarray, radius: float) -> np.ndarray:
    y, x = np.mgrid[: dark.shape[0], : dark.shape[1]]
    weight = np.where(np.hypot(x - near[0], y - near[1]) < radius, dark, 0.0)
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


@pytest.mark.parametrize("deformation", [0.0, 20.0])
def test_a_bead_follows_the_geometry_to_a_hundredth_of_a_pixel(deformation: float) -> None:
    """In every view, with shifts, axis, x-tilt, tilt offset, magnification and local deformation."""
    settings = change(PLAIN, deformation=deformation, magnification_drift=0.003)
    point = np.array([90.0, -150.0, 120.0])
    series = record_series(settings)
    specimen = specimen_of(settings, point, weight=2e5, sigma=25.0)
    assert series.geometry is not None
    expected = series.geometry.project(point)[:, :] / settings.pixel_size + (64, 56)
    for view in range(len(series)):
        dark = 1 - mean_counts(specimen, series, settings, view) / (settings.dose * settings.pixel_size**2)
        assert np.hypot(*(centroid(dark, expected[view], 16) - expected[view])) < 0.01


def test_with_contrast_transfer_it_is_still_there() -> None:
    settings = change(PLAIN, ctf=True, defocus=5000.0, defocus_spread=0.0, astigmatism=500.0)
    point = np.array([90.0, -150.0, 120.0])
    series = record_series(settings)
    specimen = specimen_of(settings, point)
    assert series.geometry is not None
    expected = series.geometry.project(point) / settings.pixel_size + (64, 56)
    for view in range(len(series)):
        dark = 1 - mean_counts(specimen, series, settings, view) / (settings.dose * settings.pixel_size**2)
        assert np.hypot(*(centroid(dark**2, expected[view], 16) - expected[view])) < 0.02


def test_the_darkening_is_the_projected_potential() -> None:
    settings = change(PLAIN, tilt_range=0.0, shift=0.0)
    specimen = specimen_of(settings, [0.0, 0.0, 0.0])
    image = mean_counts(specimen, record_series(settings), settings, 0)
    contrast = 1 - image.astype(float) / (settings.dose * 100)
    assert interaction_per_volt_ang(300.0) == pytest.approx(6.53e-4, rel=2e-3)  # rad/(V·Å), tables
    assert contrast.sum() * 100 == pytest.approx(6.53e-4 * 2e5, rel=5e-3)


def test_an_asymmetric_body_is_not_mirrored() -> None:
    """The template's own coordinates, turned by RELION's angles and the view's rotation, give the picture's dots."""
    settings = change(PLAIN, pixel_size=6.0, tilt_step=30.0, deformation=0.0)
    dots = np.array([[0.0, 0.0, 0.0], [60.0, 0.0, 0.0], [0.0, 100.0, 10.0], [-30.0, 20.0, 130.0]])
    weights = np.array([1.0, 2.0, 3.0, 4.0]) * 1e4
    template = cloud_template("dots", Gaussians(dots, weights, np.full(4, 12.0)), 6.0)
    bodies = Bodies(
        places_ang=np.array([[50.0, -70.0, 30.0]]),
        angles_deg=np.array([[40.0, 75.0, -110.0]]),
        template=np.zeros(1, dtype=np.int64),
    )
    specimen = dataclasses.replace(EMPTY, templates=(template,), bodies=bodies)
    series = record_series(settings)
    assert series.geometry is not None
    points = bodies.places_ang + dots @ bodies.rotations()[0].T
    y, x = np.mgrid[:112, :128]
    for view in range(len(series)):
        q = series.geometry.project(points)[view] / 6.0 + (64, 56)
        dark = 1 - mean_counts(specimen, series, settings, view) / (settings.dose * 36)
        s = 12.0 * series.geometry.magnification[view] / 6.0
        expected = sum(
            w * np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * s**2)) for w, (a, b) in zip(weights, q, strict=True)
        )
        expected *= interaction_per_volt_ang(300.0) / (2 * np.pi * 12.0**2)
        assert np.abs(dark - expected).max() < 4e-3 * expected.max()


def transfer(settings: SimulateSettings, height_ang: float, **changes):
    """kx, ky and measured transfer: the spectrum with CTF over the one without."""
    settings = change(settings, **{**STRAIGHT, "width": 256, "height": 256, "pixel_size": 6.0, **changes})
    specimen = specimen_of(settings, [0.0, 0.0, height_ang], weight=2e3, sigma=6.0)
    series = record_series(settings)
    spectra = []
    for ctf in (True, False):
        image = mean_counts(specimen, series, change(settings, ctf=ctf), 0).astype(float)
        spectra.append(np.fft.rfft2(np.fft.ifftshift(image - image[0, 0])).real)
    ky, kx = np.fft.fftfreq(256)[:, None] / 6.0, np.fft.rfftfreq(256)[None, :] / 6.0
    k = np.hypot(ky, kx)
    keep = (k > 0.004) & (k < 0.068)
    order = np.argsort(k[keep])
    kx, ky = (np.broadcast_to(part, k.shape)[keep][order] for part in (kx, ky))
    return kx, ky, (spectra[0][keep] / spectra[1][keep])[order]


def formula(k, defocus_ang, cs_mm: float = 2.7, amplitude: float = 0.07, plate_deg: float = 0.0):
    """2 sin(χ + φ + arcsin A), χ = π λ Δf k² − π/2 Cs λ³ k⁴: written out here, not taken from the package."""
    chi = np.pi * WAVELENGTH_300KV * defocus_ang * k**2 - np.pi / 2 * cs_mm * 1e7 * WAVELENGTH_300KV**3 * k**4
    return 2 * np.sin(chi + np.deg2rad(plate_deg) + np.arcsin(amplitude))


def test_contrast_transfer_has_its_zeros_where_the_formula_puts_them() -> None:
    kx, ky, measured = transfer(PLAIN, 0.0, defocus=25000.0)
    k = np.hypot(kx, ky)
    np.testing.assert_allclose(measured, formula(k, 25000.0), atol=0.03)
    fine = np.linspace(k[0], k[-1], 20001)
    zeros = fine[1:][np.diff(np.sign(formula(fine, 25000.0))) != 0]
    crossings = k[1:][np.diff(np.sign(measured)) != 0]
    assert len(zeros) >= 2
    for zero in zeros:
        assert np.abs(crossings - zero).min() < 0.5 / (256 * 6.0)  # within half a sample


def test_astigmatism_lies_along_the_angle_of_the_record() -> None:
    settings = change(PLAIN, **STRAIGHT, astigmatism=2000.0)
    defocus = record_series(settings).defocus
    assert defocus is not None
    kx, ky, measured = transfer(PLAIN, 0.0, defocus=20000.0, astigmatism=2000.0)
    along = np.cos(2 * (np.arctan2(ky, kx) - np.deg2rad(defocus.angle_deg[0])))
    np.testing.assert_allclose(measured, formula(np.hypot(kx, ky), 20000.0 + 2000.0 * along), atol=0.04)


def test_a_phase_plate_shifts_the_transfer() -> None:
    kx, ky, measured = transfer(PLAIN, 0.0, defocus=8000.0, phase_shift=90.0)
    np.testing.assert_allclose(measured, formula(np.hypot(kx, ky), 8000.0, plate_deg=90.0), atol=0.03)
    with_plate, without = (record_series(change(PLAIN, phase_shift=value)).defocus for value in (90.0, 0.0))
    assert with_plate is not None
    assert without is not None
    assert (with_plate.phase_shift_deg == 90.0).all()
    assert without.phase_shift_deg is None


def test_the_envelope_damps_by_frank_and_wade() -> None:
    kx, ky, measured = transfer(PLAIN, 0.0, defocus=25000.0, source_angle=0.3, focal_spread=800.0)
    k = np.hypot(kx, ky)
    lag = 2.7e7 * WAVELENGTH_300KV**2 * k**3 - 25000.0 * k
    damped = np.exp(-((np.pi * 3e-4 * lag) ** 2) - (np.pi * WAVELENGTH_300KV * 800.0 * k**2) ** 2 / 2)
    assert damped.min() < 0.7
    np.testing.assert_allclose(measured, damped * formula(k, 25000.0), atol=0.03)


@pytest.mark.parametrize("hand", [-1, 1])
def test_defocus_grows_by_hand_times_depth(hand: int) -> None:
    kx, ky, measured = transfer(PLAIN, 3000.0, defocus=20000.0, hand=hand)
    k = np.hypot(kx, ky)
    np.testing.assert_allclose(measured, formula(k, 20000.0 + hand * 3000.0), atol=0.06)
    assert np.abs(measured - formula(k, 20000.0 - hand * 3000.0)).max() > 0.5


def test_membranes_are_imaged_like_bodies() -> None:
    """The same Gaussian as a body and as part of the cloud gives one picture, in a tilted view with transfer."""
    settings = change(PLAIN, ctf=True, defocus=20000.0, tilt_step=60.0, pixel_size=8.0, source_angle=0.1)
    place = np.array([[60.0, 100.0, 200.0]])
    series = record_series(settings)
    body = specimen_of(settings, place, weight=1e5, sigma=16.0)
    cloud = dataclasses.replace(EMPTY, cloud=Gaussians(place, [1e5], [16.0]))
    for view in range(len(series)):
        pictures = [1 - mean_counts(one, series, settings, view) / (3 * 64.0) for one in (body, cloud)]
        assert np.abs(pictures[0] - pictures[1]).max() < 0.03 * np.abs(pictures[0]).max()


def test_mass_is_dark_and_a_bead_darker() -> None:
    settings = change(PLAIN, **STRAIGHT, ctf=True)
    gold = ball_template("gold", 100.0, 25.0, 10.0, absorption=1.4e-4)
    places = {"bead": [200.0, 100.0, 0.0], "particle": [-200.0, -100.0, 0.0]}
    specimen = specimen_of(settings, places["particle"], weight=4e6, sigma=60.0)
    bodies = Bodies(
        places_ang=np.array([places["particle"], places["bead"]]),
        angles_deg=np.zeros((2, 3)),
        template=np.array([0, 1]),
    )
    specimen = dataclasses.replace(specimen, templates=(*specimen.templates, gold), bodies=bodies)
    series = record_series(settings)
    assert series.geometry is not None
    geometry = series.geometry
    image = mean_counts(specimen, series, settings, 0) / (settings.dose * 100)

    def level(point):
        x, y = np.rint(geometry.project(point)[0] / 10 + [64, 56]).astype(int)
        return float(image[y - 2 : y + 3, x - 2 : x + 3].mean())

    assert level(places["bead"]) < 0.5
    assert level(places["particle"]) < 0.985


def test_electrons_are_counted_by_poisson() -> None:
    settings = change(PLAIN, noise=True, tilt_range=20.0)
    series = record_series(settings)
    counts = np.stack([expose(EMPTY, series, settings, view) for view in range(len(series))]).astype(float)
    expected = 3.0 * 100
    n = counts.size
    assert (counts == np.rint(counts)).all()
    assert counts.mean() == pytest.approx(expected, abs=5 * np.sqrt(expected / n))
    assert counts.var() == pytest.approx(expected, rel=5 * np.sqrt(2 / n))
    third = ((counts - counts.mean()) ** 3).mean()
    assert third == pytest.approx(expected, rel=0.35)  # a Gaussian of this spread has 0
    assert abs(np.corrcoef(counts[0].ravel(), counts[1].ravel())[0, 1]) < 0.05


def test_tilted_views_are_dimmer_by_the_path_through_the_ice() -> None:
    settings = change(
        PLAIN,
        **{**STRAIGHT, "tilt_range": 60.0},
        mean_free_path=3000.0,
        inelastic_background=0.0,
        magnification_drift=0,
    )
    series = record_series(settings)
    levels = [mean_counts(EMPTY, series, settings, view).mean() / 300 for view in (0, len(series) // 2)]
    assert levels == pytest.approx([np.exp(-800 / 3000 / np.cos(np.deg2rad(60))), np.exp(-800 / 3000)], rel=1e-4)
    with_background = mean_counts(EMPTY, series, change(settings, inelastic_background=0.25), 0).mean() / 300
    assert with_background == pytest.approx(levels[0] + 0.25 * (1 - levels[0]), rel=1e-4)


def test_later_views_have_lost_fine_detail() -> None:
    """Ratio of spectra of the last to the first exposure follows exp(−N / 2 Ne) of Grant & Grigorieff."""
    settings = change(PLAIN, damage=True, tilt_step=60.0, dose=20.0, width=112)
    series, specimen = record_series(settings), specimen_of(settings, [0.0, 0.0, 0.0], sigma=10.0)
    last = int(np.argmax(series.pre_exposure))
    assert series.pre_exposure[last] == 40.0
    spectra = []
    for damage in (True, False):
        image = mean_counts(specimen, series, change(settings, damage=damage), last).astype(float)
        spectra.append(np.abs(np.fft.rfft2(image - np.median(image))))
    k = np.hypot(np.fft.fftfreq(112)[:, None], np.fft.rfftfreq(112)) / 10.0
    ring = (k > 0.024) & (k < 0.026)
    critical = 0.24499 * 0.025**-1.6649 + 2.8141
    expected = np.exp(-40 / 2 / critical) * (1 - np.exp(-20 / 2 / critical)) / (20 / 2 / critical)
    assert spectra[0][ring].sum() / spectra[1][ring].sum() == pytest.approx(expected, rel=0.02)


def test_blank_and_dark_views() -> None:
    settings = change(PLAIN, noise=True, blank_views=(2, 5), dark_views=1)
    series = record_series(settings)
    by_time = {int(place): view for view, place in enumerate(series.place)}
    levels = {place: expose(EMPTY, series, settings, view).mean() / 300 for place, view in by_time.items()}
    assert levels[2] == levels[5] == 0
    assert sorted(levels.values())[2] == pytest.approx(0.1, rel=0.02)
    assert sorted(levels.values())[3] == pytest.approx(1.0, rel=0.02)
    assert np.sort(record_series(change(PLAIN, blank_views=3)).scores["Beam"])[:4].tolist() == [0, 0, 0, 1]


def test_a_bent_slab_dims_by_the_path_that_the_beam_has_through_it() -> None:
    """Middle plane z = -b (x² / w² - 1/3): q = x cos α + z sin α, path = t / |cos α + z' sin α|."""
    bend, tilt = 60.0, np.deg2rad(30.0)
    settings = change(PLAIN, **STRAIGHT | {"start_tilt": 30.0}, axis=0.0, mean_free_path=3000.0, bend=bend)
    half = settings.image_shape_px[1] * settings.pixel_size / 2
    geometry = record_series(settings).geometry.select([0])
    specimen = dataclasses.replace(EMPTY, bend_ang=bend, field_ang=(2 * half, 2 * half, settings.thickness))
    shown = ice_transmission(mount(specimen), geometry, settings, settings.image_shape_px)
    q = (np.arange(128) - 64) * settings.pixel_size
    x = q.copy()
    for _ in range(30):
        x = (q + np.sin(tilt) * bend * ((x / half) ** 2 - 1 / 3)) / np.cos(tilt)
    inside = np.abs(x) < 0.95 * half
    path = settings.thickness / np.abs(np.cos(tilt) - np.sin(tilt) * 2 * bend * x / half**2)
    expected = np.exp(-path / 3000.0)
    assert np.ptp(expected[inside]) > 0.02
    np.testing.assert_allclose(shown[50][inside], expected[inside], atol=2e-3)


@pytest.mark.parametrize("changes", [{"blank_views": 99}, {"dark_views": (3, 99)}])
def test_no_more_views_than_there_are_can_be_blank(changes) -> None:
    with pytest.raises(SettingsError, match=r"_views = .*99.* of a series of \d+ views"):
        record_series(change(PLAIN, **changes))
