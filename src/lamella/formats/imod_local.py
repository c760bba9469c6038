"""What IMOD's alignment holds beyond turn, scale and shift: stretch in its transforms, and local alignments.

Both bend the image plane, and become a local field. A file of local alignments (``LOCALFILE`` of tilt) states, for each
area of the aligned image, changes of tilt and of tilt about x in every view, and a transform: where the area's own
model projects a point, from the image's centre, that transform moves it, and between the areas' centres the four
results are weighted bilinearly. A point's depth enters through the changed angles, which no field of the image can
follow: the field is that of the specimen's plane z = 0, and what is left out at the surfaces is stated.

Source: tilt's and tiltalign's documentation; the direction of the transforms and their order by the real bead series
BBa and BBb, whose beads they put within 0.38 and 0.32 px of their tracks (0.48 and 0.41 the other way round).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError
from lamella.formats.angles import read_text
from lamella.formats.image_maps import bend
from lamella.formats.imod_geometry import ImodAlignment, half_pixel
from lamella.geometry import TiltGeometry, rotation_x, rotation_y, rotation_z

__all__ = ["LocalAlignments", "bent_geometry", "depth_left_out", "read_local"]

Array = NDArray[np.float64]

_HEADER = 9
_MOST_AREAS = 10_000
_STRETCH_CELLS, _LOCAL_CELLS = 8, 20


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalAlignments:
    """Areas on a regular grid, each with a line per view.

    Attributes
    ----------
    first_px, spacing_px
        (x, y) of the first area's centre in the aligned image, from its corner, and from one to the next.
    tilt_deg, x_tilt_deg
        ``(gy, gx, n)`` changes of the angles.
    linear, shift_px
        ``(gy, gx, n, 2, 2)`` and ``(gy, gx, n, 2)`` of the transforms.
    """

    first_px: Array
    spacing_px: Array
    tilt_deg: Array
    x_tilt_deg: Array
    linear: Array
    shift_px: Array

    def select(self, rows: NDArray[np.int64]) -> LocalAlignments:
        """Those of some lines."""
        return LocalAlignments(
            first_px=self.first_px,
            spacing_px=self.spacing_px,
            tilt_deg=self.tilt_deg[:, :, rows],
            x_tilt_deg=self.x_tilt_deg[:, :, rows],
            linear=self.linear[:, :, rows],
            shift_px=self.shift_px[:, :, rows],
        )

    def project(self, view: int, points_px: Array, tilt_deg: float, x_tilt_deg: float, corner_px: Array) -> Array:
        """Where points ``(k, 3)`` from the aligned image's centre appear, ``(k, 2)`` from it; its corner is given."""
        places = (points_px[:, :2] + corner_px - self.first_px) / self.spacing_px
        last = np.array(self.tilt_deg.shape[1::-1]) - 1  # column, row
        places = np.clip(places, 0, last)
        first = places.astype(np.int64)
        turns = rotation_y(tilt_deg + self.tilt_deg[..., view]) @ rotation_x(x_tilt_deg + self.x_tilt_deg[..., view])
        out = np.zeros((len(points_px), 2))
        for step in np.ndindex(2, 2):
            column, row = np.minimum(first + step, last).T
            weight = np.prod(np.where(step, places - first, 1 - places + first), axis=1)
            seen = np.einsum("kij,kj->ki", turns[row, column, :2], points_px)
            moved = np.einsum("kij,kj->ki", self.linear[row, column, view], seen) + self.shift_px[row, column, view]
            out += weight[:, None] * moved
        return out


def read_local(path: Path | str, views: int, pixel_ang: float) -> LocalAlignments:
    """Read a file of local alignments; its pixels become those of `pixel_ang` where it states others.

    Raises
    ------
    FormatError
        if it is no such file, or one of another number of views.
    """
    path = Path(path)
    words = read_text(path, "file of local alignments").split()
    try:
        numbers = np.array([float(word) for word in words])
    except ValueError:
        numbers = np.full(len(words), np.nan)
    if len(numbers) < _HEADER or not np.isfinite(numbers).all():
        raise FormatError(f"{path}: no file of local alignments", mend="take the file as tiltalign wrote it")
    columns, rows = int(numbers[0]), int(numbers[1])
    with_x_tilt, with_z = bool(numbers[6]), bool(numbers[8])
    each = views * (1 + with_x_tilt + 2 * with_z + 6)
    count = columns * rows
    if min(columns, rows) < 1 or count > _MOST_AREAS or len(numbers) != _HEADER + count * each:
        raise FormatError(
            f"{path}: {len(numbers)} numbers do not make {columns} × {rows} areas of {views} views",
            mend="take the file of the same alignment",
        )
    areas = numbers[_HEADER:].reshape(rows, columns, each)
    tilt = areas[..., :views]
    x_tilt = areas[..., views : 2 * views] if with_x_tilt else np.zeros_like(tilt)
    lines = areas[..., -6 * views :].reshape(rows, columns, views, 6)
    scale = numbers[7] / pixel_ang if numbers[7] > 0 else 1.0
    scale = 1.0 if abs(scale - 1) < 0.02 else scale
    return LocalAlignments(
        first_px=numbers[2:4] * scale,
        spacing_px=np.maximum(numbers[4:6], 1.0) * scale,
        tilt_deg=tilt,
        x_tilt_deg=x_tilt,
        linear=lines[..., :4].reshape(rows, columns, views, 2, 2),
        shift_px=lines[..., 4:] * scale,
    )


def bent_geometry(
    geometry: TiltGeometry,
    alignment: ImodAlignment,
    local: LocalAlignments | None,
    pixel_ang: float,
    image_shape_px: tuple[int, int],
    aligned_px: tuple[float, float],
) -> tuple[TiltGeometry, float]:
    """The geometry of an alignment, with a field for its stretch and its local alignments.

    Parameters
    ----------
    geometry
        what `geometry_from_alignment` made of it.
    alignment, local
        IMOD's, one row per view.
    pixel_ang, image_shape_px
        of the stack that they are for.
    aligned_px
        (x, y) size of the full aligned image, whose corner the areas' places count from.

    Returns
    -------
    geometry, error_px
        and the greatest error of the field over the images, for points of the plane z = 0.
    """
    half, corner = half_pixel(image_shape_px), np.array(aligned_px) / 2
    volume, axis = np.array(alignment.volume_px), np.array(alignment.axis_px)
    back = np.linalg.inv(alignment.linear)
    turned = rotation_y(alignment.tilt_deg) @ rotation_x(alignment.x_tilt_deg)
    upright = geometry.magnification[:, None, None] * rotation_z(geometry.z_rot_deg)[:, :2, :2]
    to_plane = np.linalg.inv(upright @ turned[:, :2, :2])
    shifts = geometry.shifts_ang()

    def moved(view: int, q: Array) -> Array:
        flat = (q.reshape(-1, 2) - shifts[view]) / pixel_ang
        plane = flat @ to_plane[view].T
        points = np.column_stack([plane, np.zeros(len(plane))]) + volume
        if local is None:
            aligned = points @ turned[view, :2].T
        else:
            tilt, x_tilt = float(alignment.tilt_deg[view]), float(alignment.x_tilt_deg[view])
            aligned = local.project(view, points, tilt, x_tilt, corner)
        raw = (aligned + axis - alignment.shift_px[view]) @ back[view].T
        return np.asarray(((raw - half) * pixel_ang).reshape(q.shape))

    cells = _STRETCH_CELLS if local is None else _LOCAL_CELLS
    return bend(geometry, moved, image_shape_px, pixel_ang, (cells, cells))


def depth_left_out(local: LocalAlignments, alignment: ImodAlignment, depth_px: float) -> float:
    """How far, px, points at a depth from the plane z = 0 lie from where the field puts them, at most."""
    worst = 0.0
    plane = rotation_y(alignment.tilt_deg) @ rotation_x(alignment.x_tilt_deg)
    for row, column in np.ndindex(*local.tilt_deg.shape[:2]):
        turn = rotation_y(alignment.tilt_deg + local.tilt_deg[row, column]) @ rotation_x(
            alignment.x_tilt_deg + local.x_tilt_deg[row, column]
        )
        seen = np.einsum("nij,nj->ni", local.linear[row, column], turn[:, :2, 2])
        worst = max(worst, float(np.linalg.norm(seen - plane[:, :2, 2], axis=1).max()))
    return worst * depth_px
