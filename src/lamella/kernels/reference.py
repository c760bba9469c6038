"""What the fast paths are held to: back-projection and projection by exact trigonometric interpolation, in float64.

Every voxel of every view is evaluated as a Fourier sum over the whole image: nothing is stretched, interpolated or
cut into blocks. The cost is voxels × pixels per view, so it is for tests and for accuracy figures.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.geometry import TiltGeometry
from lamella.kernels.rows import Box

__all__ = ["back_project_exactly", "image_at", "project_exactly", "project_points"]

Array = NDArray[np.float64]
Spectrum = NDArray[np.complex128]
Filter = Callable[[Array, Array], Array]


def back_project_exactly(
    images: ArrayLike,
    geometry: TiltGeometry,
    pixel_size_ang: float,
    box: Box,
    points_px: ArrayLike,
    *,
    filter_uv: Filter | None = None,
) -> Array:
    """Sum over views of the band-limited image where each point projects.

    Parameters
    ----------
    images
        ``(n, h, w)`` tilt images, surrounded by zeros.
    geometry, pixel_size_ang
        the model; pixel size of the images.
    box
        the tomogram: its voxel size sets the band limit, its shape is not looked at.
    points_px
        ``(k, 3)`` points xyz in voxels from the centre voxel.
    filter_uv
        multiplies the spectrum, as a function of (ku, kv) in cycles per voxel across and along the tilt axis.

    Returns
    -------
    ``(k,)`` sums; a view whose image does not cover a point adds nothing to it.
    """
    stack = np.asarray(images, np.float64)
    pixels = project_points(geometry, stack.shape[1:], pixel_size_ang, box, points_px)
    out = np.zeros(pixels.shape[1])
    for view, image in enumerate(stack):
        spectrum = _spectrum(image, geometry, view, box.voxel_size_ang / pixel_size_ang, filter_uv)
        out += image_at(spectrum, image.shape, pixels[view])
    return out


def project_exactly(
    values: ArrayLike,
    points_px: ArrayLike,
    geometry: TiltGeometry,
    image_shape: tuple[int, int],
    pixel_size_ang: float,
    box: Box,
) -> Array:
    """The transpose of `back_project_exactly`: ``(n, h, w)`` images in which each point is a band-limited spot."""
    weights = np.asarray(values, np.float64)
    pixels = project_points(geometry, image_shape, pixel_size_ang, box, points_px)
    big, start = _extended(image_shape)
    out = np.empty((len(geometry), *image_shape))
    for view in range(len(geometry)):
        inside = _inside(pixels[view], image_shape)
        phases = [
            np.exp(-2j * np.pi * np.outer(np.fft.fftfreq(n), pixels[view][inside, 1 - axis] + s))
            for axis, (n, s) in enumerate(zip(big, start, strict=True))
        ]
        spectrum = np.einsum("ap,bp,p->ab", *phases, weights[inside], optimize=True)
        spectrum *= _pass_band(big, geometry, view, box.voxel_size_ang / pixel_size_ang, None)
        whole = np.fft.ifft2(spectrum).real
        out[view] = whole[start[0] : start[0] + image_shape[0], start[1] : start[1] + image_shape[1]]
    return out


def project_points(
    geometry: TiltGeometry, image_shape: tuple[int, ...], pixel_size_ang: float, box: Box, points_px: ArrayLike
) -> Array:
    """``(n, k, 2)`` pixels (x, y), counted from pixel 0, where points in voxels appear."""
    q = geometry.project(np.asarray(points_px, np.float64) * box.voxel_size_ang)
    height, width = image_shape
    out: Array = q / pixel_size_ang + np.array([width // 2, height // 2])
    return out


def image_at(spectrum: Spectrum, image_shape: tuple[int, int], pixels: Array) -> Array:
    """``(k,)`` values of an image, given by the spectrum of its zero-padded self, at pixels ``(k, 2)`` (x, y)."""
    big, start = _extended(image_shape)
    out = np.zeros(len(pixels))
    inside = _inside(pixels, image_shape)
    rows, columns = (
        np.exp(2j * np.pi * np.outer(pixels[inside, 1 - axis] + s, np.fft.fftfreq(n)))
        for axis, (n, s) in enumerate(zip(big, start, strict=True))
    )
    out[inside] = np.einsum("pa,ab,pb->p", rows, spectrum, columns, optimize=True).real / (big[0] * big[1])
    return out


def _inside(pixels: Array, image_shape: tuple[int, int]) -> NDArray[np.bool_]:
    height, width = image_shape
    x, y = pixels[:, 0], pixels[:, 1]
    inside: NDArray[np.bool_] = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    return inside


def _extended(shape: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Shape of the zero-padded image, twice as large, and where pixel (0, 0) stands in it."""
    height, width = shape
    return (2 * height, 2 * width), (height // 2, width // 2)


def _spectrum(image: Array, geometry: TiltGeometry, view: int, binning: float, filter_uv: Filter | None) -> Spectrum:
    big, start = _extended((image.shape[0], image.shape[1]))
    whole = np.zeros(big)
    whole[start[0] : start[0] + image.shape[0], start[1] : start[1] + image.shape[1]] = image
    out: Spectrum = np.fft.fft2(whole) * _pass_band(big, geometry, view, binning, filter_uv)
    return out


def _pass_band(
    big: tuple[int, int], geometry: TiltGeometry, view: int, binning: float, filter_uv: Filter | None
) -> Array:
    """Pass band on the FFT grid: below the voxels' Nyquist frequency along the image's axes and along u and v."""
    ky, kx = np.meshgrid(np.fft.fftfreq(big[0]), np.fft.fftfreq(big[1]), indexing="ij")
    limit = 0.5 / max(binning, 1.0) - 1e-9
    turn, m = np.deg2rad(geometry.z_rot_deg[view]), geometry.magnification[view] * binning
    ku = m * (np.cos(turn) * kx + np.sin(turn) * ky)
    kv = m * (-np.sin(turn) * kx + np.cos(turn) * ky)
    inside = (np.abs(kx) < limit) & (np.abs(ky) < limit) & (np.abs(ku) <= 0.5) & (np.abs(kv) <= 0.5)
    factor = np.ones_like(ku) if filter_uv is None else filter_uv(ku, kv)
    out: Array = np.where(inside, factor, 0.0)
    return out
