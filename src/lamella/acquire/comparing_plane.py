"""How an area lies: its inclination against the stage, learned from how pictures are stretched and sheared by tilting.

A flat area of slopes (p, q) along x (across the axis) and y has z = p·x + q·y, and a point of it appears at

    x' = (cos θ + p·sin θ)·x + q·sin θ·y,    y' = y

(`lamella.geometry`'s Ry). Stretched by 1 / cos θ alone, an area inclined by 10° matches its untilted picture at 45° in
the middle only: the sides are off by a fifth of their distance. The slopes are known beforehand to what grids are
inclined; small parts of each further picture, matched by themselves, tell them better and better.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.acquire.grid_plane import SLOPE_SD
from lamella.fourier import band_pass, cross_correlate, find_peak

__all__ = ["LocalShifts", "LyingPlane", "local_shifts"]

Array = NDArray[np.float64]
Ray = tuple[float, float]

_LEAST_STRETCH = 0.08  # of the first picture: a picture that is narrower shows nothing that can be compared
_PARTS = 4  # along each side of a picture
_LEAST_MATCH = 0.25  # correlation coefficient from which a part is believed
_FEWEST_PARTS = 5
_LEAST_SD_PX = 0.5  # of a part's place: relief and depth of the specimen move it too
_DOUBTED = 3.0  # standard deviations beyond which a part counts less


class LyingPlane:
    """The slopes of one area, as far as its pictures have told them.

    Attributes
    ----------
    slope
        ``(2,)`` dz/dx and dz/dy on the stage at 0°.
    """

    def __init__(self) -> None:
        self.slope: Array = np.zeros(2)
        self._information: Array = np.eye(2, dtype=np.float64) / SLOPE_SD**2
        self._first_deg: float | None = None

    def begin(self, tilt_deg: float) -> None:
        """The first picture, to which all others are brought, was taken at this tilt."""
        self._first_deg = tilt_deg

    def matrix(self, tilt_deg: float) -> Array:
        """``(2, 2)`` from places in the first picture, stretched by 1 / cos θ, to places in one at another tilt.

        x across and y along the axis. Of the first picture itself it is diag(cos θ, 1) whatever the slopes are.
        """
        first, now, ratio = self._widths(tilt_deg)
        shear = float(self.slope[1]) * (now[1] - first[1] * ratio)
        return np.array([[max(first[0] * ratio, _LEAST_STRETCH), shear], [0.0, 1.0]])

    def learn(self, tilt_deg: float, found: LocalShifts) -> None:
        """Take in by how much parts of a picture lay from where the slopes so far have them, across the axis.

        Parameters
        ----------
        tilt_deg
            of the picture.
        found
            of its parts, in the frame (across, along) of the picture.
        """
        if len(found.places) < _FEWEST_PARTS:
            return
        rows = self._rows(tilt_deg, found.places)
        known: Array = np.zeros((3, 3))
        known[:2, :2] = self._information
        information, change, weights, sd = known, np.zeros(3), np.ones(len(rows)), _LEAST_SD_PX
        for _ in range(5):
            weighted = rows * (weights / sd**2)[:, None]
            information = known + rows.T @ weighted
            change = np.asarray(np.linalg.solve(information, weighted.T @ found.across), np.float64)
            left = np.abs(found.across - rows @ change)
            sd = max(1.4826 * float(np.median(left)), _LEAST_SD_PX)
            weights = 1.0 / np.maximum(left / (_DOUBTED * sd), 1.0)
        # What the displacement's own uncertainty leaves for the slopes.
        cross = information[:2, 2:]
        self._information = information[:2, :2] - cross @ cross.T / float(information[2, 2])
        self.slope = self.slope + change[:2]

    def _widths(self, tilt_deg: float) -> tuple[Ray, Ray, float]:
        """cos and sin of the first tilt and of this one, and how wide the area is now over what it was then."""
        first, now = _ray(tilt_deg if self._first_deg is None else self._first_deg), _ray(tilt_deg)
        return first, now, self._width(now) / max(self._width(first), _LEAST_STRETCH)

    def _width(self, ray: Ray) -> float:
        return ray[0] + float(self.slope[0]) * ray[1]

    def _rows(self, tilt_deg: float, places: Array) -> Array:
        """``(n, 3)`` change across the axis of what appears at places, with each slope and with the displacement."""
        first, now, ratio = self._widths(tilt_deg)
        at = places @ np.linalg.inv(self.matrix(tilt_deg)).T
        turned = now[1] * first[0] - now[0] * first[1]  # sin of the angle between both
        wider = turned / max(self._width(first), _LEAST_STRETCH) ** 2
        by_x = wider * (first[0] * at[:, 0] - float(self.slope[1]) * first[1] * at[:, 1])
        return np.column_stack([by_x, (now[1] - first[1] * ratio) * at[:, 1], np.ones(len(at))])


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalShifts:
    """Where parts of a picture lie from where they are expected.

    Attributes
    ----------
    places
        ``(n, 2)`` of the parts' middles from the point that is compared, (across, along) the axis, px.
    across
        ``(n,)`` by how much they lie further across the axis, px.
    """

    places: Array
    across: Array


def local_shifts(
    image: Tensor, template: Tensor, turn: Array, middle_px: Array, band: tuple[float, float]
) -> LocalShifts:
    """Match parts of a picture by themselves with a template that lies where the whole picture matches it.

    Parameters
    ----------
    image, template
        ``(h, w)``; the template is 0 where it knows nothing.
    turn
        ``(2, 2)`` from (across, along) to (x, y) of the picture.
    middle_px
        ``(x, y)`` of the point that is compared from the picture's middle.
    band
        cycles per pixel between which structure is compared.
    """
    height, width = image.shape
    side = 2 * (min(height, width) // (_PARTS + 1) // 2)
    window = torch.outer(torch.hann_window(side, periodic=True), torch.hann_window(side, periodic=True))
    passed = band_pass((side, side), *band, band[0] / 2)
    places, across = [], []
    for top in np.linspace(0, height - side, _PARTS).astype(int):
        for left in np.linspace(0, width - side, _PARTS).astype(int):
            parts = [one[top : top + side, left : left + side] for one in (image, template)]
            if bool((parts[1] == 0).float().mean() > 0.3):
                continue
            mine, its = ((part - part.mean()) * window for part in parts)
            shift, match = find_peak(cross_correlate(mine, its, passed), max_shift=side / 4)
            if not float(match) >= _LEAST_MATCH:
                continue
            at = np.array([left + side / 2 - width // 2, top + side / 2 - height // 2]) - middle_px
            places.append(turn.T @ at)
            across.append(float((turn.T @ shift.double().numpy()[::-1])[0]))
    return LocalShifts(places=np.array(places, np.float64).reshape(-1, 2), across=np.array(across, np.float64))


def _ray(tilt_deg: float) -> Ray:
    """cos and sin."""
    angle = float(np.deg2rad(tilt_deg))
    return float(np.cos(angle)), float(np.sin(angle))
