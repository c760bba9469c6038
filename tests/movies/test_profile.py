"""The signal's profile from simulated spectra of known envelope and rings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.movies.moving import gaussian_spectra

from lamella.fourier import shell_count
from lamella.movies.profile import SharedPower, fit_profiles, shared_power
from lamella.movies.spectra import FrameSpectra, Profile
from lamella.optics import electron_wavelength_ang
from lamella.records import Optics

SHAPE, PIXEL_ANG = (256, 256), 2.5
OPTICS = Optics(voltage_kv=300.0)
Array = np.ndarray


def frequencies(shape: tuple[int, int]) -> Array:
    return np.arange(max(shape) // 2 + 1) / max(shape) / PIXEL_ANG


def true_profile(
    strength: float, defocus_ang: float | None, frames: int, shape: tuple[int, int] = SHAPE, b: float = 150.0
) -> Profile:
    """A smooth envelope, times sin² of the contrast transfer's phase where a defocus is given, over white noise."""
    k = frequencies(shape)
    envelope = strength * np.exp(-b * k**2 / 2) / (1 + (k / 0.02) ** 2)
    if defocus_ang is not None:
        wavelength = electron_wavelength_ang(300.0)
        phase = np.pi * wavelength * defocus_ang * k**2 - np.pi / 2 * 2.7e7 * wavelength**3 * k**4
        envelope = envelope * np.sin(phase + np.arcsin(0.1)) ** 2
    return Profile(torch.from_numpy(envelope), torch.ones(len(k), dtype=torch.float64), frames, shape)


def power_at_rest(spectra: FrameSpectra) -> SharedPower:
    return shared_power(spectra, torch.zeros((len(spectra), 2), dtype=torch.float64))


def powers(rng: np.random.Generator, profiles: list[Profile]) -> list[SharedPower]:
    return [
        power_at_rest(gaussian_spectra(rng, profile, np.zeros((profile.frames, 2)), PIXEL_ANG)) for profile in profiles
    ]


def information_kept(true: Profile, found: Profile) -> float:
    """Which part of the information on motion is left if the found profile weighs what the true one made."""
    k = frequencies(true.shape)
    shells = (shell_count(true.shape).numpy() * k**2)[(k > 1 / 400) & (np.arange(len(k)) < len(k) - 1)]
    inside = (k > 1 / 400) & (np.arange(len(k)) < len(k) - 1)
    rho = true.ratio.numpy()[inside]
    weight = (found.signal / (found.noise * (found.noise + found.frames * found.signal))).numpy()[inside]
    # bend Σ w ρ k², variance of the slope Σ w² (1 + F ρ) k²
    bend, noise = (shells * weight * rho).sum(), (shells * weight**2 * (1 + true.frames * rho)).sum()
    best = (shells * rho**2 / (1 + true.frames * rho)).sum()
    return float(bend**2 / noise / best)


def test_shared_power_is_the_mean_product(rng: np.random.Generator) -> None:
    true = true_profile(5.0, 20000.0, 5)
    spectra = gaussian_spectra(rng, true, np.zeros((5, 2)), PIXEL_ANG)
    power = power_at_rest(spectra)
    terms = np.fft.fft2(torch.fft.irfft2(spectra.terms, s=SHAPE).numpy())
    k = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256)[None]) * 256
    for shell in (5, 20, 77):
        here = terms[:, np.round(k) == shell]
        products = [(here[f] * here[g].conj()).real for f in range(5) for g in range(f)]
        assert power.common[shell] == pytest.approx(np.mean(products), rel=1e-3, abs=1e-4)
    np.testing.assert_allclose(power.k, frequencies(SHAPE))
    np.testing.assert_allclose(power.noise[30:-5], 1, atol=0.1)


def test_errors_of_shared_power_are_true() -> None:
    """Where there is no signal, deviations are as large as the stated errors; these allow for a wrong model besides."""
    pure = true_profile(0.0, None, 4, (64, 64))
    standard = []
    for seed in range(60):
        power = powers(np.random.default_rng(seed), [pure])[0]
        standard.append((power.common / power.error)[5:])
    assert 0.65 < np.mean(np.square(standard)) < 1.05
    assert abs(np.mean(standard)) < 0.1


@pytest.mark.parametrize("defocus_ang", [None, 15000.0, 40000.0])
@pytest.mark.parametrize("voltage_kv", [300.0, None])
def test_one_clear_view(defocus_ang: float | None, voltage_kv: float | None, rng: np.random.Generator) -> None:
    """Hardly any information is lost by not knowing the signal, and little where the rings have to be guessed."""
    true = true_profile(20.0, defocus_ang, 8)
    found = fit_profiles(powers(rng, [true]), Optics(voltage_kv=voltage_kv))[0]
    assert information_kept(true, found) > (0.97 if voltage_kv or defocus_ang is None else 0.85)
    assert torch.allclose(found.noise[30:-6], true.noise[30:-6], atol=0.1)
    within = (found.signal - true.signal).abs() < 0.3 * true.signal + 0.02 * true.signal.max()
    if defocus_ang is None:
        assert within[4:-6].all()
    elif voltage_kv:
        assert within[4:-6].double().mean() > 0.85


@pytest.mark.parametrize("seed", range(3))
def test_rings_of_a_faint_series(seed: int) -> None:
    """Views too faint to show their rings by themselves, of defoci near each other: together they show them."""
    rng = np.random.default_rng(seed)
    defoci = rng.normal(30000.0, 400.0, 12)
    true = [true_profile(0.6, defocus, 6) for defocus in defoci]
    seen = powers(rng, true)
    with_rings = fit_profiles(seen, OPTICS)
    without = fit_profiles(seen, Optics(voltage_kv=None))
    kept = np.array(
        [[information_kept(t, p) for t, p in zip(true, found, strict=True)] for found in (with_rings, without)]
    )
    assert kept[0].mean() > 0.85
    assert kept[0].mean() > kept[1].mean()
    zero = 1 / np.sqrt(electron_wavelength_ang(300.0) * 30000.0)  # of the first ring beyond the centre
    peak = zero * np.sqrt(1.5)
    k = frequencies(SHAPE)
    near_zero, near_peak = int(np.argmin(np.abs(k - zero))), int(np.argmin(np.abs(k - peak)))
    total = torch.stack([profile.signal for profile in with_rings]).mean(dim=0)
    assert total[near_zero] < 0.5 * total[near_peak]


def test_no_rings_are_made_up(rng: np.random.Generator) -> None:
    """A specimen without rings loses next to nothing where rings are looked for."""
    true = [true_profile(1.0, None, 6) for _ in range(8)]
    seen = powers(rng, true)
    for view, one, other in zip(
        true, fit_profiles(seen, OPTICS), fit_profiles(seen, Optics(voltage_kv=None)), strict=True
    ):
        kept = information_kept(view, one)
        assert kept > 0.95
        assert kept > information_kept(view, other) - 0.01


def test_strong_shells_are_held() -> None:
    rng = np.random.default_rng(0)
    found = fit_profiles(powers(rng, [true_profile(1e5, None, 4)]), OPTICS)[0]
    assert float(found.ratio.max()) <= 30.0 + 1e-9
    assert torch.isfinite(found.weights()).all()


@pytest.mark.parametrize("shape", [(96, 97), (97, 96), (128, 90), (91, 91)])
def test_odd_and_even_shapes(shape: tuple[int, int], rng: np.random.Generator) -> None:
    true = true_profile(20.0, None, 6, shape)
    found = fit_profiles(powers(rng, [true, true]), OPTICS)
    for one in found:
        assert one.weights().shape == (shape[0], shape[1] // 2 + 1)
        assert one.curvature() == pytest.approx(true.curvature(), rel=0.3)


@pytest.mark.parametrize("views", [1, 10])
def test_noise_has_hardly_any_signal(views: int) -> None:
    """Less information than would place a frame of six within a working pixel."""
    curvatures = []
    for seed in range(2):
        seen = powers(np.random.default_rng(seed), [true_profile(0.0, None, 6)] * views)
        found = fit_profiles(seen, OPTICS)
        curvatures += [one.curvature() for one in found]
        assert all((one.ratio[4:] < 0.3).all() for one in found)
    assert np.mean(curvatures) < 0.1


@pytest.mark.parametrize("value", [0.0, 1e-3])
def test_blank_frames(value: float) -> None:
    terms = torch.full((4, 64, 33), value, dtype=torch.complex64)
    blank = FrameSpectra(terms, (64, 64), (1.0, 1.0), PIXEL_ANG)
    for optics in (OPTICS, Optics(voltage_kv=None)):
        found = fit_profiles([power_at_rest(blank)], optics)[0]
        assert torch.isfinite(found.weights()).all()
        assert np.isfinite(found.curvature())


def test_a_blank_view_does_not_spoil_a_series(rng: np.random.Generator) -> None:
    true = true_profile(5.0, 20000.0, 4)
    blank = FrameSpectra(torch.zeros((4, 256, 129), dtype=torch.complex64), SHAPE, (1.0, 1.0), PIXEL_ANG)
    found = fit_profiles([power_at_rest(blank), *powers(rng, [true] * 4)], OPTICS)
    for one in found[1:]:
        assert information_kept(true, one) > 0.85
