"""RELION-4's tilt series, as Warp writes them too: a row per view with a matrix instead of angles and shifts.

The table of tomograms holds a block ``data_NAME`` for each, whose rlnTomoProjX, Y, Z and W are the rows of a matrix
that takes (x, y, z, 1), in unbinned pixels from the tomogram's first voxel, to the pixel of the tilt image and the
depth. Its first two rows are the projection; the third says only which way depth counts, so that a matrix that mirrors
is a rotation with the other hand.

WarpTools writes no shifts, since it hands out particles that are cut out already.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError
from lamella.formats.star import StarTable, number_text
from lamella.geometry import tilt_angles_from_matrix

__all__ = ["COLUMNS", "has_matrices", "without_matrices"]

Array = NDArray[np.float64]

COLUMNS = tuple(f"rlnTomoProj{row}" for row in "XYZW")
_NOT_SQUARE = 1e-2


def has_matrices(table: StarTable | None) -> bool:
    """Whether a table of views is RELION-4's."""
    return table is not None and all(label in table for label in COLUMNS[:3])


def without_matrices(
    table: StarTable, size_px: Sequence[int], pixel_ang: float, image_shape: tuple[int, int] | None
) -> tuple[StarTable, int]:
    """RELION-5's columns in the place of the matrices.

    Parameters
    ----------
    table
        of one tomogram's views.
    size_px
        (x, y, z) of the tomogram, unbinned.
    pixel_ang
        of the tilt images.
    image_shape
        (height, width) of the tilt images; None where they are not there. Shifts can be told without it only where
        the matrices have none.

    Returns
    -------
    table, hand
        the table, and the factor by which the tomogram's hand changes.

    Raises
    ------
    FormatError
        if a matrix is no projection, some mirror and some do not, or the images are wanted and not there.
    """
    matrices = np.stack([_rows(table, label) for label in COLUMNS[:3]], axis=1)  # (n, 3, 4)
    turned, magnification, hand = _rotations(matrices[:, :, :3], table.where)
    x_tilt, y_tilt, z_rot = tilt_angles_from_matrix(turned)
    shifts = np.zeros((len(table), 2))
    if matrices[:, :2, 3].any():
        if image_shape is None:
            raise FormatError(
                f"{table.where}: the matrices of {table.name} count from the corner of tilt images that are not there",
                mend="put the tilt series where the table names it (rlnTomoTiltSeriesName)",
            )
        centre, middle = np.array(size_px) / 2, np.array(image_shape[::-1]) // 2
        shifts = (np.einsum("nij,j->ni", matrices[:, :2, :3], centre) + matrices[:, :2, 3] - middle) * pixel_ang
    columns = {label: column for label, column in table.columns.items() if label not in COLUMNS}
    numbers = {
        "rlnTomoXTilt": x_tilt,
        "rlnTomoYTilt": y_tilt,
        "rlnTomoZRot": z_rot,
        "rlnTomoXShiftAngst": shifts[:, 0],
        "rlnTomoYShiftAngst": shifts[:, 1],
    }
    if np.abs(magnification - 1).max() > 1e-4:
        numbers["lamellaMagnification"] = magnification
    columns |= {label: tuple(number_text(value) for value in values) for label, values in numbers.items()}
    return StarTable(table.name, columns, where=table.where), hand


def _rows(table: StarTable, label: str) -> Array:
    rows = table.vectors(label)
    if any(row.shape != (4,) or not np.isfinite(row).all() for row in rows):
        raise FormatError(f"{table.where}: a row of {label} has not four numbers", mend="correct the table")
    return np.stack(rows)


def _rotations(matrices: Array, where: str) -> tuple[Array, Array, int]:
    """Proper rotations ``(n, 3, 3)``, magnifications ``(n,)`` and the sign that depth had."""
    lengths = np.linalg.norm(matrices, axis=2)
    x, y = matrices[:, 0] / lengths[:, :1], matrices[:, 1] / lengths[:, 1:2]
    magnification = lengths[:, :2].mean(axis=1)
    skew = np.abs(np.einsum("ni,ni->n", x, y))
    bad = (skew > _NOT_SQUARE) | (np.abs(lengths[:, 0] - lengths[:, 1]) > _NOT_SQUARE * magnification)
    if not np.isfinite(skew).all() or bad.any():
        raise FormatError(
            f"{where}: the matrix of view {int(np.argmax(bad)) + 1} is no projection along an axis",
            mend="open the project in RELION 5, which writes angles and shifts",
        )
    y = y - np.einsum("ni,ni->n", x, y)[:, None] * x
    y /= np.linalg.norm(y, axis=1)[:, None]
    z = np.cross(x, y)
    signs = np.sign(np.einsum("ni,ni->n", z, matrices[:, 2]))
    if len(set(signs.tolist())) != 1 or signs[0] == 0:
        raise FormatError(f"{where}: some matrices mirror the specimen and some do not", mend="correct the table")
    return np.stack([x, y, z], axis=1), magnification, int(signs[0])
