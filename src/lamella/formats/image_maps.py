"""Other programs' ways to bend an image, brought into the projection model: turn, scale and shift, then a spline field.

Whatever a program does after its global terms is a map of the image plane, one per view. The part of it that is a
similarity belongs to the model's own axis, magnification and shift; the rest becomes a local field, sampled on a grid
that reaches beyond the image, since a field is flat beyond its outer nodes and bends near them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lamella.geometry import ImageField, TiltGeometry, rotation_z

__all__ = ["bend", "image_grid", "magnification_as_field"]

Array = NDArray[np.float64]
ImageMap = Callable[[int, Array], Array]

_BEYOND = 6  # nodes beyond the image's edge: a spline feels its end by a factor of 0.27 per node
_NOTHING_PX = 1e-4
_CHECKS = 41
_FINER = (1, 2, 4)
_ENOUGH_PX = 0.01


def image_grid(image_shape_px: tuple[int, int], pixel_ang: float, count: tuple[int, int]) -> Array:
    """Points ``(gy, gx, 2)`` in Å from the centre pixel, evenly over an image from its first edge to its last."""
    height, width = image_shape_px
    x, y = (
        (np.linspace(0, size, nodes) - size // 2) * pixel_ang
        for size, nodes in zip((width, height), count, strict=True)
    )
    return np.stack(np.meshgrid(x, y), axis=-1)


def bend(
    geometry: TiltGeometry,
    moved: ImageMap,
    image_shape_px: tuple[int, int],
    pixel_ang: float,
    cells: tuple[int, int],
) -> tuple[TiltGeometry, float]:
    """A geometry whose points, once projected, are moved in the image plane.

    Parameters
    ----------
    geometry
        n views, without a field.
    moved
        ``moved(view, q)``: where image points ``(..., 2)`` go, Å from the centre pixel.
    image_shape_px, pixel_ang
        (height, width), and the pixel size.
    cells
        (x, y) of the grid over the image; the field's nodes continue beyond it.

    Returns
    -------
    geometry, error_px
        the bent geometry, without a field where nothing is left for one, and the greatest error over the images.
    """
    checks = image_grid(image_shape_px, pixel_ang, (_CHECKS, _CHECKS)).reshape(-1, 2)
    scale, turn, shift = np.ones(len(geometry)), np.zeros(len(geometry)), np.zeros((len(geometry), 2))
    targets = [moved(view, checks) for view in range(len(geometry))]
    for view, target in enumerate(targets):
        scale[view], turn[view], shift[view] = _similarity(checks, target)
    matrices = scale[:, None, None] * rotation_z(turn)[:, :2, :2]
    shifts = np.einsum("nij,nj->ni", matrices, geometry.shifts_ang()) + shift
    whole = geometry.with_terms(
        z_rot_deg=geometry.z_rot_deg + turn,
        magnification=geometry.magnification * scale,
        x_shift_ang=shifts[:, 0],
        y_shift_ang=shifts[:, 1],
    )
    back = np.linalg.inv(matrices)
    field = _field(
        len(geometry),
        lambda view, q: moved(view, (q - shift[view]) @ back[view].T) - q,
        image_shape_px,
        pixel_ang,
        cells,
    )
    if np.abs(field.nodes_ang).max() < _NOTHING_PX * pixel_ang:
        return whole, 0.0
    error = 0.0
    for view, target in enumerate(targets):
        q = checks @ matrices[view].T + shift[view]
        error = max(error, float(np.abs(q + field.displacement(view, q) - target).max()))
    return whole.with_terms(field=field), error / pixel_ang


def magnification_as_field(
    geometry: TiltGeometry, image_shape_px: tuple[int, int], pixel_ang: float
) -> tuple[TiltGeometry, float]:
    """The same geometry with magnifications of 1, for programs without a word for them: a local field scales instead.

    Returns
    -------
    geometry, error_px
        and how far the field misses, at most over the images.
    """
    field, scale, shifts = geometry.field, geometry.magnification, geometry.shifts_ang()

    def displacement(view: int, q: Array) -> Array:
        scaled = scale[view] * (q - shifts[view]) + shifts[view]
        shown = scaled if field is None else scaled + field.displacement(view, scaled)
        return np.asarray(shown - q)

    height, width = image_shape_px
    base = [1, 1]
    if field is not None:
        nodes = field.nodes_ang.shape[:1:-1]  # x, y
        steps = [2 * half / (n - 1) for half, n in zip(field.half_width_ang, nodes, strict=True)]
        base = [int(np.ceil(n * pixel_ang / step - 1e-6)) for n, step in zip((width, height), steps, strict=True)]
    checks = image_grid(image_shape_px, pixel_ang, (_CHECKS, _CHECKS)).reshape(-1, 2)
    wanted = [displacement(view, checks) for view in range(len(geometry))]
    for finer in _FINER:
        cells = finer * base[0], finer * base[1]
        found = _field(len(geometry), displacement, image_shape_px, pixel_ang, cells)
        missed = [np.abs(found.displacement(view, checks) - target).max() for view, target in enumerate(wanted)]
        error_px = float(max(missed)) / pixel_ang
        if error_px < _ENOUGH_PX:
            break
    return geometry.with_terms(magnification=1.0, field=found), error_px


def _field(
    count: int, displacement: ImageMap, image_shape_px: tuple[int, int], pixel_ang: float, cells: tuple[int, int]
) -> ImageField:
    """A field of `count` views sampled on a grid of so many cells (x, y) over the image, and some nodes beyond it."""
    height, width = image_shape_px
    steps = np.array([width, height]) * pixel_ang / np.array(cells)
    half = tuple(float((n / 2 + _BEYOND) * step) for n, step in zip(cells, steps, strict=True))
    x, y = (np.linspace(-h, h, n + 2 * _BEYOND + 1) for h, n in zip(half, cells, strict=True))
    nodes = np.stack(np.meshgrid(x, y), axis=-1)
    values = np.stack([displacement(view, nodes) for view in range(count)])
    return ImageField(np.moveaxis(values, -1, 1), (half[0], half[1]))


def _similarity(source: Array, target: Array) -> tuple[float, float, Array]:
    """Scale, turn (degrees) and shift that bring points ``(k, 2)`` to others best."""
    centre, centre_to = source.mean(axis=0), target.mean(axis=0)
    a, b = source - centre, target - centre_to
    power = float((a**2).sum())
    cos, sin = float((a * b).sum()) / power, float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()) / power
    turned = np.array([[cos, -sin], [sin, cos]]) @ centre
    return float(np.hypot(cos, sin)), float(np.rad2deg(np.arctan2(sin, cos))), centre_to - turned
