"""Settings of `lamella average`."""

from __future__ import annotations

from lamella.settings import StepSettings, setting

__all__ = ["AverageSettings"]


class AverageSettings(StepSettings):
    """How the average of particles is made from given orientations and places."""

    binning: float = setting(1.0, "voxel of the map over the pixel of the tilt images", ge=1, le=64)
    symmetry: str = setting("C1", "point group that is imposed")
    classes: str = setting("", "use only particles of these classes, such as 1,3; left out: all")
    diameter: float = setting(0.0, "of the particle, from which the box follows; 0: as extract has it", unit="Å", ge=0)
    box: int = setting(
        0, "edge of the map; 0: as the extracted pictures have it, or from the diameter", unit="px", ge=0
    )
