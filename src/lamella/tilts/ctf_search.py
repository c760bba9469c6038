"""All defoci at once: rings brought to one defocus and summed, then a Fourier sum over squared frequency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from lamella.kernels.rings import ring_moments
from lamella.parallel import each
from lamella.tilts.ctf_background import background, first_zero_spacing
from lamella.tilts.ctf_lens import Lens
from lamella.tilts.ctf_tiles import ViewSpectra

__all__ = ["Found", "search"]

Array = NDArray[np.float64]

_STEP = 1.0  # change of the phase 2χ at the highest frequency from one defocus tried to the next, rad
_FADING = (0.035, 0.07, 0.2)  # 1/Å: rings' strength is sought as a Gaussian of one of these widths
_RANGES_ANG = (0.0, 8e3, 1.8e4, np.inf)  # the rings of small defoci are as wide as a background's usual knots
_FIRST_TURN = 0.75 * 2 * np.pi  # phase 2χ at which the sum begins: the background below is too steep
_SCATTER_ANG = 700.0  # views may differ in defocus by so much from what most have
_RANGE_ANG = 1800.0  # and lie so far from it before they need a reason of their own
_OWN_REASON = 20.0  # by which log-likelihood a view's defocus farther away must be better
_SINGLE = 6.0  # standard deviations by which one view alone must stand out
_SERIES = 9.0  # robust standard deviations by which a series' sum must


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What the search gives.

    Attributes
    ----------
    defocus_ang
        ``(n,)`` best defocus of each view's centre.
    significance
        ``(n,)`` standard deviations of noise by which it stands out.
    phase
        that fits best, rad.
    hand
        the sign by which defocus grows with depth that fits better.
    certain
        whether the rings are there at all.
    """

    defocus_ang: Array
    significance: Array
    phase: float
    hand: int
    certain: bool


def search(
    views: Sequence[ViewSpectra], lens: Lens, limits_ang: tuple[float, float], phases: Array, *, joint: bool
) -> Found:
    """Defocus of every view from nothing but a wide range.

    Parameters
    ----------
    views
        spectra, in bins of the same squared frequencies.
    limits_ang
        least and largest defocus.
    phases
        ``(p,)`` of the amplitude contrast and a phase plate, rad, to be tried.
    joint
        views have nearly one defocus: what fits all of them best decides where each is sought first.
    """
    rings = views[0].rings
    step = _STEP / float(lens.turn(np.asarray(rings.edges[-1])))
    tried = np.arange(limits_ang[0], limits_ang[1] + step, step)
    ranges = []
    for low, high in pairwise(_RANGES_ANG):
        chosen = (tried >= low) & (tried < high)
        if chosen.any():
            spacing = first_zero_spacing(lens.wavelength_ang, float(np.median(tried[chosen])))
            ranges.append((chosen, np.stack(each(partial(_turned, lens=lens, spacing=spacing), views))))
    modes = np.array([view.tiles.sum() for view in views])[:, None] * rings.modes.sum(axis=0)
    found = [_best(_curves(ranges, tried, lens, rings.middle, modes, phase), tried, phase, joint) for phase in phases]
    return max(found, key=lambda one: float((np.maximum(one.significance, 0) ** 2).sum()))


def _curves(
    ranges: Sequence[tuple[NDArray[np.bool_], NDArray[np.complex128]]],
    tried: Array,
    lens: Lens,
    square: Array,
    modes: Array,
    phase: float,
) -> Array:
    """``(2, n, defoci)`` standard deviations of noise by which each stands out, for a hand of −1 and of +1."""
    out = np.full((2, len(modes), len(tried)), -np.inf)
    for chosen, turned in ranges:
        angles = lens.turn(square) * tried[chosen, None] + lens.rest(square) + 2 * phase
        counts = angles >= _FIRST_TURN
        turn = np.exp(-1j * angles) * counts
        for width in _FADING:
            weight = np.exp(-square / (2 * width**2))
            spread = np.maximum(np.sqrt((modes * weight**2) @ counts.T / 2), 1e-9)
            for row, terms in zip(out, (turned, turned.conj()), strict=True):
                row[:, chosen] = np.maximum(row[:, chosen], -((weight * terms) @ turn.T).real / spread)
    return out


def _best(curves: Array, tried: Array, phase: float, joint: bool) -> Found:
    """Each view's defocus, and the hand, of what stands out most."""
    gains = np.stack([_without_ends(np.maximum(curve, 0) ** 2 / 2) for curve in curves])
    reach = 2 * round(_SCATTER_ANG / (tried[1] - tried[0])) + 1
    sums = maximum_filter1d(gains, reach, axis=2).sum(axis=1)
    row = int(np.argmax(sums.max(axis=1) if joint else gains.max(axis=2).sum(axis=1)))
    total, n = sums[row], gains.shape[1]
    middle = float(tried[int(np.argmax(total))])
    places = np.array([_place(gain, tried, middle if joint else None) for gain in gains[row]])
    z = curves[row, np.arange(n), places]
    spread = 1.4826 * float(np.median(np.abs(total - np.median(total))))
    stands_out = (total.max() - np.median(total)) > _SERIES * max(spread, np.sqrt(n))
    certain = bool((z > _SINGLE).any() or (n > 2 and joint and stands_out))
    return Found(defocus_ang=tried[places], significance=z, phase=phase, hand=(-1, 1)[row], certain=certain)


def _without_ends(gains: Array) -> Array:
    """Gains ``(n, defoci)`` without what falls from the ends of the range inwards: a slope is no peak."""
    out = gains.copy()
    for line in out:
        for values in (line, line[::-1]):
            rises = np.flatnonzero(np.diff(values) > 0)
            values[: rises[0] + 1 if len(rises) else len(values)] = 0
    return out


def _turned(view: ViewSpectra, lens: Lens, spacing: float) -> NDArray[np.complex128]:
    """``(bins,)`` spectrum over background minus 1, all classes brought to the centre's defocus for a hand of −1."""
    rings = view.rings
    shape = rings.terms.shape
    level = background(view, spacing)
    flat = (view.power / level).reshape(len(view.tiles), -1).astype(np.float32)
    ones, zeros = np.ones(flat.shape[1], np.float32), np.zeros(flat.shape[1], np.float32)
    sums = ring_moments(
        flat, view.tiles.astype(np.float32), view.depth_ang.astype(np.float32),
        lens.turn(rings.square).reshape(-1).astype(np.float32), ones, zeros, zeros,
    )  # fmt: skip
    terms = (sums[4] - sums[2]) + 1j * (sums[5] - sums[3])
    return np.asarray((terms.reshape(shape) * rings.modes).sum(axis=0))


def _place(gain: Array, tried: Array, middle: float | None) -> int:
    """Index of a view's best defocus: near the middle, unless another is better by a reason of its own."""
    anywhere = int(np.argmax(gain))
    if middle is None:
        return anywhere
    near = np.flatnonzero(np.abs(tried - middle) <= _RANGE_ANG)
    here = int(near[np.argmax(gain[near])])
    return anywhere if gain[anywhere] > gain[here] + _OWN_REASON else here
