"""Films as the lens shows them: Fresnel's edge, the weak limit, and light that is not negative."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lamella.optics import electron_wavelength_ang
from lamella.simulate import build_specimen, preset_settings
from lamella.simulate.film_image import film_image
from lamella.simulate.transfer import ViewOptics, apply_transfer_full
from lamella.simulate.transmission import FilmPicture

from .test_microscope import microscope

PIXEL = 4.0


def lens(**changes) -> ViewOptics:
    told = {
        "voltage_kv": 300.0, "spherical_aberration_mm": 0.0, "amplitude_contrast": 0.1, "phase_shift_deg": 0.0,
        "defocus_u_ang": 40000.0, "defocus_v_ang": 40000.0, "angle_deg": 0.0, "hand": -1, "source_angle_rad": 0.0,
        "focal_spread_ang": 0.0, "contrast_transfer": True,
    }  # fmt: skip
    return ViewOptics(**(told | changes))


def test_an_opaque_edge_has_the_fringes_of_fresnel() -> None:
    """1.370 of the beam at 1.217 √(λ z / 2) from the edge, a quarter of it upon the edge."""
    shape = (16, 1024)
    cover = np.zeros(shape, dtype=np.float32)
    cover[:, 256:768] = 1.0
    film = FilmPicture(transmission=cover, potential=np.zeros(shape, dtype=np.float32), depth_ang=0.0)
    line = film_image(film, lens(), PIXEL)[3].astype(float)
    edge = 255.5
    away = (np.arange(1024) - edge) * PIXEL / math.sqrt(electron_wavelength_ang(300.0) * 40000.0 / 2)
    near = (away > 0) & (away < 2.0)
    assert line[near].max() == pytest.approx(1.370, abs=0.02)
    assert away[near][line[near].argmax()] == pytest.approx(1.217, abs=0.12)
    assert np.interp(edge, np.arange(1024), line) == pytest.approx(0.25, abs=0.02)
    assert line.mean() == pytest.approx(0.5, abs=1e-3)  # no electron is lost


@pytest.mark.parametrize("phase_shift", [0.0, 90.0])
def test_a_weak_film_is_the_linear_contrast(phase_shift: float, rng) -> None:
    potential = gaussian_filter(rng.normal(scale=5.0, size=(96, 128)), 1.0, mode="wrap").astype(np.float32)
    potential -= potential.mean()
    optics = lens(
        phase_shift_deg=phase_shift, amplitude_contrast=0.0, defocus_v_ang=36000.0, angle_deg=30.0,
        spherical_aberration_mm=2.7, source_angle_rad=2e-5, focal_spread_ang=60.0,
    )  # fmt: skip
    film = FilmPicture(transmission=np.ones((96, 128), np.float32), potential=potential, depth_ang=300.0)
    terms = np.fft.rfft2(potential).astype(np.complex64)
    apply_transfer_full(terms, (96, 128), PIXEL, optics, 300.0)
    linear = np.fft.irfft2(terms, s=(96, 128))
    assert np.abs(film_image(film, optics, PIXEL) - 1 - linear).max() < 0.02 * np.abs(linear).max()


def test_without_contrast_transfer_it_is_the_transmission() -> None:
    shown = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    film = FilmPicture(transmission=shown, potential=100 * shown, depth_ang=0.0)
    np.testing.assert_array_equal(film_image(film, lens(contrast_transfer=False), PIXEL), shown)


def test_no_light_is_negative_beside_an_opaque_film_in_thin_ice() -> None:
    settings = preset_settings(
        "cellular", size=96, pixel_size=12.0, thickness=200.0, particles=0, small_particles=0, vesicles=0, frames=3,
        inelastic_background=0.0,
    )  # fmt: skip
    shot = microscope(build_specimen(settings), settings)
    for image in shot.expected_frames(3):
        assert image.min() >= 0
        assert image.max() < 3 * np.median(image)
