"""The score of a template at one place of a tomogram in many orientations, and its slope along x, y and z.

What a search by transforms does at every voxel is done here at one place: a sum over the terms of a small box.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from lamella.kernels.template_search import read_cube

__all__ = ["pose_scores", "pose_scores_reference", "pose_slopes"]

Array = NDArray[np.float64]
Complexes = NDArray[np.complex64]
Floats = NDArray[np.float32]

_FAST: dict[str, Any] = {"cache": True, "fastmath": {"contract", "reassoc", "nsz", "arcp"}, "error_model": "numpy"}


def pose_scores(cube: Complexes, places: Floats, data: Complexes, squares: Floats, matrices: Array) -> Array:
    """Correlation with a template in each orientation, and the template's norm.

    Parameters
    ----------
    cube
        ``(c, c, c)`` the template's transform around frequency 0, which is its middle sample c // 2.
    places
        ``(n, 3)`` x, y, z of the terms: their cycles along each axis of a box. One of each pair ±k.
    data
        ``(n,)`` the box's transform times the template's weights, with its phases' origin at the place in question,
        doubled where both of the pair are meant.
    squares
        ``(n,)`` squared weights, doubled in the same way.
    matrices
        ``(k, 3, 3)`` from places to the cube's samples from its middle.

    Returns
    -------
    Array
        ``(k, 2)``: Σ Re data · conj(template), and Σ squares · |template|².
    """
    out = np.zeros((len(matrices), 2))
    cube_parts = cube.view(np.float32).reshape(*cube.shape, 2)
    _pose_scores(cube_parts, places, data.view(np.float32), squares, matrices.astype(np.float32), out)
    return out


def pose_slopes(cube: Complexes, places: Floats, data: Complexes, matrix: Array, per_px: Floats) -> tuple[Array, Array]:
    """First ``(3,)`` and second ``(3, 3)`` derivatives of one orientation's correlation by the place, in voxels.

    Parameters
    ----------
    per_px
        ``(3,)`` phase in radians that a term of one cycle along x, y, z turns by per voxel.
    """
    terms = np.zeros((len(places), 2), np.float32)
    _read_terms(cube.view(np.float32).reshape(*cube.shape, 2), places, matrix.astype(np.float32), terms)
    product = data * (terms[:, 0] - 1j * terms[:, 1])
    k = (places * per_px).astype(np.float64)
    first = -(k.T @ product.imag)
    second: Array = -(k.T * product.real) @ k
    return first, second


def pose_scores_reference(cube: Complexes, places: Floats, data: Complexes, squares: Floats, matrices: Array) -> Array:
    """`pose_scores` in plain numpy and double precision."""
    from scipy.ndimage import map_coordinates

    out = []
    for matrix in matrices:
        at = (places @ matrix.T)[:, ::-1].T + cube.shape[0] // 2
        read = map_coordinates(cube.real, at, order=1) + 1j * map_coordinates(cube.imag, at, order=1)
        norm = (squares * np.abs(read) ** 2).sum(dtype=np.float64)
        out.append(((data * read.conj()).real.sum(dtype=np.float64), norm))
    return np.array(out)


@njit(parallel=True, **_FAST)
def _pose_scores(cube: Floats, places: Floats, data: Floats, squares: Floats, matrices: Floats, out: Array) -> None:
    middle = np.float32(cube.shape[0] // 2)
    for pose in prange(len(matrices)):
        m = matrices[pose]
        total, norm = np.float32(0), np.float32(0)
        for i in range(len(places)):
            x, y, z = places[i, 0], places[i, 1], places[i, 2]
            re, im = read_cube(
                cube,
                m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + middle,
                m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + middle,
                m[2, 0] * x + m[2, 1] * y + m[2, 2] * z + middle,
            )
            total += data[2 * i] * re + data[2 * i + 1] * im
            norm += squares[i] * (re * re + im * im)
        out[pose, 0] = total
        out[pose, 1] = norm


@njit(**_FAST)
def _read_terms(cube: Floats, places: Floats, m: Floats, out: Floats) -> None:
    middle = np.float32(cube.shape[0] // 2)
    for i in range(len(places)):
        x, y, z = places[i, 0], places[i, 1], places[i, 2]
        out[i, 0], out[i, 1] = read_cube(
            cube,
            m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + middle,
            m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + middle,
            m[2, 0] * x + m[2, 1] * y + m[2, 2] * z + middle,
        )
