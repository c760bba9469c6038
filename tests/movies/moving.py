"""Frames, spectra and likelihoods of specimens whose motion is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from lamella.fourier import frequency_grid, shell_count, shell_index
from lamella.movies.pair_maps import PairMaps, frame_pairs
from lamella.movies.spectra import FrameSpectra, Profile

Array = np.ndarray


def shift_terms(terms: Array, shape: tuple[int, int], shift_xy: Array) -> Array:
    """The rfft of an image that is moved to larger x and y."""
    ky, kx = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None]
    return terms * np.exp(-2j * np.pi * (kx * shift_xy[0] + ky * shift_xy[1]))


def profile_of(shape: tuple[int, int], frames: int, strength: float = 1.0, falloff: float = 8.0) -> Profile:
    """A signal that falls off exponentially, over white noise of unit power; nothing at the Nyquist frequency."""
    shells = len(shell_count(shape))
    k = torch.arange(shells, dtype=torch.float64) / max(shape)
    signal = strength * torch.exp(-falloff * k) * (k < 0.45)
    return Profile(signal=signal, noise=torch.ones(shells, dtype=torch.float64), frames=frames, shape=shape)


def gaussian_spectra(
    rng: np.random.Generator, profile: Profile, shifts_px: Array, pixel_size_ang: float = 2.5
) -> FrameSpectra:
    """Frames of a Gaussian signal of that profile, each moved by its shift (x, y), in Gaussian noise."""
    shape = profile.shape
    shells = shell_index(shape).numpy()
    inside = shells < len(profile.signal)

    def field(power: torch.Tensor) -> Array:
        amplitude = np.where(inside, np.sqrt(power.numpy())[np.minimum(shells, len(power) - 1)], 0.0)
        return np.fft.rfft2(rng.normal(size=shape)) / np.sqrt(shape[0] * shape[1]) * amplitude

    signal = field(profile.signal)
    terms = np.stack([shift_terms(signal, shape, shift) + field(profile.noise) for shift in shifts_px])
    return FrameSpectra(
        terms=torch.from_numpy(terms.astype(np.complex64)),
        shape=shape,
        scale=(1.0, 1.0),
        pixel_size_ang=pixel_size_ang,
    )


def texture(rng: np.random.Generator, shape: tuple[int, int], coarse_px: float, fine_px: float) -> Array:
    """The rfft of a random image of unit variance, with details from `fine_px` to `coarse_px` (periods)."""
    terms = np.fft.rfft2(rng.normal(size=shape))
    k = frequency_grid(shape).numpy()
    terms = terms * ((k > 1 / coarse_px) & (k < 1 / fine_px)) / np.sqrt(np.maximum(k, 1 / coarse_px))
    return terms / np.fft.irfft2(terms, s=shape).std()


def count_frames(
    rng: np.random.Generator, terms: Array, shape: tuple[int, int], shifts_px: Array, dose: float, contrast: float
) -> Array:
    """Poisson counts ``(frames, h, w)`` of a texture that is moved by its shifts (x, y)."""
    frames = []
    for shift in shifts_px:
        moved = np.fft.irfft2(shift_terms(terms, shape, shift), s=shape)
        frames.append(rng.poisson(dose * np.clip(1 + contrast * moved, 0.05, None)))
    return np.stack(frames).astype(np.uint8)


def quadratic_maps(
    rng: np.random.Generator,
    truth_px: Array,
    curvature_px: Sequence[float] | Array,
    *,
    tile_centres: Array | None = None,
    reach: float = 12.0,
    step: float = 0.5,
) -> PairMaps:
    """The maps of a view whose likelihood is exactly Gaussian: each frame's place is seen with an independent error.

    Parameters
    ----------
    truth_px
        ``(tiles, frames, 2)`` or ``(frames, 2)`` true shifts.
    curvature_px
        κ of the whole field along x and y: an error's variance is 1 / (F κ), and times the tiles in each tile.
    """
    truth = truth_px if truth_px.ndim == 3 else truth_px[None]
    tiles, frames = truth.shape[:2]
    kappa = np.asarray(curvature_px, dtype=np.float64)
    with np.errstate(divide="ignore"):
        width = np.where(kappa > 0, np.sqrt(tiles / (frames * np.where(kappa > 0, kappa, 1.0))), 0.0)
    seen = truth + width * rng.normal(size=truth.shape)
    first, second = frame_pairs(frames)
    lags = np.arange(-round(reach / step), round(reach / step) + 1) * step
    between = seen[:, first] - seen[:, second]  # (tiles, pairs, 2)
    off_x, off_y = (lags - between[..., axis, None] for axis in (0, 1))
    values = -0.5 * (kappa[0] * off_x[..., None, :] ** 2 + kappa[1] * off_y[..., :, None] ** 2) / tiles
    return PairMaps(
        values=values.astype(np.float32),
        step=(step, step),
        centre_px=np.zeros((frames, 2)),
        tile_centres=np.zeros((1, 2)) if tile_centres is None else tile_centres,
        curvature_px=kappa,
    )
