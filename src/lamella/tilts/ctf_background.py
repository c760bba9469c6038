"""Smooth curves over frequency: the background of a spectrum and the strength of its rings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline

from lamella.tilts.ctf_tiles import ViewSpectra

__all__ = ["background", "design_background", "first_zero_spacing", "spline_basis"]

Array = NDArray[np.float64]

_KNOTS = 0.5  # spacing of knots, of the frequency of the first zero: too wide to follow rings
_KNOT_LIMITS = (0.02, 0.06)  # 1/Å
_ANISOTROPY = 4  # splines over frequency by which the background differs between directions


def spline_basis(frequency: Array, limits: tuple[float, float], spacing: float, most: int = 1000) -> Array:
    """``(m, splines)`` B-splines with even knots between two frequencies, at ``(m,)`` frequencies.

    Cubic ones at most `spacing` apart, but not more than `most`, and of a lower degree where that is less than four.
    """
    low, high = limits
    degree = int(np.clip(most - 1, 0, 3))
    pieces = int(np.clip(np.ceil((high - low) / spacing), 1, max(most - degree, 1)))
    knots = np.concatenate([[low] * degree, np.linspace(low, high, pieces + 1), [high] * degree])
    inside = np.clip(frequency, low, high - 1e-9 * (high - low))
    return np.asarray(BSpline.design_matrix(inside, knots, degree).toarray())


def first_zero_spacing(wavelength_ang: float, defocus_ang: float) -> float:
    """Spacing of knots, 1/Å, for the rings of a defocus."""
    return float(np.clip(_KNOTS / np.sqrt(wavelength_ang * defocus_ang), *_KNOT_LIMITS))


def background(view: ViewSpectra, spacing: float) -> Array:
    """``(sectors, bins)`` smooth background of a view's mean spectrum; it may differ between directions.

    A least-squares fit to the logarithm; rings, which are finer than the knots, average out.
    """
    rings = view.rings
    filled = rings.terms > 0
    power = view.whole()
    k = np.sqrt(rings.square)
    limits = float(np.sqrt(rings.edges[0])), float(np.sqrt(rings.edges[-1]))
    design = design_background(k[filled], rings.cos2[filled], rings.sin2[filled], limits, spacing)
    weight = np.sqrt(rings.terms[filled])
    values = np.log(np.maximum(power[filled], 1e-12))
    solution = np.linalg.lstsq(design * weight[:, None], values * weight, rcond=None)[0]
    out = np.ones_like(power)
    out[filled] = np.exp(design @ solution)
    return out


def design_background(
    k: Array, cos2: Array, sin2: Array, limits: tuple[float, float], spacing: float, most: int = 1000
) -> Array:
    """``(m, terms)`` splines over frequency, and a few more times the cosine and sine of twice the direction."""
    plain = spline_basis(k, limits, spacing, most)
    few = spline_basis(k, limits, limits[1] - limits[0], min(_ANISOTROPY, most))
    return np.concatenate([plain, few * cos2[:, None], few * sin2[:, None]], axis=1)
