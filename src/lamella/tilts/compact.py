"""A compact object against its own reprojections: the score of a geometry, and shifts from whole views.

An object that ends within the field and is as deep as it is wide (a needle, a particle) is seen whole in every view,
and around it there is nothing. A tomogram of the views that are not looked at, cut to what has the object's sign, is
projected into those that are.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.fourier import find_peak, frequency_grid
from lamella.geometry import TiltGeometry
from lamella.kernels.projector import Projector
from lamella.kernels.rows import Box
from lamella.progress import Progress, no_progress
from lamella.tilts.candidate import Candidate
from lamella.tilts.ramp import ramped
from lamella.tilts.score import Score
from lamella.tilts.working import Grid, WorkingImages

__all__ = ["match_compact", "score_compact"]

Array = NDArray[np.float64]

_LONGEST_PX = 160
_FINEST, _COARSEST = 0.12, 0.015  # cycles per pixel: the band that is compared
_PARTS = 4  # of the views, interleaved; each is predicted by the others
_CENTRE = 0.9  # part of the field that is compared
_EDGE = 0.2  # of half of that: the width over which it fades
_FALL_OFF = 0.3  # cycles per pixel, of the views' weighting across the axis
_ROUNDS = 4
_AXIS_STEPS_DEG = (-0.8, -0.4, 0.4, 0.8)
_REACH_PX = 4.0  # how far a view may move in a round
_RINGS = 16


def score_compact(images: WorkingImages, geometry: TiltGeometry) -> Score:
    """Score a geometry by the correlation of each view with the reprojection of the others.

    Raises
    ------
    GeometryError
        if images and geometry do not have as many views.
    """
    square = _Square(images)
    predictions = square.predicted(geometry)
    views = [square.band(image) for image in square.stack]
    per_view = np.array([square.correlation(*pair) for pair in zip(views, predictions, strict=True)])
    frequency, curve = square.ring_correlation(views, predictions)
    value = float(per_view.mean())
    scatter = float(np.sqrt(square.independent * len(per_view)))
    return Score(
        value=value,
        near=value,
        far=value,
        distant=value,
        reprojected=value * abs(value),
        per_view=per_view,
        frequency=frequency,
        correlation=curve,
        significance=value * scatter,
    )


def match_compact(images: WorkingImages, geometry: TiltGeometry, progress: Progress = no_progress) -> Candidate:
    """Refine a compact object's shifts and axis by matching whole views with the reprojection of the others.

    Parameters
    ----------
    images
        working images; brought down to 160 px.
    geometry
        from whole views; its tilt angles are kept.
    progress
        told the fraction done.

    Notes
    -----
    Each round moves every view to where it fits the reprojection of the others best (projection matching by shifts:
    Penczek et al. 1994); the round of the highest correlation is kept. The axis is the one whose rounds correlate best.
    """
    match = _Match(_Square(images))
    best = match.rounds(geometry, _ROUNDS)
    progress(0.4, "projection matching")
    tried = {0.0: best}
    for number, change in enumerate(_AXIS_STEPS_DEG):
        turned = best[1].with_terms(z_rot_deg=best[1].z_rot_deg + change)
        tried[change] = match.rounds(turned, 1)
        progress(0.4 + 0.4 * (number + 1) / len(_AXIS_STEPS_DEG), "projection matching")
    changes = np.array(sorted(tried))
    bend, slope, _ = np.polyfit(changes, [tried[change][0] for change in changes], 2)
    if bend < 0:
        vertex = float(np.clip(-slope / (2 * bend), changes[0], changes[-1]))
        tried[vertex] = match.rounds(best[1].with_terms(z_rot_deg=best[1].z_rot_deg + vertex), 2)
    best = max(tried.values(), key=_score)
    progress(1.0, "projection matching")
    return Candidate(method="matching", geometry=best[1], quality={"AlignReprojectionCorrelation": best[0]})


def _score(one: tuple[float, TiltGeometry]) -> float:
    return one[0]


class _Match:
    """Rounds of matching from any geometry."""

    def __init__(self, square: _Square) -> None:
        self.square = square
        self.views = [square.band(image) for image in square.stack]

    def rounds(self, geometry: TiltGeometry, count: int) -> tuple[float, TiltGeometry]:
        """The best geometry of some rounds, and its correlation; the start counts too."""
        best: tuple[float, TiltGeometry] | None = None
        for number in range(count + 1):
            predictions = self.square.predicted(geometry)
            pairs = list(zip(self.views, predictions, strict=True))
            score = float(np.mean([self.square.correlation(*pair) for pair in pairs]))
            if best is None or score > best[0]:
                best = score, geometry
            if number < count:
                moved = np.array([self.square.shift(*pair) for pair in pairs]) * self.square.pixel_ang
                geometry = geometry.with_terms(
                    x_shift_ang=geometry.x_shift_ang + moved[:, 0], y_shift_ang=geometry.y_shift_ang + moved[:, 1]
                )
        assert best is not None  # the start counts
        return best


class _Square:
    """The views on square pixels about n // 2, freed of what surrounds the object."""

    def __init__(self, images: WorkingImages) -> None:
        small = images.binned(_LONGEST_PX)
        height, width = (int(size) for size in small.stack.shape[-2:])
        self.shape, self.pixel_ang = (height, width), max(small.pixel_ang)
        grid = Grid.centred(width, height, self.pixel_ang)
        same = np.broadcast_to(np.eye(2), (len(small), 2, 2))
        stack = small.sample(range(len(small)), grid, same, np.zeros((len(small), 2)))[0]
        self.stack = stack - torch.stack([_surrounding(image) for image in stack])[:, None, None]
        self.fade = _fade(grid, small.field_ang)
        self.k = frequency_grid(self.shape)
        self.pass_band = torch.exp(-0.5 * (self.k / _FINEST) ** 2) * (1 - torch.exp(-0.5 * (self.k / _COARSEST) ** 2))
        self.independent = float((self.pass_band**2).mean() * (self.fade > 0.5).sum())

    def band(self, image: Tensor) -> Tensor:
        """The band of an image that is compared."""
        out: Tensor = torch.fft.irfft2(torch.fft.rfft2(image) * self.pass_band, s=self.shape)
        return out

    def predicted(self, geometry: TiltGeometry) -> list[Tensor]:
        """Each view's band as the views of the other parts show it."""
        size = 2 * (max(self.shape) // 2)
        box = Box(shape=(size, size, size), voxel_size_ang=self.pixel_ang)
        order = np.argsort(geometry.y_tilt_deg, kind="stable")
        out: list[Tensor] = [torch.empty(0)] * len(order)
        parts = min(_PARTS, len(order))
        for part in range(parts):
            held = order[part::parts]
            used = np.setdiff1d(order, held)
            weighted = torch.stack(
                [ramped(self.stack[view], float(geometry.z_rot_deg[view]), _FALL_OFF) for view in used]
            )
            volume = Projector(geometry.select(used), self.shape, self.pixel_ang, box).back_project(weighted.numpy())
            # around the object there is nothing, whichever sign its mass has: the wedge's streaks are taken off
            volume = np.maximum(volume, 0) if volume.max() > -volume.min() else np.minimum(volume, 0)
            volume *= _cylinder(size)
            seen = Projector(geometry.select(held), self.shape, self.pixel_ang, box).project(volume)
            for view, projection in zip(held, seen, strict=True):
                out[int(view)] = self.band(torch.from_numpy(projection))
        return out

    def correlation(self, a: Tensor, b: Tensor) -> float:
        """Weighted correlation coefficient of two bands."""
        total = self.fade.sum()
        a, b = (one - (one * self.fade).sum() / total for one in (a, b))
        scale = ((a**2 * self.fade).sum() * (b**2 * self.fade).sum()).sqrt()
        return float((a * b * self.fade).sum() / scale) if float(scale) > 0 else 0.0

    def shift(self, view: Tensor, prediction: Tensor) -> Array:
        """(x, y) px by which the view lies beside its prediction."""
        terms = torch.fft.rfft2(view * self.fade) * torch.fft.rfft2(prediction * self.fade).conj()
        found, _ = find_peak(torch.fft.irfft2(terms, s=self.shape)[None], _REACH_PX)
        return np.asarray(found[0].flip(-1).double().numpy())

    def ring_correlation(self, views: list[Tensor], predictions: list[Tensor]) -> tuple[Array, Array]:
        """Frequencies in 1/Å and the ring correlation of views and predictions."""
        ring = (self.k / 0.5 * _RINGS).long().clamp(max=_RINGS).flatten()
        sums = torch.zeros(3, _RINGS + 1, dtype=torch.float64)
        for pair in zip(views, predictions, strict=True):
            a, b = (torch.fft.rfft2(one * self.fade) for one in pair)
            for row, part in zip(sums, ((a * b.conj()).real, a.abs() ** 2, b.abs() ** 2), strict=True):
                row.index_add_(0, ring, part.flatten().double())
        curve = sums[0] / (sums[1] * sums[2]).sqrt().clamp_min(1e-30)
        return (np.arange(_RINGS) + 0.5) * 0.5 / _RINGS / self.pixel_ang, curve[:_RINGS].numpy()


def _surrounding(image: Tensor) -> Tensor:
    """What surrounds a compact object: the median along the image's border."""
    sides = [image[:2].flatten(), image[-2:].flatten(), image[:, :2].flatten(), image[:, -2:].flatten()]
    return torch.cat(sides).median()


def _cylinder(size: int) -> NDArray[np.bool_]:
    """``(z, 1, x)`` the part of a box about the axis that every view sees."""
    line = np.arange(size) - size // 2
    return np.asarray(line[:, None, None] ** 2 + line[None, None] ** 2 <= (size / 2 - 2) ** 2)


def _fade(grid: Grid, field_ang: tuple[float, float]) -> Tensor:
    """``(h, w)`` 1 in the middle of the field, falling to 0 towards its edges."""
    inward = [
        1 - line.abs() / (0.5 * _CENTRE * field)
        for line, field in zip((grid.x_ang, grid.y_ang), field_ang, strict=True)
    ]
    nearest = torch.minimum(inward[0], inward[1][:, None])
    return 0.5 * (1 - torch.cos(torch.pi * (nearest / _EDGE).clamp(0, 1))).float()
