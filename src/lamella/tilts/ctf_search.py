"""All defoci at once: rings brought to one defocus and summed, then a Fourier sum over squared frequency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from lamella.kernels.rings import ring_moments
from lamella.tilts.ctf_background import background, first_zero_spacing
from lamella.tilts.ctf_lens import Lens
from lamella.tilts.ctf_tiles import ViewSpectra

__all__ = ["Found", "search", "search_view"]

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
    hand
        the sign by which defocus grows with depth that fits better.
    certain
        whether the rings are there at all.
    """

    defocus_ang: Array
    significance: Array
    hand: int
    certain: bool


def search(
    views: Sequence[ViewSpectra | None], lens: Lens, limits_ang: tuple[float, float], phase: float, *, joint: bool
) -> Found:
    """Defocus of every view from nothing but a wide range.

    Parameters
    ----------
    views
        spectra; None for a view that has none.
    limits_ang
        least and largest defocus.
    phase
        of the amplitude contrast and a phase plate, rad.
    joint
        views have nearly one defocus: what fits all of them best decides where each is sought first.
    """
    tried = defoci(limits_ang, lens, max(view.rings.edges[-1] for view in views if view is not None))
    curves = {hand: np.zeros((len(views), len(tried))) for hand in (-1, 1)}
    for number, view in enumerate(views):
        if view is not None:
            for hand, curve in zip((-1, 1), search_view(view, lens, tried, phase), strict=True):
                curves[hand][number] = curve
    gains = {hand: _without_ends(np.maximum(curve, 0) ** 2 / 2) for hand, curve in curves.items()}
    reach = 2 * round(_SCATTER_ANG / (tried[1] - tried[0])) + 1
    sums = {hand: maximum_filter1d(gain, reach, axis=1).sum(axis=0) for hand, gain in gains.items()}
    best = max((-1, 1), key=lambda hand: float(sums[hand].max() if joint else gains[hand].max(axis=1).sum()))
    middle = float(tried[int(np.argmax(sums[best]))])
    places = np.array([_place(gain, tried, middle if joint else None) for gain in gains[best]])
    z = curves[best][np.arange(len(views)), places]
    total = sums[best]
    spread = 1.4826 * float(np.median(np.abs(total - np.median(total))))
    many = sum(view is not None for view in views)
    stands_out = (total.max() - np.median(total)) > _SERIES * max(spread, np.sqrt(many))
    certain = bool((z > _SINGLE).any() or (many > 2 and joint and stands_out))
    return Found(defocus_ang=tried[places], significance=z, hand=best, certain=certain)


def _without_ends(gains: Array) -> Array:
    """Gains ``(n, defoci)`` without what falls from the ends of the range inwards: a slope is no peak."""
    out = gains.copy()
    for line in out:
        for values in (line, line[::-1]):
            rises = np.flatnonzero(np.diff(values) > 0)
            values[: rises[0] + 1 if len(rises) else len(values)] = 0
    return out


def defoci(limits_ang: tuple[float, float], lens: Lens, highest_square: float) -> Array:
    """Defoci to try."""
    step = _STEP / float(lens.turn(np.asarray(highest_square)))
    return np.arange(limits_ang[0], limits_ang[1] + step, step)


def search_view(view: ViewSpectra, lens: Lens, tried: Array, phase: float) -> tuple[Array, Array]:
    """``(defoci,)`` how many standard deviations of noise each defocus stands out, for a hand of −1 and of +1."""
    rings = view.rings
    square = rings.middle
    modes = view.modes.sum(axis=0)
    out = np.zeros((2, len(tried)))
    for low, high in pairwise(_RANGES_ANG):
        chosen = (tried >= low) & (tried < high)
        if not chosen.any():
            continue
        spacing = first_zero_spacing(lens.wavelength_ang, float(np.median(tried[chosen])))
        turned = _turned(view, lens, spacing)
        angles = lens.turn(square) * tried[chosen, None] + lens.rest(square) + 2 * phase
        counts = angles >= _FIRST_TURN
        turn = np.exp(-1j * angles) * counts
        for row, terms in enumerate((turned, turned.conj())):
            best = np.full(len(turn), -np.inf)
            for width in _FADING:
                weight = np.exp(-square / (2 * width**2))
                spread = np.sqrt((counts * (weight**2 * modes)).sum(axis=1) / 2)
                best = np.maximum(best, -(turn @ (weight * terms)).real / np.maximum(spread, 1e-9))
            out[row, chosen] = best
    return out[0], out[1]


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
