"""Where each object lies in each view beside its prediction by the other views."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.fourier import soft_mask
from lamella.geometry import TiltGeometry
from lamella.records.tracks import Tracks
from lamella.tilts.working import WorkingImages

__all__ = ["Matched", "match_objects"]

Array = NDArray[np.float64]

_WINDOW_PX = 28  # edge of a window about an object
_REACH_PX = 4.0  # how far from its prediction an object is looked for
_STEPS = 5  # of Newton's method on the correlation
_LEAST_FLAT = 0.3  # of the mean curvature: a flatter peak is taken as that curved
_LEAST_AGREED = 0.2  # of the mean correlation, below which an object was not found
_MOST_WEIGHT = 3.0
_LEAST_MASK = 0.75  # mean weight of a window's pixels
_MOST_SHARED = 0.95


@dataclass(frozen=True, eq=False)
class Matched:
    """What was found.

    Attributes
    ----------
    tracks
        of the objects; weights by how clearly each was found.
    coherence
        ``(r,)`` of views and predictions by ring of 1 / window, as they lay before.
    significance
        of that coherence, in standard deviations of chance.
    """

    tracks: Tracks
    coherence: Array
    significance: float


def match_objects(
    views: WorkingImages, predictions: Tensor, mask: Tensor, geometry: TiltGeometry, points_ang: Array
) -> Matched:
    """Tracks of objects.

    Parameters
    ----------
    views
        flattened views.
    predictions
        ``(n, h, w)`` of them by the others.
    mask
        ``(n, h, w)`` what each pixel counts.
    geometry
        with which the predictions were made.
    points_ang
        ``(p, 3)`` the objects.

    Notes
    -----
    View and prediction are correlated with the weight of maximum likelihood for a shift between noisy copies (Hannan &
    Thomson 1973), from their coherence over all windows; the peak by Newton's method from the prediction's place.
    """
    places = geometry.project(points_ang)
    windows = _Windows(views, predictions, mask)
    cut = [windows.cut(view, places[view]) for view in range(len(views))]
    gain, coherence, significance = windows.weighting([(a, b) for _, a, b in cut])
    moved = [windows.shifts(a * b.conj() * gain) for _, a, b in cut]
    heights = np.concatenate([height for _, height in moved])
    usual = float(np.mean(heights)) if len(heights) else 1.0
    observations = np.full(places.shape, np.nan)
    weights = np.zeros(places.shape[:2])
    for view, ((which, _, _), (shift, height)) in enumerate(zip(cut, moved, strict=True)):
        found = (height > _LEAST_AGREED * usual) & (np.abs(shift) < _REACH_PX - 0.1).all(axis=1)
        observations[view, which[found]] = places[view, which[found]] + shift[found] * np.array(views.pixel_ang)
        weights[view, which[found]] = np.clip(height[found] / usual, 0.0, _MOST_WEIGHT)
    return Matched(Tracks.observed(observations, weights), coherence, significance)


class _Windows:
    """Windows of views and predictions, and their correlation."""

    def __init__(self, views: WorkingImages, predictions: Tensor, mask: Tensor) -> None:
        self.views, self.predictions, self.mask = views, predictions, mask
        size = _WINDOW_PX
        self.window = soft_mask((size, size), 0.2 * size, 0.3 * size)
        k_x, k_y = torch.fft.rfftfreq(size)[None], torch.fft.fftfreq(size)[:, None]
        self.k_x, self.k_y = 2 * torch.pi * k_x.expand(size, -1), 2 * torch.pi * k_y.expand(-1, size // 2 + 1)
        self.ring = (torch.sqrt(k_x**2 + k_y**2) * size).round().long()
        self.count = torch.where(k_x == 0, 0.5, 1.0).expand(size, -1)

    def cut(self, view: int, places_ang: Array) -> tuple[NDArray[np.int64], Tensor, Tensor]:
        """Which points a view shows, and ``(q, s, s // 2 + 1)`` transforms of its windows and the prediction's."""
        height, width = self.views.stack.shape[-2:]
        half = _WINDOW_PX // 2
        corner = np.round(places_ang / self.views.pixel_ang + self.views.origin_px).astype(np.int64) - half
        inside = ((corner >= 0) & (corner + _WINDOW_PX <= [width, height])).all(axis=1)
        which = np.flatnonzero(inside)
        masks = self._taken(self.mask[view], corner[which])
        kept = (masks.mean(dim=(-2, -1)) >= _LEAST_MASK).numpy()
        which, weight = which[kept], masks[kept] * self.window
        if not len(which):
            nothing = torch.zeros((0, *self.ring.shape), dtype=torch.complex64)
            return which, nothing, nothing
        first, second = (
            torch.fft.rfft2(self._taken(image, corner[which]) * weight)
            for image in (self.views.stack[view], self.predictions[view])
        )
        return which, first, second

    def _taken(self, image: Tensor, corners: NDArray[np.int64]) -> Tensor:
        """``(q, s, s)`` windows from their first pixels (x, y)."""
        line = torch.arange(_WINDOW_PX)
        start = torch.from_numpy(corners)
        rows, columns = start[:, 1, None] + line, start[:, 0, None] + line
        return image[rows[:, :, None], columns[:, None, :]]

    def weighting(self, pairs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Array, float]:
        """The weight of each term of a correlation; the coherence by ring; its significance."""
        rings = int(self.ring.max()) + 1
        shared, first, second = (torch.zeros(self.ring.shape) for _ in range(3))
        for a, b in pairs:
            shared += (a * b.conj()).real.sum(dim=0)
            first += (a.abs() ** 2).sum(dim=0)
            second += (b.abs() ** 2).sum(dim=0)
        sums = [self._summed(part, rings) for part in (shared, first, second)]
        scale = (sums[1] * sums[2]).sqrt().clamp_min(1e-12)
        coherence = (sums[0] / scale).clamp(0, _MOST_SHARED)
        coherence[0] = 0
        terms = self._summed(torch.ones(self.ring.shape), rings) * max(sum(len(a) for a, _ in pairs), 1)
        independent = terms * float((self.window**2).mean())
        strength = (sums[0] / scale)[1:] * (2 * independent[1:]).sqrt()
        gain = coherence / (1 - coherence**2) * terms / scale
        return gain[self.ring] * self.count, coherence.numpy().astype(np.float64), float(strength.max())

    def _summed(self, values: Tensor, rings: int) -> Tensor:
        return torch.zeros(rings).index_add_(0, self.ring.flatten(), (values * self.count).flatten())

    def shifts(self, product: Tensor) -> tuple[Array, Array]:
        """``(q, 2)`` (x, y) by which each view's window is moved from its prediction, px, and the correlation there."""
        if not len(product):
            return np.zeros((0, 2)), np.zeros(0)
        usual = [float((product.real.mean(dim=0) * k**2).sum().clamp_min(1e-12)) for k in (self.k_x, self.k_y)]
        shift = torch.zeros(len(product), 2)
        for _ in range(_STEPS):
            turned = self._turned(product, shift)
            slope = torch.stack([-(turned.imag * k).sum(dim=(-2, -1)) for k in (self.k_x, self.k_y)], dim=-1)
            bend = torch.stack(
                [
                    (turned.real * k**2).sum(dim=(-2, -1)).clamp_min(_LEAST_FLAT * most)
                    for k, most in zip((self.k_x, self.k_y), usual, strict=True)
                ],
                dim=-1,
            )
            shift = (shift + (slope / bend).clamp(-1, 1)).clamp(-_REACH_PX, _REACH_PX)
        height = self._turned(product, shift).real.sum(dim=(-2, -1))
        return shift.double().numpy(), height.double().numpy()

    def _turned(self, product: Tensor, shift: Tensor) -> Tensor:
        angle = self.k_x * shift[:, 0, None, None] + self.k_y * shift[:, 1, None, None]
        return product * torch.polar(torch.ones_like(angle), angle)
