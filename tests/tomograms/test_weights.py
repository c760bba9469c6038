from __future__ import annotations

import numpy as np
import pytest
from tests.tomograms.blobs import series_of

from lamella.errors import GeometryError
from lamella.geometry import TiltGeometry
from lamella.optics.dose import critical_exposure
from lamella.records import Optics
from lamella.tomograms.reconstruct_settings import ReconstructSettings
from lamella.tomograms.weights import angular_spacing, dose_weights, radial_filter, shares_exactly, unevenness

FREQUENCY = np.linspace(0, 0.75, 2048)


def weight(**settings):
    return radial_filter(FREQUENCY, 1e-3, ReconstructSettings(**settings), path_px=100, range_rad=2.0)


def test_even_tilts_stand_for_even_ranges():
    np.testing.assert_allclose(np.rad2deg(angular_spacing(np.arange(-60, 61, 3.0))), 3.0)


def test_tilts_in_any_order_and_twice():
    spacing = np.rad2deg(angular_spacing(np.array([10.0, 0.0, 4.0, 0.0, -2.0])))
    np.testing.assert_allclose(spacing, [6, 1.5, 5, 1.5, 2])
    assert spacing.sum() == pytest.approx(16)  # from −3 to 13 degrees


def test_a_lonely_view_does_not_stand_for_the_whole_gap():
    tilts = np.array([*np.arange(-20, 21, 2.0), 60.0])
    assert np.rad2deg(angular_spacing(tilts)).max() == pytest.approx(8.0)


def test_one_tilt_is_refused():
    with pytest.raises(GeometryError, match="same tilt"):
        angular_spacing(np.zeros(5))


def test_the_ramp_is_a_ramp_with_the_mean_of_its_middle_step():
    ramp = weight(cutoff=0.5, falloff=0)
    inside = (FREQUENCY > 0.01) & (FREQUENCY <= 0.5)
    np.testing.assert_allclose(ramp[inside], FREQUENCY[inside])
    assert ramp[0] == pytest.approx(1e-3 / 4)
    assert (ramp[FREQUENCY > 0.5] == 0).all()


def test_cutoff_and_falloff():
    ramp = weight(cutoff=0.3, falloff=0.05)
    at = np.argmin(np.abs(FREQUENCY - 0.35))
    assert ramp[at] / FREQUENCY[at] == pytest.approx(np.exp(-0.5), rel=0.02)
    assert ramp[np.argmin(np.abs(FREQUENCY - 0.29))] == pytest.approx(0.29, rel=2e-3)


@pytest.mark.parametrize(("name", "at_nyquist", "at_half"), [("hamming", 0.08, 0.54), ("hann", 0.0, 0.5)])
def test_windows(name, at_nyquist, at_half):
    ratio = weight(filter=name, cutoff=0.5, falloff=0) / np.maximum(FREQUENCY, 1e-3)
    assert ratio[np.searchsorted(FREQUENCY, 0.5) - 1] == pytest.approx(at_nyquist, abs=2e-3)
    assert ratio[np.searchsorted(FREQUENCY, 0.25)] == pytest.approx(at_half, abs=5e-3)


def test_more_rounds_come_nearer_to_the_ramp():
    few, more = (weight(filter="sirt-like", filter_iterations=n, cutoff=0.5, falloff=0) for n in (5, 50))
    ramp = weight(cutoff=0.5, falloff=0)
    high = (FREQUENCY > 0.1) & (FREQUENCY < 0.5)
    assert (few[high] < more[high]).all()
    assert (more[high] < ramp[high]).all()
    low = (FREQUENCY > 1e-3) & (FREQUENCY < 1 / 200)  # each view is alone at its frequency: nothing is left to restore
    np.testing.assert_allclose(few[low], ramp[low], rtol=1e-6)


def test_dose_weights_follow_the_order_of_exposure():
    geometry = TiltGeometry.from_angles([-3.0, 0.0, 3.0])
    record = series_of(geometry, (10, 10), 2.0, pre_exposure=np.array([6.0, 0.0, 3.0]), optics=Optics(voltage_kv=300.0))
    weights = dose_weights(record, FREQUENCY, 4.0)
    at = np.argmin(np.abs(FREQUENCY - 0.4))
    import torch

    critical = float(critical_exposure(torch.tensor(FREQUENCY[at] / 4.0), 300.0))
    for weights_of_view, before in zip(weights, (6.0, 0.0, 3.0), strict=True):
        steps = np.linspace(before, before + 3.0, 2001)
        assert weights_of_view[at] == pytest.approx(np.exp(-steps / (2 * critical)).mean(), rel=1e-3)
        assert weights_of_view[0] == 1


def test_unknown_dose_or_voltage_means_no_weights():
    geometry = TiltGeometry.from_angles([-3.0, 0.0, 3.0])
    with_dose = series_of(geometry, (10, 10), 2.0, pre_exposure=np.arange(3.0))
    assert dose_weights(with_dose, FREQUENCY, 4.0) is None
    with_voltage = series_of(geometry, (10, 10), 2.0, optics=Optics(voltage_kv=300.0))
    assert dose_weights(with_voltage, FREQUENCY, 4.0) is None


def test_what_makes_tilts_uneven():
    even = np.arange(-60, 61, 3.0)
    assert unevenness(TiltGeometry.from_angles(even + 0.05 * np.sin(np.arange(41)))) < 0.05
    assert unevenness(TiltGeometry.from_angles(np.delete(even, 11))) == pytest.approx(1)
    assert unevenness(TiltGeometry.from_angles([0.0, 0.0])) == 0  # nothing to compare


def test_auto_shares_exactly_where_tilts_are_uneven_or_axes_differ():
    even = np.arange(-60, 61, 3.0)
    auto = ReconstructSettings()
    assert not shares_exactly(TiltGeometry.from_angles(even, x_tilt_deg=2.0), auto)
    assert shares_exactly(TiltGeometry.from_angles(np.delete(even, 11)), auto)
    assert shares_exactly(TiltGeometry.from_angles(np.zeros(41), x_tilt_deg=even), auto)
    uneven = TiltGeometry.from_angles(np.delete(even, 11))
    assert not shares_exactly(uneven, ReconstructSettings(weighting="ramp"))
    assert shares_exactly(TiltGeometry.from_angles(even), ReconstructSettings(weighting="exact"))


def likeness(tilts, weighting, **how):
    """Correlation with the truth of a tomogram of 40 random blobs."""
    from tests.tomograms.blobs import blob_images, blob_volume

    from lamella.records import ArrayImages, ArrayVolume
    from lamella.tomograms.box import tomogram_shape
    from lamella.tomograms.reconstruct import plan_tomogram, reconstruct

    rng = np.random.default_rng(12)
    points = rng.uniform(-1, 1, (40, 3)) * (140, 140, 70)
    geometry, mass = TiltGeometry.from_angles(tilts, 85.0), np.ones(40)
    series = series_of(geometry, (80, 80), 5.0)
    settings = ReconstructSettings(
        pixel_size=5.0, thickness=200.0, weighting=weighting, halves="off", cutoff=0.5, falloff=0.0, **how
    )
    tomogram = plan_tomogram(series, settings)
    volume = np.empty(tomogram_shape(tomogram), np.float32)
    images = ArrayImages(blob_images(geometry, (80, 80), 5.0, points, 7.0, mass))
    reconstruct(series, images, tomogram, settings, ArrayVolume(volume))
    truth = blob_volume(volume.shape, 5.0, points, 7.0, mass)
    return np.corrcoef(volume.ravel(), truth.ravel())[0, 1]


@pytest.mark.parametrize("case", ["absent", "Saxton", "one side finer"])
def test_exact_weights_beat_the_ramp_for_uneven_angles(case):
    rng = np.random.default_rng(7)
    even = np.arange(-60, 61, 3.0)
    if case == "absent":
        tilts = np.sort(rng.permutation(even)[:22])
    elif case == "Saxton":
        tilts = np.array([0.0])
        while tilts[-1] < 60:
            tilts = np.append(tilts, tilts[-1] + 6 * np.cos(np.deg2rad(tilts[-1])))
        tilts = np.concatenate([-tilts[:0:-1], tilts])
    else:
        tilts = np.concatenate([np.arange(-60, 0, 1.5), np.arange(0, 61, 6.0)])
    assert likeness(tilts, "exact") > likeness(tilts, "ramp") + 0.001
    assert likeness(tilts, "auto") == likeness(tilts, "exact")
