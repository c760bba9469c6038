"""How motion may vary over the field: the whole field, and polynomials up to the third degree across it.

The polynomials are orthonormal over the tiles, so that each mode's strength is measured by itself, with the same error
as the motion of the whole field.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lamella.records import LocalMotion
from lamella.records.motion import spline_basis

__all__ = ["DEGREES", "local_motion", "tile_modes"]

Array = NDArray[np.float64]

_POWERS = ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2), (3, 0), (2, 1), (1, 2), (0, 3))
"""(x, y) powers of the modes."""

DEGREES = tuple(sum(powers) for powers in _POWERS)
"""Degree of each mode; 0 is the whole field."""

_NODES = 4  # a clamped cubic spline of four coefficients is any cubic polynomial


def tile_modes(tile_centres: Array) -> tuple[Array, Array]:
    """Modes at the tiles' centres, and how they are made of powers.

    Parameters
    ----------
    tile_centres
        ``(tiles, 2)`` (x, y), −1…1 over the field.

    Returns
    -------
    modes, mixing
        ``(tiles, modes)`` orthonormal: mean over the tiles of products 0 or 1; ``(powers, modes)``.
    """
    powers = _powers_at(tile_centres)
    # Gram and Schmidt in the order of degree: a mode holds nothing of those before it
    orthogonal, upper = np.linalg.qr(powers / np.sqrt(len(powers)))
    signs = np.sign(np.diag(upper))
    mixing = np.linalg.inv(upper) * signs
    return orthogonal * signs * np.sqrt(len(powers)), mixing


def local_motion(strengths_px: Array, mixing: Array, shape_px: tuple[int, int]) -> LocalMotion:
    """The spline of modes 1 and up; the whole field's is left out.

    Parameters
    ----------
    strengths_px
        ``(modes, frames, 2)`` (x, y).
    mixing
        of `tile_modes`.
    shape_px
        (height, width) of the frames.
    """
    height, width = shape_px
    x_px, y_px = np.linspace(0, width - 1, 9), np.linspace(0, height - 1, 9)
    grid_y, grid_x = np.meshgrid(2 * (y_px + 0.5) / height - 1, 2 * (x_px + 0.5) / width - 1, indexing="ij")
    powers = _powers_at(np.stack([grid_x.ravel(), grid_y.ravel()], axis=-1)) @ mixing
    moved = np.einsum("pm,mfc->fcp", powers[:, 1 : len(strengths_px)], strengths_px[1:])
    along_x, along_y = spline_basis(x_px, width, _NODES), spline_basis(y_px, height, _NODES)
    values = moved.reshape(*moved.shape[:2], len(y_px), len(x_px))
    coefficients = np.einsum(
        "ay,fcyx,bx->fcab", np.linalg.pinv(along_y), values, np.linalg.pinv(along_x), optimize=True
    )
    return LocalMotion(coefficients, shape_px)


def _powers_at(places: Array) -> Array:
    """``(places, powers)`` values of x^a y^b."""
    powers: Array = np.stack([places[:, 0] ** a * places[:, 1] ** b for a, b in _POWERS], axis=1)
    return powers
