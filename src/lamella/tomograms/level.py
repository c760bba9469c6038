"""A series in a better frame: its specimen level, in the middle, and centred where it is wanted."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lamella.errors import ProjectError
from lamella.geometry import rotation_x, rotation_y
from lamella.geometry.level_frame import FrameChange, levelling_rotation
from lamella.records import TiltSeries
from lamella.tomograms.level_settings import LevelSettings
from lamella.tomograms.position import SpecimenPosition

__all__ = ["LevelResult", "level"]

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class LevelResult:
    """A series in its new frame.

    Attributes
    ----------
    series
        geometry and defocus moved together; every picture and the defocus at every point of the specimen stay.
    change
        moves what else lies in the specimen: particles, beads.
    notes
        what was done, and what was left and why.
    """

    series: TiltSeries
    change: FrameChange
    notes: tuple[str, ...]


def level(series: TiltSeries, position: SpecimenPosition | None, settings: LevelSettings) -> LevelResult:
    """Turn and shift the specimen's frame.

    Parameters
    ----------
    series
        as the tomogram was made from it.
    position
        where the specimen lies in that tomogram (`measure_position`); None where that is not asked for.
    settings
        see `LevelSettings`. A measured tilt or offset that its error exceeds is left.

    Raises
    ------
    ProjectError
        if the series has no geometry.

    Notes
    -----
    The middle of the new tomogram is the place (centre_x, centre_y) of the old one, at the height of the mid-plane
    there where it is lifted, and centre_z above that.
    """
    if series.geometry is None:
        raise ProjectError(f"{series.name}: the views are not aligned", mend="run align first")
    x_tilt, y_tilt, height, notes = _wanted(position, settings)
    axis = np.array([0.0, 0.0, 1.0])
    measured = rotation_x(x_tilt) @ rotation_y(y_tilt)
    by_eye = rotation_y(settings.y_tilt) @ rotation_x(settings.x_tilt)
    notes = (*notes, *_judged(settings))
    rotation = levelling_rotation(series.geometry, measured @ by_eye.T @ axis).rotation
    plane = measured @ axis
    across = (plane[0] * settings.centre_x + plane[1] * settings.centre_y) / plane[2]
    middle = height - across if settings.lift else 0.0
    centre = np.array([settings.centre_x, settings.centre_y, middle + settings.centre_z])
    change = FrameChange(rotation, -rotation @ centre)
    defocus = series.defocus
    moved = change.of(series.geometry, series.hand, None if defocus is None else [defocus.u_ang, defocus.v_ang])
    if defocus is not None and moved.defocus_ang is not None:
        defocus = replace(defocus, u_ang=moved.defocus_ang[0], v_ang=moved.defocus_ang[1])
    quality = {} if position is None else _numbers(position)
    thickness = series.thickness_ang
    if position is not None and np.isfinite(position.thickness_ang):
        thickness = position.thickness_ang
    turned = series.with_changes(
        geometry=moved.geometry, defocus=defocus, hand=moved.hand, thickness_ang=thickness, quality=quality
    )
    if np.allclose(rotation, np.eye(3)) and not np.any(centre):
        notes = (*notes, "nothing to change: the frame stays")
    return LevelResult(series=turned, change=change, notes=notes)


def _wanted(position: SpecimenPosition | None, settings: LevelSettings) -> tuple[float, float, float, tuple[str, ...]]:
    """Tilts (degrees) and height (Å) that are taken out, and what is to be said of each."""
    if position is None:
        return 0.0, 0.0, 0.0, ()
    notes = [position.in_words()]
    if position.unknown:
        return 0.0, 0.0, 0.0, (*notes, "neither turned nor lifted by it")
    found = {}
    for name, value, error, unit, wanted in (
        ("tilt about x", position.x_tilt_deg, position.x_tilt_error_deg, "°", settings.turn),
        ("tilt about y", position.y_tilt_deg, position.y_tilt_error_deg, "°", settings.turn),
        ("offset", position.offset_ang, position.offset_error_ang, " Å", settings.lift),
    ):
        taken = wanted and np.isfinite(value) and abs(value) > error
        found[name] = float(value) if taken else 0.0
        if taken:
            notes.append(f"{name} of {value:.1f}{unit} taken out")
        elif wanted and np.isfinite(value):
            notes.append(f"{name} of {value:.1f} ± {error:.1f}{unit} left: its error is as large")
        elif wanted:
            notes.append(f"{name} left: it is unknown")
    return (*found.values(), tuple(notes))  # type: ignore[return-value]


def _judged(settings: LevelSettings) -> tuple[str, ...]:
    """What is to be said of turns that were asked for, not measured."""
    wanted = (("x", settings.x_tilt), ("y", settings.y_tilt))
    return tuple(f"turned by {value:g}° about {axis} as judged by eye" for axis, value in wanted if value)


def _numbers(position: SpecimenPosition) -> dict[str, float]:
    """Where the specimen lay, by the names of the level record."""
    return {name.replace("Position", "Level", 1): value for name, value in position.quality().items()}
