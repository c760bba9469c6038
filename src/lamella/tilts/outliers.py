"""X-rays, hot and dead pixels of one image: found by three criteria, replaced from their surroundings.

The criteria are those of IMOD's ``ccderaser`` (Kremer, Mastronarde & McIntosh 1996): a peak stands out from an annulus
around it, or steps off from its neighbours; a large one does both; neighbouring outliers are grown from the peak.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import ceil

import numpy as np
from numpy.typing import NDArray

from lamella.errors import ImageError
from lamella.tilts.clean_settings import CleanSettings

__all__ = ["Outliers", "erase_outliers", "fill_pixels", "find_outliers"]

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
Index = NDArray[np.int64]

_SCAN_SD = 3.0  # a candidate is an extremum this far off the median of its patch
_PATCH = 100  # px: patches over which background and noise are taken as constant
_ANNULUS = 2.0  # px: width of the ring around a peak
_MAD_TO_SD = 1.4826
_STEEP_NEIGHBOURS = 6  # of 8 that a peak must step off from: at a straight edge 3 do, at a disc's tip at most 5
_SEVERAL_VIEWS = 0.6  # a hot pixel is one in this fraction of the views


@dataclass(frozen=True, eq=False)
class Outliers:
    """What was found in one image.

    Attributes
    ----------
    mask
        ``(h, w)`` True where a pixel is to be replaced.
    invalid
        how many pixels are not finite.
    raised, sunk
        flat indices of pixels that stand above or below their surroundings by `CleanSettings.hot`: hot or dead ones
        if they do so in most views.
    """

    mask: Mask
    invalid: int
    raised: Index
    sunk: Index


def erase_outliers(image: Image, settings: CleanSettings) -> tuple[Image, Mask]:
    """Replace isolated outliers (X-rays, hot pixels, pixels that are not finite) by a fit to their surroundings.

    Parameters
    ----------
    image
        `(h, w)` tilt image, any linear intensity unit.
    settings
        thresholds in robust standard deviations (see `CleanSettings`).

    Returns
    -------
    cleaned, mask
        `(h, w)` image of the same unit, and `(h, w)` bool, True where replaced.

    Raises
    ------
    ImageError
        if the image is empty, constant, or more than `settings.max_fraction` of it would be replaced.
    """
    mask = find_outliers(image, settings).mask
    check_fraction(mask, settings, "the image")
    return fill_pixels(image, mask, settings), mask


def check_fraction(mask: Mask, settings: CleanSettings, name: str) -> None:
    """Refuse to replace too much.

    Raises
    ------
    ImageError
        if `mask` holds more than `settings.max_fraction` of the pixels.
    """
    if mask.mean() > settings.max_fraction:
        raise ImageError(
            f"{mask.sum()} of {mask.size} pixels of {name} are outliers or not finite numbers",
            mend="exclude the view with clean.exclude, raise clean.max_fraction, or raise clean.peak and .difference",
        )


def find_outliers(image: Image, settings: CleanSettings) -> Outliers:
    """Find outliers in one image.

    Raises
    ------
    ImageError
        if the image is empty or constant, or none of its pixels is finite.
    """
    if image.ndim != 2 or min(image.shape) < 3:
        raise ImageError(f"an image of shape {image.shape}", mend="give an image of at least 3 × 3 pixels")
    valid = np.isfinite(image)
    invalid = int(image.size - np.count_nonzero(valid))
    if invalid == image.size:
        raise ImageError("no pixel of the image is a finite number", mend="exclude the view with clean.exclude")
    if invalid:
        image = np.where(valid, image, np.float32(np.median(image[valid])))
    if image.min() == image.max():
        raise ImageError(f"every pixel of the image is {image.flat[0]:g}", mend="exclude the view with clean.exclude")
    mask = ~valid
    if not settings.outliers:
        none = np.empty(0, np.int64)
        return Outliers(mask, invalid, none, none)
    peaks, signs, step_sd = _candidates(image)
    border = ceil(settings.giant_radius + _ANNULUS) + 1
    padded = np.pad(image, border, mode="reflect" if border < min(image.shape) else "symmetric")
    near = _Surroundings(padded, border, image.shape, peaks, signs, settings.radius)
    # noise may change within a patch, with the intensity: the ring's own counts too
    step_sd = np.maximum(step_sd, near.step_sd)
    hot = near.height > settings.hot * near.sd
    steep = near.neighbour_step(_STEEP_NEIGHBOURS) > settings.difference * step_sd
    tall = (near.height > settings.peak * near.sd) & near.isolated(settings.grow)
    near.mark(mask, tall, settings.grow, everything=True)
    near.mark(mask, steep & ~tall, settings.grow, everything=False)
    rest = ~tall & (signs > 0) & (near.largest_step() > settings.giant_difference * step_sd)
    if rest.any():
        # a large outlier may be flat: look at it from its middle, not from its highest pixel
        centres = peaks[rest]
        for _ in range(2):
            far = _Surroundings(padded, border, image.shape, centres, np.ones(len(centres)), settings.giant_radius)
            centres = np.unique(far.centres())
        far = _Surroundings(padded, border, image.shape, centres, np.ones(len(centres)), settings.giant_radius)
        giant = (far.height > settings.giant * far.sd) & far.isolated(settings.grow)
        far.mark(mask, giant, settings.grow, everything=True)
    return Outliers(mask, invalid, peaks[hot & (signs > 0)], peaks[hot & (signs < 0)])


def hot_pixels(raised: Index, sunk: Index, shape: tuple[int, int], views: int) -> Mask:
    """Pixels that were raised, or sunk, in most views.

    Parameters
    ----------
    raised, sunk
        flat indices from all views, one after the other.
    shape
        (height, width) of a view.
    views
        number of views; below 3 nothing is called hot.
    """
    out = np.zeros(shape[0] * shape[1], dtype=bool)
    if views >= 3:
        for indices in (raised, sunk):
            places, counts = np.unique(indices, return_counts=True)
            out[places[counts >= max(3, _SEVERAL_VIEWS * views)]] = True
    return out.reshape(shape)


def _candidates(image: Image) -> tuple[Index, NDArray[np.float32], NDArray[np.float32]]:
    """Flat indices of extrema that stand off their patch, their sign, and the patch's SD of neighbours' differences."""
    height, width = image.shape
    rows, columns = max(1, round(height / _PATCH)), max(1, round(width / _PATCH))
    row_edges = np.linspace(0, height, rows + 1).astype(int)
    column_edges = np.linspace(0, width, columns + 1).astype(int)
    indices, signs, steps = [], [], []
    image_sd, image_step = _robust_sd(image), _step_sd(image)
    for y0, y1 in pairwise(row_edges):
        for x0, x1 in pairwise(column_edges):
            patch = image[y0:y1, x0:x1]
            middle = np.median(patch[::2, ::2])
            # a patch without noise (saturated, padded) borrows the image's
            sd = _MAD_TO_SD * np.median(np.abs(patch[::2, ::2] - middle)) or image_sd
            y, x = np.nonzero(np.abs(patch - middle) > _SCAN_SD * sd)
            indices.append((y + y0) * width + x + x0)
            signs.append(np.sign(patch[y, x] - middle))
            steps.append(np.full(len(y), _step_sd(patch) or image_step, np.float32))
    found, sign, step = np.concatenate(indices), np.concatenate(signs), np.concatenate(steps)
    y, x = found // width, found % width
    extreme = np.ones(len(found), dtype=bool)
    here = sign * image[y, x]
    for dy, dx in _NEIGHBOURS:
        other = image[np.clip(y + dy, 0, height - 1), np.clip(x + dx, 0, width - 1)]
        extreme &= here >= sign * other
    return found[extreme], sign[extreme].astype(np.float32), step[extreme]


_NEIGHBOURS = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0))


def _robust_sd(image: Image) -> float:
    sample = image[::3, ::3]
    spread = _MAD_TO_SD * float(np.median(np.abs(sample - np.median(sample))))
    return spread or float(sample.std()) or float(image.std())


def _step_sd(patch: Image) -> float:
    """Robust standard deviation of the difference between neighbours."""
    step = np.diff(patch[::4], axis=1)
    return _MAD_TO_SD * float(np.median(np.abs(step))) if step.size else 0.0


@lru_cache(maxsize=8)
def _offsets(radius: float) -> tuple[Index, NDArray[np.float64]]:
    """``(n, 2)`` offsets yx within a radius, and their ``(n,)`` lengths."""
    reach = ceil(radius)
    grid = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    length = np.hypot(grid[:, 0], grid[:, 1])
    return grid[length <= radius], length[length <= radius]


@lru_cache(maxsize=8)
def _pairs(radius: float) -> tuple[Index, Index]:
    """Neighbours along x within the annulus around `radius`, as indices into the offsets of its outer radius."""
    offsets, length = _offsets(radius + _ANNULUS)
    where = {(int(y), int(x)): k for k, (y, x) in enumerate(offsets) if length[k] > radius}
    found = [(k, where[y, x + 1]) for (y, x), k in where.items() if (y, x + 1) in where]
    left, right = np.array(found, dtype=np.int64).T
    return left, right


class _Surroundings:
    """Peaks with what is around them: heights above the annulus, and the pixels that belong to each."""

    def __init__(
        self,
        padded: Image,
        border: int,
        shape: tuple[int, int],
        peaks: Index,
        signs: NDArray[np.floating],
        radius: float,
    ) -> None:
        offsets, length = _offsets(radius + _ANNULUS)
        self._inside, self._length = offsets[length <= radius], length[length <= radius]
        self._shape = shape
        self._y, self._x = peaks // shape[1], peaks % shape[1]
        stride = padded.shape[1]
        start = (self._y + border) * stride + self._x + border
        around = offsets @ np.array([stride, 1])
        values = signs[:, None] * padded.ravel()[start[:, None] + around]  # (peaks, offsets), outliers upwards
        annulus = values[:, length > radius]
        self.background = np.median(annulus, axis=1)
        spread = np.abs(annulus - self.background[:, None])
        self.sd = _MAD_TO_SD * np.median(spread, axis=1)
        # a ring of equal values has no spread of its own: take the mean deviation, and a floor against none at all
        self.sd = np.maximum(self.sd, 1.2533 * spread.mean(axis=1))
        self.sd = np.maximum(self.sd, np.finfo(np.float32).eps * np.abs(self.background) + 1e-30)
        left, right = _pairs(radius)
        self.step_sd = _MAD_TO_SD * np.median(np.abs(values[:, left] - values[:, right]), axis=1)
        self._values = values[:, length <= radius]
        self._steps = self._values[:, self._length == 0] - self._values[:, (self._length > 0) & (self._length < 1.5)]
        self.height = self._values[:, self._length == 0][:, 0] - self.background
        self._grown: dict[float, Mask] = {}

    def neighbour_step(self, rank: int) -> Image:
        """The step that at least `rank` of the 8 neighbours exceed or equal."""
        return np.asarray(np.sort(self._steps, axis=1)[:, 8 - rank], dtype=np.float32)

    def largest_step(self) -> Image:
        """The greatest difference between two neighbours within the radius."""
        best = np.zeros(len(self._values), np.float32)
        where = {(int(y), int(x)): k for k, (y, x) in enumerate(self._inside)}
        for (y, x), k in where.items():
            for step in ((0, 1), (1, 0)):
                other = where.get((y + step[0], x + step[1]))
                if other is not None:
                    np.maximum(best, np.abs(self._values[:, k] - self._values[:, other]), out=best)
        return best

    def centres(self) -> Index:
        """Flat indices of the centroids of what stands out half as far as the peak, each within its surroundings."""
        high = self._values - self.background[:, None] > 0.5 * self.height[:, None]
        shift = np.rint(high @ self._inside / np.maximum(high.sum(axis=1, keepdims=True), 1)).astype(np.int64)
        y = np.clip(self._y + shift[:, 0], 0, self._shape[0] - 1)
        x = np.clip(self._x + shift[:, 1], 0, self._shape[1] - 1)
        return np.asarray(y * self._shape[1] + x, dtype=np.int64)

    def _grow(self, criterion: float) -> Mask:
        """``(peaks, offsets)`` the pixels within the radius that are joined to the peak through outlying ones."""
        if criterion not in self._grown:
            outlying = self._values - self.background[:, None] > criterion * self.sd[:, None]
            joined = outlying & (self._length == 0)
            gap = self._inside[:, None] - self._inside[None]
            near = (np.abs(gap).max(axis=-1) <= 1).astype(np.float32)
            for _ in range(2 * ceil(self._length.max()) + 1):
                more = outlying & (joined.astype(np.float32) @ near > 0)
                if (more == joined).all():
                    break
                joined = more
            self._grown[criterion] = joined
        return self._grown[criterion]

    def isolated(self, criterion: float) -> Mask:
        """Whether what is joined to a peak ends within the radius: a bead or an edge goes on, an X-ray does not."""
        rim = self._length > self._length.max() - 0.5
        return np.asarray((self._grow(criterion) & rim).sum(axis=1) <= rim.sum() // 4)

    def mark(self, mask: Mask, chosen: Mask, criterion: float, *, everything: bool) -> None:
        """Set the chosen peaks in a mask: all that is joined to them, or no farther than their neighbours."""
        grown = self._grow(criterion)[chosen]
        if not everything:
            # beside an edge the ring is no measure; a neighbour belongs to the peak if it stands out half as far
            half = self._values[chosen] - self.background[chosen, None] > 0.5 * self.height[chosen, None]
            isolated = self.isolated(criterion)[chosen]
            grown = np.where(isolated[:, None], grown, half & grown & (self._length < 1.5))
            grown |= self._length == 0
        peak, offset = np.nonzero(grown)
        y = self._y[chosen][peak] + self._inside[offset, 0]
        x = self._x[chosen][peak] + self._inside[offset, 1]
        inside = (y >= 0) & (y < self._shape[0]) & (x >= 0) & (x < self._shape[1])
        mask[y[inside], x[inside]] = True


def fill_pixels(image: Image, mask: Mask, settings: CleanSettings, seed: int = 0) -> Image:
    """Replace masked pixels by a quadratic fitted to the good pixels around each of them.

    Weighted least squares in a window that grows until it holds enough good pixels (Cleveland 1979), the value kept
    within the window's own; with `settings.fill_noise`, plus Gaussian noise of the fit's residual.

    Parameters
    ----------
    image
        `(h, w)`; masked pixels may hold anything.
    mask
        `(h, w)` True where to replace.
    seed
        of the noise.
    """
    out = np.array(image, dtype=np.float32)
    todo = np.flatnonzero(mask)
    generator = np.random.default_rng(seed)
    reach = 3
    while todo.size:
        left = []
        for part in np.array_split(todo, ceil(todo.size / 4096)):
            value, sd, enough = _fit(image, mask, part, reach)
            if settings.fill_noise:
                value = value + sd * generator.standard_normal(len(part))
            out.flat[part[enough]] = value[enough]
            left.append(part[~enough])
        todo = np.concatenate(left)
        reach *= 2
    return out


def _fit(image: Image, mask: Mask, places: Index, reach: int) -> tuple[NDArray[np.float64], NDArray[np.float64], Mask]:
    """Value, residual SD and whether there were enough good pixels, at flat indices."""
    height, width = image.shape
    grid = np.arange(-reach, reach + 1)
    dy, dx = (part.ravel() for part in np.meshgrid(grid, grid, indexing="ij"))
    y, x = places[:, None] // width + dy, places[:, None] % width + dx
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    flat = np.clip(y, 0, height - 1) * width + np.clip(x, 0, width - 1)
    good = inside & ~mask.ravel()[flat]
    values = np.where(good, image.ravel()[flat], 0).astype(np.float64)  # (places, window)
    enough = good.sum(axis=1) >= min(18, max(1, int((~mask).sum())))
    weight = good * np.exp(-0.5 * (dy**2 + dx**2) / (0.5 * reach + 0.5) ** 2)
    total = weight.sum(axis=1, keepdims=True)
    middle = (weight * values).sum(axis=1, keepdims=True) / np.maximum(total, 1e-30)
    basis = np.stack([np.ones_like(dy), dy, dx, dy * dy, dy * dx, dx * dx]) / np.array(
        [1, reach, reach, reach**2, reach**2, reach**2]
    ).reshape(-1, 1)
    normal = np.einsum("pw,iw,jw->pij", weight, basis, basis, optimize=True)
    # where one side is missing the quadratic would swing: a ridge draws its terms, not its mean, to zero
    normal += 1e-2 * np.maximum(total, 1e-30)[:, :, None] * np.diag([0, 1, 1, 1, 1, 1]) + 1e-12 * np.eye(6)
    right = np.einsum("pw,iw->pi", weight * (values - middle), basis)
    terms = np.linalg.solve(normal, right[..., None])[..., 0]
    residual = np.where(good, values - middle - terms @ basis, 0.0)
    sd = np.sqrt((weight * residual**2).sum(axis=1) / np.maximum(total[:, 0], 1e-30))
    lowest = np.where(good, values, np.inf).min(axis=1)
    highest = np.where(good, values, -np.inf).max(axis=1)
    return np.clip(terms[:, 0] + middle[:, 0], lowest, highest), sd, enough
