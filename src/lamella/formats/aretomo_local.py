"""Local alignment between AreTomo's scattered patches and lamella's spline field."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lamella.geometry import ImageField

__all__ = ["fit_field", "patches_of_field"]

Array = NDArray[np.float64]

_MOST_NODES = 9
_SMOOTHNESS = 1e-4  # weight of the nodes' second differences against the patches' misfit


def fit_field(places_ang: Array, shifts_ang: Array, good: NDArray[np.bool_]) -> tuple[ImageField, float]:
    """The spline field that follows patches, by least squares with a little smoothness.

    The grid is the one, among those with no more nodes than patches, that follows the patches best; its outer nodes
    stand at the outermost patches, beyond which the field is flat.

    Parameters
    ----------
    places_ang
        ``(n, p, 2)`` patches (x, y) in Å from the image's centre pixel.
    shifts_ang
        ``(n, p, 2)`` displacement there, Å.
    good
        ``(n, p)`` whether a patch counts.

    Returns
    -------
    field, residual_ang
        the field, and the root of the mean squared misfit (length) over the good patches, Å.
    """
    count = good.shape[1]
    reach = np.abs(np.where(good[..., None], places_ang, 0.0)).max(axis=(0, 1))
    half_width = (max(float(reach[0]), 1.0), max(float(reach[1]), 1.0))
    most = min(_MOST_NODES, max(2, count // 2))
    shapes = [
        (rows, columns)
        for rows in range(2, most + 1)
        for columns in range(2, most + 1)
        if rows * columns <= max(count, 4) and max(rows, columns) <= 2 * min(rows, columns)
    ]
    best: tuple[float, Array] | None = None
    for shape in shapes or [(2, 2)]:
        nodes, residual = _fit(shape, half_width, places_ang, shifts_ang, good)
        # a finer grid must earn its nodes
        if best is None or residual < 0.9 * best[0] - 1e-9:
            best = residual, nodes
    assert best is not None
    return ImageField(best[1], half_width), best[0]


def patches_of_field(field: ImageField) -> tuple[Array, Array]:
    """Places and shifts ``(n, p, 2)`` in Å at the nodes of a field, row by row."""
    rows, columns = field.nodes_ang.shape[2:]
    y, x = np.meshgrid(
        np.linspace(-field.half_width_ang[1], field.half_width_ang[1], rows),
        np.linspace(-field.half_width_ang[0], field.half_width_ang[0], columns),
        indexing="ij",
    )
    places = np.stack([x.ravel(), y.ravel()], axis=-1)
    shifts = field.nodes_ang.reshape(len(field), 2, -1).transpose(0, 2, 1)
    return np.broadcast_to(places, shifts.shape), shifts


def _fit(
    shape: tuple[int, int],
    half_width_ang: tuple[float, float],
    places_ang: Array,
    shifts_ang: Array,
    good: NDArray[np.bool_],
) -> tuple[Array, float]:
    """Nodes ``(n, 2, gy, gx)`` and residual of one grid."""
    views, count = good.shape
    size = shape[0] * shape[1]
    basis = _basis(shape, half_width_ang, places_ang.reshape(-1, 2)).reshape(views, count, size)
    smooth = math.sqrt(_SMOOTHNESS) * _second_differences(shape)
    nodes = np.zeros((views, 2, *shape))
    squares = 0.0
    for view in range(views):
        if not good[view].any():
            continue
        rows, wanted = basis[view, good[view]], shifts_ang[view, good[view]]
        system = np.concatenate([rows, smooth])
        solved = np.linalg.lstsq(system, np.concatenate([wanted, np.zeros((len(smooth), 2))]), rcond=None)[0]
        squares += float(((rows @ solved - wanted) ** 2).sum())
        nodes[view] = solved.T.reshape(2, *shape)
    return nodes, math.sqrt(squares / max(int(good.sum()), 1))


def _basis(shape: tuple[int, int], half_width_ang: tuple[float, float], places_ang: Array) -> Array:
    """``(p, nodes)`` what a unit displacement at each node does at each place: the field is linear in its nodes."""
    size = shape[0] * shape[1]
    units = np.zeros((size, 2, *shape))
    units.reshape(size, 2, size)[np.arange(size), 0, np.arange(size)] = 1.0
    field = ImageField(units, half_width_ang)
    return np.stack([field.displacement(node, places_ang)[..., 0] for node in range(size)], axis=-1)


def _second_differences(shape: tuple[int, int]) -> Array:
    size = shape[0] * shape[1]
    grid = np.eye(size).reshape(*shape, size)
    parts = [np.diff(grid, n=2, axis=axis).reshape(-1, size) for axis in (0, 1) if shape[axis] > 2]
    return np.concatenate(parts) if parts else np.zeros((0, size))
