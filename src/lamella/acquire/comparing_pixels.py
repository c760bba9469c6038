"""Displacement of a picture against the aligned, stretched average of its area's pictures, by correlation."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.acquire.comparing import Displacement, foreshortening
from lamella.acquire.comparing_plane import LyingPlane, local_shifts
from lamella.acquire.microscope.port import Landmarks, Picture
from lamella.errors import ImageError
from lamella.fourier import band_pass, cross_correlate, edge_taper, find_peak, rescale

__all__ = ["PixelAverage", "measure_stretched", "reduced_image"]

Array = NDArray[np.float64]

_SIDE_PX = 512  # of the longer side as compared
_LOW_CYCLES = 6.0  # over the shorter side: below it lie uneven illumination and the camera's fixed pattern
_COARSE = 0.06  # cycles per compared pixel, to which structure is looked for first
_HIGH = 0.25  # cycles per compared pixel
_EXTREME = 4.0  # standard deviations at which hot pixels and ice crystals are cut
_TAPER = 0.12  # of the shorter side
_STRETCHES = np.exp(0.05 * np.array([-1, 1, -2, 2, -3, 3, -4, 4, -5, 5, -6, 6, -7, 7]))
_ALIKE = 0.4  # correlation coefficient from which on a foreshortening that was only tried is taken for the true one
_MOVED_PX = 3.0  # of the coarse structure, beyond which a fine match at no shift at all is the camera's fixed pattern
_DETAIL = 0.15  # cycles per compared pixel, up to which there is detail in pictures of a small dose
_STRONG = 2.5  # standard deviations to which it is cut
_FAR_PX = 16.0  # another hole is farther away, and the camera's pattern ends nearer
_CLEAR = 6.0  # of the correlation: the highest of noise reaches 5
_FINER = 1.3  # times as well must detail match elsewhere than at the coarse structure's place
_OWN_PX = 8.0  # about the highest peak, which is its own and no rival's


def reduced_image(image: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """A picture in as many pixels as are compared, and how many times as large they are.

    Parameters
    ----------
    image
        ``(h, w)`` counts.

    Returns
    -------
    reduced, ratio
        of at most 512 pixels a side, the origin n // 2 in place; median 0 and standard deviation 1, in steps of half
        precision, so that what is kept of it in a file is the same.
    """
    ratio = max(1.0, max(image.shape) / _SIDE_PX)
    counts = torch.from_numpy(np.ascontiguousarray(image, np.float32))
    if ratio > 1:
        counts = rescale(counts, ratio, 2)
    spread = counts.std()
    if bool(spread > 0):
        counts = (counts - counts.median()) / spread
    reduced: NDArray[np.float32] = counts.numpy().astype(np.float16).astype(np.float32)
    return reduced, ratio


class PixelAverage:
    """Pictures of one area, aligned and stretched to the untilted specimen.

    How the area lies inclined is learned from each picture that is added (`lamella.acquire.comparing_plane`).

    Parameters
    ----------
    axis_deg
        direction of the tilt axis in the pictures, from the rows' direction (y) as `geometry`'s z_rot.
    """

    def __init__(self, axis_deg: float) -> None:
        self._axis_deg = axis_deg
        self._sum: Tensor | None = None
        self._weight: Tensor | None = None
        self._shape: tuple[int, ...] = ()
        self._plane = LyingPlane()

    def measure(self, picture: Picture, stretch: float = 1.0) -> Displacement:
        """See `lamella.acquire.comparing.AlignedSeries.measure`.

        `stretch`: by which the picture is longer across the axis than its angle says.
        """
        image, pixel_um = self._read(picture)
        match = _match(image * _taper(image), self._template(picture, stretch))
        shift_um = self._to_stage(match.shift_px.double().numpy()[::-1]) * pixel_um
        return Displacement(
            shift_um=shift_um,
            # The peak of a band-passed correlation is some two pixels wide; noise moves it by that over its height
            # above the noise.
            sd_um=pixel_um * (0.05 + 1.0 / max(_significance(match.coarse, match.height), 1.0)),
            confidence=match.confidence,
        )

    def likeness(self, picture: Picture, stretch: float) -> float:
        """Correlation coefficient of the coarse structure where the picture, stretched as `measure` does, fits best."""
        image, _ = self._read(picture)
        template = self._template(picture, stretch)
        _, height = find_peak(cross_correlate(image * _taper(image), template, _coarse_filter(image)))
        return float(height)

    def add(self, picture: Picture, shift_um: Array) -> None:
        """See `lamella.acquire.comparing.AlignedSeries.add`."""
        image, pixel_um = self._read(picture)
        cosine = foreshortening(picture)
        offset_px = self._to_camera(shift_um) / pixel_um
        self._learn(picture, image, offset_px)
        matrix = self._appears(picture)
        aligned = _moved(image, matrix, offset_px)
        weight = cosine * _moved(torch.ones_like(image), matrix, offset_px)
        if self._sum is None or self._weight is None:
            self._sum, self._weight = weight * aligned, weight
        else:
            self._sum, self._weight = self._sum + weight * aligned, self._weight + weight

    def _template(self, picture: Picture, stretch: float) -> Tensor:
        """The average as it would look in the picture, tapered."""
        if self._sum is None or self._weight is None:
            raise ImageError("nothing to compare a picture with", mend="take a reference picture first")
        average = self._average(self._sum, self._weight)
        inverse = np.asarray(np.linalg.inv(self._appears(picture, stretch)), np.float64)
        return _moved(average, inverse) * _taper(average)

    def _average(self, total: Tensor, weight: Tensor) -> Tensor:
        return total / weight.clamp_min(1e-3) * (weight > 1e-3).to(total.dtype)

    def _appears(self, picture: Picture, stretch: float = 1.0) -> Array:
        """``(2, 2)`` on (x, y) of the average: where that appears in the picture, as far as the plane is known."""
        foreshortening(picture)  # refuses angles at which nothing can be compared
        turn = _turn(self._axis_deg)
        matrix: Array = turn @ np.diag([stretch, 1.0]) @ self._plane.matrix(picture.status.tilt_deg) @ turn.T
        return matrix

    def _learn(self, picture: Picture, image: Tensor, offset_px: Array) -> None:
        """How the area lies, from a picture whose displacement is known."""
        if self._sum is None or self._weight is None:
            self._plane.begin(picture.status.tilt_deg)
            return
        inverse = np.asarray(np.linalg.inv(self._appears(picture)), np.float64)
        template = _moved(self._average(self._sum, self._weight), inverse, -inverse @ offset_px)
        band = (2 * _LOW_CYCLES / min(image.shape), _HIGH)
        parts = local_shifts(image, template, _turn(self._axis_deg), offset_px, band)
        self._plane.learn(picture.status.tilt_deg, parts)

    def _read(self, picture: Picture) -> tuple[Tensor, float]:
        """The picture as compared, mean 0 and standard deviation 1, and its pixel size in µm."""
        content = picture.content
        if isinstance(content, Landmarks):
            raise ImageError("a picture of landmarks in a series of pixels", mend="compare pictures of one kind")
        image = torch.from_numpy(np.ascontiguousarray(content.image, np.float32))
        if image.ndim != 2 or not bool(torch.isfinite(image).all()):
            raise ImageError("a picture with pixels that are no numbers", mend="take it again")
        if self._shape and tuple(image.shape) != self._shape:
            raise ImageError(
                f"a picture of {tuple(image.shape)} pixels in a series of {self._shape}", mend="use one preset"
            )
        self._shape = tuple(image.shape)
        ratio = max(1.0, max(image.shape) / _SIDE_PX)
        if ratio > 1:
            image = rescale(image, ratio, 2)
        spread = float(image.std())
        if not spread > 0:
            raise ImageError("a picture in which every pixel is the same", mend="take it again")
        image = ((image - image.median()) / spread).clamp(-_EXTREME, _EXTREME)
        return image - image.mean(), picture.preset.pixel_size_ang * 1e-4 * ratio

    def _to_stage(self, camera_xy: Array) -> Array:
        turned: Array = _turn(-self._axis_deg) @ camera_xy
        return turned

    def _to_camera(self, stage_xy: Array) -> Array:
        turned: Array = _turn(self._axis_deg) @ stage_xy
        return turned


def measure_stretched(picture: Picture, reference: Picture, axis_deg: float) -> Displacement | None:
    """Displacement between two pictures that are foreshortened otherwise than they say; None where none is believed.

    Of the foreshortenings tried the one with which they are most alike is taken. A camera's fixed pattern, which stands
    still, is alike with none of them: it is as fine as pixels, and the coarse structure outweighs it.

    Parameters
    ----------
    picture, reference, axis_deg
        as `lamella.acquire.measure_shift`.

    Returns
    -------
    Displacement
        of what lies half-way between both middles: across the axis that of the reference's middle over √stretch, so
        that the way back is as long.
    """
    average = PixelAverage(axis_deg)
    average.add(reference, np.zeros(2))
    alike = [average.likeness(picture, stretch) for stretch in _STRETCHES]
    if max(alike) < _ALIKE:
        return None
    stretch = _STRETCHES[int(np.argmax(alike))]
    found = average.measure(picture, stretch)
    return replace(found, shift_um=found.shift_um / (math.sqrt(stretch), 1.0))


def _turn(angle_deg: float) -> Array:
    angle = math.radians(angle_deg)
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def _moved(image: Tensor, matrix: Array, offset_px: Array | None = None) -> Tensor:
    """`(h, w)`: at place p from the middle pixel, the image's value at matrix · p + offset; 0 outside."""
    height, width = image.shape
    offset = np.zeros(2) if offset_px is None else np.asarray(offset_px, np.float64)
    half = np.array([width / 2, height / 2])
    # torch counts from −1 to +1 across the outer edges of the pixels; the middle pixel's centre lies half a pixel up.
    middle = 0.5 * (1 - np.array([width % 2, height % 2])) / half
    scaled = matrix * (half[None, :] / half[:, None])
    constant = offset / half + middle - scaled @ middle
    theta = torch.tensor(np.column_stack([scaled, constant]), dtype=image.dtype)[None]
    grid = torch.nn.functional.affine_grid(theta, [1, 1, height, width], align_corners=False)
    sampled: Tensor = torch.nn.functional.grid_sample(image[None, None], grid, mode="bilinear", align_corners=False)
    return sampled[0, 0]


def _taper(image: Tensor) -> Tensor:
    return edge_taper(tuple(image.shape), max(2, round(_TAPER * min(image.shape))))


@dataclass(frozen=True, eq=False)
class _Match:
    """Where two pictures match: the shift (y, x), px, and the correlation of the coarse structure there; how sure."""

    shift_px: Tensor
    height: float
    confidence: float
    coarse: Tensor


def _match(image: Tensor, template: Tensor) -> _Match:
    """The fine peak next to the highest of the coarse structure, unless all the detail says that it is elsewhere.

    Fine detail alone would match the camera's fixed pattern, which stands still; the coarse structure tells where to
    look, the fine one exactly where. Where the specimen has moved, no peak of what has not is looked at. On a lattice
    of holes the coarse structure finds a hole; whether it is the right one, much weak detail tells.
    """
    shape = tuple(image.shape)
    low = _LOW_CYCLES / min(shape)
    coarse = cross_correlate(image, template, _coarse_filter(image))
    near, height = find_peak(coarse)
    whole = near.round()
    size = torch.fft.rfft2(image).abs() * torch.fft.rfft2(template).abs()
    floor = size.mean().clamp_min(torch.finfo(size.dtype).tiny)
    weights = band_pass(shape, low, _HIGH, low / 2) / (size + floor).sqrt()
    fine = cross_correlate(image, template, weights)
    still = float(torch.linalg.vector_norm(whole)) <= _MOVED_PX
    if not still:
        fine = _without(fine, weights, torch.zeros(2))
    step, _ = find_peak(_centred(fine, whole), max_shift=_OWN_PX)
    sure = _confidence(coarse, whole + step, float(height))

    detail = cross_correlate(_detail(image), _detail(template))
    _, there = find_peak(_centred(detail, whole), max_shift=_OWN_PX)
    size_px = (shape[0], shape[1])
    near_by = _around(size_px, torch.zeros(2), _FAR_PX) | _around(size_px, whole, _FAR_PX)
    place, highest = find_peak(detail.masked_fill(near_by, 0.0))
    if float(highest) > max(_FINER * float(there), _CLEAR * float(detail.std())):
        others = detail.masked_fill(_around(size_px, torch.zeros(2), _FAR_PX), 0.0)
        sure = _confidence(others, place, float(highest))
        at = place.round()
        return _Match(place, float(coarse[int(at[0]) % shape[0], int(at[1]) % shape[1]]), sure, coarse)
    return _Match(whole + step, float(height), sure, coarse)


def _centred(correlation: Tensor, place: Tensor) -> Tensor:
    """A periodic correlation with a whole place (y, x) moved to [0, 0]."""
    return torch.roll(correlation, (-int(place[0]), -int(place[1])), dims=(-2, -1))


def _detail(image: Tensor) -> Tensor:
    """Detail of every direction alike, and no part of it much stronger than the rest: the edge of a hole is."""
    shape = tuple(image.shape)
    low = _LOW_CYCLES / min(shape)
    terms = torch.fft.rfft2(image)
    size = terms.abs()
    even = terms / (size + size.mean().clamp_min(torch.finfo(size.dtype).tiny))
    detail = torch.fft.irfft2(even * band_pass(shape, 2 * low, _DETAIL, low), s=shape)
    limit = _STRONG * 1.4826 * float(detail.abs().median())
    cut: Tensor = detail.clamp(-limit, limit) if limit > 0 else detail
    return cut


def _around(shape: tuple[int, int], place: Tensor, radius: float) -> Tensor:
    """``(h, w)`` which shifts of a periodic correlation lie near one."""
    y, x = (
        torch.remainder(torch.arange(length) - place[axis] + length / 2, length) - length / 2
        for axis, length in enumerate(shape)
    )
    near: Tensor = (y[:, None] ** 2 + x[None, :] ** 2) <= radius**2
    return near


def _without(correlation: Tensor, weights: Tensor, place: Tensor) -> Tensor:
    """The correlation less what noise that both pictures share adds: its peak at a place (y, x), as wide as the filter.

    One step of CLEAN (Högbom 1974), with the filter's own correlation as the beam.
    """
    rows, columns = int(place[0]), int(place[1])
    beam = torch.fft.irfft2(weights, s=tuple(correlation.shape))
    height = correlation[rows % correlation.shape[0], columns % correlation.shape[1]]
    cleaned: Tensor = correlation - height / beam[0, 0] * torch.roll(beam, (rows, columns), dims=(-2, -1))
    return cleaned


def _coarse_filter(image: Tensor) -> Tensor:
    shape = tuple(image.shape)
    low = _LOW_CYCLES / min(shape)
    return band_pass(shape, low, max(_COARSE, 1.5 * low), low / 2)


def _significance(correlation: Tensor, height: float) -> float:
    """The peak in robust standard deviations of the correlation."""
    noise = 1.4826 * float((correlation - correlation.median()).abs().median())
    return height / noise if noise > 0 else 0.0


def _confidence(correlation: Tensor, shift_px: Tensor, height: float) -> float:
    """How far the highest peak stands above the next: 0 where another is as high, 1 where there is none."""
    rows, columns = correlation.shape
    rivals = correlation[~_around((rows, columns), shift_px, _OWN_PX)]
    if height <= 0 or not rivals.numel():
        return 0.0
    return float(min(max(1.0 - float(rivals.max()) / height, 0.0), 1.0))
