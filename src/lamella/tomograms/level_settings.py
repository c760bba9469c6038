"""Settings of `lamella level`."""

from __future__ import annotations

from lamella.settings import StepSettings, setting

__all__ = ["LevelSettings"]


class LevelSettings(StepSettings):
    """How a tomogram's frame is put in order: specimen level, its mid-plane at z = 0, its centre where it is wanted."""

    turn: bool = setting(True, "turn the frame so that the specimen's mid-plane is level")
    lift: bool = setting(True, "shift the frame along z so that the mid-plane is z = 0")
    x_tilt: float = setting(0.0, "turn by so much more about x, as one judged by eye", unit="deg", ge=-45, le=45)
    y_tilt: float = setting(
        0.0, "turn by so much more about the tilt axis, as one judged by eye", unit="deg", ge=-45, le=45
    )
    centre_x: float = setting(0.0, "x of the place that becomes the centre, from the tomogram's", unit="Å")
    centre_y: float = setting(0.0, "y of the place that becomes the centre", unit="Å")
    centre_z: float = setting(0.0, "z of the place that becomes the centre, beside what lifting asks for", unit="Å")
