"""Shapes of a local deformation that a solve may use, each an `ImageField` of its own.

The displacement of a view is a sum of few smooth shapes on the nodes of one grid, and what it is between the nodes is
the field's own spline. A solve that is linear in the shapes therefore finds exactly the field that the record keeps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import spline_filter1d

from lamella.errors import GeometryError
from lamella.geometry import ImageField, TiltGeometry
from lamella.tilts.terms import LocalTerm

__all__ = ["LocalShapes", "interpolation"]

Array = NDArray[np.float64]

_NODES = 9
_HALF_DOSE = 10.0  # e/Å²: specimens move most within the first ten or so, then ever less (Brilot et al. 2012)


@dataclass(frozen=True, eq=False)
class LocalShapes:
    """The shapes of one local term over the views of a series.

    Attributes
    ----------
    nodes
        ``(n, e, 2, gy, gx)`` displacement (x, y) of e shapes in n views at the nodes, rms 1 over the field of view.
    half_width_ang
        (x, y) of the outer nodes, as `ImageField` has it.
    over
        ``(n, j)`` orthonormal courses over the views that each shape's coefficient may combine.
    degree
        ``(e,)`` of the polynomial of each shape.
    """

    nodes: Array
    half_width_ang: tuple[float, float]
    over: Array
    degree: NDArray[np.int64]

    @classmethod
    def of(cls, term: LocalTerm, geometry: TiltGeometry, places_ang: Array, dose: Array | None) -> LocalShapes:
        """Shapes for observations at ``(k, 2)`` places in the images.

        Raises
        ------
        GeometryError
            if the term follows a dose that is not given.
        """
        if term.over == "dose" and dose is None:
            raise GeometryError("a local deformation over dose without a dose", mend="state the dose or follow tilt")
        half = np.maximum(np.abs(places_ang).max(axis=0), 1e-6)  # nothing is known farther out
        line = np.linspace(-1, 1, _NODES)
        grid = np.stack(np.meshgrid(line * half[0], line * half[1]), axis=-1)  # (gy, gx, 2)
        powers = [(a - b, b) for a in range(1, term.degree + 1) for b in range(a + 1)]
        if term.kind == "image":
            scaled = np.broadcast_to(grid / half, (len(geometry), *grid.shape))
            directions = np.broadcast_to(np.eye(2), (len(geometry), 2, 2))
        else:
            scaled, directions = _in_specimen(geometry, grid) / half.max(), geometry.matrices()
        shapes = np.stack([_product(scaled, *power) for power in powers], axis=1)  # (n, k, gy, gx)
        nodes = np.einsum("nkyx,nic->nkciyx", shapes, directions)
        nodes = nodes.reshape(len(geometry), -1, 2, _NODES, _NODES)
        nodes = _without_similarity(nodes, grid)
        size = np.sqrt((nodes**2).sum(axis=2).mean(axis=(0, 2, 3)))
        kept = size > 1e-6
        degree = np.repeat([sum(power) for power in powers], directions.shape[2])
        nodes = nodes[:, kept] / size[kept, None, None, None]
        over = _courses(geometry.y_tilt_deg if term.over == "tilt" else np.asarray(dose), term)
        return cls(nodes, (float(half[0]), float(half[1])), over, degree[kept])

    def displacements(self, places_ang: Array) -> Array:
        """``(n, p, 2, e)`` each shape's displacement at places ``(n, p, 2)`` of the images."""
        n, count = len(self.nodes), self.nodes.shape[1]
        along_x = interpolation(places_ang[..., 0] / self.half_width_ang[0], _NODES)  # (n, p, gx)
        along_y = interpolation(places_ang[..., 1] / self.half_width_ang[1], _NODES)
        both = (along_y[..., :, None] * along_x[..., None, :]).reshape(n, -1, _NODES**2)
        values = both @ self.nodes.reshape(n, 2 * count, -1).swapaxes(1, 2)  # (n, p, e · 2)
        return values.reshape(n, -1, count, 2).swapaxes(2, 3)

    def field(self, coefficients: Array) -> ImageField:
        """The field of coefficients ``(n, e)``."""
        return ImageField(np.einsum("ne,neiyx->niyx", coefficients, self.nodes), self.half_width_ang)


def interpolation(places: Array, nodes: int) -> Array:
    """``(..., nodes)`` weights of the values at nodes from −1 to 1 in `ImageField`'s spline at places of that scale."""
    at = np.clip((places + 1) * (nodes - 1) / 2, 0, nodes - 1)
    first = np.minimum(np.floor(at).astype(np.int64), nodes - 2)
    t = at - first
    taps = ((1 - t) ** 3 / 6, (4 - 6 * t**2 + 3 * t**3) / 6, (1 + 3 * t + 3 * t**2 - 3 * t**3) / 6, t**3 / 6)
    coefficients = np.zeros((*places.shape, nodes))
    for offset, weight in zip(range(-1, 3), taps, strict=True):
        index = np.abs(first + offset)
        index = np.where(index > nodes - 1, 2 * (nodes - 1) - index, index)
        held = np.take_along_axis(coefficients, index[..., None], axis=-1)
        np.put_along_axis(coefficients, index[..., None], held + weight[..., None], axis=-1)
    return coefficients @ spline_filter1d(np.eye(nodes), order=3, axis=0, mode="mirror")


def _product(places: Array, power_x: int, power_y: int) -> Array:
    """``(n, gy, gx)`` product of Legendre polynomials of the two coordinates, each of one degree."""
    unit = (np.ones_like, lambda x: x, lambda x: 1.5 * x**2 - 0.5, lambda x: 2.5 * x**3 - 1.5 * x)
    return np.asarray(unit[power_x](places[..., 0]) * unit[power_y](places[..., 1]))


def _in_specimen(geometry: TiltGeometry, grid: Array) -> Array:
    """``(n, gy, gx, 2)`` the specimen's x, y at height 0 under image nodes, none farther out than the image reaches."""
    plane = geometry.matrices()[:, :, :2]
    edge_on = np.abs(np.linalg.det(plane)) < 0.05
    plane = np.where(edge_on[:, None, None], np.eye(2), plane)
    off = grid.reshape(1, -1, 2) - geometry.shifts_ang()[:, None]
    reach = np.abs(grid).max()
    places = np.clip(np.linalg.solve(plane[:, None], off[..., None])[..., 0], -reach, reach)
    return np.asarray(places.reshape(len(plane), *grid.shape))


def _without_similarity(nodes: Array, grid: Array) -> Array:
    """The shapes less what a shift, a turn and a scale of the view do at the nodes: the global terms have those."""
    x, y = grid[..., 0], grid[..., 1]
    zero, one = np.zeros_like(x), np.ones_like(x)
    global_terms = np.stack([[one, zero], [zero, one], [x, y], [-y, x]]).reshape(4, -1)
    spanned = np.linalg.qr(global_terms.T)[0]  # (2 · nodes, 4)
    flat = nodes.reshape(*nodes.shape[:2], -1)
    return np.asarray((flat - (flat @ spanned) @ spanned.T).reshape(nodes.shape))


def _courses(along: Array, term: LocalTerm) -> Array:
    """``(n, j)`` orthonormal courses over the views, zero in the first view or in the least tilted one.

    A deformation that stays the same bends the picture as a bent specimen does, partly or wholly: no track can tell
    them. The specimen is as that one view shows it.
    """
    if term.over == "dose":
        along = np.log1p(np.maximum(along, 0.0) / _HALF_DOSE)
    still = np.argmin(np.abs(along)) if term.over == "tilt" else np.argmin(along)
    at = along - along[still]
    at = at / max(float(np.abs(at).max()), 1e-9)
    rank = min(term.shapes, len(np.unique(np.round(at, 9))) - 1)
    return np.asarray(np.linalg.qr(np.stack([at**power for power in range(1, rank + 1)], axis=-1))[0])
