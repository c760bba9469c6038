"""Deconvolution against the same filter on the whole volume at once, and what it is for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lamella.errors import ImageError, PostconditionError
from lamella.optics import contrast_transfer, signal_to_noise, wiener_filter
from lamella.records import ArrayVolume, Optics
from lamella.tomograms import RadialTransfer, ReconstructSettings, deconvolve

VOXEL = 8.0
OPTICS = Optics(voltage_kv=300.0, amplitude_contrast=0.1)


def frequency(shape):
    axes = [np.fft.fftfreq(shape[0]), np.fft.fftfreq(shape[1]), np.fft.rfftfreq(shape[2])]
    return np.sqrt(sum(k**2 for k in np.meshgrid(*axes, indexing="ij"))) / VOXEL


def transfer_of(k, defocus=30000.0):
    wavelength = 0.0196875
    chi = np.pi * wavelength * defocus * k**2 - np.pi / 2 * 2.7e7 * wavelength**3 * k**4
    return np.sin(chi + np.arcsin(0.1))


def speck(shape):
    """A volume that is 0 near its faces."""
    z, y, x = np.meshgrid(*(np.arange(n) - n // 2 for n in shape), indexing="ij")
    return np.exp(-((x - 2) ** 2 + (y + 3) ** 2 + z**2) / (2 * 2.0**2)).astype(np.float32)


def run(volume, settings=None, corrected="none", defocus=30000.0):
    out = np.full_like(volume, np.nan)
    what = RadialTransfer(optics=OPTICS, defocus_ang=defocus, corrected=corrected)
    deconvolve(ArrayVolume(volume), VOXEL, what, settings or ReconstructSettings(), ArrayVolume(out))
    return out


@pytest.mark.parametrize("corrected", ["none", "phase-flip", "multiply", "wiener"])
def test_it_is_wieners_filter_in_three_dimensions(corrected):
    shape = (72, 80, 96)
    volume = speck(shape)
    settings = ReconstructSettings(snr_strength=0.5, snr_high_pass=150.0)
    k = frequency([2 * n for n in shape])
    ratio = signal_to_noise(torch.from_numpy(k), strength=0.5, falloff=1.0, high_pass_ang=150.0)
    s, first_maximum = ratio.numpy(), 1 / 34.3
    left = {
        "none": lambda c: c,
        "phase-flip": np.abs,
        "multiply": np.square,
        "wiener": lambda c: np.where(
            k < first_maximum, np.minimum(np.abs(c), c**2 * (1 + s) / (1 + s * c**2)), c**2 * (1 + s) / (1 + s * c**2)
        ),
    }
    t = torch.from_numpy(left[corrected](transfer_of(k)))
    filter = wiener_filter(t, ratio).numpy()
    whole = np.zeros([2 * n for n in shape])
    whole[: shape[0], : shape[1], : shape[2]] = volume
    wanted = np.fft.irfftn(np.fft.rfftn(whole) * filter, s=whole.shape, axes=(0, 1, 2))[
        : shape[0], : shape[1], : shape[2]
    ]
    found = run(volume, settings, corrected)
    inner = np.s_[12:-12, 12:-12, 12:-12]
    error = (found - found[inner].mean() - wanted + wanted[inner].mean())[inner]
    assert np.abs(error).max() < 0.02 * np.abs(wanted).max()


def test_a_filtered_speck_looks_more_like_itself(rng):
    shape = (64, 64, 64)
    truth = -speck(shape)
    k = frequency(shape)
    seen = np.fft.irfftn(np.fft.rfftn(truth) * transfer_of(k), s=shape, axes=(0, 1, 2)).astype(np.float32)
    seen += rng.normal(0, 0.02 * np.abs(seen).max(), shape).astype(np.float32)
    restored = run(seen, ReconstructSettings(snr_high_pass=400.0))

    def likeness(a):
        return np.corrcoef(a.ravel(), truth.ravel())[0, 1]

    assert likeness(restored) > likeness(seen) + 0.1
    assert likeness(restored) > 0.8  # mass stays dark


def test_short_memory_takes_a_file(monkeypatch, rng):
    from importlib import import_module

    module = import_module("lamella.tomograms.deconvolve")
    volume = rng.standard_normal((20, 24, 26)).astype(np.float32)
    usual = run(volume)
    monkeypatch.setattr(module, "free_memory_bytes", lambda device: 1000)
    monkeypatch.setattr(module, "_BLOCK_BYTES", 8 * 24 * 16 * 2)
    np.testing.assert_allclose(run(volume), usual, atol=1e-5 * usual.std())


def test_bad_volumes():
    volume = np.ones((8, 8, 8), np.float32)
    volume[3, 2, 2] = np.nan
    with pytest.raises(ImageError, match="plane 3 of the volume holds NaN"):
        run(volume)
    with pytest.raises(ImageError, match="shape"):
        run(np.zeros((0, 8, 8), np.float32))
    with pytest.raises(PostconditionError, match="every voxel"):
        run(np.full((8, 8, 8), 7.0, np.float32))


def test_transfer_is_that_of_images():
    c = contrast_transfer((64, 64), VOXEL, defocus_u_ang=30000.0, voltage_kv=300.0)
    what = RadialTransfer(optics=OPTICS, defocus_ang=30000.0)
    line = torch.fft.rfftfreq(64, dtype=torch.float64) / VOXEL
    torch.testing.assert_close(what.at(line).float(), c[0], atol=1e-4, rtol=0)
