"""First shifts of a tilt series, from whole views: stretched, correlated with their neighbours, solved over all links.

A view tilted more shows the specimen narrower across the axis, by the ratio of the cosines (Guckenberger 1982). Each
pair of views is brought to the frame of the less tilted one through the plane z = 0, band-passed, whitened and
correlated. Pairs are neighbours in tilt, and views two and three apart, so that one pair that fails does not
break the chain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.fourier import edge_taper, frequency_grid, radial_average
from lamella.geometry import TiltGeometry
from lamella.parallel import each, part_of
from lamella.progress import Progress, no_progress
from lamella.tilts.links import neighbour_links, solve_links
from lamella.tilts.peaks import refined_peak
from lamella.tilts.working import Grid, SpecimenShape, WorkingImages, plane_matrices

__all__ = [
    "CoarseResult",
    "PairCorrelation",
    "PairCorrelator",
    "coarse_shifts",
    "is_compact",
    "linked_pairs",
    "telling_pairs",
]

Array = NDArray[np.float64]

STEPS = (1, 2, 3)
_LOW, _HIGH = 0.012, 0.10  # cycles per working pixel: below it lies uneven illumination, above it noise
_STEP_PX = 2  # working pixels of which one is correlated
_REACH = 0.12  # of the field: how far the second round looks
_LEAST_OVERLAP = 0.25  # of the field; a peak that rests on less is not looked for
# of the field: standard deviation of how far a view is thought to lie from its neighbours, where nothing is known yet.
# Two beads that lie across the field match each other in every view as well as each matches itself
_USUAL_SHIFT = 0.35
_EXTREME = 3.0  # robust standard deviations of a whitened view, where what stands out ends


@dataclass(frozen=True, eq=False)
class PairCorrelation:
    """How one pair of views agrees.

    Attributes
    ----------
    shift_ang
        ``(2,)`` (x, y) in the frame of the first view: the second, stretched, moved by it matches the first.
    height
        correlation coefficient at the peak.
    significance
        the peak in standard deviations of the correlation elsewhere.
    rival
        the highest one anywhere in those, whether within reach or not.
    """

    shift_ang: Array
    height: float
    significance: float
    rival: float


@dataclass(frozen=True, eq=False)
class CoarseResult:
    """Shifts from whole views.

    Attributes
    ----------
    geometry
        the start with solved shifts; the least tilted view keeps its own.
    pairs
        ``(l, 2)`` the views that were linked.
    significance
        ``(l,)`` of each link's peak, standard deviations.
    link_weights
        ``(l,)`` 1 where a link agrees with the others, towards 0 where it was found wrong.
    height
        ``(l,)`` correlation coefficient at each link's peak.
    rival
        ``(l,)`` the highest peak anywhere, standard deviations.
    """

    geometry: TiltGeometry
    pairs: NDArray[np.int64]
    significance: Array
    link_weights: Array
    height: Array
    rival: Array


def coarse_shifts(
    images: WorkingImages,
    geometry: TiltGeometry,
    *,
    shape: SpecimenShape = "film",
    rounds: int = 3,
    first_reach: float | Array | None = None,
    progress: Progress = no_progress,
) -> CoarseResult:
    """Shifts that bring neighbouring views to match, with the angles as they are.

    Parameters
    ----------
    images
        working images of about 256 px.
    geometry
        angles and, where they are known, first shifts.
    shape
        of the specimen: a film's views are stretched to each other's width, a compact object's are not.
    rounds
        the first looks far, later ones near what all links agreed on.
    first_reach
        how far the first round looks, over the longer side of the field, for all pairs or ``(l,)`` for each of
        `linked_pairs`; None: wherever the fields overlap enough.
    progress
        told the fraction done.
    """
    pairs = linked_pairs(geometry)
    if not len(pairs):
        return CoarseResult(geometry, pairs, *[np.zeros(0)] * 4)
    correlator = PairCorrelator(images, shape)
    width = max(images.field_ang)
    found: list[PairCorrelation] = []
    weights = np.ones(len(pairs))
    for round_number in range(rounds):
        wanted = first_reach if round_number == 0 else (_REACH if round_number == 1 else _REACH / 3)
        reach = None if wanted is None else width * wanted
        found = correlator.pairs(
            geometry, pairs, reach, part_of(progress, round_number / rounds, (round_number + 1) / rounds)
        )
        geometry, weights = _chained(geometry, pairs, found, shape, tolerance=width * 0.01)
    return CoarseResult(
        geometry,
        pairs,
        np.array([one.significance for one in found]),
        weights,
        np.array([one.height for one in found]),
        np.array([one.rival for one in found]),
    )


def linked_pairs(geometry: TiltGeometry) -> NDArray[np.int64]:
    """``(l, 2)`` the views that are compared: neighbours up to three apart in tilt, the less tilted first."""
    order = np.argsort(geometry.y_tilt_deg, kind="stable")
    return _less_tilted_first(neighbour_links(order, STEPS), geometry)


def is_compact(images: WorkingImages, geometry: TiltGeometry) -> bool:
    """Whether steep neighbouring views match better as they are than stretched to each other's width.

    They do where the specimen is as deep as it is wide and ends within the field. Each pair is correlated both ways,
    wherever its peak lies; the gain must be clear (four standard errors, and 0.03), else the specimen is a film.
    """
    pairs = telling_pairs(geometry)
    if len(pairs) < 3:
        return False
    heights = []
    for shape in ("film", "compact"):
        correlator = PairCorrelator(images, shape)
        heights.append(np.array([one.height for one in correlator.pairs(geometry, pairs, None)]))
    gain = heights[1] - heights[0]
    return bool(gain.mean() > max(4 * float(gain.std()) / np.sqrt(len(gain) - 1), 0.03))


def telling_pairs(geometry: TiltGeometry, count: int = 24) -> NDArray[np.int64]:
    """``(l, 2)`` pairs of near views, the less tilted first, whose widths differ most."""
    order = np.argsort(geometry.y_tilt_deg, kind="stable")
    pairs = _less_tilted_first(neighbour_links(order, (1, 2)), geometry)
    width = np.abs(np.cos(np.deg2rad(geometry.y_tilt_deg)))
    ratio = width[pairs[:, 0]] / np.maximum(width[pairs[:, 1]], 1e-6)
    return np.asarray(pairs[np.argsort(-ratio, kind="stable")[:count]])


class PairCorrelator:
    """Padded, overlap-normalised correlation of whitened whole views; what belongs to one view is made once."""

    def __init__(self, images: WorkingImages, shape: SpecimenShape = "film") -> None:
        self.specimen: SpecimenShape = shape
        stack = torch.stack([_whitened(image) for image in images.stack])
        if shape == "film":
            stack = torch.stack([_without_extremes(image) for image in stack])
        if images.valid is not None:
            stack *= images.valid
        self.images = WorkingImages(stack, images.pixel_ang, images.origin_px)
        # every second pixel holds all of the band
        pixels = images.pixels()
        self.pixels = Grid(pixels.x_ang[::_STEP_PX], pixels.y_ang[::_STEP_PX])
        height, width = len(self.pixels.y_ang), len(self.pixels.x_ang)
        self.shape = (2 * height, 2 * width)
        self.window = edge_taper((height, width), 0.08 * min(height, width))
        window_terms = torch.fft.rfft2(self.window, s=self.shape)
        overlap = torch.fft.irfft2(window_terms.abs() ** 2, s=self.shape)
        self.overlap = overlap / overlap[0, 0]
        self.allowed = self.overlap >= _LEAST_OVERLAP
        self.weight = self.allowed / self.overlap.clamp_min(_LEAST_OVERLAP).sqrt()
        y, x = (torch.fft.fftfreq(2 * extent) * 2 for extent in (height, width))  # shifts over the field
        self.likely = torch.exp(-0.5 * (y[:, None] ** 2 + x**2) / _USUAL_SHIFT**2)
        self.own: dict[int, tuple[Tensor, float]] = {}

    def pairs(
        self,
        geometry: TiltGeometry,
        pairs: NDArray[np.int64],
        reach_ang: float | Array | None,
        progress: Progress = no_progress,
    ) -> list[PairCorrelation]:
        """Correlate many pairs ``(l, 2)``, side by side, all within one reach or each within its own; see `pair`."""
        reaches = [None] * len(pairs) if reach_ang is None else np.broadcast_to(reach_ang, len(pairs)).tolist()
        return each(
            lambda one: self.pair(geometry, int(one[0][0]), int(one[0][1]), one[1]),
            list(zip(pairs, reaches, strict=True)), progress, "coarse shifts",
        )  # fmt: skip

    def pair(self, geometry: TiltGeometry, first: int, second: int, reach_ang: float | None) -> PairCorrelation:
        """The peak near the geometry's shifts; where `reach_ang` is None anywhere, but far off only if clear."""
        plane, shifts = plane_matrices(geometry, self.specimen), geometry.shifts_ang()
        link = plane[second] @ np.linalg.inv(plane[first])
        start = shifts[second] - link @ shifts[first]
        values, inside = self.images.sample([second], self.pixels, link[None], start[None], cubic=False)
        terms, energy = self._terms(_flattened(values[0], inside[0]))
        if first not in self.own:
            self.own[first] = self._terms(
                _flattened(self.images.stack[first, ::_STEP_PX, ::_STEP_PX], torch.ones_like(self.window))
            )
        own_terms, own_energy = self.own[first]
        product = own_terms * terms.conj()
        product *= self.shape[0] * self.shape[1] / max((energy * own_energy) ** 0.5, 1e-20)
        correlation = torch.fft.irfft2(product, s=self.shape) * self.weight
        steps = [_STEP_PX * edge for edge in self.images.pixel_ang[::-1]]  # y, x
        reach = None if reach_ang is None else max(reach_ang / min(steps), 3.0)
        at = _highest((correlation * self.likely if reach is None else correlation).numpy(), reach)
        shift, height = refined_peak(product, self.shape[1], at)
        height *= float(self.weight[at])
        spread = max(float(correlation[self.allowed].std()), 1e-12)
        moved = np.array([shift[1] * steps[1], shift[0] * steps[0]])
        return PairCorrelation(moved, height, height / spread, float(correlation.max()) / spread)

    def _terms(self, image: Tensor) -> tuple[Tensor, float]:
        """Transform of one windowed image in the wider frame, and its energy Σ|terms|²."""
        windowed = image * self.window
        energy = float((windowed**2).sum()) * self.shape[0] * self.shape[1]
        return torch.fft.rfft2(windowed, s=self.shape), energy


def _highest(correlation: NDArray[np.float32], reach: float | None) -> tuple[int, int]:
    """Shift (y, x) of the highest sample within reach."""
    if reach is None:
        at = np.unravel_index(int(correlation.argmax()), correlation.shape)
        row, column = (int(i) - n * (2 * int(i) >= n) for i, n in zip(at, correlation.shape, strict=True))
        return row, column
    half = [min(int(np.ceil(reach)), extent // 2 - 1) for extent in correlation.shape]
    rows, columns = (np.arange(-extent, extent + 1) for extent in half)
    at = np.unravel_index(int(np.argmax(correlation[np.ix_(rows, columns)])), (len(rows), len(columns)))
    return int(rows[at[0]]), int(columns[at[1]])


def _flattened(values: Tensor, inside: Tensor) -> Tensor:
    """A view of mean 0 over the pixels that it has."""
    return (values - values.sum() / inside.sum().clamp_min(1)) * inside


def _whitened(image: Tensor) -> Tensor:
    """An image whose power is the band's, in every direction on average, whatever its own was."""
    shape = (int(image.shape[0]), int(image.shape[1]))
    terms = torch.fft.rfft2(image * edge_taper(shape, 0.05 * min(shape)))
    frequency, curve = radial_average(terms.abs() ** 2, shape)
    smooth = torch.nn.functional.avg_pool1d(curve[None, None].double(), 5, 1, 2, count_include_pad=False)[0, 0]
    k = frequency_grid(shape)
    index = (k / float(frequency[1] - frequency[0])).round().long().clamp(max=len(smooth) - 1)
    band = torch.exp(-0.25 * (k / _HIGH) ** 2) * (k < 0.5 / _STEP_PX) * (1 - torch.exp(-0.5 * (k / _LOW) ** 2))
    level = smooth.clamp_min(float(smooth.max()) * 1e-8)[index].rsqrt().float()
    out: Tensor = torch.fft.irfft2(terms * level * band, s=shape) * (shape[0] * shape[1]) ** 0.5
    return out


def _without_extremes(image: Tensor) -> Tensor:
    """An image whose few strongest spots count as much as many strong ones do.

    Beads on a surface pull views tilted far from each other to match there, and not in the middle of the specimen.
    """
    limit = _EXTREME * 1.4826 * float(image.abs().median())
    return image.clamp(-limit, limit) if limit > 0 else image


def _less_tilted_first(pairs: NDArray[np.int64], geometry: TiltGeometry) -> NDArray[np.int64]:
    """Each pair ordered so that the view tilted more is the one that is stretched."""
    swap = np.abs(geometry.y_tilt_deg[pairs[:, 0]]) > np.abs(geometry.y_tilt_deg[pairs[:, 1]])
    return np.where(swap[:, None], pairs[:, ::-1], pairs)


def _chained(
    geometry: TiltGeometry,
    pairs: NDArray[np.int64],
    found: list[PairCorrelation],
    shape: SpecimenShape,
    tolerance: float,
) -> tuple[TiltGeometry, Array]:
    """Shifts from all links at once.

    In the specimen's plane a view's offset is u = P⁻¹ · shift, P its 2 × 2 matrix. A pair whose second, stretched, has
    to move by s says u_first − u_second = P_first⁻¹ · s.
    """
    plane = plane_matrices(geometry, shape)
    inverse = np.linalg.inv(plane)
    offsets = np.einsum("nij,nj->ni", inverse, geometry.shifts_ang())
    differences = np.stack([inverse[first] @ one.shift_ang for (first, _), one in zip(pairs, found, strict=True)])
    narrow = np.abs(np.linalg.det(plane[pairs[:, 0]]))
    strength = np.array([max(one.significance - 3.0, 0.05) ** 2 for one in found])
    information = strength[:, None] * np.stack([narrow**2, np.ones_like(narrow)], axis=-1)
    solution = solve_links(pairs, differences, information, len(geometry), tolerance=tolerance)
    least = int(np.argmin(np.abs(geometry.y_tilt_deg)))
    offsets = offsets + solution.places - solution.places[least]
    shifts = np.einsum("nij,nj->ni", plane, offsets)
    return geometry.with_terms(x_shift_ang=shifts[:, 0], y_shift_ang=shifts[:, 1]), solution.robust_weights
