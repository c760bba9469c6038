"""What local sums say about support: slope, its error, visible structure, and the places that the data do not show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, label
from scipy.special import erf

__all__ = ["LocalSums", "UnsupportedPlace", "Verdict", "judge"]

Array = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]

_TINY = float(np.finfo(np.float32).tiny)
_HALF = 0.5  # share of the drawn contrast that must be in the data
_ERRORS = 2.0  # standard errors by which it must fall short to be flagged
_BRIGHT_MEDIANS = 10.0  # contrast above so many medians counts as such: beads must not outshine all
_VISIBLE_SHARE = 0.9  # of the volume's excess contrast lies in what is called visible
_SMALLEST_WINDOWS = 0.1  # volume of a flagged place, in volumes of a window


@dataclass(frozen=True, eq=False)
class LocalSums:
    """Means over small blocks of voxels, in units of the noise under the band's filter.

    Attributes
    ----------
    agreement
        of (raw odd · denoised even + raw even · denoised odd) / 2.
    drawn
        of the squares of the two denoised halves, their mean.
    common
        of denoised even · denoised odd.
    noise
        of (raw even − raw odd)² / 2, over its expectation.
    count
        voxels in the block; less than a whole block's at the border.
    """

    agreement: Array
    drawn: Array
    common: Array
    noise: Array
    count: Array


@dataclass(frozen=True, kw_only=True)
class UnsupportedPlace:
    """A place of the denoised tomogram whose structure the data do not show.

    Attributes
    ----------
    position
        (x, y, z) in blocks from the first one's corner, the place of most contrast.
    blocks
        its size.
    contrast
        its contrast there over what is just visible (rms, 1 or more).
    support, error
        slope of the regression and its standard error.
    halves
        correlation of the two denoised halves there: 1 for what a method draws whatever the noise, 0 for noise.
    """

    position: tuple[float, float, float]
    blocks: int
    contrast: float
    support: float
    error: float
    halves: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Verdict:
    """What is supported where.

    Attributes
    ----------
    support
        0 … 1: the slope, times the probability that it is not chance.
    slope, error
        share of the drawn contrast that the data show, and its standard error.
    contrast
        local rms of the denoised halves' common part and noise, in units of the raw noise.
    visible, flagged
        where the structure is that one sees, and where less than half of it can be in the data.
    median
        of `support` over what is visible, weighted by contrast.
    unsupported
        share of the visible contrast that is flagged.
    overall
        slope over the whole volume: the share of all that is drawn, residual noise and texture too, that the data show.
    places
        the flagged places, the strongest first.
    """

    support: Array
    slope: Array
    error: Array
    contrast: Array
    visible: Mask
    flagged: Mask
    median: float
    unsupported: float
    overall: float
    places: tuple[UnsupportedPlace, ...]


def judge(sums: LocalSums, window_blocks: float, block_voxels: float) -> Verdict:
    """Regress the raw halves on the denoised ones of the other half, in a Gaussian window about every block.

    Parameters
    ----------
    sums
        as `LocalSums`, ``(z, y, x)`` blocks.
    window_blocks
        standard deviation of the window, in blocks.
    block_voxels
        voxels of a whole block.

    Notes
    -----
    With the drawn d and the raw r of the other half, whose noise n is independent of d and has unit power per voxel,
    the slope is b = Σ w r d / Σ w d², and its variance Σ w² d² / (Σ w d²)². The two terms of the agreement are taken as
    if their noises were one, which errs to the safe side.
    """
    inside = gaussian_filter(sums.count, window_blocks, mode="constant", truncate=4.0)
    drawn, noise = (_window(part, sums.count, inside, window_blocks) for part in (sums.drawn, sums.noise))
    floor = 1e-6 * max(float(drawn.max(initial=0)), _TINY)
    drawn_safe = np.maximum(drawn, floor)
    narrow_blocks = window_blocks / float(np.sqrt(2))
    inside_narrow = gaussian_filter(sums.count, narrow_blocks, mode="constant", truncate=4.0)
    narrow = _window(sums.drawn, sums.count, inside_narrow, narrow_blocks)
    voxels = block_voxels * (2 * float(np.sqrt(np.pi)) * window_blocks) ** 3  # 1 / Σ w² of a window of Σ w = 1
    error = np.sqrt(np.maximum(narrow, floor) * np.maximum(noise, 1e-3) / voxels) / drawn_safe
    del noise, narrow, inside_narrow
    slope = _window(sums.agreement, sums.count, inside, window_blocks) / drawn_safe
    support = np.clip(slope, 0, 1) * erf(np.maximum(slope / error, 0) / float(np.sqrt(2)))
    common = _window(sums.common, sums.count, inside, window_blocks)
    power = (drawn + common) / 2  # of the halves' mean, which is what one looks at
    del drawn, inside
    weight, threshold = _visible(power)
    visible = power >= threshold
    flagged = visible & (slope + _ERRORS * error < _HALF)
    total = float(weight[visible].sum())
    return Verdict(
        support=support,
        slope=slope,
        error=error,
        contrast=np.sqrt(np.maximum(power, 0)),
        visible=visible,
        flagged=flagged,
        median=_weighted_quantile(support[visible], weight[visible], 0.5),
        unsupported=float(weight[flagged].sum()) / total if total > 0 else 0.0,
        overall=float((sums.agreement * sums.count).sum(dtype=np.float64))
        / max(float((sums.drawn * sums.count).sum(dtype=np.float64)), _TINY),
        places=_places(flagged, power / threshold, slope, error, common / drawn_safe, window_blocks),
    )


def _window(values: Array, count: Array, inside: Array, width: float) -> Array:
    """Mean over a Gaussian window, of what lies within the volume; `inside` is the window's of the count."""
    out: Array = gaussian_filter(values * count, width, mode="constant", truncate=4.0)
    out /= np.maximum(inside, 1e-6)
    return out


def _visible(power: Array) -> tuple[Array, float]:
    """Each block's weight, the square of its excess over the median power, and the power from which one sees it.

    Background, be it noise or a texture, is what most of the volume is like; what stands out of it is structure. Where
    nothing does, the brightest parts of the texture do.
    """
    middle = max(float(np.median(power)), _TINY)
    excess = (np.clip(power / middle, 1, _BRIGHT_MEDIANS) - 1) ** 2
    return excess, middle * _weighted_quantile(power / middle, excess, 1 - _VISIBLE_SHARE)


def _weighted_quantile(values: Array, weights: Array, quantile: float) -> float:
    if values.size == 0 or not float(weights.sum(dtype=np.float64)) > 0:
        return float(np.median(values)) if values.size else 0.0
    counts = weights.ravel() > 0
    flat, weights = values.ravel()[counts], weights.ravel()[counts]
    order = np.argsort(flat)
    total = np.cumsum(weights[order], dtype=np.float64)
    return float(flat[order[min(int(np.searchsorted(total, quantile * total[-1])), flat.size - 1)]])


def _places(
    flagged: Mask, power: Array, slope: Array, error: Array, halves: Array, window_blocks: float
) -> tuple[UnsupportedPlace, ...]:
    """Connected flagged blocks, without specks much smaller than a window."""
    labels, count = label(flagged, np.ones((3, 3, 3)))
    if not count:
        return ()
    inside = np.flatnonzero(labels)
    owner, strength = labels.ravel()[inside], power.ravel()[inside]
    sizes = np.bincount(owner, minlength=count + 1)
    order = np.lexsort((-strength, owner))
    first = np.concatenate(([True], owner[order][1:] != owner[order][:-1]))
    smallest = _SMALLEST_WINDOWS * (np.sqrt(2 * np.pi) * window_blocks) ** 3
    found = []
    for index in inside[order][first]:
        blocks = int(sizes[labels.ravel()[index]])
        if blocks < smallest:
            continue
        z, y, x = np.unravel_index(index, flagged.shape)
        found.append(
            UnsupportedPlace(
                position=(float(x) + 0.5, float(y) + 0.5, float(z) + 0.5),
                blocks=blocks,
                contrast=float(np.sqrt(power.ravel()[index])),
                support=float(slope.ravel()[index]),
                error=float(error.ravel()[index]),
                halves=float(np.clip(halves.ravel()[index], -1, 1)),
            )
        )
    return tuple(sorted(found, key=lambda place: -place.contrast))
