"""B-factors that were put in come out; sharpening undoes them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.particles.half_maps import body_signal, with_noise

from lamella.fourier import apply_filter, frequency_grid, shell_count, shell_sums, soft_mask
from lamella.particles.guinier import fit_guinier, signal_weight
from lamella.particles.map_fsc import masked_fsc
from lamella.particles.postprocess import Mtf
from lamella.particles.postprocess_sharpen import sharpen
from lamella.simulate.library import named_template

VOXEL = 1.5


@pytest.mark.parametrize("b_factor", [60.0, 150.0])
def test_b_factor_is_recovered_from_noisy_halves(rng: np.random.Generator, b_factor: float) -> None:
    signal = body_signal(80, 20, VOXEL, b_factor, rng)
    half1, half2 = with_noise(signal, 0.02, rng)
    mask = soft_mask(signal.shape, 26, 6).numpy()
    fsc = masked_fsc(half1, half2, mask, VOXEL)
    resolution = fsc.resolution_ang() or 2 * VOXEL
    plot = fit_guinier((half1 + half2) / 2 * mask, VOXEL, fsc.correlation, from_ang=10, to_ang=resolution)
    clean = torch.fft.rfftn(torch.from_numpy(signal * mask)).abs() ** 2
    power = (shell_sums(clean, signal.shape) / shell_count(signal.shape)).numpy()[1:]
    x, y = plot.inverse_square[plot.used], 0.5 * np.log(power[plot.used])
    truth = 4 * np.polyfit(x, y, 1)[0]
    assert plot.b_factor_ang2 == pytest.approx(truth, rel=0.05)
    assert plot.b_factor_ang2 == pytest.approx(-b_factor, rel=0.2)  # of this body, few atoms and all
    unweighted = np.polyfit(x, plot.amplitude[plot.used], 1)[0] * 4
    assert abs(unweighted - truth) > abs(plot.b_factor_ang2 - truth)  # noise hides the falloff


def test_too_few_shells_give_no_line(rng: np.random.Generator) -> None:
    volume = rng.normal(size=(32, 32, 32)).astype(np.float32)
    plot = fit_guinier(volume, 4.0, np.ones(17), from_ang=10, to_ang=9.5)
    assert plot.b_factor_ang2 is None
    assert fit_guinier(volume, 4.0, np.ones(17), to_ang=18).b_factor_ang2 is None


@pytest.mark.parametrize(("name", "resolution"), [("groel", 9.0), ("channel", 12.0)])
def test_a_coarse_map_is_held_against_a_particles_amplitudes(name: str, resolution: float) -> None:
    """A structure damped by 400 Å²: found within the error that is stated, where a flat spectrum would be far off."""
    body = torch.from_numpy(np.asarray(named_template(name, 3.0).volume, np.float32))
    n = body.shape[0] - body.shape[0] % 2
    body = body[:n, :n, :n]
    damped = apply_filter(body, torch.exp(-400 * (frequency_grid(body.shape) / 3.0) ** 2 / 4)).numpy()
    found, flat = (
        fit_guinier(volume, 3.0, np.ones(n // 2 + 1), to_ang=resolution) for volume in (damped, body.numpy())
    )
    assert found.from_ang == 20
    assert found.b_factor_error_ang2 is not None
    assert abs(found.b_factor_ang2 + 400) < 2 * found.b_factor_error_ang2 < 200
    assert found.b_factor_ang2 - flat.b_factor_ang2 == pytest.approx(-400, abs=5)


def test_a_fine_map_is_held_against_a_flat_spectrum(rng: np.random.Generator) -> None:
    signal = body_signal(80, 20, VOXEL, 100.0, rng)
    plot = fit_guinier(signal, VOXEL, np.ones(41), to_ang=4.0)
    assert plot.from_ang == 10
    assert not plot.expected.any()


def test_sharpening_undoes_falloff_and_detector(rng: np.random.Generator) -> None:
    flat = body_signal(64, 20, VOXEL, 0.0, np.random.default_rng(5))
    damped = body_signal(64, 20, VOXEL, 80.0, np.random.default_rng(5))
    low = sharpen(flat, VOXEL, b_factor_ang2=0.0, low_pass_ang=4.0)
    np.testing.assert_allclose(
        sharpen(damped, VOXEL, b_factor_ang2=-80.0, low_pass_ang=4.0), low, atol=0.01 * np.abs(low).max()
    )
    mtf = Mtf(frequency=np.linspace(0, 0.5, 20), value=np.linspace(1, 0.3, 20), pixel_size_ang=1.0)
    frequency = np.arange(33) / (64 * VOXEL)
    transfer = mtf.at(frequency)
    np.testing.assert_allclose(transfer, 1 - 1.4 * frequency, atol=1e-6)  # 1 Å pixels: cycles/px are 1/Å
    seen = sharpen(flat, VOXEL, b_factor_ang2=0.0, weight=transfer)
    np.testing.assert_allclose(
        sharpen(seen, VOXEL, b_factor_ang2=0.0, transfer=transfer), flat, atol=0.01 * np.abs(flat).max()
    )


def test_weight_is_the_correlation_with_the_truth() -> None:
    np.testing.assert_allclose(signal_weight(np.array([1.0, 0.143, 0.0, -0.3])), [1, 0.5, 0, 0], atol=1e-3)
