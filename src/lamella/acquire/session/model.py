"""What a session knows of its series' geometry, as records: where processing may begin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.acquire_settings import AcquireSettings
from lamella.acquire.microscope.port import Calibrations
from lamella.acquire.session.events import ViewRecorded
from lamella.formats.relion_tilt_series import write_tilt_series
from lamella.geometry import TiltGeometry
from lamella.geometry.rotations import rotation_z
from lamella.records import Defocus, Optics, TiltSeries

__all__ = ["GEOMETRY", "session_series", "write_geometry"]

Array = NDArray[np.float64]

GEOMETRY = "geometry/tilt_series.star"
_ANG_PER_UM = 1e4


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
) -> TiltSeries:
    """One series as the session itself knows it, by rising tilt.

    The angles are those read back, the axis the calibrated one. A view's shift is where the target was measured to be,
    turned into the image; 0 where it was not measured (the first view, which the others were compared with). The
    defocus is the one wanted: the lens was set for the height that the session's model gave.

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

    Returns
    -------
    TiltSeries
        with geometry and defocus; the score ``SessionShiftErrorAngst`` is the standard deviation of each view's shift.
    """
    turn = rotation_z(calibrations.tilt_axis_deg)[:2, :2]
    measured = [view.displacement_um if view.learned else None for view in views]
    off_um = np.array([(0.0, 0.0) if place is None else place for place in measured], np.float64).reshape(-1, 2)
    shifts = _ANG_PER_UM * off_um @ turn.T
    errors = [
        view.predicted_sd_um[0] if place is None else view.displacement_sd_um
        for view, place in zip(views, measured, strict=True)
    ]
    tilt = np.array([view.tilt_deg for view in views], np.float64)
    defocus = np.full(len(views), _ANG_PER_UM * settings.defocus)
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
            tilt, calibrations.tilt_axis_deg, x_shift_ang=shifts[:, 0], y_shift_ang=shifts[:, 1]
        ),
        defocus=Defocus(u_ang=defocus, v_ang=defocus, angle_deg=np.zeros(len(views))),
        scores={"SessionShiftErrorAngst": _ANG_PER_UM * np.array(errors, np.float64)},
    ).sorted_by_tilt()


def write_geometry(folder: Path, series: Sequence[TiltSeries]) -> Path:
    """Write what the session knows as RELION-5 tables, ``geometry/tilt_series.star``; names are relative to it all."""
    path = folder / GEOMETRY
    write_tilt_series(path, series, folder)
    return path
