"""RELION's image deformations and our local field: the same cubic spline where the image's sides are even.

RELION moves a projected point at pixel (x, y), counted from the image's first pixel, by a displacement in pixels that a
model gives (``rlnTomoDeformationType``):

``spline``
    bicubic Hermite patches on ``rlnTomoDeformationGridSizeX × Y`` nodes that span the image from pixel 0 to pixel W and
    from 0 to H; beyond, the outermost value holds. ``rlnTomoDeformationCoefficients`` lists, for x and then for y, row
    by row, four numbers a node: value, slope along x, slope along y (per grid cell), twist.
``linear``
    (a·x, b·x + c·y) about the image's centre, in three numbers.

Our `ImageField` is the spline through the values alone (its slopes follow, and are zero across the outer nodes), on a
grid that is symmetric about the centre pixel. A field whose outer nodes stand at half the image's width and height is
therefore one of RELION's exactly where both sides are even, and any other is sampled on a finer grid.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import spline_filter1d

from lamella.errors import FormatError
from lamella.formats.warnings import FormatWarning
from lamella.geometry import ImageField

__all__ = ["field_from_relion", "relion_displacement", "relion_spline", "spline_coefficients"]

Array = NDArray[np.float64]
Displacement = Callable[[Array], Array]

_FINER = 4  # nodes of ours to a cell of RELION's where it cannot be taken over as it is
_LINEAR_NODES = 17
_FINER_SAMPLES = (1, 2, 3)
_TOLD_PX = 0.01  # errors of an approximation are told from this size on


def spline_coefficients(
    field: ImageField, image_shape: tuple[int, int], pixel_ang: float
) -> tuple[tuple[int, int], Array]:
    """RELION's spline of a field.

    Parameters
    ----------
    field
        n views.
    image_shape
        (height, width) of the tilt images.
    pixel_ang
        their pixel size, Å.

    Returns
    -------
    grid, coefficients
        (nodes along x, along y), and ``(n, 8 · nodes)`` numbers as `rlnTomoDeformationCoefficients` lists them.

    Warns
    -----
    FormatWarning
        if RELION's spline cannot say it, with the greatest error of the approximation.
    """
    grid, coefficients = relion_spline(field, image_shape, pixel_ang)
    if _is_relions(field, image_shape, pixel_ang):
        return grid, coefficients
    error = _worst(field, _as_displacements("spline", grid, coefficients, image_shape), image_shape, pixel_ang)
    if error > _TOLD_PX:
        warnings.warn(
            f"RELION's deformation spline follows the local field to {error:.3f} px only; the exact field is kept in "
            "lamella's own columns",
            FormatWarning,
            stacklevel=2,
        )
    return grid, coefficients


def relion_spline(
    field: ImageField, image_shape: tuple[int, int], pixel_ang: float, grid: tuple[int, int] | None = None
) -> tuple[tuple[int, int], Array]:
    """What `spline_coefficients` returns, without telling the error.

    Where the field is none of RELION's, it is sampled on the grid that is given, else on the coarsest that follows it.
    """
    if not _is_relions(field, image_shape, pixel_ang):
        if grid is not None and min(grid) >= 2:
            return grid, _sampled_on(field, image_shape, pixel_ang, grid)
        return _sampled(field, image_shape, pixel_ang)
    nodes = field.nodes_ang / pixel_ang
    parts = [_along(_along(nodes, 2, dy), 3, dx) for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1))]
    return (nodes.shape[3], nodes.shape[2]), np.stack(parts, axis=-1).reshape(len(nodes), -1)  # (n, 2, gy, gx, 4)


def field_from_relion(
    kind: str, grid: tuple[int, int], coefficients: Array, image_shape: tuple[int, int], pixel_ang: float
) -> ImageField | None:
    """Our field of RELION's deformations ``(n, numbers)``; None where they are zero.

    Warns
    -----
    FormatWarning
        if ours can only approximate them, with the greatest error.
    """
    if not np.any(coefficients):
        return None
    moves = _as_displacements(kind, grid, coefficients, image_shape)
    height, width = image_shape
    half = (width / 2 * pixel_ang, height / 2 * pixel_ang)
    if kind == "spline" and width % 2 == height % 2 == 0:
        shape = (len(coefficients), 2, grid[1], grid[0], 4)
        field = ImageField(coefficients.reshape(shape)[..., 0] * pixel_ang, half)
        if np.allclose(relion_spline(field, image_shape, pixel_ang)[1], coefficients, rtol=0, atol=1e-6):
            return field
    count = [(size - 1) * _FINER + 1 if kind == "spline" else _LINEAR_NODES for size in grid]
    half = ((width + width % 2) / 2 * pixel_ang, (height + height % 2) / 2 * pixel_ang)
    x, y = (np.linspace(-h, h, n) for h, n in zip(half, count, strict=True))
    points = np.stack(np.meshgrid(x, y), axis=-1)  # (gy, gx, 2)
    centre = np.array([width // 2, height // 2])
    nodes = [np.moveaxis(move(points / pixel_ang + centre), -1, 0) * pixel_ang for move in moves]
    field = ImageField(np.stack(nodes), half)
    error = _worst(field, moves, image_shape, pixel_ang)
    if error > _TOLD_PX:
        text = f"RELION's {kind} deformations are taken over to {error:.3f} px only"
        warnings.warn(text, FormatWarning, stacklevel=2)
    return field


def relion_displacement(
    kind: str, grid: tuple[int, int], coefficients: Array, image_shape: tuple[int, int]
) -> Displacement:
    """RELION's displacement of one view: points ``(..., 2)`` in pixels from the first pixel -> ``(..., 2)`` px."""
    height, width = image_shape
    if kind == "linear":
        if coefficients.size != 3:
            raise FormatError(f"{coefficients.size} numbers for a linear deformation", mend="there must be 3")
        xx, xy, yy = (float(number) for number in coefficients)
        matrix = np.array([[xx, 0.0], [xy, yy]])
        # RELION halves the sides as floating-point numbers here
        return lambda points: (points - np.array([width / 2, height / 2])) @ matrix.T
    if kind != "spline":
        raise FormatError(
            f"image deformations of type {kind!r}, which lamella does not read", mend="align in RELION with splines"
        )
    gx, gy = grid
    if min(grid) < 2 or coefficients.size != 8 * gx * gy:
        raise FormatError(
            f"{coefficients.size} numbers for a deformation spline of {gx} × {gy} nodes",
            mend=f"there must be {8 * gx * gy}",
        )
    data = coefficients.reshape(2, gy, gx, 2, 2)  # component, y, x, derivative in y, derivative in x

    def displacement(points: Array) -> Array:
        places = [points[..., axis] * (n - 1) / size for axis, n, size in ((0, gx, width), (1, gy, height))]
        cells, weights = zip(*(_hermite(place, n) for place, n in zip(places, grid, strict=True)), strict=True)
        out = np.zeros(points.shape)
        for corner_y in (0, 1):
            for corner_x in (0, 1):
                here = data[:, cells[1] + corner_y, cells[0] + corner_x]  # (2, ..., dy, dx)
                out += np.einsum("c...yx,...y,...x->...c", here, weights[1][corner_y], weights[0][corner_x])
        return out

    return displacement


def _hermite(place: Array, nodes: int) -> tuple[NDArray[np.int64], tuple[Array, Array]]:
    """Cell of each place, and weights ``(..., 2)`` of (value, slope) at the cell's two ends."""
    place = np.clip(place, 0, nodes - 1)
    cell = np.minimum(place.astype(np.int64), nodes - 2)
    t = place - cell
    near = np.stack([1 - 3 * t**2 + 2 * t**3, t - 2 * t**2 + t**3], axis=-1)
    far = np.stack([3 * t**2 - 2 * t**3, -(t**2) + t**3], axis=-1)
    return cell, (near, far)


def _as_displacements(
    kind: str, grid: tuple[int, int], coefficients: Array, image_shape: tuple[int, int]
) -> list[Displacement]:
    return [relion_displacement(kind, grid, numbers, image_shape) for numbers in coefficients]


def _is_relions(field: ImageField, image_shape: tuple[int, int], pixel_ang: float) -> bool:
    height, width = image_shape
    half = np.array([width, height]) / 2 * pixel_ang
    return width % 2 == height % 2 == 0 and bool(np.allclose(field.half_width_ang, half, rtol=1e-6, atol=0))


def _along(values: Array, axis: int, derivative: int) -> Array:
    """Values, or slopes per node, of the spline through values along an axis, even about the outer nodes."""
    if derivative == 0:
        return values
    b = np.moveaxis(spline_filter1d(values, order=3, axis=axis, mode="mirror"), axis, 0)
    slopes = np.zeros_like(b)
    slopes[1:-1] = (b[2:] - b[:-2]) / 2
    return np.moveaxis(slopes, 0, axis)


def _sampled(field: ImageField, image_shape: tuple[int, int], pixel_ang: float) -> tuple[tuple[int, int], Array]:
    """A field on the coarsest grid of RELION's that follows it closely: one, two or three cells to each of its own."""
    height, width = image_shape
    ours = field.nodes_ang.shape[:1:-1]  # x, y
    steps = [2 * half / (n - 1) / pixel_ang for half, n in zip(field.half_width_ang, ours, strict=True)]
    for finer in _FINER_SAMPLES:
        gx, gy = (
            int(np.ceil(finer * size / step - 1e-6)) + 1 for size, step in zip((width, height), steps, strict=True)
        )
        coefficients = _sampled_on(field, image_shape, pixel_ang, (gx, gy))
        moves = _as_displacements("spline", (gx, gy), coefficients, image_shape)
        if _worst(field, moves, image_shape, pixel_ang) < _TOLD_PX:
            break
    return (gx, gy), coefficients


def _sampled_on(field: ImageField, image_shape: tuple[int, int], pixel_ang: float, grid: tuple[int, int]) -> Array:
    """Values, slopes and twists of a field at the nodes of a grid (x, y) of RELION's."""
    height, width = image_shape
    gx, gy = grid
    cell = np.array([width / (gx - 1), height / (gy - 1)])
    nodes = np.stack(np.meshgrid(np.arange(gx) * cell[0], np.arange(gy) * cell[1]), axis=-1)
    q = (nodes - [width // 2, height // 2]) * pixel_ang
    step = 1e-3 * cell * pixel_ang
    out = np.empty((len(field), 2, gy, gx, 4))
    for view in range(len(field)):
        at = {(i, j): field.displacement(view, q + step * (i, j)) / pixel_ang for i in (-1, 0, 1) for j in (-1, 0, 1)}
        parts = (
            at[0, 0],
            (at[1, 0] - at[-1, 0]) / 2e-3,
            (at[0, 1] - at[0, -1]) / 2e-3,
            (at[1, 1] - at[1, -1] - at[-1, 1] + at[-1, -1]) / 4e-6,
        )
        out[view] = np.moveaxis(np.stack(parts, axis=-1), 2, 0)
    return out.reshape(len(field), -1)


def _worst(field: ImageField, moves: list[Displacement], image_shape: tuple[int, int], pixel_ang: float) -> float:
    """Greatest difference between a field and displacements of RELION's over the image, px."""
    height, width = image_shape
    points = np.stack(np.meshgrid(np.linspace(0, width - 1, 61), np.linspace(0, height - 1, 61)), axis=-1)
    q = (points - [width // 2, height // 2]) * pixel_ang
    return max(
        float(np.abs(field.displacement(view, q) / pixel_ang - move(points)).max()) for view, move in enumerate(moves)
    )
