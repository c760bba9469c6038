"""A preset and what the user changes of it, made into settings: numbers follow the field, so that densities stay.

A preset's numbers of bodies are those of its own field and thickness, its defects those of its own camera. Where the
user changes the size, the pixel or the thickness, what is not set as well is scaled:

- particles and smaller particles by the volume (beads too, where they lie inside the ice);
- beads, crystals of ice, vesicles and virions by the area;
- filaments, which cross the field, by its side times the thickness; sheets by its side;
- the bend by the square of the side: the curvature stays;
- hot and dead pixels and X-rays by the camera's pixels, hot columns by its width.

Of what the preset has any, at least one stays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from lamella.errors import InputError
from lamella.simulate.field_of_view import field_of_view_ang
from lamella.simulate.preset_table import PRESET_TABLE
from lamella.simulate.settings import SimulateSettings

__all__ = ["PRESETS", "preset_settings", "preset_values"]


def preset_values(name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting of a preset with the user's changes, not yet checked as a whole.

    Parameters
    ----------
    name
        of the preset.
    changes
        what the user sets, each a value that its setting may have; it is kept as it is.

    Raises
    ------
    InputError
        if there is no such preset; the nearest is named.
    """
    if name not in PRESETS:
        near = get_close_matches(name, list(PRESETS), n=1)
        raise InputError(
            f"there is no preset {name!r}",
            mend=f"did you mean {near[0]}?" if near else f"choose one of {', '.join(PRESETS)}",
        )
    own = PRESETS[name]
    values = own.model_dump() | dict(changes)
    scales = _scales(own, own.model_copy(update=dict(changes)))
    return values | {
        field: _scaled(values[field], scale)
        for field, scale in scales.items()
        if field not in changes and not math.isclose(scale, 1.0)
    }


def preset_settings(name: str, **changes: Any) -> SimulateSettings:
    """The settings of a preset with some changed; numbers that are not set follow the field.

    Raises
    ------
    InputError
        if there is no such preset.
    pydantic.ValidationError
        if the changes are none that the settings allow.
    """
    checked = SimulateSettings.model_validate(changes)
    return SimulateSettings.model_validate(preset_values(name, {key: getattr(checked, key) for key in changes}))


def _scales(own: SimulateSettings, wanted: SimulateSettings) -> dict[str, float]:
    """By how much each number grows from the preset's own field and camera to those that are asked for."""
    side_x, side_y = (
        after / before for before, after in zip(field_of_view_ang(own), field_of_view_ang(wanted), strict=True)
    )
    area, side, height = side_x * side_y, math.sqrt(side_x * side_y), wanted.thickness / own.thickness
    pixels = math.prod(wanted.image_shape_px) / math.prod(own.image_shape_px)
    return {
        "particles": area * height,
        "small_particles": area * height,
        "beads": area * (height if wanted.bead_surfaces == "inside" else 1.0),
        "contamination": area,
        "vesicles": area,
        "virions": area,
        "sheets": side,
        "microtubules": side * height,
        "actin": side * height,
        "bend": side_x**2,
        "hot_pixels": pixels,
        "dead_pixels": pixels,
        "xrays": pixels,
        "hot_columns": wanted.image_shape_px[1] / own.image_shape_px[1],
    }


def _scaled(value: float, scale: float) -> float:
    """A count stays whole, and at least 1 where it was any."""
    if isinstance(value, int):
        return max(1, round(value * scale)) if value else 0
    return value * scale


PRESETS: Mapping[str, SimulateSettings] = MappingProxyType(
    {name: SimulateSettings.model_validate(preset.changes) for name, preset in PRESET_TABLE.items()}
)
"""Each preset as it stands."""
