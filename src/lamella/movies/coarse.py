"""A first estimate of a movie's motion, from anywhere within the allowed range.

At a few tens of Å the correlations of all pairs of frames are small images. One straight drift is searched for that
agrees with all of them; then each frame is placed by its correlation with all others, in turns, until none moves.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import Tensor

from lamella.fourier import frequency_grid
from lamella.movies.pair_maps import frame_pairs
from lamella.movies.spectra import COARSEST_ANG, FrameSpectra

__all__ = ["first_estimate"]

Array = NDArray[np.float64]

COARSE_PIXEL_ANG = 8.0
B_FACTOR_ANG2 = 500.0
"""By which frequencies count before the signal's own profile is known: exp(−B k² / 2)."""

ROUNDS = 30
STRAIGHT_DEVIATION = 0.35
"""How far a frame may lie from a straight drift, as part of the largest shift, when it is placed first."""


def first_estimate(spectra: FrameSpectra, max_shift_ang: float) -> Array:
    """Shifts ``(frames, 2)`` (x, y) in movie pixels, 0 in the first frame.

    Parameters
    ----------
    spectra
        of the frames.
    max_shift_ang
        farthest that any two frames may lie apart.
    """
    if len(spectra) < 2:
        return np.zeros((len(spectra), 2))
    coarse = spectra.cropped(COARSE_PIXEL_ANG)
    reach = max(2, min(math.ceil(max_shift_ang / coarse.pixel_size_ang), min(coarse.shape) // 2 - 2))
    maps = _pair_images(coarse, reach)
    shifts = _straight(maps, len(spectra), reach)
    shifts = _place_in_turns(maps, shifts, reach)
    first_at_rest: Array = (shifts - shifts[0]) * np.array([coarse.scale[1], coarse.scale[0]])
    return first_at_rest


def _pair_images(coarse: FrameSpectra, reach: int) -> NDArray[np.float32]:
    """``(pairs, 2 reach + 1, 2 reach + 1)`` correlations at lags (y, x) in coarse pixels, 0 in the middle."""
    weights = _weights(coarse)
    size = 2 * reach + 1
    first, second = frame_pairs(len(coarse))
    out = np.empty((len(first), size, size), dtype=np.float32)
    rows, columns = (torch.arange(-reach, reach + 1) % length for length in coarse.shape)
    for place, (f, g) in enumerate(zip(first, second, strict=True)):
        lagged = torch.fft.irfft2(coarse.terms[f] * coarse.terms[g].conj() * weights, s=coarse.shape)
        # Σ Re z_f z_g* exp(2πi k·lag): lag is how much farther f lies than g
        out[place] = lagged[rows][:, columns].cpu().numpy()
    return out / max(float(out.std()), 1e-30)


def _weights(coarse: FrameSpectra) -> Tensor:
    k = frequency_grid(coarse.shape, coarse.terms.device) / coarse.pixel_size_ang
    power = sum(term.real**2 + term.imag**2 for term in coarse.terms)
    level = float(torch.as_tensor(power).median()) or 1.0
    weights = torch.exp(-B_FACTOR_ANG2 * k**2 / 2) * (k > 1 / COARSEST_ANG)
    # what is far above the noise (ice crystals, edges of a film) must not decide alone
    weights = weights / (1 + torch.as_tensor(power) / (20 * level)) / level
    weights[:3] = 0
    weights[-2:] = 0
    weights[:, :3] = 0
    return weights.float()


def _straight(maps: NDArray[np.float32], frames: int, reach: int) -> Array:
    """The drift of constant velocity that agrees best with all pairs: ``(frames, 2)``."""
    first, second = frame_pairs(frames)
    gap = first - second  # negative: the second comes later
    size = 2 * reach + 1
    grid = np.arange(-reach, reach + 1) / max(frames - 1, 1)  # velocities, coarse pixels per frame
    smooth = np.stack([gaussian_filter(image, 0.7) for image in maps])
    total = np.zeros((size, size))
    for lag in np.unique(gap):
        together = smooth[gap == lag].sum(axis=0)
        places = grid * lag + reach
        total += map_coordinates(together, np.meshgrid(places, places, indexing="ij"), order=1)
    best = np.unravel_index(np.argmax(total), total.shape)
    velocity = np.array([grid[best[1]], grid[best[0]]])
    drift: Array = np.arange(frames)[:, None] * velocity
    return drift


def _place_in_turns(maps: NDArray[np.float32], shifts: Array, reach: int) -> Array:
    """Move each frame to where all others together see it, until none moves any more."""
    frames = len(shifts)
    lags = np.arange(-reach, reach + 1)
    seen_by = _by_frame(maps, frames)
    window = max(3.0, STRAIGHT_DEVIATION * reach)
    shifts = shifts.copy()
    for turn in range(ROUNDS):
        before = shifts.copy()
        for frame in range(frames):
            others = np.delete(shifts, frame, axis=0)
            # value at lag = candidate − shift of the other frame
            down, across = (_linear(lags - others[:, axis, None] + reach, len(lags)) for axis in (1, 0))
            total = (down @ seen_by[frame] @ across.transpose(0, 2, 1)).sum(axis=0)
            expected = _straight_on(shifts, frame)
            near = np.hypot(lags[:, None] - expected[1], lags[None, :] - expected[0]) <= window
            total = np.where(near, total, -np.inf)
            row, column = divmod(int(np.argmax(total)), total.shape[1])
            shifts[frame] = (lags[column] + _vertex(total[row, :], column), lags[row] + _vertex(total[:, column], row))
        shifts -= shifts.mean(axis=0)
        window = max(3.0, 0.7 * window)
        if turn > 2 and np.abs((shifts - before) - (shifts - before).mean(axis=0)).max() < 0.02:
            break
    return shifts


def _by_frame(maps: NDArray[np.float32], frames: int) -> list[NDArray[np.float32]]:
    """For each frame the maps ``(others, m, m)`` of how much farther it lies than each other frame, in their order."""
    place = dict(zip(zip(*frame_pairs(frames), strict=True), maps, strict=True))
    return [
        np.stack(
            [
                place[frame, other] if frame < other else place[other, frame][::-1, ::-1]
                for other in range(frames)
                if other != frame
            ]
        )
        for frame in range(frames)
    ]


def _linear(places: Array, size: int) -> Array:
    """``(..., places, size)`` weights of linear interpolation between samples; none beyond the first and the last."""
    weights = np.clip(1 - np.abs(places[..., None] - np.arange(size)), 0, None)
    inside: Array = np.where((places >= 0) & (places <= size - 1), 1.0, 0.0)[..., None] * weights
    return inside


def _straight_on(shifts: Array, frame: int) -> Array:
    """Where a straight drift through all other frames puts this one; where it is, if one other is all there are."""
    others = np.delete(np.arange(len(shifts)), frame)
    expected: Array = shifts[frame].copy()
    if len(others) > 1:
        slope, start = np.polyfit(others, shifts[others], 1)
        expected = start + slope * frame
    return expected


def _vertex(line: Array, at: int) -> float:
    """Offset of a parabola's top through three samples, within half a sample."""
    if not 0 < at < len(line) - 1:
        return 0.0
    left, middle, right = line[at - 1 : at + 2]
    bend = left - 2 * middle + right
    if not (np.isfinite(bend) and bend < 0):
        return 0.0
    return float(np.clip((left - right) / (2 * bend), -0.5, 0.5))
