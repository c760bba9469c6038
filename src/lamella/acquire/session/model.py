"""What a session knows of its series' geometry, as records: where processing may begin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.acquire_settings import AcquireSettings
from lamella.acquire.grid_plane import GridPlane
from lamella.acquire.microscope.port import Calibrations
from lamella.acquire.session.events import PlaneFitted, SeriesBegun, ViewRecorded
from lamella.formats.relion_tilt_series import write_tilt_series
from lamella.geometry import TiltGeometry
from lamella.geometry.rotations import rotation_y, rotation_z
from lamella.records import SESSION_SHIFT_ERROR, Defocus, Optics, TiltSeries

__all__ = ["GEOMETRY", "Lie", "in_image_ang", "in_stage_um", "lie_of", "session_series", "write_geometry"]

Array = NDArray[np.float64]

GEOMETRY = "geometry/tilt_series.star"
_ANG_PER_UM = 1e4


def in_image_ang(off_um: Array, axis_deg: float) -> Array:
    """``(..., 2)`` displacements across and along the tilt axis, as an image shows them; Å."""
    return np.asarray(_ANG_PER_UM * off_um @ rotation_z(axis_deg)[:2, :2].T)


def in_stage_um(shift_ang: Array, axis_deg: float) -> Array:
    """``(..., 2)`` displacements in an image, Å, as the session knows them: across and along the tilt axis."""
    return np.asarray(shift_ang @ rotation_z(axis_deg)[:2, :2] / _ANG_PER_UM)


@dataclass(frozen=True, kw_only=True)
class Lie:
    """How the targets' plane lies, as the projection model says it.

    Its normal is Ry(tilt offset) · Rx(x tilt) · z on the stage at 0°: the tilt offset adds to every view's tilt.
    """

    tilt_offset_deg: float = 0.0
    x_tilt_deg: float = 0.0


def lie_of(plane: PlaneFitted, start_deg: float) -> Lie:
    """How a plane lies that was fitted in the frame of the start tilt; single targets differ by the grid's terrain."""
    slope = GridPlane.of_angles(plane.pre_tilt_deg, plane.rotation_deg).slope
    normal = rotation_y(-start_deg) @ np.array([-slope[0], -slope[1], 1.0])
    across, along, up = normal / np.linalg.norm(normal)
    return Lie(
        tilt_offset_deg=float(np.rad2deg(np.arctan2(across, up))), x_tilt_deg=float(np.rad2deg(np.arcsin(-along)))
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

    The angles are those read back, against the targets' plane where that was measured; the axis is the calibrated one.
    A view's shift is where the target was measured to be, turned into the image. Where it was not measured it is 0, the
    middle, where the session's model had it, as sure as that was. The defocus is the one wanted: the lens was set for
    the height that the session's model gave.

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
        how the targets' plane lies; None: it was not measured.

    Returns
    -------
    TiltSeries
        with geometry and defocus; the score ``SessionShiftErrorAngst`` is the standard deviation of each view's shift.
    """
    placed = [_placed(view, first) for view in views]
    shifts = in_image_ang(np.array([place for place, _ in placed], np.float64), calibrations.tilt_axis_deg)
    tilt = np.array([view.tilt_deg for view in views], np.float64)
    defocus = np.full(len(views), _ANG_PER_UM * settings.defocus)
    lie = Lie() if lie is None else lie
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
            tilt + lie.tilt_offset_deg,
            calibrations.tilt_axis_deg,
            x_tilt_deg=lie.x_tilt_deg,
            x_shift_ang=shifts[:, 0],
            y_shift_ang=shifts[:, 1],
        ),
        defocus=Defocus(u_ang=defocus, v_ang=defocus, angle_deg=np.zeros(len(views))),
        scores={SESSION_SHIFT_ERROR: _ANG_PER_UM * np.array([sd for _, sd in placed], np.float64)},
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
