"""Loops over power spectra that are gathered in rings: sectors of direction times bins of squared frequency."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["add_power", "class_slopes", "depth_gains", "ring_moments", "ring_moments_reference"]

Float32 = NDArray[np.float32]


def add_power(terms: NDArray[np.complex64], index: NDArray[np.int32], out: NDArray[np.float64]) -> None:
    """Add the power ``|terms|²`` ``(h, w)`` of each term to the bin of `out` that `index` names; −1 names none."""
    _add_power(terms, index, out)


@njit(cache=True, nogil=True, fastmath=True)
def _add_power(terms, index, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    for i in range(terms.shape[0]):
        for j in range(terms.shape[1]):
            place = index[i, j]
            if place >= 0:
                value = terms[i, j]
                out[place] += value.real * value.real + value.imag * value.imag


def ring_moments(
    power: Float32,
    modes: Float32,
    depth_ang: Float32,
    per_depth: Float32,
    level: Float32,
    swing: Float32,
    phase: Float32,
) -> NDArray[np.float64]:
    """Sums over the classes of depth with which normal equations of any phase can be written.

    Parameters
    ----------
    power
        ``(classes, m)`` power over the background, in m bins.
    modes
        ``(classes,)`` independent spectra behind each class.
    depth_ang
        ``(classes,)`` how much further from focus a class is than the view's centre.
    per_depth
        ``(m,)`` phase 2χ that 1 Å of defocus adds in each bin, ψ = depth · per_depth.
    level, swing, phase
        ``(m,)`` the model level − swing · cos(phase + ψ), whose inverse square weights what is summed.

    Returns
    -------
    sums
        ``(8, m)`` of w, w r, Re and Im of w e^{iψ}, of w r e^{iψ}, and of w e^{2iψ}; w = modes / model², r = power.
    """
    out = np.zeros((8, power.shape[1]))
    _ring_moments(power, modes, depth_ang, per_depth, level, swing, phase, out)
    return out


@njit(cache=True, nogil=True, fastmath=True)
def _ring_moments(  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    power, modes, depth, per_depth, level, swing, phase, out
):
    lowest = np.float32(0.05)
    for c in range(power.shape[0]):
        for b in range(power.shape[1]):
            psi = depth[c] * per_depth[b]
            cosine, sine = np.cos(psi), np.sin(psi)
            model = level[b] - swing[b] * np.cos(phase[b] + psi)
            if model < lowest:
                model = lowest
            w = modes[c] / (model * model)
            r = w * power[c, b]
            out[0, b] += w
            out[1, b] += r
            out[2, b] += w * cosine
            out[3, b] += w * sine
            out[4, b] += r * cosine
            out[5, b] += r * sine
            out[6, b] += w * (2 * cosine * cosine - 1)
            out[7, b] += w * 2 * sine * cosine


def ring_moments_reference(
    power: Float32,
    modes: Float32,
    depth_ang: Float32,
    per_depth: Float32,
    level: Float32,
    swing: Float32,
    phase: Float32,
) -> NDArray[np.float64]:
    """`ring_moments` in plain numpy, to hold it to."""
    turn = np.exp(1j * depth_ang[:, None].astype(np.float64) * per_depth)
    model = np.maximum(level - swing * (np.exp(1j * phase.astype(np.float64)) * turn).real, 0.05)
    w = modes[:, None] / model**2
    sums = [w, w * power, w * turn, w * power * turn, w * turn**2]
    real = [part.sum(axis=0) for part in sums]
    return np.stack([real[0], real[1], *(part for value in real[2:] for part in (value.real, value.imag))])


def class_slopes(
    power: Float32,
    tiles: Float32,
    modes: Float32,
    depth_ang: Float32,
    per_depth: Float32,
    level: Float32,
    swing: Float32,
    phase: Float32,
) -> NDArray[np.float64]:
    """``(2, classes)`` slope of the log-likelihood with each class's defocus, 1/Å, and the information on it, 1/Å².

    Arguments as of `ring_moments`; `tiles` ``(classes,)`` times `modes` ``(m,)`` are the independent terms.
    """
    out = np.zeros((2, power.shape[0]))
    _class_slopes(power, tiles, modes, depth_ang, per_depth, level, swing, phase, out)
    return out


@njit(cache=True, nogil=True, fastmath=True)
def _class_slopes(  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    power, tiles, modes, depth, per_depth, level, swing, phase, out
):
    for c in range(power.shape[0]):
        slope, information = 0.0, 0.0
        for b in range(power.shape[1]):
            angle = phase[b] + depth[c] * per_depth[b]
            model = max(level[b] - swing[b] * np.cos(angle), np.float32(0.05))
            change = swing[b] * np.sin(angle) * per_depth[b]
            w = modes[b] / (model * model)
            slope += w * (power[c, b] - model) * change
            information += w * change * change
        out[0, c] = tiles[c] * slope
        out[1, c] = tiles[c] * information


def depth_gains(
    power: Float32,
    tiles: Float32,
    modes: Float32,
    depths_ang: Float32,
    per_depth: Float32,
    level: Float32,
    swing: Float32,
    phase: Float32,
) -> NDArray[np.float64]:
    """``(d,)`` log-likelihood, to second order in the rings, for d ways in which defocus may change with depth.

    Arguments as of `class_slopes`, but `depths_ang` ``(d, classes)``.
    """
    out = np.zeros(len(depths_ang))
    _depth_gains(power, tiles, modes, depths_ang, per_depth, level, swing, phase, out)
    return out


@njit(cache=True, nogil=True, fastmath=True)
def _depth_gains(  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    power, tiles, modes, depths, per_depth, level, swing, phase, out
):
    for d in range(depths.shape[0]):
        for c in range(power.shape[0]):
            total = np.float32(0)
            for b in range(power.shape[1]):
                ring = -swing[b] * np.cos(phase[b] + depths[d, c] * per_depth[b])
                total += modes[b] * ring * (power[c, b] - level[b] - ring / 2)
            out[d] += tiles[c] * total
