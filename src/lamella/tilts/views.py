"""Dark, blocked and blank views: what each view shows as a whole, against the smooth course over the tilt angle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from lamella.features.masks import find_regions
from lamella.tilts.clean_settings import CleanSettings

__all__ = ["ViewLook", "expected_brightness", "judge_views", "look_at"]

Array = NDArray[np.float64]
Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

_MAP_PX = 1024  # longer side of the image in which films are sought
_BLOCKS = 48  # blocks along the shorter side of an image
_BLACK = 0.15  # of the expected brightness: a grid bar lets less through
_FEW = 8  # views, below which no pre-tilt is searched
_PRE_TILTS_DEG = np.arange(-24.0, 24.1, 4.0)
# bounds of b: a series may be exposed longer at high tilts, which makes a bright field brighter there
_SLOPES = {"bright": (-0.7, 3.0), "dark": (-3.0, 0.7)}
_NOTHING = 2e-3  # of the brighter views' intensity: no specimen is that thick
_LEAST_SPECIMEN = 0.05  # of the field, from which its brightness is taken
_DARKEST = 5.0  # percentile of the views' darkest blocks that states the zero of intensity


@dataclass(frozen=True, eq=False)
class ViewLook:
    """One view as a whole.

    Attributes
    ----------
    blocks
        means of small blocks.
    noise, structure
        standard deviation of differences between neighbouring pixels, and robust one of the blocks.
    picture
        ``(a, b)`` the image on a coarse map.
    specimen
        ``(a, b)`` where that map shows the specimen, not an opaque film, vacuum or filler.
    covered
        fraction of the field behind an opaque film.
    """

    blocks: Array
    noise: float
    structure: float
    picture: Image
    specimen: Mask
    covered: float

    @property
    def brightness(self) -> float:
        """Mean intensity, of the specimen where a film is in the field."""
        if self.covered == 0 or self.specimen.mean() < _LEAST_SPECIMEN:
            return float(self.blocks.mean())
        return float(self.picture[self.specimen].mean())


def look_at(image: Image, mask: Mask | None = None, imaging: Literal["bright", "dark"] = "bright") -> ViewLook:
    """Look at an image ``(h, w)``; masked pixels do not count. Films are told in bright field only."""
    step = max(1, min(image.shape) // _BLOCKS)
    if mask is not None and mask.any():
        good = ~mask
        image = np.where(good, image, np.float32(np.mean(image[good])) if good.any() else np.float32(0))
    blocks = _binned(image, step).astype(np.float64)
    difference = np.diff(image[:: max(4, len(image) // 128)], axis=1)
    noise = 1.4826 * float(np.median(np.abs(difference))) / np.sqrt(2) or float(difference.std())
    structure = float(np.percentile(blocks, 84) - np.percentile(blocks, 16)) / 2
    small = torch.from_numpy(np.ascontiguousarray(_binned(image, max(1, max(image.shape) // _MAP_PX))))
    regions = find_regions(small)
    picture = torch.nn.functional.adaptive_avg_pool2d(small[None], regions.specimen.shape)[0].numpy()
    if imaging == "dark":
        return ViewLook(blocks, noise, structure, picture, ~regions.blank, 0.0)
    specimen = ndimage.binary_erosion(regions.specimen, border_value=1)
    return ViewLook(blocks, noise, structure, picture, specimen, float(regions.opaque.mean()))


def _binned(image: Image, step: int) -> Image:
    """Means of blocks of `step` pixels; what is left over at the end does not count."""
    rows, columns = image.shape[0] // step * step, image.shape[1] // step * step
    tiled = image[:rows, :columns].reshape(rows // step, step, columns // step, step)
    return np.asarray(tiled.mean(axis=(1, 3), dtype=np.float64), dtype=np.float32)


def expected_brightness(
    brightness: ArrayLike, tilt_deg: ArrayLike, imaging: Literal["bright", "dark"] = "bright"
) -> Array:
    """The brightness ``(n,)`` that each view should have, by its tilt angle.

    log I = a − b / cos(θ − θ₀): a specimen of thickness t and mean free path Λ lets exp(−t / (Λ cos θ)) through. In
    dark field the brightness rises instead, and b is negative. b is the repeated median of the slopes between pairs
    (Siegel 1982), a the median: up to half of the views may be bad. θ₀, a specimen's pre-tilt, is the one that
    leaves the least median deviation.

    Parameters
    ----------
    brightness
        ``(n,)`` above the detector's zero; numbers that are not positive count as nearly nothing.
    tilt_deg
        ``(n,)``.
    """
    intensity = np.asarray(brightness, dtype=np.float64)
    floor = 1e-4 * max(float(np.median(intensity)), float(intensity.max()) * 1e-3, 1e-30)
    log = np.log(np.maximum(intensity, floor))
    theta = np.asarray(tilt_deg, dtype=np.float64)
    candidates = _PRE_TILTS_DEG if len(log) >= _FEW else np.zeros(1)
    least, most = _SLOPES[imaging]
    best, course = np.inf, log
    for pre_tilt in sorted(candidates, key=abs):
        thickness = 1 / np.cos(np.deg2rad(np.clip(theta - pre_tilt, -80, 80)))
        slope = min(max(_repeated_median_slope(thickness, log), -most), -least)
        fitted = np.median(log - slope * thickness) + slope * thickness
        # the mean of the better part: a median alone cannot tell pre-tilts when few views feel them
        deviation = float(np.sort(np.abs(log - fitted))[: max(1, (3 * len(log)) // 4)].mean())
        if deviation < best * (1 - 1e-3):
            best, course = deviation, fitted
    return np.exp(course)


def _repeated_median_slope(x: Array, y: Array) -> float:
    """Siegel's repeated median: half of the points may lie anywhere."""
    slopes = []
    for i in range(len(x)):
        run = x - x[i]
        far = np.abs(run) > 1e-3
        if far.any():
            slopes.append(np.median((y - y[i])[far] / run[far]))
    return float(np.median(slopes)) if slopes else 0.0


def judge_views(
    looks: list[ViewLook], tilt_deg: Array, imaging: Literal["bright", "dark"], settings: CleanSettings
) -> tuple[tuple[str, ...], Array]:
    """Say of each view what is wrong with it.

    Returns
    -------
    reasons
        one per view, empty for a good one.
    relative
        ``(n,)`` brightness against the one expected.
    """
    darkest = np.array([np.percentile(look.blocks, _DARKEST) for look in looks])
    # counts begin at 0; a stack that was shifted or normalised says where black is only by its darkest places
    zero = min(0.0, float(darkest.min()))
    brightness = np.array([look.brightness - zero for look in looks])
    expected = _course(brightness, np.asarray(tilt_deg, dtype=np.float64), imaging)
    relative = brightness / expected
    black = np.array(
        [
            max(look.covered, float(np.mean(look.blocks - zero < _BLACK * level)))
            for look, level in zip(looks, expected, strict=True)
        ]
    )
    usual_black = float(np.median(black))
    noise = _relative([look.noise for look in looks])
    structure = _relative([look.structure for look in looks])
    reasons = []
    for view in range(len(looks)):
        reason = ""
        if looks[view].noise == 0 and looks[view].structure == 0:
            reason = "blank: nearly every pixel has the same value"
        elif relative[view] < settings.min_brightness:
            reason = f"dark: {100 * relative[view]:.0f} % of the brightness expected at this tilt"
        elif black[view] - usual_black > settings.max_blocked:
            reason = (
                f"blocked: {100 * black[view]:.0f} % of its area is black ({100 * usual_black:.0f} % in most views)"
            )
        elif noise[view] < settings.min_contrast and structure[view] < settings.min_contrast:
            reason = (
                f"blank: {100 * noise[view]:.0f} % of the noise and {100 * structure[view]:.0f} % of the structure "
                "of the other views"
            )
        reasons.append(reason)
    return tuple(reasons), relative


def _course(brightness: Array, tilt_deg: Array, imaging: Literal["bright", "dark"]) -> Array:
    """The expected brightness, told from the views that show anything: the others may be more than half."""
    something = brightness > _NOTHING * np.quantile(brightness, 0.95)
    if np.count_nonzero(something) < 3:
        return expected_brightness(brightness, tilt_deg, imaging)
    course = np.full(len(brightness), np.nan)
    course[something] = expected_brightness(brightness[something], tilt_deg[something], imaging)
    order = np.argsort(tilt_deg[something])
    course[~something] = np.interp(tilt_deg[~something], tilt_deg[something][order], course[something][order])
    return course


def _relative(values: list[float]) -> Array:
    middle = float(np.median(values))
    return np.asarray(values) / middle if middle > 0 else np.ones(len(values))
