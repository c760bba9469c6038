"""What full pictures are made of: specimens, camera, and where movies go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamella.simulate.presets import preset_settings
from lamella.simulate.settings import SimulateSettings

__all__ = ["FullSettings", "full_settings"]

_PLACE_ERROR_ANG = 250.0  # rms by which a target may be off: so much more of the specimen is made around the field


@dataclass(frozen=True, kw_only=True)
class FullSettings:
    """What full pictures are made of.

    Attributes
    ----------
    simulation
        of the specimens and the camera; the record preset takes its field and pixel, and its number of frames.
    folder
        the session's: movies go into its ``frames/``; None: no movie is written.
    names
        of the targets; their movies are ``NAME_000_0.0.tif``, … by order and angle.
    """

    simulation: SimulateSettings
    folder: Path | None = None
    names: tuple[str, ...] = ()


def full_settings(seed: int, tilt_axis_deg: float, **changes: Any) -> SimulateSettings:
    """Specimens as in the preset ``quick``, on a camera that corrects its gain; what is set beside holds."""
    values: dict[str, Any] = {
        "seed": seed,
        "axis": tilt_axis_deg,
        "shift": _PLACE_ERROR_ANG,
        "tilt_offset": 8.0,
        "gain": False,
        "truth_binning": 0.0,
    }
    return preset_settings("quick", **(values | changes))
