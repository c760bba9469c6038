"""Where the specimen lies in its frame: the slab's normal, height and thickness, and how sure each is, and by what.

Two witnesses are heard. Points that were solved: gold beads lie on the slab's faces (`lamella.features.slab_faces`),
patches at the middle of what they hold. And the density itself: where along z the views agree that there is structure
(`depth_profile` and `lamella.features.slab_density`). What both can say is combined by inverse variance; what neither
can say has an infinite error.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.features.slab_density import DensitySlab, fit_density_slab
from lamella.features.slab_faces import Faces, fit_faces
from lamella.geometry import TiltGeometry, rotation_x, rotation_y
from lamella.geometry.regauge import regauge
from lamella.progress import Progress, no_progress
from lamella.tilts.depth_profile import depth_map
from lamella.tilts.level import fit_plane
from lamella.tilts.working import WorkingImages

__all__ = ["PointSource", "SlabMeasure", "SlabSource", "measure_slab"]

Array = NDArray[np.float64]
PointSource = Literal["beads", "patches"]
SlabSource = Literal["beads", "patches", "density"]

_SURE_DEG = 0.4  # error of the normal from beads on both faces, below which the density is not asked
_FEWEST_ON_FACE = 3
_TILE_ANG = 250.0  # of the density: about the size of a large complex
_TILES = (8, 20)
_COARSE, _FINE = (128, 32.0), (256, 16.0)  # voxels along the field, and their least size in Å
_DEPTH = 0.6  # of the field: how far above and below z = 0 is looked at first
_FEWEST_VIEWS = 9  # with fewer, what one layer shows appears in others too
_MARGIN_PX = 20  # beyond the slab, and at least
_MARGIN_ANG = 400.0  # beyond the slab, when it is looked at again
_LEAST_CONTRAST = 0.7  # of the density inside the slab at first sight, standard errors of a tile
_FEWEST_PATCHES = 6
_MOST_INCLINED_DEG = 30.0
_LARGEST_ERROR_DEG = 5.0  # of the normal, above which the density has not found a slab
_SAME_DEG = 1.5  # by which two looks at one slab may differ, beside three standard errors


@dataclass(frozen=True, kw_only=True, eq=False)
class SlabMeasure:
    """Where the specimen lies.

    Attributes
    ----------
    normal
        ``(3,)`` unit vector across the slab, towards +z; z itself where nothing is known.
    height_ang
        z of its mid-plane at x = y = 0.
    height_error_ang
        standard error of that; infinite where it is not known.
    thickness_ang, thickness_error_ang
        distance of its faces, and its standard error; NaN and infinite where it is not known.
    error_deg
        standard error of the normal's direction (root of the sum of both variances); infinite where it is not known.
    source
        what tells the normal best.
    """

    normal: Array
    height_ang: float
    height_error_ang: float
    thickness_ang: float
    thickness_error_ang: float
    error_deg: float
    source: SlabSource

    @property
    def known(self) -> bool:
        """Whether there is a mid-plane to level by."""
        return bool(np.isfinite(self.error_deg) and np.isfinite(self.height_error_ang))

    @property
    def inclination_deg(self) -> float:
        """Angle between the normal and z, degrees."""
        return float(np.rad2deg(np.arccos(np.clip(self.normal[2], -1, 1))))


@dataclass(frozen=True, eq=False)
class _Plane:
    """A mid-plane z = a·x + b·y + c with half its slab's depth along z, and the ``(4, 4)`` covariance of the four."""

    values: Array
    covariance: Array


def measure_slab(
    images: WorkingImages,
    geometry: TiltGeometry,
    points_ang: ArrayLike | None = None,
    source: PointSource | None = None,
    progress: Progress = no_progress,
) -> SlabMeasure:
    """Measure the slab that a film's structure lies in.

    Parameters
    ----------
    images
        working images, masked where they show no specimen (`WorkingImages.masked`); binned here.
    geometry
        aligned to a fraction of a nanometre or so; its frame may be tilted and shifted against the specimen.
    points_ang
        ``(p, 3)`` solved points in the geometry's frame, or None; NaN where unsolved.
    source
        what the points are.
    progress
        told the fraction done.
    """
    faces = fit_faces(points_ang) if points_ang is not None and source == "beads" else None
    if faces is not None and _sure(faces):
        progress(1.0, "levelling")
        return _from_faces(faces)
    density = _density(images, geometry, progress)
    if density is None:
        return _without_density(points_ang, source, faces)
    if points_ang is not None and source == "beads":
        prior = density.values[:2], density.covariance[:2, :2]
        faces = fit_faces(points_ang, prior)
        if faces is not None:
            return _from_both(faces, density)
    if points_ang is not None and source == "patches":
        return _with_patches(np.asarray(points_ang, dtype=np.float64), density)
    return _stated(density, "density")


def _density(images: WorkingImages, geometry: TiltGeometry, progress: Progress) -> _Plane | None:
    """The slab by its density: coarsely in the whole depth, then finely in its own frame."""
    if len(images) < _FEWEST_VIEWS:
        return None
    field = max(images.field_ang)
    tiles = int(np.clip(round(field / _TILE_ANG), *_TILES))
    images = images.binned(_FINE[0])  # both looks bin these
    voxel = max(field / _COARSE[0], _COARSE[1])
    depth = depth_map(images, geometry, voxel_ang=voxel, half_depth_ang=_DEPTH * field, tiles=tiles)
    first = fit_density_slab(depth)
    progress(0.4, "levelling")
    if first is None or first.contrast < _LEAST_CONTRAST or not _plausible(first, _DEPTH * field):
        return None
    turn, shift = _levelling(first.slopes, first.height_ang)
    level = regauge(geometry, turn, shift).geometry
    voxel = max(field / _FINE[0], _FINE[1])
    half_depth = first.depth_ang / 2 + max(_MARGIN_ANG, _MARGIN_PX * voxel)
    depth = depth_map(images, level, voxel_ang=voxel, half_depth_ang=half_depth, tiles=tiles)
    second = fit_density_slab(depth, near=(0.0, 0.0, 0.0, (first.depth_ang - first.onset_ang) / 2))
    progress(1.0, "levelling")
    if second is None or not _plausible(second, half_depth) or not _same(first, second):
        return None
    # the plane n·p' = n_z·c in the level frame, p' = turn·p + shift, is one of the frame that came in
    normal = _normal(second.slopes)
    away = normal[2] * second.height_ang - normal @ shift
    normal = turn.T @ normal
    values = np.array([*(-normal[:2] / normal[2]), away / normal[2], second.depth_ang / 2])
    return _Plane(values, second.covariance)


def _plausible(slab: DensitySlab, half_depth_ang: float) -> bool:
    """Whether a fit is a specimen's: inside what was looked at, near to level, and its slopes determined."""
    inside = abs(slab.height_ang) + (slab.depth_ang - slab.onset_ang) / 2 < half_depth_ang
    inclined = np.rad2deg(np.arccos(_normal(slab.slopes)[2]))
    return bool(inside and _slope_error_deg(slab.covariance) < _LARGEST_ERROR_DEG and inclined < _MOST_INCLINED_DEG)


def _same(first: DensitySlab, second: DensitySlab) -> bool:
    """Whether the second look, in the frame of the first, finds the slab level."""
    error = np.hypot(_slope_error_deg(first.covariance), _slope_error_deg(second.covariance))
    return bool(np.rad2deg(np.hypot(*second.slopes)) < _SAME_DEG + 3 * error)


def _slope_error_deg(covariance: Array) -> float:
    return float(np.rad2deg(np.sqrt(np.trace(covariance[:2, :2]))))


def _levelling(slopes: Array, height_ang: float) -> tuple[Array, Array]:
    """Rotation and shift p' = R·p + s that bring the plane z = a·x + b·y + c to z = 0 (see `regauge`)."""
    a, b = slopes
    x_tilt, y_tilt = -np.arctan(b), np.arctan(a / np.sqrt(1 + b * b))
    turn = rotation_y(float(np.rad2deg(y_tilt))) @ rotation_x(float(np.rad2deg(x_tilt)))
    return turn, -turn @ np.array([0.0, 0.0, height_ang])


def _normal(slopes: Array) -> Array:
    normal = np.array([-slopes[0], -slopes[1], 1.0])
    return np.asarray(normal / np.linalg.norm(normal))


def _sure(faces: Faces) -> bool:
    """Whether beads alone say everything: both faces, enough on each, a normal well determined."""
    on_each = min(int((faces.face == 1).sum()), int((faces.face == -1).sum()))
    return faces.both and _slope_error_deg(faces.covariance) < _SURE_DEG and on_each >= _FEWEST_ON_FACE


def _from_faces(faces: Faces) -> SlabMeasure:
    """What beads say by themselves; from one face the mid-plane's height is not known."""
    half = faces.separation_ang / 2 / _normal(faces.slopes)[2] if faces.both else float("nan")
    measure = _stated(_Plane(np.array([*faces.slopes, faces.height_ang, half]), faces.covariance), "beads")
    if faces.both:
        return measure
    on_face = bool((faces.face != 0).any())
    height_error = float("inf") if on_face else measure.height_error_ang
    return replace(measure, thickness_error_ang=float("inf"), height_error_ang=height_error)


def _from_both(faces: Faces, density: _Plane) -> SlabMeasure:
    """Beads with the density's slopes as prior; where they lie on one face, the other face is the density's."""
    if faces.both:
        return _from_faces(faces)
    values, covariance = density.values.copy(), density.covariance.copy()
    sure = bool(np.trace(faces.covariance[:2, :2]) < 0.5 * np.trace(covariance[:2, :2]))
    values[:2] = faces.slopes
    covariance[:2, :2] = faces.covariance[:2, :2]
    below, above = values[2] - values[3], values[2] + values[3]
    upper = abs(faces.height_ang - above) < abs(faces.height_ang - below)
    if (faces.face != 0).any() and abs(faces.height_ang - (above if upper else below)) < values[3] / 2:
        below, above = (below, faces.height_ang) if upper else (faces.height_ang, above)
        values[2:] = (below + above) / 2, (above - below) / 2
    return _stated(_Plane(values, covariance), "beads" if sure else "density")


def _without_density(points_ang: ArrayLike | None, source: PointSource | None, faces: Faces | None) -> SlabMeasure:
    """What points say where the density says nothing."""
    if faces is not None:
        return _from_faces(faces)
    points = np.zeros((0, 3)) if points_ang is None else np.asarray(points_ang, dtype=np.float64)
    if source != "patches" or np.isfinite(points).all(axis=1).sum() < _FEWEST_PATCHES:
        return _unknown()
    plane = fit_plane(points)
    if not np.isfinite(plane.error_deg) or plane.inclination_deg > _MOST_INCLINED_DEG:
        return _unknown()
    count = int(np.isfinite(points).all(axis=1).sum())
    return replace(
        _unknown(),
        normal=plane.normal,
        height_ang=plane.height_ang,
        height_error_ang=plane.spread_ang / np.sqrt(count),
        error_deg=plane.error_deg,
        source="patches",
    )


def _with_patches(points: Array, density: _Plane) -> SlabMeasure:
    """The density's slab with the slopes of the patches' plane heard by inverse variance."""
    if np.isfinite(points).all(axis=1).sum() < _FEWEST_PATCHES:
        return _stated(density, "density")
    plane = fit_plane(points)
    if not np.isfinite(plane.error_deg) or plane.inclination_deg > _MOST_INCLINED_DEG:
        return _stated(density, "density")
    own = np.eye(2) * np.tan(np.deg2rad(plane.error_deg)) ** 2 / 2
    weight, other = np.linalg.inv(density.covariance[:2, :2]), np.linalg.inv(own)
    covariance, values = density.covariance.copy(), density.values.copy()
    covariance[:2, :2] = np.linalg.inv(weight + other)
    values[:2] = covariance[:2, :2] @ (weight @ density.values[:2] + other @ (-plane.normal[:2] / plane.normal[2]))
    return _stated(_Plane(values, covariance), "patches" if np.trace(other) > np.trace(weight) else "density")


def _stated(plane: _Plane, source: SlabSource) -> SlabMeasure:
    normal = _normal(plane.values[:2])
    errors = np.sqrt(np.diag(plane.covariance).clip(0))
    return SlabMeasure(
        normal=normal,
        height_ang=float(plane.values[2]),
        height_error_ang=float(errors[2]),
        thickness_ang=float(2 * plane.values[3] * normal[2]),
        thickness_error_ang=float(2 * errors[3] * normal[2]),
        error_deg=float(np.rad2deg(np.hypot(errors[0], errors[1]))),
        source=source,
    )


def _unknown() -> SlabMeasure:
    infinite = float("inf")
    return SlabMeasure(
        normal=np.array([0.0, 0.0, 1.0]),
        height_ang=0.0,
        height_error_ang=infinite,
        thickness_ang=float("nan"),
        thickness_error_ang=infinite,
        error_deg=infinite,
        source="density",
    )
