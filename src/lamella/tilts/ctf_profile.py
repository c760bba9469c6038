"""Rings to look at, and to judge a fit by: averaged where their phase is the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, uniform_filter1d

from lamella.tilts.ctf_view_fit import ViewFit, ViewState

__all__ = ["RingProfile", "profile_of"]

Array = NDArray[np.float64]

_PER_RING = 12  # samples at most that a ring is divided into where its correlation is judged
_WINDOW = 1.5  # rings over which measured and fitted are correlated
_FIT = 0.5  # correlation down to which a fit is said to hold
_SHORT_GAP = 0.5  # rings through which it may fall below
_GAP = 1.5  # the same about a node, where the specimen's thickness puts rings out
_PICTURE_PX = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class RingProfile:
    """One view's rings.

    Attributes
    ----------
    measured, fitted, correlation
        ``(m,)`` over squared frequency, see `CtfProfiles`.
    score
        correlation of measured and fitted over all frequencies of the fit.
    resolution_ang
        to which the fit holds; infinite where it holds nowhere.
    picture
        ``(p, p)`` measured on the left, fitted on the right.
    """

    measured: Array
    fitted: Array
    correlation: Array
    score: float
    resolution_ang: float
    picture: NDArray[np.float32]


def profile_of(fit: ViewFit, state: ViewState, square: Array, limit_per_ang: float) -> RingProfile:
    """Average along rings.

    Parameters
    ----------
    fit, state
        of the view.
    square
        ``(m,)`` squared frequencies at which to give the profile, even.
    limit_per_ang
        frequency at the picture's edges.

    Notes
    -----
    Every bin of every class of depth is put where a ring of its phase lies at the view's mean defocus, so that neither
    tilt nor astigmatism blurs rings (equal-phase averaging: Zhang, J. Struct. Biol. 193 (2016) 1–12). The fit is
    averaged in the same way. The correlation of the two is taken in windows of one and a half rings, and the fit
    resolution is where it falls below one half, as CTFFIND's.
    """
    astigmatic = state.astigmatism_ang[0] * fit.cos2 + state.astigmatism_ang[1] * fit.sin2
    depth = fit.slope * fit.depth
    level, swing = fit.basis_background @ state.mend, fit.basis_strength @ state.strength
    angles = fit.angles(state)
    step = float(square[1] - square[0])
    sums = np.zeros((3, len(square)))
    for power, tiles, change in zip(fit.relative, fit.view.tiles, depth, strict=True):
        place = np.round((_same_phase(fit, state, change + astigmatic) - square[0]) / step).astype(int)
        inside = (place >= 0) & (place < len(square))
        weight = tiles * fit.modes
        ring = -swing * np.cos(angles + fit.turn * change)
        for row, values in enumerate((weight, weight * (power / level - 1), weight * ring / level)):
            sums[row] += np.bincount(place[inside], values[inside], minlength=len(square))
    filled = sums[0] > 0
    measured, fitted = (np.where(filled, row / np.maximum(sums[0], 1e-12), 0.0) for row in sums[1:])
    mean_turn = fit.lens.turn(np.asarray(1.0)) * abs(state.defocus_ang)
    ring = max(2 * np.pi / float(mean_turn) / step, 1e-9)  # samples
    correlation = _local_correlation(measured, fitted, sums[0], ring)
    usable: NDArray[np.bool_] = filled & np.asarray(square >= fit.lowest_square)
    resolution = _resolution(correlation, usable, square, ring, _nodes(fit, swing))
    coarse_m, coarse_f, weight = (
        _coarser(row, ring) for row in (measured * sums[0], fitted * sums[0], sums[0] * usable)
    )
    used = weight > 0
    score = _correlate(coarse_m[used] / weight[used], coarse_f[used] / weight[used], weight[used])
    return RingProfile(
        measured=measured, fitted=fitted, correlation=correlation, score=score, resolution_ang=resolution,
        picture=_picture(fit, state, limit_per_ang),
    )  # fmt: skip


def _same_phase(fit: ViewFit, state: ViewState, further_ang: Array) -> Array:
    """Squared frequency at which the mean defocus gives the phase that one farther by `further_ang` gives here."""
    cs = fit.lens.spherical_aberration_ang * fit.lens.wavelength_ang**2 / 2  # χ = πλ (Δf s − cs s²)
    wanted = (state.defocus_ang + further_ang) * fit.square - cs * fit.square**2
    under = state.defocus_ang**2 - 4 * cs * wanted
    root = np.sqrt(np.maximum(under, 0))
    return np.asarray(2 * wanted / (state.defocus_ang + root))


def _local_correlation(measured: Array, fitted: Array, weight: Array, ring: float) -> Array:
    """Correlation in a sliding window of `_WINDOW` rings, of samples that divide a ring into `_PER_RING` at most."""
    smooth = max(1, round(ring / _PER_RING))
    total = np.maximum(_moving(weight, smooth), 1e-12)
    a, b = _moving(measured * weight, smooth) / total, _moving(fitted * weight, smooth) / total
    window = max(3, round(_WINDOW * ring))
    count = np.maximum(_moving(weight, window), 1e-12)

    def mean(values: Array) -> Array:
        return _moving(values * weight, window) / count

    ma, mb = mean(a), mean(b)
    covariance = mean(a * b) - ma * mb
    spread = np.maximum(mean(a * a) - ma**2, 0) * np.maximum(mean(b * b) - mb**2, 0)
    return np.asarray(np.where(spread > 0, covariance / np.sqrt(np.maximum(spread, 1e-30)), 0.0))


def _moving(values: Array, window: int) -> Array:
    """Moving mean, zero beyond the ends."""
    return np.asarray(uniform_filter1d(values, window, axis=-1, mode="constant"))


def _resolution(correlation: Array, usable: NDArray[np.bool_], square: Array, ring: float, nodes: Array) -> float:
    """Where the correlation falls below one half for longer than a gap, which is longer about a node of the rings."""
    good = (correlation >= _FIT) & usable
    last = -1
    for place in np.flatnonzero(usable):
        if good[place]:
            last = int(place)
            continue
        node = nodes.size > 0 and np.abs(nodes - square[place]).min() < _GAP * ring * (square[1] - square[0])
        if place - max(last, np.flatnonzero(usable)[0]) > (_GAP if node else _SHORT_GAP) * ring:
            break
    return float(1 / np.sqrt(square[last])) if last >= 0 else float("inf")


def _nodes(fit: ViewFit, swing: Array) -> Array:
    """Squared frequencies at which the rings' strength changes its sign."""
    order = np.argsort(fit.square)
    square, sign = fit.square[order], np.sign(swing[order])
    return np.asarray(square[1:][sign[1:] * sign[:-1] < 0])


def _coarser(values: Array, ring: float) -> Array:
    step = max(1, round(ring / _PER_RING))
    return np.asarray(np.add.reduceat(values, np.arange(0, len(values), step)))


def _correlate(a: Array, b: Array, weight: Array) -> float:
    if len(a) < 4:
        return 0.0
    a, b = a - np.average(a, weights=weight), b - np.average(b, weights=weight)
    spread = float((weight * a * a).sum() * (weight * b * b).sum())
    return float((weight * a * b).sum()) / np.sqrt(spread) if spread > 0 else 0.0


def _picture(fit: ViewFit, state: ViewState, limit_per_ang: float) -> NDArray[np.float32]:
    """The spectrum in two dimensions: every sector's classes brought to the view's centre, astigmatism left in."""
    rings = fit.view.rings
    sectors, bins = rings.terms.shape
    low, step = float(rings.edges[0]), float(rings.edges[1] - rings.edges[0])
    level, swing = fit.basis_background @ state.mend, fit.basis_strength @ state.strength
    sector = np.broadcast_to(np.arange(sectors)[:, None], rings.terms.shape)[fit.used]
    sums = np.zeros((2, sectors * bins))
    astigmatic = state.astigmatism_ang[0] * fit.cos2 + state.astigmatism_ang[1] * fit.sin2
    for power, tiles, change in zip(fit.relative, fit.view.tiles, fit.slope * fit.depth, strict=True):
        scale = (state.defocus_ang + astigmatic + change) / (state.defocus_ang + astigmatic)
        place = np.floor((fit.square * scale - low) / step).astype(int)
        inside = (place >= 0) & (place < bins)
        index = sector[inside] * bins + place[inside]
        weight = tiles * fit.modes
        for row, values in enumerate((weight, weight * (power / level - 1))):
            sums[row] += np.bincount(index, values[inside], minlength=sectors * bins)
    measured = (sums[1] / np.maximum(sums[0], 1e-12)).reshape(sectors, bins)
    model = np.zeros(rings.terms.shape)
    model[fit.used] = -swing * np.cos(fit.angles(state)) / level
    smooth = max(1, round(bins / 100))
    measured, model = (_moving(part, smooth) for part in (measured, model))
    axis = (np.arange(_PICTURE_PX) - _PICTURE_PX // 2) / (_PICTURE_PX // 2) * limit_per_ang
    ky, kx = np.meshgrid(axis, axis, indexing="ij")
    square = kx**2 + ky**2
    turn = np.arctan2(ky, kx) % np.pi / np.pi * sectors
    place = (square - low) / step - 0.5
    wrapped = np.concatenate([np.concatenate([measured, measured[:1]]), np.concatenate([model, model[:1]])], axis=1)
    left = kx < 0
    columns = np.where(left, np.clip(place, 0, bins - 1), np.clip(place, 0, bins - 1) + bins)
    values = map_coordinates(wrapped, [turn, columns], order=1, mode="nearest")
    strongest = np.sqrt(square)
    # rings fade: each part of the picture is set against the fit's own strength there, or the noise where that is more
    strength = np.abs(
        np.interp(strongest, np.sqrt(fit.square[np.argsort(fit.square)]), np.abs(swing / level)[np.argsort(fit.square)])
    )
    noise = 1.4826 * float(np.median(np.abs(measured - model)[fit.used]))
    floor = max(0.15 * float(np.abs(swing).max()), 1.5 * noise) + 1e-9
    scaled = np.clip(values / np.maximum(strength, floor) / 1.5, -1, 1)
    outside = (square < fit.lowest_square) | (square > rings.edges[-1])
    return np.where(outside, 0.0, scaled).astype(np.float32)
