"""How much of a specimen is needed: what the untilted view sees, and what any view does."""

from __future__ import annotations

import numpy as np

from lamella.simulate.specimen_settings import SpecimenSettings

__all__ = ["extent_ang", "field_of_view_ang"]

STEEPEST_DEG = 85.0


def field_of_view_ang(settings: SpecimenSettings) -> tuple[float, float]:
    """(x, y) of the specimen that the untilted view sees; the specimen's y is the tilt axis."""
    along_rows = abs(np.cos(np.deg2rad(settings.axis))) >= np.sqrt(0.5)
    height, width = (size * settings.pixel_size for size in settings.image_shape_px)
    return (width, height) if along_rows else (height, width)


def extent_ang(settings: SpecimenSettings) -> tuple[float, float]:
    """(x, y) of all ice that any view sees, tilted and shifted as they are."""
    field = field_of_view_ang(settings)
    middle = abs(settings.start_tilt + settings.tilt_offset)
    steepest = np.deg2rad(min(STEEPEST_DEG, middle + settings.tilt_range))
    slanted = abs(np.sin(2 * np.deg2rad(settings.axis))) / 2  # corners of a turned image reach further
    margin = 3 * settings.shift
    x, y = (side + slanted * max(field) + 2 * margin for side in field)
    wide = float(max((x + settings.thickness * np.sin(steepest)) / np.cos(steepest), field[0]))
    if settings.dual_axis:  # the second axis is the specimen's x
        high = float(max((y + settings.thickness * np.sin(steepest)) / np.cos(steepest), field[1]))
        return wide, high
    return wide, float(max(y, field[1]))
