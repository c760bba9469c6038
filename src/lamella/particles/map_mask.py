"""The soft mask of an average: where its density stands out from the noise around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from lamella.errors import ImageError
from lamella.fourier import apply_filter, band_pass

__all__ = ["MapMask", "automatic_mask", "check_mask", "soft_edge"]

Volume = NDArray[np.float32]
Body = NDArray[np.bool_]

_MAD_TO_SD = 1.4826
_ABOVE_NOISE = 4.0  # standard deviations: what rises higher is not noise, up to some specks
_ABOVE_DENSITY = 0.12  # of the particle's own density: ripples and blur around it stay below
_DENSE = 90.0  # percentile of the body's density that stands for the particle's own
_SMALLEST = 0.1  # of the largest body: less is a speck
_MARGIN_ANG = 20.0  # from the body, that noise is taken from beyond
_FEWEST = 200  # voxels that a noise level can be taken from
_LARGEST = 0.7  # of the ball within the box: a body that fills more was not told from the noise
_EDGE = 0.2  # falloff of the low-pass, of its frequency
_ROUNDS = 5
_CLEAR = 8.0  # times the noise, that the particle's density rises to: what is less clear is looked at more coarsely
_BLURRED = 1.5  # by how much the low-pass is coarser at the next look
_LOOKS = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class MapMask:
    """A mask and how it was found.

    Attributes
    ----------
    mask
        ``(n, n, n)`` float32, 0…1.
    threshold
        density above which the body lies, in the low-passed map.
    noise
        standard deviation of that map outside the particle.
    low_pass_ang
        detail that was left out of it.
    bodies
        connected bodies that were kept.
    """

    mask: Volume
    threshold: float
    noise: float
    low_pass_ang: float
    bodies: int


def automatic_mask(
    volume: Volume,
    voxel_size_ang: float,
    *,
    threshold: float | None = None,
    low_pass_ang: float = 15.0,
    extend_px: float = 4.0,
    edge_px: float = 6.0,
) -> MapMask:
    """Find the particle in its average, and a soft mask around it.

    Parameters
    ----------
    volume
        ``(n, n, n)``, mass positive: the mean of the half maps.
    voxel_size_ang
        Å.
    threshold
        density of the low-passed map at which the body begins; None: found.
    low_pass_ang
        detail that is left out before.
    extend_px, edge_px
        by how much the body is grown, and the width of the raised-cosine edge beyond.

    Raises
    ------
    ImageError
        if nothing stands out, or everything does.

    Notes
    -----
    The threshold is the mean outside the particle plus 4 standard deviations of the noise there, and at least 12 % of
    the particle's own density, so that blur and ripples of a clean map stay out. Outside and particle define each
    other: a few rounds from Otsu's threshold on. Where the particle's density is below 8 standard deviations of the
    noise, the map is looked at more coarsely, up to 3.4 times `low_pass_ang`. Bodies of at least a tenth of the largest
    are kept, their cavities filled.
    """
    ball = _ball(volume.shape[0])
    margin_px = _MARGIN_ANG / voxel_size_ang
    for look in range(_LOOKS if threshold is None else 1):
        low_pass = low_pass_ang * _BLURRED**look
        smooth = _low_passed(volume, voxel_size_ang, low_pass)
        if threshold is None:
            level, noise, clear = _level(smooth, ball, margin_px)
            if clear:
                break
        else:
            level = threshold
    body, bodies = _largest_bodies((smooth > level) & ball)
    _check_body(body, ball, level)
    if threshold is not None:
        noise = _around(smooth, body, ball, margin_px)[1]
    mask = soft_edge(ndimage.binary_fill_holes(body), extend_px, edge_px)
    return MapMask(mask=mask, threshold=float(level), noise=noise, low_pass_ang=low_pass, bodies=bodies)


def _level(smooth: Volume, ball: Body, margin_px: float) -> tuple[float, float, bool]:
    """Density at which the particle begins, the noise around it, and whether it stands clearly above that noise."""
    level, noise, clear = _otsu(smooth[ball]), 0.0, False
    for _ in range(_ROUNDS):
        body, _count = _largest_bodies((smooth > level) & ball)
        if not body.any():
            break
        mean, noise = _around(smooth, body, ball, margin_px)
        dense = float(np.percentile(smooth[body], _DENSE))
        clear = dense - mean > _CLEAR * noise
        before, level = level, max(mean + _ABOVE_NOISE * noise, mean + _ABOVE_DENSITY * (dense - mean))
        if abs(before - level) < 0.02 * abs(level):
            break
    return level, noise, clear


def soft_edge(body: Body, extend_px: float, edge_px: float) -> Volume:
    """Grow a body, and let its edge fall as a raised cosine: 1 within `extend_px`, 0 beyond `extend_px` + `edge_px`."""
    mask = np.zeros(body.shape, np.float32)
    if not body.any():
        return mask
    reach = int(np.ceil(extend_px + edge_px)) + 1
    around = tuple(
        slice(max(part.start - reach, 0), part.stop + reach) for part in ndimage.find_objects(body.astype(np.int8))[0]
    )
    distance = ndimage.distance_transform_edt(~body[around])
    beyond = np.clip((distance - extend_px) / max(edge_px, 1e-6), 0, 1)
    mask[around] = 0.5 * (1 + np.cos(np.pi * beyond))
    return mask


def check_mask(mask: Volume, shape: tuple[int, ...]) -> None:
    """Refuse a mask that does not fit a map.

    Raises
    ------
    ImageError
        if it has another size, holds what is no number or lies outside 0…1, or is empty.
    """
    if mask.shape != shape:
        raise ImageError(f"a mask of {mask.shape} voxels for a map of {shape}", mend="make it in the map's own box")
    if not np.isfinite(mask).all() or mask.min() < -1e-3 or mask.max() > 1 + 1e-3:
        raise ImageError(
            f"a mask with values from {mask.min():g} to {mask.max():g}", mend="give values from 0 (outside) to 1"
        )
    if not (mask > 0.5).any():
        raise ImageError("the mask is empty", mend="give one that is 1 where the particle is")


def _low_passed(volume: Volume, voxel_size_ang: float, low_pass_ang: float) -> Volume:
    values = torch.from_numpy(np.ascontiguousarray(volume, dtype=np.float32))
    cutoff = voxel_size_ang / low_pass_ang
    if cutoff >= 0.5:
        return np.ascontiguousarray(volume, dtype=np.float32)
    smooth: Volume = apply_filter(values, band_pass(volume.shape, None, cutoff, _EDGE * cutoff)).numpy()
    return smooth


def _ball(size: int) -> Body:
    """Voxels whose distance from the centre is below half the box; the corners may be empty."""
    line = np.arange(size) - size // 2
    square = line**2
    ball: Body = square[:, None, None] + square[:, None] + square < (size / 2) ** 2
    return ball


def _around(smooth: Volume, body: Body, ball: Body, margin_px: float) -> tuple[float, float]:
    """Mean and standard deviation outside the particle: median and median deviation far from the body."""
    near = ndimage.maximum_filter(body, 2 * round(margin_px) + 1)  # a cube's reach is a ball's, and much faster
    outside = smooth[ball & ~near]
    if len(outside) < _FEWEST:
        outside = smooth[ball & ~body]
    middle = float(np.median(outside))
    return middle, _MAD_TO_SD * float(np.median(np.abs(outside - middle)))


def _largest_bodies(above: Body) -> tuple[Body, int]:
    """Connected bodies of at least a tenth of the largest one's size, and how many they are."""
    labels, count = ndimage.label(above)
    if not count:
        return above, 0
    sizes = np.bincount(labels.reshape(-1))[1:]
    kept = np.concatenate([[False], sizes >= _SMALLEST * sizes.max()])
    return kept[labels], int(kept.sum())


def _check_body(body: Body, ball: Body, level: float) -> None:
    if not body.any():
        raise ImageError(
            f"nothing in the map is denser than {level:.3g}, so no mask is found",
            mend="lower postprocess.mask_threshold, or give a mask",
        )
    if body.sum() > _LARGEST * ball.sum():
        raise ImageError(
            f"{body.sum() / ball.sum():.0%} of the box is denser than {level:.3g}: the particle does not stand out",
            mend="raise postprocess.mask_threshold, extract a larger box, or give a mask",
        )


def _otsu(values: Volume) -> float:
    """Otsu's threshold: parts values into two classes with the largest variance between them."""
    counts, edges = np.histogram(values, bins=512)
    middles = 0.5 * (edges[1:] + edges[:-1])
    low = np.cumsum(counts).astype(np.float64)
    sums = np.cumsum(counts * middles)
    high = low[-1] - low
    with np.errstate(divide="ignore", invalid="ignore"):
        between = low * high * (sums / low - (sums[-1] - sums) / high) ** 2
    return float(middles[int(np.nanargmax(np.where(high > 0, between, -1.0)))])
