"""What a session knows of its series' geometry, as records: where processing may begin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.acquire_settings import AcquireSettings
from lamella.acquire.grid_plane import GridPlane
from lamella.acquire.microscope.port import Calibrations
from lamella.acquire.session.events import PlaneFitted, SeriesBegun, SlopesMeasured, ViewRecorded
from lamella.formats.relion_tilt_series import write_tilt_series
from lamella.geometry import TiltGeometry
from lamella.geometry.rotations import rotation_y, rotation_z
from lamella.records import SESSION_LIE, SESSION_SHIFT_ERROR, Defocus, Optics, TiltSeries

__all__ = ["GEOMETRY", "Lie", "in_image_ang", "in_stage_um", "lie_of", "session_series", "write_geometry"]

Array = NDArray[np.float64]

GEOMETRY = "geometry/tilt_series.star"
_ANG_PER_UM = 1e4
_PARTS_DIFFER_DEG = 5.0  # by which parts of a grid lie otherwise than the plane through all


def in_image_ang(off_um: Array, axis_deg: float) -> Array:
    """``(..., 2)`` displacements across and along the tilt axis, as an image shows them; Å."""
    return np.asarray(_ANG_PER_UM * off_um @ rotation_z(axis_deg)[:2, :2].T)


def in_stage_um(shift_ang: Array, axis_deg: float) -> Array:
    """``(..., 2)`` displacements in an image, Å, as the session knows them: across and along the tilt axis."""
    return np.asarray(shift_ang @ rotation_z(axis_deg)[:2, :2] / _ANG_PER_UM)


@dataclass(frozen=True, kw_only=True, eq=False)
class Lie:
    """How a target's part of the grid lies, as the projection model says it.

    Attributes
    ----------
    tilt_offset_deg, x_tilt_deg
        its normal is Ry(tilt offset) · Rx(x tilt) · z on the stage at 0°: the first adds to every view's tilt.
    error_deg
        standard error of both.
    """

    tilt_offset_deg: float
    x_tilt_deg: float
    error_deg: float


def lie_of(slopes: SlopesMeasured | None, plane: PlaneFitted | None, start_deg: float) -> Lie | None:
    """How a target lies: as its own pictures tell, else as the plane through the heights of all does; None: not known.

    Parameters
    ----------
    slopes
        of the target.
    plane
        of all, in the frame of the start tilt.
    start_deg
        the start tilt.
    """
    if slopes is not None:
        return _lie(np.array([-slopes.slope[0], -slopes.slope[1], 1.0]), float(np.rad2deg(slopes.sd)))
    if plane is None:
        return None
    slope = GridPlane.of_angles(plane.pre_tilt_deg, plane.rotation_deg).slope
    normal = rotation_y(-start_deg) @ np.array([-slope[0], -slope[1], 1.0])
    return _lie(np.asarray(normal, np.float64), _PARTS_DIFFER_DEG)


def _lie(normal: Array, error_deg: float) -> Lie:
    across, along, up = normal / np.linalg.norm(normal)
    return Lie(
        tilt_offset_deg=float(np.rad2deg(np.arctan2(across, up))),
        x_tilt_deg=float(np.rad2deg(np.arcsin(-along))),
        error_deg=error_deg,
    )


def session_series(
    name: str,
    views: Sequence[ViewRecorded],
    settings: AcquireSettings,
    calibrations: Calibrations,
    *,
    pixel_size_ang: float,
    image_shape_px: tuple[int, int],
    images: Sequence[str],
    group: str = "optics1",
    first: SeriesBegun | None = None,
    lie: Lie | None = None,
) -> TiltSeries:
    """One series as the session itself knows it, by rising tilt.

    The angles are those read back, against the plane in which the target lies where that is known; the axis is the
    calibrated one. A view's shift is where the target was measured to be, turned into the image. Where it was not
    measured it is 0, the middle, where the session's model had it, as sure as that was. The defocus is the one wanted:
    the lens was set for the height that the session's model gave.

    Parameters
    ----------
    name
        of the series.
    views
        in the order of recording.
    settings, calibrations
        of the session.
    pixel_size_ang, image_shape_px
        of the images; (height, width).
    images
        name of each view's image, as the record holds it.
    group
        name of the optics group.
    first
        where the target was in the view that its others were compared with.
    lie
        how it lies.

    Returns
    -------
    TiltSeries
        with geometry and defocus; the score ``SessionShiftErrorAngst`` is the standard deviation of each view's shift,
        and the numbers of `SESSION_LIE` say how the target lies, where that is known.
    """
    placed = [_placed(view, first) for view in views]
    shifts = in_image_ang(np.array([place for place, _ in placed], np.float64), calibrations.tilt_axis_deg)
    tilt = np.array([view.tilt_deg for view in views], np.float64)
    defocus = np.full(len(views), _ANG_PER_UM * settings.defocus)
    known = {} if lie is None else dict(zip(SESSION_LIE, astuple(lie), strict=True))
    return TiltSeries(
        name=name,
        pixel_size_ang=pixel_size_ang,
        image_shape_px=image_shape_px,
        nominal_tilt_deg=tilt,
        nominal_axis_deg=np.full(len(views), calibrations.tilt_axis_deg),
        images=tuple(images),
        pre_exposure=np.array([view.dose_before for view in views], np.float64),
        optics=Optics(voltage_kv=calibrations.voltage_kv, spherical_aberration_mm=calibrations.spherical_aberration_mm),
        optics_group=group,
        hand=calibrations.hand,
        geometry=TiltGeometry.from_angles(
            tilt + (0.0 if lie is None else lie.tilt_offset_deg),
            calibrations.tilt_axis_deg,
            x_tilt_deg=0.0 if lie is None else lie.x_tilt_deg,
            x_shift_ang=shifts[:, 0],
            y_shift_ang=shifts[:, 1],
        ),
        defocus=Defocus(u_ang=defocus, v_ang=defocus, angle_deg=np.zeros(len(views))),
        scores={SESSION_SHIFT_ERROR: _ANG_PER_UM * np.array([sd for _, sd in placed], np.float64)},
        quality=known,
    ).sorted_by_tilt()


def _placed(view: ViewRecorded, first: SeriesBegun | None) -> tuple[tuple[float, float], float]:
    """Where the target was in a view, across and along the axis, and how sure that is, each way; µm."""
    if view.learned and view.displacement_um is not None:
        return view.displacement_um, view.displacement_sd_um
    if first is not None and view.tilt == first.tilt:
        return first.displacement_um, first.sd_um
    return (0.0, 0.0), view.predicted_sd_um[0]


def write_geometry(folder: Path, series: Sequence[TiltSeries]) -> Path:
    """Write what the session knows as RELION-5 tables, ``geometry/tilt_series.star``; names are relative to it all."""
    path = folder / GEOMETRY
    write_tilt_series(path, series, folder)
    return path
