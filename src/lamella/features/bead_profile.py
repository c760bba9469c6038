"""Where beads are to a hundredth of their width: a profile learned from the beads themselves, fitted to each.

All beads of a view look alike, and the same from every side (a ball, and fringes round it), so their common look is a
function of the distance from the centre alone. That it is round pins down what is meant by the centre: an average of
pictures without that condition may move as a whole, and take the view with it. The fit is by maximum likelihood in
Fourier space, where the noise (counting noise and the ground round the beads) is independent from term to term; its
curvature is Fisher's information, whose inverse bounds the error of any unbiased estimate (Rao 1945).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.linalg import solveh_banded
from torch import Tensor

from lamella.features.bead_noise import NOISE_BINS, Leftover, NoiseShape, NoiseSpectrum, bin_of_frequency
from lamella.features.beads import ball_profile

__all__ = ["PROFILE_STEP_PX", "BeadFit", "ProfileSums", "RadialProfile", "Windows", "ball_look", "fit_windows"]

Array = NDArray[np.float64]

_KNOT_PX = 0.8
PROFILE_STEP_PX = 0.01
"""Between the values of a profile: so fine that the nearest will do."""
_COARSE_BINS = 6  # up to a quarter of a cycle per pixel
_MOST_PX = 1.0  # a step of the fit


@dataclass(frozen=True, eq=False)
class RadialProfile:
    """The look of a bead by distance from its centre: near 1 in the middle, 0 far off.

    Attributes
    ----------
    values
        ``(k,)`` at distances 0, 0.01, 0.02 … px.
    slopes
        ``(k,)`` derivative, px⁻¹.
    """

    values: Tensor
    slopes: Tensor

    @classmethod
    def through(cls, knots: Array, step_px: float) -> RadialProfile:
        """A smooth profile through values at distances 0, step, 2 step …, flat at both ends."""
        spline = CubicSpline(np.arange(len(knots)) * step_px, knots, bc_type="clamped")
        fine = np.arange(0, (len(knots) - 1) * step_px, PROFILE_STEP_PX)
        values, slopes = spline(fine), spline(fine, 1)
        return cls(torch.from_numpy(values).float(), torch.from_numpy(slopes).float())

    def at(self, distance_px: Tensor) -> tuple[Tensor, Tensor]:
        """Values and slopes at distances."""
        place = (distance_px / PROFILE_STEP_PX).clamp_max(len(self.values) - 1).int()
        return self.values[place], self.slopes[place]


def ball_look(radius_px: float, reach_px: float) -> RadialProfile:
    """The profile of a ball, to begin with."""
    distance = torch.arange(0, reach_px + 2 * _KNOT_PX, _KNOT_PX)
    return RadialProfile.through(ball_profile(radius_px, distance).double().numpy(), _KNOT_PX)


@dataclass(frozen=True, eq=False)
class Windows:
    """Cut-outs of one view, one a bead.

    Attributes
    ----------
    pixels
        ``(p, s, s)``.
    corners
        ``(p, 2)`` column and row of each cut-out's first pixel in the picture.
    inside
        ``(p, s, s)`` which pixels the picture has.
    """

    pixels: Tensor
    corners: NDArray[np.int64]
    inside: Tensor

    @classmethod
    def cut(cls, image: NDArray[np.float32], centres_px: Array, size: int) -> Windows:
        """Cut-outs of `size` pixels round centres ``(p, 2)`` (x, y); beyond the picture's edge its edge is repeated."""
        corners = np.round(centres_px).astype(np.int64) - size // 2
        line = np.arange(size)
        columns, rows = corners[:, 0, None] + line, corners[:, 1, None] + line
        height, width = image.shape
        pixels = image[np.clip(rows, 0, height - 1)[:, :, None], np.clip(columns, 0, width - 1)[:, None, :]]
        inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
        return cls(torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32)), corners, torch.from_numpy(inside))

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def size(self) -> int:
        """Edge, px."""
        return int(self.pixels.shape[-1])

    def offsets(self, centres_px: Array) -> tuple[Tensor, Tensor]:
        """``(p, s, s)`` x and y of each pixel from a centre of its own ``(p, 2)``."""
        line = torch.arange(self.size, dtype=torch.float32)
        own = torch.from_numpy(centres_px - self.corners).float()
        shape = (len(own), self.size, self.size)
        x = (line - own[:, 0, None])[:, None, :].expand(shape)
        return x, (line - own[:, 1, None])[:, :, None].expand(shape)


@dataclass(frozen=True, eq=False)
class BeadFit:
    """What a fit found of the beads of one view.

    Attributes
    ----------
    centres_px
        ``(p, 2)``.
    depth
        ``(p,)`` amplitude of the profile, negative where beads are dark.
    ground
        ``(p, 3)`` the ground under each bead: level, and slope along x and y.
    bound_px2
        ``(p, 2, 2)`` Fisher's bound on the covariance of the centre.
    misfit
        ``(p,)`` mean squared residual over what the noise explains.
    """

    centres_px: Array
    depth: Array
    ground: Array
    bound_px2: Array
    misfit: Array


def taper(distance_px: Tensor, flat_px: float, end_px: float) -> Tensor:
    """1 within `flat_px`, 0 beyond `end_px`, a cosine in between."""
    return 0.5 * (1 + torch.cos(torch.pi * ((distance_px - flat_px) / (end_px - flat_px)).clamp(0, 1)))


def fit_windows(
    windows: Windows,
    start: BeadFit,
    profile: RadialProfile,
    noise: NoiseSpectrum,
    shape: NoiseShape,
    reach_px: tuple[float, float],
    steps: int = 2,
) -> tuple[BeadFit, Leftover]:
    """Centre, depth and ground of each bead (Gauss–Newton).

    Parameters
    ----------
    windows
        the cut-outs, other beads taken off.
    start
        where to begin: centres within a quarter of the bead.
    profile, noise, shape
        of this view: what beads look like, the noise's spectrum, and its variance near a bead.
    reach_px
        radii within which pixels count fully, and beyond which they do not.
    steps
        of the fit.

    Returns
    -------
    fit, leftover
        the beads, and what is left of the pixels, for the noise.
    """
    centres, values = start.centres_px.copy(), np.concatenate([start.depth[:, None], start.ground], axis=1)
    size = windows.size
    x, y = windows.offsets(centres)
    distance = torch.hypot(x, y)
    flat = taper(distance, *reach_px) * windows.inside
    window = flat / shape.at(distance).sqrt()  # the noise becomes as strong everywhere
    twice = torch.full((size // 2 + 1,), 2.0)
    twice[0] = 1
    if size % 2 == 0:
        twice[-1] = 1
    whiten = (twice / noise.over(size)).sqrt() / size  # Parseval: Σ|F|² = s² Σ|f|²
    tilted = torch.stack([torch.ones_like(x), x / size, y / size], dim=1)  # the ground: level and slopes
    columns = torch.empty(len(windows), 6, size, size // 2 + 1, dtype=torch.complex64)
    columns[:, 3:] = torch.fft.rfft2(window[:, None] * tilted) * whiten
    for step in range(steps + 1):
        look, slope, away = _looked(windows, centres, profile)
        depth, ground = (torch.from_numpy(one).float() for one in (values[:, :1, None], values[:, 1:]))
        left_over = windows.pixels - depth * look - torch.einsum("pa,paij->pij", ground, tilted)
        residual = torch.fft.rfft2(window * left_over) * whiten
        if step == steps:
            break
        # derivatives by x, y (the profile's slope), and depth (the profile)
        moving = torch.stack([-depth * slope * away[0], -depth * slope * away[1], look], dim=1)
        columns[:, :3] = torch.fft.rfft2(window[:, None] * moving) * whiten
        left, right = torch.view_as_real(columns).flatten(2), torch.view_as_real(residual).flatten(1)
        normal = (left @ left.transpose(1, 2)).double()
        change = torch.linalg.solve(normal, (left @ right[..., None]).double())[..., 0].numpy()
        centres = centres + np.clip(change[:, :2], -_MOST_PX, _MOST_PX)
        values = values + change[:, 2:]
    inverse = torch.linalg.inv(normal)
    # how much of each term's noise the six numbers of a bead took with them
    taken = ((inverse.float() @ left) * left).sum(dim=1).unflatten(1, (size, -1, 2)).sum(dim=-1)
    power, terms = _power(residual / whiten, flat, twice, taken)
    over = Leftover(power, terms, *_rings(left_over, distance, flat), float((flat**2).mean()) if len(flat) else 1.0)
    bound = inverse[:, :2, :2].numpy()
    misfit = (power / terms / noise.power)[:, :_COARSE_BINS].mean(axis=1)
    return BeadFit(centres, values[:, 0], values[:, 1:], bound, misfit), over


def _rings(residual: Tensor, distance: Tensor, flat: Tensor) -> tuple[Array, Array]:
    """``(p, k)`` summed squares of the residuals and the number of pixels, by ring one pixel wide."""
    place = distance.long().flatten(1)
    inside = (flat > 0.5).double().flatten(1)
    rings = int(distance.shape[-1] / 2 * 1.42) + 3
    empty = torch.zeros(len(place), max(rings, int(place.max()) + 1 if place.numel() else 1), dtype=torch.float64)
    squares = empty.scatter_add(1, place, residual.double().flatten(1) ** 2 * inside)
    return np.asarray(squares[:, :rings].numpy()), np.asarray(empty.scatter_add(1, place, inside)[:, :rings].numpy())


def _looked(windows: Windows, centres: Array, profile: RadialProfile) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """``(p, s, s)`` profile and its slope round each centre, and the unit vector away from it."""
    x, y = windows.offsets(centres)
    distance = torch.hypot(x, y).clamp_min(1e-3)
    look, slope = profile.at(distance)
    return look, slope, (x / distance, y / distance)


def _power(residual: Tensor, window: Tensor, twice: Tensor, taken: Tensor) -> tuple[Array, Array]:
    """``(p, 16)`` summed power of the residuals' terms, and how many it is the power of, by bin of frequency."""
    size, count = window.shape[-1], len(window)
    share = (window**2).mean(dim=(1, 2), keepdim=True).clamp_min(1e-6)
    power = torch.view_as_real(residual).square().sum(dim=-1) / share / size**2 * twice
    terms = twice.expand_as(power)
    place = bin_of_frequency(size).round().long().clamp(0, NOISE_BINS - 1).flatten()

    def by_bin(values: Tensor) -> Array:
        empty = torch.zeros(count, NOISE_BINS, dtype=torch.float64)
        return np.asarray(empty.index_add(1, place, values.double().flatten(1)).numpy())

    return by_bin(power), np.maximum(by_bin(terms - taken / share), 0.2 * by_bin(terms))


@dataclass(frozen=True, eq=False)
class ProfileSums:
    """What pixels say of a profile: sums to which those of other views can be added.

    Attributes
    ----------
    diagonal, beside, right
        ``(k,)`` of the normal equations of a piecewise linear profile with knots 0.8 px apart.
    count
        beads that they come from.
    """

    diagonal: Array
    beside: Array
    right: Array
    count: float

    def __add__(self, other: ProfileSums) -> ProfileSums:
        return ProfileSums(
            self.diagonal + other.diagonal,
            self.beside + other.beside,
            self.right + other.right,
            self.count + other.count,
        )

    @classmethod
    def of(cls, windows: Windows, fit: BeadFit, reach_px: float, use: NDArray[np.bool_]) -> ProfileSums:
        """Sums over some beads of a view, from where and how deep they were found."""
        knots = int(np.ceil(reach_px / _KNOT_PX)) + 1
        x, y = windows.offsets(fit.centres_px)
        place = torch.hypot(x, y) / _KNOT_PX
        depth, level, slope_x, slope_y = (
            torch.from_numpy(one).float()[:, None, None] for one in (fit.depth, *fit.ground.T)
        )
        values = windows.pixels - level - (slope_x * x + slope_y * y) / windows.size
        good = (place < knots - 1) & windows.inside & torch.from_numpy(use)[:, None, None]
        low = place[good].long()
        part = (place[good] - low).double()
        deep = depth.expand_as(place)[good].double()
        value = values[good].double()

        def summed(at: Tensor, weight: Tensor) -> Array:
            return np.asarray(torch.bincount(at, weights=weight, minlength=knots).numpy())

        square = deep**2
        diagonal = summed(low, square * (1 - part) ** 2) + summed(low + 1, square * part**2)
        beside = summed(low, square * part * (1 - part))
        right = summed(low, deep * value * (1 - part)) + summed(low + 1, deep * value * part)
        return cls(diagonal, beside, right, float(use.sum()))

    def knots(self) -> Array:
        """``(k,)`` the profile of least squares, kept smooth where few pixels tell it, 0 at its end."""
        size = len(self.diagonal)
        stiff = 0.02 * float(np.median(self.diagonal)) + 1e-30
        banded = np.zeros((3, size))  # upper form: second, first superdiagonal, diagonal
        banded[2] = self.diagonal + stiff * np.array([1, 5, *[6] * (size - 4), 5, 1])
        banded[1, 1:] = self.beside[:-1] + stiff * np.array([-2, *[-4] * (size - 3), -2])
        banded[0, 2:] = stiff
        knots = solveh_banded(banded, self.right)
        return np.asarray(knots - knots[-3:].mean())

    def own_profile(self, common: Array, variance: float) -> RadialProfile:
        """The profile of these beads, as far as it is seen to differ from the `common` one ``(k,)``.

        What differs by no more than noise of that `variance` a pixel would make it differ is taken for noise (James &
        Stein 1961): the scatter of a profile learned from few beads would blunt the fit, and feign sharpness.
        """
        own = self.knots()
        scale = float((own * common * self.diagonal).sum() / (common**2 * self.diagonal).sum())
        apart = own / scale - common if scale > 0 else np.zeros_like(common)
        excess = float((apart**2 * self.diagonal).sum()) / max(variance, 1e-30)
        share = max(0.0, 1 - len(common) / max(excess, 1e-9))
        return RadialProfile.through(common + share * apart, _KNOT_PX)
