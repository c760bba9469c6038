"""What in a tilt image is not the specimen: an opaque film or grid bar, vacuum beyond its border, rows without signal.

Each view is looked at by itself, in any linear unit of intensity, because brightness changes with the tilt. What parts
an image is a step of the smoothed intensity that is much larger than the specimen's own contrast and sharp, and a
region that reaches the image's border. How opaque the dark side is, the shot noise tells: its variance is
proportional to the electrons that arrive, wherever the zero of intensity lies.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from lamella.parallel import each

__all__ = ["Regions", "find_regions", "regions_of_series", "specimen_masks", "weights_of"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_COARSE_PX = 128  # longer side of the map on which regions are sought
_SMOOTH_PX = 1.0  # of that map
_MAD_TO_SD = 1.4826
_DETAIL_PX = 3.0  # of that map: what is finer is detail
_SPLITS = 3  # regions that are parted one after the other: vacuum, film, another material
_SEPARATION = 6.0  # step between two regions, in standard deviations within them; the halves of a Gaussian give 2.65
_EXPECTED = 4.0  # the same where the neighbouring view shows a border
_SHARPNESS = 0.3  # slope of a region's border over that of a blurred straight edge; a gradient of thickness has less
_OPAQUE = 0.45  # of the specimen's noise variance: less comes through gold and grid bars, more through carbon and ice
_CARBON = 0.93  # of the specimen's noise variance: what is nearer to 1 is the specimen's own thickness
_VACUUM = 1.2  # times the specimen's noise variance: more electrons come where nothing is
_NOISE, _DETAILED = 1.25, 1.7  # coarse detail over that of white noise: in vacuum at most, in a specimen at least
_SMALLEST_ANG = 250.0  # a region smaller than a disc of this diameter may be a bead
_SMALLEST = 0.04  # or of this fraction of the shorter side
_SLIVER_PX = 12  # area of the least region where other views show a film
_BEAD = 0.65  # of that diameter: what is smaller is taken for a bead where a film's border is sought
_BORDER = 0.02  # of the longer side: contact with the image's border
_NEAR = 0.04  # of the longer side: how far a film may move from view to view
_FLAT = 0.03  # of the noise: rows and columns with less are filler
_ONSET = 0.2  # of the noise variance: the first lines beside filler have as much
_MARGIN = 0.012  # of the longer side: fringes beside an edge
_SOFT = 0.03  # of the longer side: width over which weights rise to 1


@dataclass(frozen=True, eq=False)
class Regions:
    """Regions of one image, on a coarse map.

    Attributes
    ----------
    opaque
        ``(a, b)`` film, grid bar or thick crystals of ice that let through less than half of what the specimen does.
    vacuum
        ``(a, b)`` beyond the specimen's border.
    blank
        ``(a, b)`` rows and columns at the border without noise: filler.
    carbon
        ``(a, b)`` a half-transparent film. It moves with the specimen, so alignment may use it.
    """

    opaque: Mask
    vacuum: Mask
    blank: Mask
    carbon: Mask

    @property
    def film(self) -> Mask:
        """``(a, b)`` a film of either kind."""
        return self.opaque | self.carbon

    @property
    def specimen(self) -> Mask:
        """``(a, b)`` what is left: the specimen, with carbon."""
        return ~(self.opaque | self.vacuum | self.blank)


def specimen_masks(stack: Tensor, *, pixel_ang: float | None = None) -> Tensor:
    """How much each pixel of a series counts when pictures of the specimen are compared.

    Parameters
    ----------
    stack
        ``(n, h, w)`` bright-field tilt images, raw or standardised.
    pixel_ang
        edge of a pixel, Å: where no film is seen, regions of less than 250 Å, which may be gold beads, are not masked.

    Returns
    -------
    weights
        ``(n, h, w)`` float32: 1 on the specimen, 0 on an opaque film, in vacuum and on filler, with a soft edge. A view
        in which nothing is found has 1 everywhere.
    """
    shape = (int(stack.shape[-2]), int(stack.shape[-1]))
    return torch.stack([weights_of(regions.specimen, shape) for regions in regions_of_series(stack, pixel_ang)])


def regions_of_series(stack: Tensor, pixel_ang: float | None = None) -> tuple[Regions, ...]:
    """The regions of each view; where one view shows a film, its neighbour may show a sliver, which is sought there.

    See `specimen_masks` for the arguments; the views are in the order of their tilt.
    """
    found = each(lambda image: find_regions(image, pixel_ang=pixel_ang), stack.unbind())
    for step in (1, -1):
        views = range(len(found))[::step]
        for before, view in pairwise(views):
            film = found[before].film
            if film.any() and not found[view].film.any():
                near = ndimage.binary_dilation(film, iterations=max(1, round(_NEAR * max(film.shape))))
                found[view] = find_regions(stack[view], pixel_ang=pixel_ang, near=near)
    return tuple(found)


def weights_of(specimen: Mask, shape: tuple[int, int]) -> Tensor:
    """Soft weights ``(h, w)`` of a coarse map: 0 beyond a region's border and beside it, rising to 1 along a cosine."""
    if specimen.all():
        return torch.ones(shape)
    longest = max(specimen.shape)
    distance = ndimage.distance_transform_edt(specimen) - _MARGIN * longest
    rise = np.clip(distance / (_SOFT * longest), 0, 1)
    weight = torch.from_numpy((0.5 - 0.5 * np.cos(np.pi * rise)).astype(np.float32))
    return torch.nn.functional.interpolate(weight[None, None], shape, mode="bilinear", align_corners=False)[0, 0]


def find_regions(image: Tensor, *, pixel_ang: float | None = None, near: Mask | None = None) -> Regions:
    """Part one image into specimen, opaque film, half-transparent film, vacuum and filler.

    Parameters
    ----------
    image
        ``(h, w)`` bright-field image in any linear unit, its noise not smoothed away.
    pixel_ang
        edge of a pixel, Å.
    near
        ``(a, b)`` where a neighbouring view shows a film, on the coarse map: a small or faint region there is one too.

    Notes
    -----
    The smoothed intensity is parted in two by Otsu's threshold (IEEE Trans. Syst. Man Cybern. 9 (1979) 62–66), which
    is kept where the parts stand apart and meet at a sharp edge; then the part that may be specimen is parted again.
    """
    field = _Field.of(image)
    smallest = _SMALLEST * min(field.mean.shape)
    if pixel_ang is not None:
        smallest = max(smallest, _SMALLEST_ANG / pixel_ang * max(field.mean.shape) / max(image.shape))
    blank = _filler(field.noise)
    found = {name: np.zeros(field.mean.shape, dtype=bool) for name in ("opaque", "vacuum", "carbon")}
    rest = ~blank
    maps = (field.smooth, field.without_beads(_BEAD * smallest))
    tries = [(m, near, _EXPECTED) for m in maps if near is not None] + [(m, None, _SEPARATION) for m in maps] * _SPLITS
    for values, expected, separation in tries:
        split = _split(values, rest if expected is None else rest & expected, separation)
        if split is None:
            continue
        kind, region = _name(field, *split)
        if kind == "vacuum" and expected is not None:
            continue
        region = _large(region, blank, smallest, expected)
        found[kind] |= region
        rest &= ~region
    return Regions(blank=blank, **found)


@dataclass(frozen=True, eq=False)
class _Field:
    """Coarse maps of an image: mean, its smoothed form, noise variance, and detail beyond the noise."""

    mean: Array
    smooth: Array
    noise: Array
    pooled: float
    """Pixels of the image in one of the map."""

    @classmethod
    def of(cls, image: Tensor) -> _Field:
        height, width = (int(size) for size in image.shape[-2:])
        scale = max(1, round(max(height, width) / _COARSE_PX))
        shape = (max(4, height // scale), max(4, width // scale))
        pool = torch.nn.functional.adaptive_avg_pool2d
        whole = image.float()[None]
        # a mixed second difference feels neither slopes nor straight edges along the axes
        cross = (whole[:, 1:, 1:] - whole[:, 1:, :-1] - whole[:, :-1, 1:] + whole[:, :-1, :-1]) / 2
        mean = pool(whole, shape)[0].numpy().astype(np.float64)
        noise = pool(cross * cross, shape)[0].numpy().astype(np.float64)
        return cls(mean, ndimage.gaussian_filter(mean, _SMOOTH_PX), noise, height * width / mean.size)

    def without_beads(self, diameter: float) -> Array:
        """The smoothed mean without what is darker than its surroundings and smaller than `diameter` coarse pixels."""
        return np.asarray(ndimage.grey_closing(self.smooth, size=(max(3, round(diameter)),) * 2))

    def detail(self, region: Mask) -> float:
        """Variance of a region's coarse detail over that of white noise; a median, which beads do not change."""
        inner = ndimage.binary_erosion(region, iterations=2, border_value=1)
        if np.count_nonzero(inner) < 32:
            return 0.0
        share = ndimage.gaussian_filter(inner.astype(np.float64), _DETAIL_PX)
        around = ndimage.gaussian_filter(np.where(inner, self.mean, 0), _DETAIL_PX)[inner] / share[inner]
        variance = float(_MAD_TO_SD * np.median(np.abs(self.mean[inner] - around))) ** 2
        return variance * self.pooled / max(self.level(region), 1e-30)

    def level(self, region: Mask) -> float:
        """Median variance of the noise in a region, away from its edges."""
        inner = ndimage.binary_erosion(region, iterations=2, border_value=1)
        return float(np.median(self.noise[inner if inner.any() else region]))


def _filler(noise: Array) -> Mask:
    """Rows and columns from the border inwards that carry no noise, where it sets in at once beside them."""
    blank = np.zeros(noise.shape, dtype=bool)
    usual = float(np.quantile(noise, 0.9))
    for lines, out in ((noise, blank), (noise.T, blank.T), (noise[::-1], blank[::-1]), (noise.T[::-1], blank.T[::-1])):
        flat: Mask = np.asarray((lines <= _FLAT**2 * usual).all(axis=1))
        first = len(flat) if flat.all() else int(np.argmin(flat))
        if first < len(flat) and np.median(lines[first : first + 2], axis=1).max() > _ONSET * usual:
            out[:first] = True
    return blank


def _split(smooth: Array, rest: Mask, separation: float) -> tuple[Mask, Mask] | None:
    """The darker and the brighter part of what is left, if they stand apart and meet at a sharp edge."""
    values = smooth[rest]
    if values.size < 32 or np.ptp(values) == 0:
        return None
    threshold = _otsu(values)
    dark, bright = rest & (smooth <= threshold), rest & (smooth > threshold)
    if not (dark.any() and bright.any()):
        return None
    low, high = _middle_and_spread(smooth[dark]), _middle_and_spread(smooth[bright])
    step = high[0] - low[0]
    if step < separation * np.hypot(low[1], high[1]) / np.sqrt(2):
        return None
    # the border lies midway between the two levels, wherever the numbers of pixels draw Otsu's threshold
    middle = low[0] + step / 2
    dark, bright = rest & (smooth <= middle), rest & (smooth > middle)
    border = dark & ndimage.binary_dilation(bright) & ndimage.binary_erosion(rest, border_value=1)
    if not border.any():
        return None
    slope = np.hypot(*np.gradient(smooth))[border]
    blur = np.hypot(_SMOOTH_PX, 0.5)
    sharp = float(np.median(slope)) > _SHARPNESS * step / (np.sqrt(2 * np.pi) * blur)
    return (dark, bright) if sharp else None


def _otsu(values: Array) -> float:
    """The threshold that makes the variance between two classes greatest."""
    ordered = np.sort(values)
    count = np.arange(1, len(ordered))
    total = np.cumsum(ordered)
    below = total[:-1] / count
    above = (total[-1] - total[:-1]) / (len(ordered) - count)
    best = int(np.argmax(count * (len(ordered) - count) * (above - below) ** 2))
    return float(ordered[best] + ordered[best + 1]) / 2


def _middle_and_spread(values: Array) -> tuple[float, float]:
    low, middle, high = np.quantile(values, [0.16, 0.5, 0.84])
    return float(middle), float(high - low) / 2


def _name(field: _Field, dark: Mask, bright: Mask) -> tuple[str, Mask]:
    """What the two parts are: which of them is not plain specimen, and why."""
    through = field.level(dark) / max(field.level(bright), 1e-30)
    noise_alone = field.detail(bright) < _NOISE < _DETAILED < field.detail(dark)
    if noise_alone and through * _VACUUM < 1:
        return "vacuum", bright
    if through < _OPAQUE:
        return "opaque", dark
    return "carbon", dark if through < _CARBON else np.zeros_like(dark)


def _large(region: Mask, blank: Mask, smallest: float, near: Mask | None) -> Mask:
    """The connected parts that reach the image's border (or filler) and are larger than a bead, or lie near a film."""
    labels, count = ndimage.label(region, np.ones((3, 3)))
    if not count:
        return region
    rim = ~ndimage.binary_erosion(~blank, border_value=0)
    contact = np.bincount(labels[rim], minlength=count + 1)
    area = np.bincount(labels.ravel(), minlength=count + 1)
    keep = (contact >= _BORDER * max(region.shape)) & (area >= np.pi / 4 * smallest**2)
    if near is not None:
        keep |= (contact > 0) & (area >= _SLIVER_PX) & (np.bincount(labels[near], minlength=count + 1) > 0)
    keep[0] = False
    return np.asarray(ndimage.binary_fill_holes(keep[labels]) & ~blank)
