"""Settings of `lamella combine`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lamella.settings import StepSettings, setting

__all__ = ["CombineSettings"]

Auto = Literal["auto"]
Positive = Annotated[float, Field(gt=0)]


class CombineSettings(StepSettings):
    """How the tomograms of two tilt axes of one specimen become one."""

    register_by: Literal["auto", "beads", "volume"] = setting(
        "auto",
        "what the second is laid onto the first by; auto: beads where enough are found in both, else the volumes",
    )
    turn: float | Auto = setting(
        "auto",
        "by how much the specimen was turned in its plane between the series; auto searches all turns",
        unit="deg",
    )
    warp: bool = setting(True, "after the rigid registration follow what moved locally")
    patch: Positive | Auto = setting("auto", "edge of the cubes that local movement is measured on", unit="Å")
    memory: Positive | Auto = setting(
        "auto",
        "most memory that a block of the combination may take; auto takes two fifths of what is free",
        unit="GiB",
    )
