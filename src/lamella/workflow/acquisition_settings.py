"""Which microscope a session runs on."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from lamella.settings import setting

__all__ = ["MicroscopeSettings"]


class MicroscopeSettings(BaseModel):
    """Table ``[microscope]`` of a session."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    microscope: Literal["simulated", "serialem"] = setting("simulated", "what records")
    world: str = setting("bisect", "simulated: rigid, bisect, pace, faults, or a TOML file of a world", file=False)
    seed: int = setting(1, "simulated: of every random number", ge=0)
    pictures: Literal["landmarks", "blobs", "full"] = setting(
        "landmarks",
        "simulated: what its pictures are: places of features alone, small images of blobs, or images and movies of a "
        "specimen in each target",
    )
    calibration: str = setting("", "serialem: the TOML file of what is known of the microscope", file=True)
    address: str = setting("", "serialem: of its computer, a name or four numbers; empty: this one")
    port: int = setting(48888, "serialem: of its socket for Python", ge=1, le=65535)
    frames: int = setting(4, "simulated, full pictures: of each movie; 1: images alone", ge=1, le=100)
