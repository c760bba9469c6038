"""Views that lost the specimen: they show another field than their neighbours in tilt, or one far beside theirs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lamella.features.masks import weights_of
from lamella.geometry import rotation_z
from lamella.tilts.views import ViewLook

__all__ = ["Agreement", "agree_with_neighbours", "judge_shifts"]

Array = NDArray[np.float64]

_REACH = 3  # views on either side that a view is compared with
_FINE_PX, _COARSE_PX = 1.0, 8.0  # detail between these widths is compared, pixels of the coarse picture
_TAPER = 0.08  # of the field, over which the border fades
_LOST = 6.0  # peak over the map's deviation, below which two views may share nothing: other fields reach 5.5
_FAR_LESS = 0.6  # of the neighbours' agreement, below which a view shares nothing with them
_SURE = 9.0  # the same, above which two views certainly show one field
_MAD_TO_SD = 1.4826
_CLIP = 2.5  # standard deviations to which detail is drawn in
_LEAST_COS = 0.25
_LEAST_OVERLAP = 0.15  # of the field: what two views must share


@dataclass(frozen=True, eq=False)
class Agreement:
    """How views agree with those up to three places beside them, in the order of tilt.

    Attributes
    ----------
    strength
        ``(n, n)`` height of the correlation's peak over the deviation of its map; 0 where it was not sought.
    shift
        ``(n, n, 2)`` where the second view shows the first one's field, as a fraction (x, y) of the field.
    """

    strength: Array
    shift: Array

    def best(self) -> Array:
        """``(n,)`` strength with the neighbour that agrees best."""
        return np.asarray(self.strength.max(axis=1, initial=0.0), dtype=np.float64)

    def moved(self, first: int, second: int) -> float:
        """Distance between two views' fields, as a fraction of the field."""
        return float(np.abs(self.shift[first, second]).max())


def agree_with_neighbours(looks: list[ViewLook], tilt_deg: Array, axis_deg: Array) -> Agreement:
    """Correlate the coarse pictures of views, stretched by 1 / cos(tilt) across the axis.

    Parameters
    ----------
    looks, tilt_deg, axis_deg
        of n views in the order of tilt; nominal angles will do.
    """
    spectra = [_spectrum(*view) for view in zip(looks, tilt_deg, axis_deg, strict=True)]
    n = len(looks)
    strength, shift = np.zeros((n, n)), np.zeros((n, n, 2))
    for first, second in combinations(range(n), 2):
        if second - first <= _REACH:
            height, places = _peak(spectra[first], spectra[second], looks[first].picture.shape)
            strength[first, second] = strength[second, first] = height
            shift[first, second], shift[second, first] = places, -places
    return Agreement(strength, shift)


def judge_shifts(agreement: Agreement, max_shift: float) -> tuple[str, ...]:
    """Say of each view, in the order of tilt, whether it lost the specimen; empty for a good one.

    A view is only judged where its neighbours certainly show the specimen: across it, or on either side of it (at an
    end, the next two). A specimen too faint to correlate condemns no view.
    """
    return tuple(_fault(agreement, view, max_shift) for view in range(len(agreement.strength)))


def _fault(agreement: Agreement, view: int, max_shift: float) -> str:
    strength = agreement.strength
    across = max(_bridges(view, len(strength)), key=lambda pair: float(strength[pair]), default=None)
    if across is None:
        return ""
    neighbours = max(float(strength[across]), _beside_it(strength, view))
    best = float(strength[view].max())
    if neighbours > _SURE and best < min(_LOST, _FAR_LESS * neighbours):
        return (
            f"shifted out: it shows another field than its neighbours (agreement {best:.1f}; "
            f"they agree by {neighbours:.1f})"
        )
    if strength[across] > _SURE and _lies_beside(agreement, view, *across, max_shift):
        moved = min(agreement.moved(across[0], view), agreement.moved(view, across[1]))
        return f"shifted out: its field lies {100 * moved:.0f} % of the width beside its neighbours'"
    return ""


def _bridges(view: int, n: int) -> list[tuple[int, int]]:
    """Pairs of views on both sides of a view and compared with each other; at an end, the next two."""
    if n < 3:
        return []
    if view in (0, n - 1):
        return [(1, 2)] if view == 0 else [(n - 3, n - 2)]
    return [
        (first, second)
        for first in range(max(0, view - _REACH), view)
        for second in range(view + 1, min(n, first + _REACH + 1))
    ]


def _beside_it(strength: Array, view: int) -> float:
    """Agreement of the two views before a view with each other, or of the two after it: the weaker of them."""
    if not 2 <= view < len(strength) - 2:
        return 0.0
    return float(min(strength[view - 2, view - 1], strength[view + 1, view + 2]))


def _lies_beside(agreement: Agreement, view: int, first: int, second: int, max_shift: float) -> bool:
    """Whether a view lies beside two others that lie on each other."""
    near = min((first, second), key=lambda other: abs(other - view))
    seen = [other for other in (first, second) if agreement.strength[view, other] >= _LOST] or [near]
    far = all(agreement.moved(view, other) > max_shift for other in seen)
    return far and agreement.moved(first, second) < max_shift / 2


def _spectrum(look: ViewLook, tilt_deg: float, axis_deg: float) -> Array:
    """Transform of a view's detail, padded to twice its size."""
    height, width = look.picture.shape
    weight = weights_of(look.specimen, (height, width)).numpy().astype(np.float64)
    total = max(float(weight.sum()), 1e-9)
    values = (look.picture - (weight * look.picture).sum() / total) * weight
    detail = ndimage.gaussian_filter(values, _FINE_PX) - ndimage.gaussian_filter(values, _COARSE_PX)
    spread = _MAD_TO_SD * float(np.median(np.abs(detail[look.specimen]))) if look.specimen.any() else 0.0
    # drawn in, or two fields would seem alike where the strongest feature of one falls on that of the other
    detail = np.clip(detail, -_CLIP * spread, _CLIP * spread)
    weight = weight * _window(height)[:, None] * _window(width)
    detail = (detail - (weight * detail).sum() / max(float(weight.sum()), 1e-9)) * weight
    turn = rotation_z(axis_deg)[:2, :2]
    squeeze = turn @ np.diag([max(float(np.cos(np.deg2rad(tilt_deg))), _LEAST_COS), 1.0]) @ turn.T
    squeeze = squeeze[::-1, ::-1]  # rows come first
    middle = np.array([height // 2, width // 2], dtype=np.float64)
    detail = ndimage.affine_transform(detail, squeeze, middle - squeeze @ middle, order=1)
    detail /= max(float(np.sqrt((detail**2).sum())), 1e-30)
    return np.asarray(np.fft.rfft2(detail, s=(2 * height, 2 * width)))


def _window(length: int) -> Array:
    edge = np.minimum(np.arange(length) + 0.5, length - np.arange(length) - 0.5) / max(1.0, _TAPER * length)
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.clip(edge, 0, 1)))


def _peak(first: Array, second: Array, shape: tuple[int, ...]) -> tuple[float, Array]:
    """Height of the cross-correlation's peak over its deviation, and where it lies, as fractions (x, y).

    The deviation of chance is that of a sum over what overlaps: it grows with the overlap's root.
    """
    height, width = shape
    grid = np.fft.irfft2(np.conj(first) * second, s=(2 * height, 2 * width))
    overlap = _overlap(height)[:, None] * _overlap(width)
    grid = np.where(overlap > _LEAST_OVERLAP, grid / np.sqrt(np.maximum(overlap, _LEAST_OVERLAP)), 0.0)
    y, x = np.unravel_index(int(np.argmax(grid)), grid.shape)
    rows = (int(y) + height) % (2 * height) - height
    columns = (int(x) + width) % (2 * width) - width
    deviation = max(float(grid[overlap > _LEAST_OVERLAP].std()), 1e-30)
    return float(grid.max() / deviation), np.array([columns / width, rows / height])


def _overlap(length: int) -> Array:
    """Share of a side that two views have in common, by the shift between them in Fourier order."""
    return np.asarray(1 - np.abs(np.fft.fftfreq(2 * length, 1 / (2 * length))) / length)
