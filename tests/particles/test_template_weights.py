import numpy as np
import pytest
from tests.particles.blobs import series_of

from lamella.errors import ImageError
from lamella.optics import contrast_transfer
from lamella.particles.template_weights import SearchWeights, measure_noise, transfer_at
from lamella.records import ArrayVolume
from lamella.records.tilt_series import Defocus


def test_what_no_view_sees_counts_nothing_and_what_all_see_counts_one():
    series = series_of()
    frequency = np.array([[0.0, 0.02, 0.0], [0.03, 0.0, 0.0], [0.0, 0.0, 0.03], [0.01, 0.0, -0.03], [0.03, 0.0, 0.03]])
    np.testing.assert_allclose(transfer_at(series, frequency, 200.0), [1, 1, 0, 0, 1], atol=1e-6)


def test_one_view_gives_its_slice_times_its_contrast_transfer():
    series = series_of([20.0])
    series = series.with_changes(
        defocus=Defocus(u_ang=np.array([31000.0]), v_ang=np.array([29000.0]), angle_deg=np.array([25.0]))
    )
    image = contrast_transfer(
        (40, 40), 10.0, defocus_u_ang=31000.0, defocus_v_ang=29000.0, angle_deg=25.0, voltage_kv=300.0
    )
    k = np.array([0.1 / 40 * 7, -0.1 / 40 * 9, 0.0])  # of the image: column 7, row -9
    frequency = series.geometry.rotations()[0].T @ k
    wanted = float(image[-9, 7])
    assert transfer_at(series, frequency[None], 200.0)[0] == pytest.approx(wanted, abs=1e-4)
    for correction, value in (("phase-flip", abs(wanted)), ("multiply", wanted**2)):
        assert transfer_at(series, frequency[None], 200.0, correction=correction)[0] == pytest.approx(value, abs=1e-4)
    off = series.geometry.rotations()[0].T @ (k + np.array([0, 0, 0.5 / 200.0]))
    assert transfer_at(series, off[None], 200.0)[0] == pytest.approx(wanted / 2, abs=1e-3)


def test_dose_weakens_what_later_views_hold():
    series = series_of([0.0, 30.0]).with_changes(pre_exposure=np.array([0.0, 60.0]))
    first, second = (series.geometry.rotations()[v].T @ np.array([0.05, 0.0, 0.0]) for v in (0, 1))
    early, late = transfer_at(series, np.stack([first, second]), 200.0, dose_weighted=False)
    assert late < 0.5 * early
    assert transfer_at(series, second[None], 200.0)[0] == pytest.approx(late**2, rel=1e-4)


def test_the_noise_spectrum_is_measured_in_three_dimensions(rng):
    white = rng.normal(size=(48, 96, 96)).astype(np.float32)
    terms = np.fft.rfftn(white)
    kz, ky = np.fft.fftfreq(48)[:, None, None], np.fft.fftfreq(96)[:, None]
    shaped = np.fft.irfftn(terms * np.exp(-3 * np.abs(ky)) * np.exp(-np.abs(kz)), s=white.shape, axes=(0, 1, 2)).astype(
        np.float32
    )
    noise = measure_noise(ArrayVolume(shaped), 24)
    frequency = np.array([[0.2, 0.0, 0.0], [0.0, 0.2, 0.0], [0.0, 0.0, 0.2], [0.2, 0.2, 0.0]])
    power = noise.at(frequency)
    np.testing.assert_allclose(power / power[0], np.exp([0, -1.2, -0.4, -1.2]), rtol=0.2)


def test_weights_are_interpolated_from_a_grid():
    series = series_of()
    weights = SearchWeights.of(series, 10.0, 200.0, None, highest_px=0.4)
    frequency = np.random.default_rng(0).uniform(-0.2, 0.2, (400, 3))
    amplitude, power = weights.at(frequency)
    exact = transfer_at(series, frequency / 10.0, 200.0)
    assert np.sqrt(np.mean((amplitude - exact) ** 2)) < 0.06
    assert (power == 1).all()


def test_tomograms_without_noise_to_measure_are_refused():
    with pytest.raises(ImageError, match="smaller than windows"):
        measure_noise(ArrayVolume(np.zeros((8, 40, 40), np.float32)), 24)
    with pytest.raises(ImageError, match="constant"):
        measure_noise(ArrayVolume(np.zeros((24, 40, 40), np.float32)), 24)
    with pytest.raises(ImageError, match="not numbers"):
        measure_noise(ArrayVolume(np.full((24, 40, 40), np.nan, np.float32)), 24)
