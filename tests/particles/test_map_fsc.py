"""Shell correlation of half maps against its theory, and what a mask adds to it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.particles.half_maps import body_signal, with_noise

from lamella.errors import ImageError, InputError
from lamella.fourier import shell_correlation, shell_count, shell_index, shell_sums, soft_mask
from lamella.particles.map_fsc import check_halves, half_map_fsc, independent_part, masked_fsc, randomise_phases
from lamella.particles.postprocess import postprocess
from lamella.particles.postprocess_settings import PostprocessSettings
from lamella.records.map_fsc import MapFsc

VOXEL = 2.0


def power(volume: np.ndarray) -> np.ndarray:
    terms = torch.fft.rfftn(torch.from_numpy(volume))
    return (shell_sums(terms.abs() ** 2, volume.shape) / shell_count(volume.shape)).numpy()


def test_halves_correlate_as_their_signal_to_noise_says(rng: np.random.Generator) -> None:
    """FSC of two halves is S / (S + N), from the known powers."""
    signal = body_signal(64, 20, VOXEL, 200.0, rng)
    half1, half2 = with_noise(signal, 0.05, rng)
    fsc = masked_fsc(half1, half2, np.ones_like(signal), VOXEL)
    spectrum = power(signal)
    theory = spectrum / (spectrum + 0.05**2 * signal.size)
    error = (1 - theory**2) / np.sqrt(fsc.terms / 2)
    assert np.all(np.abs(fsc.unmasked - theory)[2:] < 5 * error[2:] + 0.01)
    np.testing.assert_allclose(fsc.masked, fsc.unmasked, atol=1e-6)
    wanted = np.interp(-0.143, -theory, fsc.frequency_per_ang)
    unmasked = MapFsc(frequency_per_ang=fsc.frequency_per_ang, correlation=fsc.unmasked).resolution_ang()
    assert unmasked == pytest.approx(1 / wanted, rel=0.05)


def test_a_tight_mask_is_found_out(rng: np.random.Generator) -> None:
    """Volumes that share only low frequencies: a rough mask correlates the rest, and random phases say so."""
    signal = body_signal(64, 20, VOXEL, 900.0, rng)
    half1, half2 = with_noise(signal, 0.02, rng)
    sharp = soft_mask(signal.shape, 20, 0).numpy() * (rng.random(signal.shape) < 0.3)
    soft = soft_mask(signal.shape, 22, 6).numpy()
    rough, smooth = (masked_fsc(half1, half2, mask.astype(np.float32), VOXEL) for mask in (sharp, soft))
    high = rough.frequency_per_ang > 0.15  # beyond where the signal ends
    assert rough.masked[high].mean() > 0.2
    assert abs(rough.correlation[high].mean()) < 0.05
    assert abs(smooth.masked[high].mean()) < 0.05
    assert rough.resolution_ang() == pytest.approx(smooth.resolution_ang(), rel=0.25)


@pytest.mark.parametrize("symmetry", ["C1", "C2"])
def test_terms_tell_how_noise_correlates_by_chance(rng: np.random.Generator, symmetry: str) -> None:
    """Halves of noise alone: over some shells together, the correlation varies by one over the terms.

    Neighbouring shells vary together under a mask, and each by itself less.
    """
    mask = soft_mask((32, 32, 32), 8, 4)
    part = independent_part(mask.numpy(), symmetry)
    ratios = []
    for _ in range(60):
        halves = torch.from_numpy(rng.normal(size=(2, 32, 32, 32)))
        if symmetry == "C2":  # about z, of volumes whose origin is voxel n // 2
            halves = halves + halves.flip(-2, -1).roll((1, 1), (-2, -1))
        _, correlation, count = (curve.numpy() for curve in shell_correlation(*(halves * mask)))
        terms = count * part
        for some in (slice(4, 10), slice(10, None)):
            ratios.append((terms[some] @ correlation[some]) ** 2 / terms[some].sum())
    assert np.mean(ratios) == pytest.approx(1, abs=0.35)


def test_noise_is_not_resolved_under_a_mask(rng: np.random.Generator) -> None:
    """Half maps of noise: what is stated lies in the first shells, where few terms are."""
    mask = soft_mask((32, 32, 32), 9, 4).numpy()
    for _ in range(8):
        fsc = masked_fsc(*rng.normal(size=(2, 32, 32, 32)).astype(np.float32), mask, VOXEL)
        assert (fsc.resolution_ang() or 0) > 32 * VOXEL / 6


@pytest.mark.parametrize("noise", [0.3, 1.0, 3.0])
def test_a_signal_that_ends_is_stated_as_its_truth_is(rng: np.random.Generator, noise: float) -> None:
    """A body without anything beyond shell 12, but for what a mask adds: no farther than the truth under that mask."""
    body = body_signal(48, 14, VOXEL, 0.0, rng)
    terms = torch.fft.rfftn(torch.from_numpy(body)) * (shell_index(body.shape) <= 12)
    signal = torch.fft.irfftn(terms, s=body.shape)
    signal = signal / signal.std()
    half1, half2 = with_noise(signal.numpy().astype(np.float32), noise, rng)
    mask = soft_mask(body.shape, 18, 5)
    fsc = masked_fsc(half1, half2, mask.numpy(), VOXEL)
    _, truth, _ = shell_correlation(torch.from_numpy((half1 + half2) / 2) * mask, signal * mask)
    wanted = MapFsc.with_truth(fsc.frequency_per_ang, truth.numpy(), fsc.terms).resolution_ang()
    assert wanted is not None
    assert fsc.resolution_ang() == fsc.first_crossing_ang() == pytest.approx(wanted, rel=0.03)


def test_every_step_states_what_postprocessing_does(rng: np.random.Generator) -> None:
    half1, half2 = with_noise(body_signal(48, 12, 4.0, 1200.0, rng), 0.05, rng)
    fsc = half_map_fsc(half1, half2, 4.0)
    made = postprocess(half1, half2, 4.0, PostprocessSettings(local_resolution=False, directional=False))
    assert fsc.resolution_ang() == made.resolution_ang
    np.testing.assert_array_equal(fsc.correlation, made.fsc.correlation)
    noise = rng.normal(size=(2, 32, 32, 32)).astype(np.float32)
    assert half_map_fsc(*noise, 4.0).masked is None  # nothing stands out


def test_random_phases_keep_amplitudes_and_low_frequencies(rng: np.random.Generator) -> None:
    volume = torch.from_numpy(rng.normal(size=(20, 20, 20)))
    random = randomise_phases(volume, 4, 1)
    np.testing.assert_allclose(power(random.numpy()), power(volume.numpy()), rtol=1e-6)
    low = torch.fft.rfftn(volume)[:2, :2, :2]
    torch.testing.assert_close(torch.fft.rfftn(random)[:2, :2, :2], low)
    torch.testing.assert_close(random, randomise_phases(volume, 4, 1))
    assert not torch.allclose(random, randomise_phases(volume, 4, 2))


def test_halves_that_cannot_be_judged(rng: np.random.Generator) -> None:
    half = rng.normal(size=(16, 16, 16)).astype(np.float32)
    other = rng.normal(size=(16, 16, 16)).astype(np.float32)
    check_halves(half, other)
    with pytest.raises(ImageError, match="two cubes of one size"):
        check_halves(half, other[:12, :12, :12])
    with pytest.raises(InputError, match="the same map"):
        check_halves(half, half.copy())
    with pytest.raises(ImageError, match="half map 2 is constant"):
        check_halves(half, np.zeros_like(half))
    broken = other.copy()
    broken[3, 3, 3] = np.nan
    with pytest.raises(ImageError, match="half map 2 holds NaN"):
        check_halves(half, broken)
    with pytest.raises(InputError, match="phases cannot be random"):
        masked_fsc(half, other, np.ones_like(half), 4.0, phase_from_ang=5.0)
