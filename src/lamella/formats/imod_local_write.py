"""Local alignments for IMOD's ``tilt`` from a geometry with a local field.

Each area holds the affine map that follows the field about the area's centre, and ``tilt`` weights the maps of the four
nearest areas bilinearly; the grid is made as fine as the field asks. Areas are chosen by where a point lies in the
specimen's plane, the field by where it is seen: off the middle plane an area's map follows the field to first order.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.formats.atomic import atomic_text
from lamella.formats.imod_geometry import ImodAlignment, half_pixel
from lamella.formats.imod_local import LocalAlignments
from lamella.geometry import TiltGeometry, rotation_x, rotation_y, rotation_z

__all__ = ["local_from_geometry", "write_local"]

Array = NDArray[np.float64]

_GRIDS = (4, 8, 16, 28)  # areas along the longer side, tried in turn
_ENOUGH_PX = 0.02
_CHECKS = 21
_NUMBERS_PER_LINE = 10
_STEP_PX = 0.5


def local_from_geometry(
    geometry: TiltGeometry,
    alignment: ImodAlignment,
    pixel_ang: float,
    image_shape_px: tuple[int, int],
    aligned_px: tuple[int, int],
    depth_px: float,
) -> tuple[LocalAlignments, float, float]:
    """The local alignments that follow a geometry's field beyond what an alignment's transforms hold.

    Parameters
    ----------
    geometry, pixel_ang, image_shape_px
        with a field, and the stack that it is for.
    alignment
        `alignment_from_geometry` of it.
    aligned_px
        (x, y) size of the aligned images, over which the areas are spread.
    depth_px
        of the specimen's surfaces from its middle plane.

    Returns
    -------
    local, error_px, deep_error_px
        and how far points that the images show miss, at most, in pixels of the images: in the middle plane, and at the
        surfaces.
    """
    made = _Made(geometry, alignment, pixel_ang, image_shape_px, np.array(aligned_px, dtype=np.float64))
    for count in _GRIDS:
        local = made.areas(count)
        error = made.error_px(local, 0.0)
        if error < _ENOUGH_PX:
            break
    return local, error, max(error, made.error_px(local, depth_px))


def write_local(path: Path | str, local: LocalAlignments, pixel_ang: float) -> None:
    """Write a file of local alignments: more decimals than tiltalign writes, which ``tilt`` reads as well."""
    rows, columns, views = local.tilt_deg.shape
    place = "".join(f"{value:12.4f}" for value in (*local.first_px, *local.spacing_px))
    with_x_tilt = bool(np.any(local.x_tilt_deg))
    lines = [f"{columns:6d}{rows:6d}{place}{int(with_x_tilt):6d}{pixel_ang:11.5f}{0:4d}"]
    for row, column in np.ndindex(rows, columns):
        for angles in (local.tilt_deg, local.x_tilt_deg)[: 1 + with_x_tilt]:
            own = angles[row, column] + 0.0
            for first in range(0, views, _NUMBERS_PER_LINE):
                lines.append("".join(f"{value:9.4f}" for value in own[first : first + _NUMBERS_PER_LINE]))
        for linear, shift in zip(local.linear[row, column], local.shift_px[row, column], strict=True):
            lines.append(
                "".join(f"{value + 0.0:13.8f}" for value in linear.ravel())
                + "".join(f"{value + 0.0:12.4f}" for value in shift)
            )
    atomic_text(path, "".join(f"{line}\n" for line in lines))


@dataclass(frozen=True, eq=False)
class _Made:
    """A geometry and the alignment that was made of it; sizes as `local_from_geometry` has them."""

    geometry: TiltGeometry
    alignment: ImodAlignment
    pixel_ang: float
    image_shape_px: tuple[int, int]
    aligned_px: Array

    def areas(self, count: int) -> LocalAlignments:
        """Areas from edge to edge of the aligned image, about as far apart along x as along y."""
        sizes, n = self.aligned_px, len(self.geometry)
        x_count, y_count = (max(2, round(count * size / sizes.max())) for size in sizes)
        spacing = sizes / (x_count - 1, y_count - 1)
        column, row = np.meshgrid(np.arange(x_count), np.arange(y_count))
        centres = np.stack([column, row], axis=-1) * spacing - sizes / 2
        linear, shift = np.empty((y_count, x_count, n, 2, 2)), np.empty((y_count, x_count, n, 2))
        turned = rotation_y(self.alignment.tilt_deg) @ rotation_x(self.alignment.x_tilt_deg)
        sides = _STEP_PX * np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
        for view in range(n):
            seen = centres @ turned[view, :2, :2].T
            found = self.aligned(view, (seen[..., None, :] + sides).reshape(-1, 2))
            found = found.reshape(y_count, x_count, len(sides), 2)
            by_x, by_y = found[..., 1, :] - found[..., 2, :], found[..., 3, :] - found[..., 4, :]
            slope = np.stack([by_x, by_y], axis=-1) / (2 * _STEP_PX)
            linear[:, :, view] = slope
            shift[:, :, view] = found[..., 0, :] - np.einsum("yxij,yxj->yxi", slope, seen)
        angles = np.zeros((y_count, x_count, n))
        return LocalAlignments(
            first_px=np.zeros(2), spacing_px=spacing, tilt_deg=angles, x_tilt_deg=angles, linear=linear, shift_px=shift
        )

    def aligned(self, view: int, seen_px: Array) -> Array:
        """Where points that the tilted specimen shows at ``(k, 2)``, upright, lie in the aligned image's frame."""
        upright = self.geometry.magnification[view] * rotation_z(self.geometry.z_rot_deg[view])[:2, :2]
        q = self.pixel_ang * seen_px @ upright.T + self.geometry.shifts_ang()[view]
        if self.geometry.field is not None:
            q = q + self.geometry.field.displacement(view, q)
        raw = q / self.pixel_ang + half_pixel(self.image_shape_px)
        return np.asarray(raw @ self.alignment.linear[view].T + self.alignment.shift_px[view])

    def error_px(self, local: LocalAlignments, depth_px: float) -> float:
        """How far points at a depth, up or down, lie from where they belong, at most over what the images show."""
        x, y = (np.linspace(-half, half, _CHECKS) for half in self.aligned_px / 2)
        points = np.stack(np.meshgrid(x, y, [-depth_px, depth_px]), axis=-1).reshape(-1, 3)
        places = self.geometry.project(points * self.pixel_ang) / self.pixel_ang
        height, width = self.image_shape_px
        worst = 0.0
        for view, place in enumerate(places):
            shown = (np.abs(place) <= np.array([width, height]) / 2).all(axis=1)
            angles = float(self.alignment.tilt_deg[view]), float(self.alignment.x_tilt_deg[view])
            found = local.project(view, points[shown], *angles, self.aligned_px / 2)
            raw = (found - self.alignment.shift_px[view]) @ np.linalg.inv(self.alignment.linear[view]).T
            if shown.any():
                missed = np.linalg.norm(raw - half_pixel(self.image_shape_px) - place[shown], axis=1)
                worst = max(worst, float(missed.max()))
        return worst
