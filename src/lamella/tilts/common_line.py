"""Tilt axis and shifts of a compact object from what tilting cannot change: its projection onto the axis.

Summed across the axis, every view of an object that lies within the field gives the same profile along the axis: the
line that all the views' transforms share (Crowther, DeRosier & Klug 1970). The right axis is the one whose profiles
agree best; what each profile has to move is the view's shift along the axis. Across it, the object's centre of mass
moves as a point of the specimen does (Gordon 1974; Scott et al. 2012).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.geometry import TiltGeometry
from lamella.parallel import each
from lamella.progress import Progress, no_progress
from lamella.tilts.working import Grid, WorkingImages

__all__ = ["CommonLine", "search_common_line"]

Array = NDArray[np.float64]

_WIDE_DEG, _FINE_DEG = 2.0, 0.5
_FARTHEST_DEG = 20.0  # a symmetric object looks alike about other axes too: no farther off than this
_ELSEWHERE_DEG = 10.0  # step of the look at axes farther off
_CLEARLY = 0.5  # of the disagreement near the stated axis: an axis farther off at which there is less is told
_HIGH = 0.12  # cycles per working pixel


@dataclass(frozen=True, eq=False)
class CommonLine:
    """What the profiles along the axis say.

    Attributes
    ----------
    geometry
        with the axis found, and shifts corrected along it.
    change_deg
        of the axis from where it was.
    tried_deg, score
        every change tried, in rising order, and the mean correlation of the views' profiles with their mean.
    elsewhere_deg
        a change too far off to be taken, at which profiles disagree less than half as much; None where there is none.
    """

    geometry: TiltGeometry
    change_deg: float
    tried_deg: Array
    score: Array
    elsewhere_deg: float | None = None

    @property
    def doubt(self) -> str | None:
        """What speaks against the axis, in words."""
        if self.elsewhere_deg is not None:
            return (
                f"the views agree much better about an axis {self.elsewhere_deg:+.0f}° from the stated one, farther "
                "off than a compact object's is searched: check the axis that was given (--tilt-axis)"
            )
        if abs(self.change_deg) > _FARTHEST_DEG - _WIDE_DEG / 2:
            return (
                f"the axis of a compact object is searched to {_FARTHEST_DEG:.0f}° from the stated one, and was found "
                "there: check the axis that was given (--tilt-axis)"
            )
        return None


def search_common_line(
    images: WorkingImages, geometry: TiltGeometry, range_deg: float, *, progress: Progress = no_progress
) -> CommonLine:
    """Search for the axis whose profiles agree best.

    Parameters
    ----------
    images
        working images of about 128 px of an object that ends within the field across the axis.
    geometry
        angles, the axis to begin with, and shifts to a few pixels.
    range_deg
        how far to either side to look; never farther than 20 degrees.
    progress
        told the fraction done.
    """
    profiler = _Profiler(images)
    reach = min(range_deg, _FARTHEST_DEG)
    scores: dict[float, float] = {}
    moved: dict[float, Array] = {}

    def score(change: float) -> None:
        if change not in scores and abs(change) <= reach + 1e-9:
            turned = geometry.with_terms(z_rot_deg=geometry.z_rot_deg + change)
            scores[change], moved[change] = profiler.agreement(turned)

    wide = np.unique(np.concatenate([np.arange(0, reach + 1e-9, _WIDE_DEG), -np.arange(0, reach + 1e-9, _WIDE_DEG)]))
    for number, change in enumerate(wide):
        score(round(float(change), 6))
        progress(0.8 * (number + 1) / len(wide), "searching for the tilt axis")
    best = max(scores, key=lambda change: scores[change])
    for change in best + np.arange(-_WIDE_DEG + _FINE_DEG, _WIDE_DEG, _FINE_DEG):
        score(round(float(change), 6))
    tried = np.array(sorted(scores))
    values = np.array([scores[change] for change in tried])
    top = tried[np.argmax(values)]
    close = np.abs(tried - top) <= 2 * _FINE_DEG + 1e-9
    change = float(top)
    if close.sum() >= 3:
        bend, slope, _ = np.polyfit(tried[close] - top, values[close], 2)
        change = float(top - slope / (2 * bend)) if bend < 0 else float(top)
        change = float(np.clip(change, tried[close].min(), tried[close].max()))
    turned = geometry.with_terms(z_rot_deg=geometry.z_rot_deg + change)
    along = profiler.agreement(turned)[1]
    turn = np.deg2rad(turned.z_rot_deg)
    corrected = turned.with_terms(
        x_shift_ang=turned.x_shift_ang - along * np.sin(turn), y_shift_ang=turned.y_shift_ang + along * np.cos(turn)
    )
    far = np.arange(reach + _ELSEWHERE_DEG, 180 - reach - _ELSEWHERE_DEG / 2, _ELSEWHERE_DEG)
    agreed = [profiler.agreement(geometry.with_terms(z_rot_deg=geometry.z_rot_deg + one))[0] for one in far]
    better = 1 - max(agreed) < _CLEARLY * (1 - values.max())
    best_far = float(far[int(np.argmax(agreed))])
    progress(1.0, "searching for the tilt axis")
    elsewhere = (best_far if best_far <= 90 else best_far - 180) if better else None
    return CommonLine(corrected, change, tried, values, elsewhere)


class _Profiler:
    """Sums of views across a candidate axis, against the position along it."""

    def __init__(self, images: WorkingImages) -> None:
        border = torch.cat([images.stack[:, :2].flatten(1), images.stack[:, -2:].flatten(1)], dim=1)
        level = border.median(dim=1).values[:, None, None]
        self.images = WorkingImages(images.stack - level, images.pixel_ang, images.origin_px)
        self.spacing = max(images.pixel_ang)
        height, width = images.stack.shape[-2:]
        self.count = 2 * (max(height, width) // 2)
        self.grid = Grid.centred(self.count, self.count, self.spacing)
        inward = 1 - self.grid.y_ang.abs() / (0.45 * self.count * self.spacing)
        self.fade = 0.5 * (1 - torch.cos(torch.pi * (inward / 0.25).clamp(0, 1)))

    def agreement(self, geometry: TiltGeometry) -> tuple[float, Array]:
        """Mean correlation of the profiles with their mean, and how far each view's is moved along the axis, Å."""
        frequency = torch.fft.rfftfreq(self.count)
        terms = self.terms(geometry)
        tries = torch.arange(-4, 4.001, 0.05)
        waves = torch.exp(2j * torch.pi * frequency[:, None] * tries)
        moved = torch.zeros(len(terms))
        for _ in range(20):
            mean = (terms * torch.exp(2j * torch.pi * frequency * moved[:, None])).mean(dim=0)
            correlation = ((terms * mean.conj()) @ waves).real / mean.abs().square().sum().sqrt()
            height, index = correlation.max(dim=1)
            found = tries[index] - tries[index].mean()
            if torch.equal(found, moved):
                break
            moved = found
        return float(height.mean()), moved.double().numpy() * self.spacing

    def terms(self, geometry: TiltGeometry) -> Tensor:
        """``(n, f)`` transforms of the views' profiles, in the band that is compared, each of unit length."""
        profiles = torch.stack(each(lambda view: self._profile(geometry, view), range(len(geometry))))
        frequency = torch.fft.rfftfreq(self.count)
        band = torch.exp(-0.5 * (frequency / _HIGH) ** 2) * (1 - torch.exp(-0.5 * (frequency * self.count / 3) ** 2))
        terms: Tensor = torch.fft.rfft(profiles * self.fade) * band
        return terms / terms.abs().square().sum(dim=1, keepdim=True).sqrt().clamp_min(1e-12)

    def _profile(self, geometry: TiltGeometry, view: int) -> Tensor:
        turn = np.deg2rad(geometry.z_rot_deg[view])
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        values, _ = self.images.sample([view], self.grid, rotation[None], geometry.shifts_ang()[view][None])
        return values[0].sum(dim=1)
